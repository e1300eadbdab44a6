//! What a rank has read of another's arena and tells it back, in records of 8 bytes on the
//! connection the rows came on. Records are written by a task of their own, so that reading goes on
//! while the other side is slow to take them.

use parking_lot::Mutex;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Notify;

/// Bytes of a record: where in the arena that began which is read no more.
pub(crate) const RECORD_BYTES: usize = 8;
/// The record that says that the arena can be used.
pub(crate) const MAPPED: u64 = u64::MAX;

/// Records to be written. There are never more than messages in the arena.
#[derive(Debug, Default)]
pub(crate) struct Releases {
    records: Mutex<Vec<u64>>,
    added: Notify,
}

impl Releases {
    /// Queues a record.
    pub(crate) fn push(&self, record: u64) {
        self.records.lock().push(record);
        self.added.notify_one();
    }

    /// Writes what is queued until the connection ends. The reading side reports its end.
    pub(crate) async fn write(self: Arc<Self>, mut to: OwnedWriteHalf) {
        loop {
            let records = std::mem::take(&mut *self.records.lock());
            if records.is_empty() {
                self.added.notified().await;
                continue;
            }
            let bytes: Vec<u8> = records.into_iter().flat_map(u64::to_le_bytes).collect();
            if let Err(error) = to.write_all(&bytes).await {
                tracing::debug!(%error, "say what was read");
                return;
            }
        }
    }
}
