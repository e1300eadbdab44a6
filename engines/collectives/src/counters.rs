//! What one engine has moved for one query.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one engine has moved for one query so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryCounters {
    /// Bytes of record batches sent to other engines.
    pub bytes_sent: u64,
    /// Bytes of record batches that came from other engines.
    pub bytes_received: u64,
    /// Rows sent, to this engine's own partitions too.
    pub rows_sent: u64,
    /// Rows received, from this engine's own partitions too.
    pub rows_received: u64,
    /// Batches sent to other engines.
    pub messages_sent: u64,
    /// Batches that came from other engines.
    pub messages_received: u64,
    /// Nanoseconds senders waited for credit.
    pub wait_nanoseconds: u64,
    /// Bytes written to the spill directory.
    pub bytes_spilled: u64,
    /// Bytes held in memory now.
    pub bytes_buffered: u64,
}

impl QueryCounters {
    /// Adds what another plan of the query has moved.
    pub fn add(&mut self, other: &Self) {
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.rows_sent += other.rows_sent;
        self.rows_received += other.rows_received;
        self.messages_sent += other.messages_sent;
        self.messages_received += other.messages_received;
        self.wait_nanoseconds += other.wait_nanoseconds;
        self.bytes_spilled += other.bytes_spilled;
        self.bytes_buffered += other.bytes_buffered;
    }
}

/// The same while a plan runs.
#[derive(Debug, Default)]
pub(crate) struct LiveCounters {
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) rows_sent: AtomicU64,
    pub(crate) rows_received: AtomicU64,
    pub(crate) messages_sent: AtomicU64,
    pub(crate) messages_received: AtomicU64,
    pub(crate) wait_nanoseconds: AtomicU64,
    pub(crate) bytes_spilled: AtomicU64,
    pub(crate) bytes_buffered: AtomicU64,
}

impl LiveCounters {
    pub(crate) fn read(&self) -> QueryCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        QueryCounters {
            bytes_sent: read(&self.bytes_sent),
            bytes_received: read(&self.bytes_received),
            rows_sent: read(&self.rows_sent),
            rows_received: read(&self.rows_received),
            messages_sent: read(&self.messages_sent),
            messages_received: read(&self.messages_received),
            wait_nanoseconds: read(&self.wait_nanoseconds),
            bytes_spilled: read(&self.bytes_spilled),
            bytes_buffered: read(&self.bytes_buffered),
        }
    }
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
