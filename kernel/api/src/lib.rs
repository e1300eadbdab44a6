//! What Rust cells link against.
//!
//! [`Table`] is a list of Arrow record batches that shows itself; [`Show`] is how any value does so
//! in a notebook; a [`LazyFrame`] is a query that runs on the engines. The crate is packed into
//! `bireme-rust` and compiled for cells, so it depends on four small arrow crates only and must never
//! make a cell compile DataFusion. The verbs of `%%px` are to come here.

#[doc(hidden)]
#[expect(
    unsafe_code,
    clippy::print_stderr,
    reason = "it stands in every cell, and speaks to the cell host in C's terms"
)]
pub mod cell;
pub mod column;
mod data_types;
pub mod frame;
pub mod frame_error;
mod html;
mod kernel_door;
#[doc(hidden)]
pub mod layout;
#[expect(
    unsafe_code,
    reason = "rows are read where another process has put them: memory is mapped"
)]
mod mapped;
mod names;
pub mod prelude;
mod preview;
#[doc(hidden)]
pub mod request;
pub mod scatter;
pub mod show;
pub mod table;
mod text;
#[doc(hidden)]
pub mod transfer;
mod values;
#[doc(hidden)]
pub mod variables;

pub use column::Column;
pub use frame::expr::{
    Expr, ToColumn, ToExprs, all, col, dense_rank, function, len, lit, rank, row_number,
};
pub use frame::group_by::GroupBy;
pub use frame::join::JoinType;
pub use frame::lazy_frame::LazyFrame;
pub use frame::run::{QueryPlan, frame, scan_csv, scan_json, scan_parquet, sql};
pub use frame::{Literal, Then, When, when};
pub use frame_error::FrameError;
pub use show::{Show, Shown};
pub use table::{Table, TableError};

#[doc(no_inline)]
pub use arrow_array;
#[doc(no_inline)]
pub use arrow_schema;
