//! One notebook's kernel: routes cells to magics and to Rust, completes, keeps the history.
//!
//! [`BiremeKernel`] answers the Jupyter framework's handlers; [`attach_or_start`] is how it, and the
//! commands, come to a session on a cluster. SQL never starts the Rust host: a notebook without Rust
//! needs no compiler. What magics do is theirs, what cells of Rust mean the Rust host's.

mod attach;
mod bundles;
mod catalog_names;
mod cell_history;
mod cluster_link;
mod completeness;
mod editor;
mod kernel;
mod kernel_state;
mod language;
mod options;
mod parameters;
mod running_cell;
mod rust;
mod session_queries;
mod session_settings;

pub use attach::{SessionRequest, attach_or_start, start_options};
pub use kernel::BiremeKernel;
pub use options::{KernelOptions, session_name};
