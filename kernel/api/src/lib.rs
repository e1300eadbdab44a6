//! What Rust cells link against.
//!
//! [`Table`] is a list of Arrow record batches that shows itself; [`Show`] is how any value does so
//! in a notebook. The crate is packed into `bireme-rust` and compiled for cells, so it depends on four
//! small arrow crates only and must never make a cell compile DataFusion. Lazy frames and the verbs
//! of `%%px` are to come here.

#[doc(hidden)]
#[expect(
    unsafe_code,
    clippy::print_stderr,
    reason = "it stands in every cell, and speaks to the cell host in C's terms"
)]
pub mod cell;
pub mod column;
mod data_types;
mod html;
mod names;
pub mod prelude;
mod preview;
pub mod show;
pub mod table;
mod text;
#[doc(hidden)]
pub mod transfer;
mod values;

pub use column::Column;
pub use show::{Show, Shown};
pub use table::{Table, TableError};

#[doc(no_inline)]
pub use arrow_array;
#[doc(no_inline)]
pub use arrow_schema;
