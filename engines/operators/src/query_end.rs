//! When a query has ended on this engine, for work that would not notice: DataFusion's operators
//! can sort, join and spill for seconds inside one poll, and a task is only cancelled between two.
//! So wherever such work passes by code of ours (filters of joins, reservations, spill files) it
//! asks here, and lets other work of its thread go on.

use bireme_collectives::PlanEnd;
use datafusion::error::{DataFusionError, Result};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::sync::CancellationToken;

/// How often a long poll lets another thread take over what else is to be done.
const TURN_EVERY: Duration = Duration::from_millis(50);
/// How long the other thread has to take over.
const TURN_WITHIN: Duration = Duration::from_micros(500);

/// The end of one query on this engine. It may be handed out before anybody can tell it.
#[derive(Clone, Debug)]
pub struct QueryEnd(Arc<State>);

#[derive(Debug)]
struct State {
    teller: OnceLock<Teller>,
    last_turn: Mutex<Instant>,
}

#[derive(Debug)]
enum Teller {
    /// The engine that runs the query alone.
    Head(CancellationToken),
    /// The exchange through which it takes part.
    Exchange(PlanEnd),
}

impl Default for QueryEnd {
    fn default() -> Self {
        Self(Arc::new(State {
            teller: OnceLock::new(),
            last_turn: Mutex::new(Instant::now()),
        }))
    }
}

impl From<CancellationToken> for QueryEnd {
    fn from(token: CancellationToken) -> Self {
        let end = Self::default();
        end.0.teller.get_or_init(|| Teller::Head(token));
        end
    }
}

impl QueryEnd {
    /// It comes with this one. The first to tell counts.
    pub(crate) fn comes_with(&self, plan: PlanEnd) {
        self.0.teller.get_or_init(|| Teller::Exchange(plan));
    }

    /// Whether it has come.
    pub fn has_come(&self) -> bool {
        match self.0.teller.get() {
            Some(Teller::Head(token)) => token.is_cancelled(),
            Some(Teller::Exchange(plan)) => plan.has_come(),
            None => false,
        }
    }

    /// Once it has come an error: what made the query fail, if that is known here.
    pub(crate) fn check(&self, action: &'static str) -> Result<()> {
        match self.0.teller.get() {
            Some(Teller::Head(token)) if token.is_cancelled() => Err(DataFusionError::Execution(
                format!("{action}: the query has ended"),
            )),
            Some(Teller::Exchange(plan)) => Ok(plan.check(action)?),
            _ => Ok(()),
        }
    }

    /// Does some work, and now and then leaves the rest of this thread's to another one meanwhile.
    pub fn in_turn<T>(&self, work: impl FnOnce() -> T) -> T {
        let is_turn = self.0.last_turn.try_lock().is_some_and(|mut last| {
            let is_turn = last.elapsed() >= TURN_EVERY;
            if is_turn {
                *last = Instant::now();
            }
            is_turn
        });
        if !is_turn || !may_give_way() {
            return work();
        }
        tokio::task::block_in_place(|| {
            let done = work();
            std::thread::sleep(TURN_WITHIN);
            done
        })
    }
}

/// Whether this thread is one of several that can take over for each other.
fn may_give_way() -> bool {
    Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}
