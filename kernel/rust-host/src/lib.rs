//! The Rust host: the process that compiles and runs the Rust cells of one notebook.
//!
//! [`host::run`] is the process, as `bireme-rust host`; the protocol it speaks is
//! `bireme_px::host_protocol`. Inside, [`evaluator`] drives evcxr, [`rewrite`] prepares cells,
//! [`cell_error`] tells what went wrong in them, [`cell_crate`] provides what they link against.
//! [`analyst`] is a second process, which completes while a cell runs; [`recorded_compile`] stands in for cargo.
//! Cells run in the cell host of `bireme-px`, never here.

pub mod analyst;
mod analyst_link;
mod awaits;
pub mod build_processes;
mod cargo_output;
pub mod cell_crate;
pub mod cell_error;
mod compiled_sources;
pub mod crate_loader;
mod dependency_path;
mod edits;
pub mod emitter;
pub mod error;
pub mod evaluations;
pub mod evaluator;
mod file_lock;
pub mod host;
mod known_names;
mod outline;
pub mod prelude_crates;
mod provision;
pub mod recorded_compile;
mod redefinition;
pub mod rewrite;
pub mod session_directory;
mod shared_store;
pub mod source_map;
mod toolchain;
mod typing;
mod variable_record;

pub use error::RustHostError;
