//! The background task of an exchange: every few milliseconds while plans are open, it does what
//! no message and no poll triggers.

use crate::exchange::Exchange;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

const SWEEP_EVERY: Duration = Duration::from_millis(10);

/// Starts the task. It ends with the exchange.
pub(crate) fn start(exchange: Weak<Exchange>, wake: Arc<Notify>) -> AbortOnDropHandle<()> {
    let runtime = tokio::runtime::Handle::current();
    AbortOnDropHandle::new(runtime.spawn(async move {
        let mut busy = false;
        loop {
            if busy {
                // A timeout is the ordinary case: nothing was urgent.
                let _ = tokio::time::timeout(SWEEP_EVERY, wake.notified()).await;
            } else {
                wake.notified().await;
            }
            let Some(exchange) = exchange.upgrade() else {
                return;
            };
            busy = exchange.sweep(Instant::now());
        }
    }))
}
