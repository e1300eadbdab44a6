//! The cell host and its relay side, and the protocol of the Rust host.
//!
//! Three processes take part in a Rust cell: the kernel, the Rust host (`bireme-rust host`, which
//! compiles with evcxr) and the cell host (`bireme-rust cell-host`, which loads and runs what was
//! compiled). [`host_protocol`] and [`frame`] are what the kernel needs to talk to the Rust host;
//! [`relay`] is the Rust host's side of the cell host; [`cell_host`] is the process itself.
//! Compiling, rewriting and reporting cells is left to `kernel/rust-host`.

#![expect(
    unsafe_code,
    reason = "the cell host loads compiled cells, calls them, and owns raw file descriptors"
)]

pub mod cell_host;
mod cell_library;
mod cell_output;
mod connection;
pub mod error;
pub mod frame;
pub mod host_protocol;
mod input_watch;
mod lineage;
pub mod process_tree;
pub mod relay;
mod relay_loop;
mod reports;
pub mod side_channel;
pub mod user_output;

pub use error::PxError;
