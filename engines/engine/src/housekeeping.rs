//! What an engine tidies up by itself, whether or not its controller is there: planned queries
//! nobody came for, and plans that have ended.

use crate::engine::Engine;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often it does.
const EVERY: Duration = Duration::from_millis(250);

/// Tidies up until the engine is told to stop.
pub(crate) async fn keep(engine: Arc<Engine>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        engine.queries().expire(Instant::now());
        engine.live().release_ended(engine.spans());
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
