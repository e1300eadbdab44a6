//! What the integration tests share: clusters of real processes that leave nothing behind.
//!
//! [`TestCluster`] starts the built `bireme` binary in a home of its own, [`run`] runs a command
//! with a deadline, [`Running`] is a command under way and [`processes`] finds what belongs to a
//! home. The tests themselves are in `integration/`, `tidy.rs` and `python/`.
#![expect(clippy::panic, reason = "a test harness fails by panicking")]

mod binary;
mod cluster;
mod command;
mod engine_status;
pub mod processes;
mod running;
mod small_disk;

pub use binary::{bireme_binary, repository};
pub use cluster::TestCluster;
pub use command::{Finished, run, wait_until};
pub use engine_status::EngineStatus;
pub use running::Running;
pub use small_disk::SmallDisk;
