//! Collectives between engines: a communicator (rank, size, tagged messages) in process and over
//! Unix sockets, and the streaming all-to-all exchange of record batches that the plan nodes of
//! bireme-operators drive. Which rows go where is decided there; what is kept when memory runs
//! out goes to the spill directory of bireme-frames.

mod exchange;
mod operation;

pub use exchange::{Exchange, QueryCounters};
pub use operation::OperationId;
