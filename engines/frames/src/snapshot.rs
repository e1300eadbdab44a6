//! What `%memory` and the dashboard show of a budget: plain values, taken at one moment.

use crate::tier::Tier;

/// One tier at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierSnapshot {
    /// Which tier.
    pub tier: Tier,
    /// Its limit in bytes.
    pub limit: u64,
    /// Reserved now.
    pub used: u64,
    /// Reserved at most since the engine started.
    pub peak: u64,
    /// Requests refused since the engine started.
    pub refused: u64,
    /// Of what is reserved, what frames hold in it.
    pub frames: u64,
}

/// One query's reservations of host memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuerySnapshot {
    /// The query, empty for work that belongs to none.
    pub query: String,
    /// Reserved now.
    pub used: u64,
    /// Reserved at most while it was known.
    pub peak: u64,
    /// Consumers that hold something.
    pub consumers: usize,
}

/// One consumer: an operator's partition, an exchange, a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSnapshot {
    /// Its name, as the operator gave it.
    pub name: String,
    /// Its query, empty for none.
    pub query: String,
    /// Reserved now.
    pub used: u64,
    /// Reserved at most.
    pub peak: u64,
    /// Whether it can give memory back by spilling.
    pub can_spill: bool,
}

/// A budget at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetSnapshot {
    /// The tiers that have a limit, best first.
    pub tiers: Vec<TierSnapshot>,
    /// Queries that hold something, largest first.
    pub queries: Vec<QuerySnapshot>,
    /// Consumers that hold something, largest first.
    pub consumers: Vec<ConsumerSnapshot>,
    /// Bytes that were granted beyond the limit because the requester could not be refused: now.
    pub overcommitted: u64,
    /// The same, at most since the engine started.
    pub overcommitted_peak: u64,
}
