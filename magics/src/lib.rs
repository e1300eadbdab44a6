//! Magics: read them from a cell, run them, show what they give.
//!
//! [`parse()`] turns the text of a cell into calls of magics and Rust; [`registry`] declares every
//! magic once; [`host`] is all they may ask of the kernel; [`display`] renders, without I/O. What
//! executes Rust and talks Jupyter is the kernel's, what runs queries the cluster's.

pub mod arguments;
mod binding;
pub mod cell;
pub mod cell_queries;
mod clock;
mod column_ranges;
mod columns;
pub mod completion;
pub mod display;
pub mod frame;
pub mod help;
pub mod host;
pub mod line;
pub mod magic;
pub mod mime_bundle;
mod nearest;
mod output;
pub mod parse;
pub mod query;
pub mod registry;
mod runner;
mod rust_lexer;
mod rust_rows;
mod sql_scanner;
mod text;

pub use host::Host;
pub use magic::{Body, Call, Form, Magic};
pub use mime_bundle::MimeBundle;
pub use parse::{Cell, HelpRequest, Segment, parse};
pub use query::{QueryService, RunningQuery};
