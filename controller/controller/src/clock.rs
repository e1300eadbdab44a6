//! The time as the controller sees it. Every deadline is compared with a [`Moment`] that is passed
//! in, so that a test can let hours pass in no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A point in time: how long after the clock was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The moment this much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How much later than `earlier`; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Where the controller reads the time.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Real(Instant),
    Manual(Arc<Manual>),
}

#[derive(Debug, Default)]
struct Manual {
    micros: AtomicU64,
    advanced: Notify,
}

impl Clock {
    /// The time that passes.
    pub fn real() -> Self {
        Self {
            source: Source::Real(Instant::now()),
        }
    }

    /// A time that stands until [`Clock::advance`].
    pub fn manual() -> Self {
        Self {
            source: Source::Manual(Arc::default()),
        }
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        match &self.source {
            Source::Real(start) => Moment(start.elapsed()),
            Source::Manual(manual) => {
                Moment(Duration::from_micros(manual.micros.load(Ordering::SeqCst)))
            }
        }
    }

    /// Lets time pass; a real clock does so by itself.
    pub fn advance(&self, duration: Duration) {
        if let Source::Manual(manual) = &self.source {
            let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
            manual.micros.fetch_add(micros, Ordering::SeqCst);
            manual.advanced.notify_waiters();
            manual.advanced.notify_one();
        }
    }

    /// Waits until a moment has come.
    pub(crate) async fn sleep_until(&self, moment: Moment) {
        match &self.source {
            Source::Real(start) => tokio::time::sleep_until((*start + moment.0).into()).await,
            Source::Manual(manual) => {
                while self.now() < moment {
                    manual.advanced.notified().await;
                }
            }
        }
    }
}
