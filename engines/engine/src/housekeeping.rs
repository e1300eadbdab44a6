//! What an engine tidies up by itself, whether or not its controller is there: planned queries
//! nobody came for, plans that have ended, and memory that they have left.

use crate::engine::Engine;
use bireme_shared_memory::give_back_freed;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often it does.
const EVERY: Duration = Duration::from_millis(250);

/// How long nothing has to run until freed memory goes back to the system: who explores asks for it again at
/// once.
const IDLE_FOR: Duration = Duration::from_secs(5);

/// Tidies up until the engine is told to stop.
pub(crate) async fn keep(engine: Arc<Engine>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut idle = Idle::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        engine.queries().expire(Instant::now());
        engine.live().release_ended(engine.spans());
        if idle.is_over(engine.live().is_empty(), Instant::now()) {
            let given = tokio::task::spawn_blocking(give_back_freed).await;
            if let Err(error) = given {
                tracing::error!(%error, "give freed memory back to the system");
            }
        }
    }
}

/// Since when nothing runs, and whether freed memory went back since.
#[derive(Debug, Default)]
enum Idle {
    #[default]
    No,
    Since(Instant),
    Tidy,
}

impl Idle {
    /// Whether freed memory is to go back now: once each time that nothing has run for a while.
    fn is_over(&mut self, is_idle: bool, now: Instant) -> bool {
        match self {
            _ if !is_idle => *self = Idle::No,
            Idle::No => *self = Idle::Since(now),
            Idle::Since(then) if now.duration_since(*then) >= IDLE_FOR => {
                *self = Idle::Tidy;
                return true;
            }
            Idle::Since(_) | Idle::Tidy => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_engine::TestEngine;
    use bireme_protocol::QueryId;
    use datafusion::arrow::datatypes::Schema;
    use datafusion::physical_plan::ExecutionPlan;
    use datafusion::physical_plan::empty::EmptyExec;

    #[test]
    fn memory_goes_back_once_each_time_nothing_has_run_for_a_while() {
        let (mut idle, begun) = (Idle::Tidy, Instant::now());
        let mut is_over =
            |is_idle, seconds| idle.is_over(is_idle, begun + Duration::from_secs(seconds));
        let looks = [
            (false, 0),
            (true, 1),
            (true, 5),
            (true, 6),
            (true, 20),
            (false, 21),
            (true, 22),
            (true, 27),
        ];
        let given = looks.map(|(is_idle, seconds)| is_over(is_idle, seconds));
        assert_eq!(
            given,
            [false, false, false, true, false, false, false, true]
        );
    }

    #[tokio::test]
    async fn ended_plans_go_without_a_controller() {
        let test = TestEngine::new("housekeeping");
        let plan: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::new(Schema::empty())));
        test.engine.live().follow(QueryId::random(), &plan, true);
        drop(plan);
        let stop = CancellationToken::new();
        let keeping = keep(Arc::clone(&test.engine), stop.clone());
        let watching = async {
            while !test.engine.live().progress().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.cancel();
        };
        let both = async { tokio::join!(keeping, watching) };
        tokio::time::timeout(Duration::from_secs(10), both)
            .await
            .unwrap();
    }
}
