//! The sending side of an operation: how much each partition of each rank still takes, and which
//! want nothing any more.

use crate::partition::WINDOW_BYTES;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Whether a batch may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    /// Send it: its bytes are taken off the window.
    Send,
    /// Nobody wants it: drop it.
    Discard,
    /// Wait for credit.
    Wait,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    left: i64,
    stopped: bool,
}

/// The windows of every partition of every rank.
#[derive(Debug)]
pub(crate) struct Credit {
    windows: Mutex<Vec<Vec<Window>>>,
    changed: Notify,
}

impl Credit {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            windows: Mutex::new(vec![Vec::new(); size]),
            changed: Notify::new(),
        }
    }

    /// Signalled whenever credit comes, a partition stops, or the plan ends.
    pub(crate) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Takes a batch's bytes off a window if anything is left of it: one batch may overdraw it,
    /// so that a batch larger than the window can be sent at all.
    pub(crate) fn take(&self, to: usize, partition: usize, bytes: u64) -> Permit {
        let mut windows = self.windows.lock();
        let window = window_of(&mut windows, to, partition);
        if window.stopped {
            Permit::Discard
        } else if window.left > 0 {
            window.left -= i64::try_from(bytes).unwrap_or(i64::MAX);
            Permit::Send
        } else {
            Permit::Wait
        }
    }

    /// Gives bytes back to a window.
    pub(crate) fn give(&self, to: usize, partition: usize, bytes: u64) {
        {
            let mut windows = self.windows.lock();
            let window = window_of(&mut windows, to, partition);
            window.left = window
                .left
                .saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        self.changed.notify_waiters();
    }

    /// Notes that a partition wants nothing any more.
    pub(crate) fn stop(&self, to: usize, partition: usize) {
        {
            let mut windows = self.windows.lock();
            window_of(&mut windows, to, partition).stopped = true;
        }
        self.changed.notify_waiters();
    }

    /// How many partitions of a rank have stopped.
    pub(crate) fn stopped(&self, to: usize) -> usize {
        let windows = self.windows.lock();
        windows[to].iter().filter(|window| window.stopped).count()
    }
}

fn window_of(windows: &mut [Vec<Window>], to: usize, partition: usize) -> &mut Window {
    let windows = &mut windows[to];
    if windows.len() <= partition {
        let fresh = Window {
            left: WINDOW_BYTES,
            stopped: false,
        };
        windows.resize(partition + 1, fresh);
    }
    &mut windows[partition]
}
