//! What waits to be written to one peer: a queue bounded in bytes, and the task that empties it.
//!
//! A peer that takes nothing for [`STALL_MAX`] is disconnected. `drained` tells when everything has
//! been handed to the operating system, which is what makes a lossless shutdown possible.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::zmtp::{self, WriteHalf};

/// How long a peer may take nothing before it is disconnected.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(30);
/// Counted for each frame besides its bytes.
const FRAME_OVERHEAD_BYTES: usize = 64;

/// Something to write.
enum Item {
    Message(Vec<Bytes>),
    Command(Bytes),
}

/// The queue of one peer.
pub(crate) struct PeerQueue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    /// Bytes that have not been handed to the operating system.
    pending: watch::Sender<usize>,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<(Item, usize)>,
    /// Bytes of the largest item since nothing waited.
    largest_bytes: usize,
    is_closed: bool,
}

impl PeerQueue {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Notify::new(),
            pending: watch::Sender::new(0),
        }
    }

    /// Bytes that wait.
    pub(crate) fn pending_bytes(&self) -> usize {
        *self.pending.borrow()
    }

    /// Bytes that wait besides the largest message: how large one is says nothing of how slow the
    /// peer reads.
    pub(crate) fn backlog_bytes(&self) -> usize {
        let largest = self.lock().largest_bytes;
        self.pending_bytes().saturating_sub(largest)
    }

    /// Appends a message. The caller has decided that it fits.
    pub(crate) fn push(&self, frames: Vec<Bytes>) {
        let bytes = frames
            .iter()
            .map(|frame| frame.len() + FRAME_OVERHEAD_BYTES)
            .sum();
        self.push_item(Item::Message(frames), bytes);
    }

    /// Appends a command of the protocol.
    pub(crate) fn push_command(&self, body: Bytes) {
        let bytes = body.len() + FRAME_OVERHEAD_BYTES;
        self.push_item(Item::Command(body), bytes);
    }

    fn push_item(&self, item: Item, bytes: usize) {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return;
        }
        let earlier = if self.pending_bytes() == 0 {
            0
        } else {
            waiting.largest_bytes
        };
        waiting.largest_bytes = earlier.max(bytes);
        self.pending.send_modify(|pending| *pending += bytes);
        waiting.items.push_back((item, bytes));
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Gives up the peer: what waits is dropped and its writer ends.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.items.clear();
        drop(waiting);
        self.pending.send_replace(0);
        self.arrived.notify_one();
    }

    /// Waits until nothing is pending.
    pub(crate) async fn drained(&self) {
        // An error means that the queue is gone, and with it everything pending.
        let _ = self
            .pending
            .subscribe()
            .wait_for(|pending| *pending == 0)
            .await;
    }

    /// Writes what arrives until the queue is closed or the peer fails.
    pub(crate) async fn write_to(&self, writer: &mut WriteHalf) -> std::io::Result<()> {
        while let Some((item, bytes)) = self.next().await {
            match &item {
                Item::Message(frames) => zmtp::write_message(writer, frames, STALL_MAX).await?,
                Item::Command(body) => zmtp::write_command(writer, body, STALL_MAX).await?,
            }
            self.pending
                .send_modify(|pending| *pending = pending.saturating_sub(bytes));
        }
        Ok(())
    }

    async fn next(&self) -> Option<(Item, usize)> {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut waiting = self.lock();
                if waiting.is_closed {
                    return None;
                }
                if let Some(item) = waiting.items.pop_front() {
                    return Some(item);
                }
            }
            arrived.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
