//! What happens to a request: `shell` and `control` read their channel and choose, `execution` runs
//! cells one after the other, `comms` and `subshells` keep the registries the protocol asks for.

mod comms;
mod control;
mod core;
mod execute_queue;
mod execution;
mod request;
mod shell;
mod subshells;

pub(crate) use comms::CommRegistry;
pub(crate) use control::run as run_control;
pub(crate) use core::Core;
pub(crate) use shell::run as run_shell;
