//! What the integration tests share: clusters of real processes that leave nothing behind.
//!
//! [`TestCluster`] starts the built `bireme` binary in a home of its own, [`run`] runs a command
//! with a deadline and [`processes`] finds what belongs to a home. The tests themselves are in
//! `integration/`, `tidy.rs` and `python/`.
#![expect(clippy::panic, reason = "a test harness fails by panicking")]

mod binary;
mod cluster;
mod command;
pub mod processes;

pub use binary::{bireme_binary, repository};
pub use cluster::TestCluster;
pub use command::{Finished, run, wait_until};
