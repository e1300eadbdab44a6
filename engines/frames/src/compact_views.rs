//! Batches without what their string views refer to and do not use: Arrow writes and holds every buffer of a
//! view array, whatever its rows need of it.

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, GenericByteViewArray, RecordBatch, RecordBatchOptions,
    make_array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{ByteViewType, DataType};
use arrow::error::ArrowError;
use std::sync::Arc;

/// The batch with views compacted that use less than half of what would be written of them, also within lists,
/// structs and maps.
///
/// # Errors
/// Arrow refuses to put a column together again.
pub fn compact_views(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    compact_all(batch, Buffer::len)
}

/// The batch with views compacted that use less than half of the memory they hold, for whoever keeps batches:
/// Arrow puts batches together in buffers of up to 1 MiB, however little comes into them.
///
/// # Errors
/// Arrow refuses to put a column together again.
pub fn compact_memory_of_views(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    compact_all(batch, |buffer| match buffer.ptr_offset() {
        0 => buffer.capacity(),
        // A part of memory that other columns are in too.
        _ => buffer.len(),
    })
}

/// What a buffer of a view takes.
type Size = fn(&Buffer) -> usize;

fn compact_all(batch: &RecordBatch, size: Size) -> Result<RecordBatch, ArrowError> {
    let mut columns = Vec::with_capacity(batch.num_columns());
    let mut changed = false;
    for column in batch.columns() {
        let compacted = compact(column, size)?;
        changed |= compacted.is_some();
        columns.push(compacted.unwrap_or_else(|| Arc::clone(column)));
    }
    if !changed {
        return Ok(batch.clone());
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options)
}

/// `None` if the column is compact.
fn compact(column: &ArrayRef, size: Size) -> Result<Option<ArrayRef>, ArrowError> {
    let is_sparse = |buffers: &[Buffer], used: usize| {
        let held: usize = buffers.iter().map(size).sum();
        held > used.saturating_mul(2)
    };
    match column.data_type() {
        DataType::Utf8View => {
            let views = column.as_string_view();
            let sparse = is_sparse(views.data_buffers(), used_by_views(views));
            Ok(sparse.then(|| Arc::new(views.gc()) as ArrayRef))
        }
        DataType::BinaryView => {
            let views = column.as_binary_view();
            let sparse = is_sparse(views.data_buffers(), used_by_views(views));
            Ok(sparse.then(|| Arc::new(views.gc()) as ArrayRef))
        }
        kind if kind.is_nested() => compact_children(column.to_data(), size),
        _ => Ok(None),
    }
}

/// The bytes that views refer to; none are when all values are short, which need not be counted.
pub(crate) fn used_by_views<T: ByteViewType>(views: &GenericByteViewArray<T>) -> usize {
    match views.data_buffers() {
        [] => 0,
        _ => views.total_buffer_bytes_used(),
    }
}

fn compact_children(data: ArrayData, size: Size) -> Result<Option<ArrayRef>, ArrowError> {
    let mut children = Vec::with_capacity(data.child_data().len());
    let mut changed = false;
    for child in data.child_data() {
        let compacted = compact(&make_array(child.clone()), size)?;
        changed |= compacted.is_some();
        children.push(compacted.map_or_else(|| child.clone(), |array| array.to_data()));
    }
    if !changed {
        return Ok(None);
    }
    let rebuilt = data.into_builder().child_data(children).build()?;
    Ok(Some(make_array(rebuilt)))
}
