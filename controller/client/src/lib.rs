//! The only door to a cluster: sessions, queries and their results, for kernels and commands.
//!
//! Control goes to the controller, rows come straight from the head engine by Arrow Flight. Starting
//! a cluster is the launchers' work, showing a result the magics'.

mod cluster;
mod follower;
mod gathered;
mod query;
mod result_stream;
mod session;
pub mod statement;

pub use cluster::Cluster;
pub use follower::Follower;
pub use query::{Query, QuerySummary, QueryUpdate};
pub use session::{Rows, RunOptions, Session};
pub use statement::{Statement, StatementKind, split};
