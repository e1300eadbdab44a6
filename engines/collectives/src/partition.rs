//! One partition on the receiving side of an operation: what waits for its consumer, in memory
//! and on disk, and what of the senders' windows it owes back.

use crate::frame::Body;
use crate::spill_queue::SpillQueue;
use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

/// How many bytes a sender may have under way to one partition.
pub(crate) const WINDOW_BYTES: i64 = 2 << 20;
/// Credit is given back in pieces of at least this, or when the queue is empty.
const CREDIT_STEP_BYTES: u64 = WINDOW_BYTES as u64 / 4;
/// A partition that was not polled for so long counts as polled by nobody.
pub(crate) const IDLE_AFTER: Duration = Duration::from_millis(10);

/// A batch that waits.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) from: usize,
    /// What it takes of its sender's window, and of memory.
    pub(crate) window: u64,
    /// Whether the sender waits for that to be given back.
    pub(crate) owed: bool,
    pub(crate) body: Body,
}

/// The receiving side of one partition.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// Newer than everything in `spill`.
    pub(crate) queue: VecDeque<Queued>,
    pub(crate) queued_bytes: u64,
    pub(crate) spill: Option<SpillQueue>,
    /// Batches older than `queue` and newer than `spill` are being written.
    pub(crate) spilling: bool,
    pub(crate) waker: Option<Waker>,
    pub(crate) last_poll: Option<Instant>,
    /// Since when its consumer waits for rows.
    pub(crate) hungry_since: Option<Instant>,
    /// Its consumer is gone and wants no more.
    pub(crate) stopped: bool,
    /// Its consumer exists or has existed.
    pub(crate) taken: bool,
    give_back: Vec<u64>,
}

impl Partition {
    /// Whether nobody polls it.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.waker.is_none()
            && self
                .last_poll
                .is_none_or(|last| now.saturating_duration_since(last) >= IDLE_AFTER)
    }

    /// Whether its consumer has been waiting for rows for a while.
    pub(crate) fn is_hungry(&self, now: Instant) -> bool {
        self.waker.is_some()
            && self
                .hungry_since
                .is_some_and(|since| now.saturating_duration_since(since) >= IDLE_AFTER)
    }

    pub(crate) fn push(&mut self, queued: Queued) {
        self.queued_bytes += queued.window;
        self.queue.push_back(queued);
        self.hungry_since = None;
    }

    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queued_bytes = self.queued_bytes.saturating_sub(queued.window);
        Some(queued)
    }

    /// Takes all that waits in memory.
    pub(crate) fn take_queue(&mut self) -> (VecDeque<Queued>, u64) {
        (
            std::mem::take(&mut self.queue),
            std::mem::take(&mut self.queued_bytes),
        )
    }

    /// Whether batches lie on disk or are on their way there.
    pub(crate) fn has_spilled(&self) -> bool {
        self.spilling || self.spill.as_ref().is_some_and(|spill| !spill.is_empty())
    }

    /// Notes that a batch was consumed, and returns the credit to send if it is time.
    pub(crate) fn consumed(&mut self, from: usize, window: u64) -> Option<u64> {
        if self.give_back.len() <= from {
            self.give_back.resize(from + 1, 0);
        }
        self.give_back[from] += window;
        let due = self.give_back[from] >= CREDIT_STEP_BYTES
            || (self.queue.is_empty() && !self.has_spilled());
        due.then(|| std::mem::take(&mut self.give_back[from]))
    }

    /// Gives back all that is owed, as though it had been consumed: (rank, bytes).
    pub(crate) fn absorb(&mut self) -> Vec<(usize, u64)> {
        let mut credit = std::mem::take(&mut self.give_back);
        let mut add = |from: usize, bytes: u64| {
            if credit.len() <= from {
                credit.resize(from + 1, 0);
            }
            credit[from] += bytes;
        };
        for queued in self.queue.iter_mut().filter(|queued| queued.owed) {
            queued.owed = false;
            add(queued.from, queued.window);
        }
        if let Some(spill) = &mut self.spill {
            for entry in spill.entries_mut().filter(|entry| entry.owed) {
                entry.owed = false;
                add(entry.from, entry.window);
            }
        }
        let credit = credit.into_iter().enumerate();
        credit.filter(|(_, bytes)| *bytes > 0).collect()
    }

    /// Drops all that waits. What is being written is dropped when that ends.
    pub(crate) fn clear(&mut self) -> u64 {
        self.queue.clear();
        self.spill = None;
        std::mem::take(&mut self.queued_bytes)
    }
}
