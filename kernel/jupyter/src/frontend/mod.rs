//! A typed client of a kernel over its real sockets, for headless runs and for tests.
//!
//! Every call has a deadline. What it sends and reads is exactly what any other client does, so a
//! kernel in the same process is served like one behind JupyterLab.

mod channel;
mod client;
mod execution;
mod raw;
mod routes;

pub use client::Frontend;
pub use execution::{Execution, ExecutionEnd, FrontendMessage};
pub use raw::RawClient;
