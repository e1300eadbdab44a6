//! Names of collective operations: minted by the head when it plans a query, encoded in the plan,
//! so that two queries never wait on each other.

use bireme_protocol::QueryId;

/// One collective of one plan of one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId {
    /// The query it belongs to.
    pub query: QueryId,
    /// The plan, random per planning: a query planned twice runs twice.
    pub plan: u64,
    /// The node within the plan.
    pub index: u32,
}
