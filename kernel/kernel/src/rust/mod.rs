//! Rust cells from the kernel's side: the Rust host as a process ([`host`]), which cell its messages
//! belong to ([`routes`]), its life from cell to cell ([`link`]), its values in SQL ([`value`]), rows for
//! its variables ([`rows`]), and the queries that it asks for ([`door`]).
//! Compiling and running are the Rust host's.

mod door;
mod ending;
mod host;
mod link;
mod places;
mod routes;
mod row_file;
mod rows;
pub(crate) mod scattered;
mod shared_files;
mod starting;
mod value;
mod version;

pub(crate) use link::{RustCode, RustLink};
pub(crate) use rows::RustRows;
