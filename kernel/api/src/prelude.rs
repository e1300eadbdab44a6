//! `use bireme::prelude::*` is already done in every cell.

pub use crate::column::Column;
pub use crate::show::{Show, Shown};
pub use crate::table::{Table, TableError};
pub use crate::{
    Expr, FrameError, GroupBy, JoinType, LazyFrame, QueryPlan, all, col, dense_rank, frame,
    function, len, lit, rank, row_number, scan_csv, scan_json, scan_parquet, sql, when,
};
pub use arrow_array::{self, Array, ArrayRef, RecordBatch};
pub use arrow_schema::{self, DataType};
