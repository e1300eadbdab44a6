//! Larger batches from the scan for whoever keeps its rows as they come: those of a query's usual size
//! would be copied once more, to be kept together. How many rows are wanted is the keeper's to say.

use crate::file_leaf::file_scan;
use datafusion::arrow::datatypes::DataType;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::EmissionType;
use std::sync::Arc;

/// A text takes so much by guess, its view with it.
const TEXT_BYTES: usize = 48;
/// So many bytes become of one of a file, by guess.
const BYTES_OF_COMPRESSED: usize = 4;

/// What a row of a plan takes by guess, in bytes, if it reads files and hands on what it reads without
/// holding rows back or putting them together; none if there is nothing to guess by.
pub(crate) fn row_bytes_of_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let by_type = plan.schema().fields().iter().try_fold(0, |bytes, field| {
        Some(bytes + bytes_by_type(field.data_type())?)
    })?;
    let in_files = row_bytes_in_files(scan_of(plan)?)?;
    Some(by_type.max(in_files.saturating_mul(BYTES_OF_COMPRESSED)))
}

/// The only scan of a plan that hands rows on as they come.
fn scan_of(plan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    if plan.properties().emission_type != EmissionType::Incremental {
        return None;
    }
    match plan.children().as_slice() {
        [] => file_scan(plan),
        [child] => scan_of(child),
        _ => None,
    }
}

fn row_bytes_in_files(scan: &FileScanConfig) -> Option<usize> {
    let (mut bytes, mut rows) = (0, 0_usize);
    for file in scan.file_groups.iter().flat_map(|group| group.files()) {
        bytes += usize::try_from(file.object_meta.size).ok()?;
        rows += *file.statistics.as_ref()?.num_rows.get_value()?;
    }
    Some(bytes / rows.max(1))
}

/// None of what is nested: a value may be of any length.
fn bytes_by_type(kind: &DataType) -> Option<usize> {
    match kind {
        DataType::Null | DataType::Boolean => Some(1),
        DataType::FixedSizeBinary(bytes) => usize::try_from(*bytes).ok(),
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView => Some(TEXT_BYTES),
        kind => kind.primitive_width(),
    }
}

/// The context of a task whose scans give batches of so many rows.
pub(crate) fn with_batches_of(rows: usize, context: &Arc<TaskContext>) -> Arc<TaskContext> {
    Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        context.session_config().clone().with_batch_size(rows),
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        context.runtime_env(),
    ))
}
