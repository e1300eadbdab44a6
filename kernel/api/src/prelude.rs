//! `use bireme::prelude::*` is already done in every cell.

pub use crate::column::Column;
pub use crate::show::{Show, Shown};
pub use crate::table::{Table, TableError};
pub use arrow_array::{self, Array, ArrayRef, RecordBatch};
pub use arrow_schema;
