//! The service of an engine that all collectives of all queries go through.

use bireme_protocol::{Fault, QueryId};

/// What one engine has moved for one query.
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
    /// Messages sent to other engines.
    pub messages_sent: u64,
    /// Messages that came from other engines.
    pub messages_received: u64,
    /// Nanoseconds senders waited for credit.
    pub wait_nanoseconds: u64,
    /// Bytes written to the spill directory.
    pub bytes_spilled: u64,
    /// Bytes held in memory now.
    pub bytes_buffered: u64,
}

/// One per engine: holds the communicator and every open operation.
#[derive(Debug)]
pub struct Exchange {
    rank: usize,
    size: usize,
}

impl Exchange {
    /// This engine's rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many engines take part.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Ends every operation of the query on every engine and frees what it holds.
    pub fn close_query(&self, _query: QueryId) {}

    /// Fails every operation of the query on every engine with this root cause.
    pub fn abort_query(&self, _query: QueryId, _fault: Fault) {}

    /// What this engine has moved for the query so far; zeros for a query it does not know.
    pub fn counters(&self, _query: QueryId) -> QueryCounters {
        QueryCounters::default()
    }
}
