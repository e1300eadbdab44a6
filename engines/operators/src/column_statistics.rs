//! What the planner may go by of a frame's columns: the facts that its partitions came with.

use bireme_protocol::frame_facts::ColumnEnds;
use bireme_protocol::proto::PartitionFacts;
use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::compute::{SortOptions, cast, sort_to_indices};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue};
use std::sync::Arc;

/// The statistics of each column over all of these partitions.
pub(crate) fn column_statistics<'a>(
    schema: &SchemaRef,
    partitions: impl Iterator<Item = &'a PartitionFacts>,
) -> Vec<ColumnStatistics> {
    let partitions: Vec<&PartitionFacts> = partitions.collect();
    let fields = schema.fields().iter().enumerate();
    fields
        .map(|(index, field)| of_column(&partitions, index, field.data_type()))
        .collect()
}

fn of_column(partitions: &[&PartitionFacts], index: usize, kind: &DataType) -> ColumnStatistics {
    let mut statistics = ColumnStatistics::new_unknown();
    let facts = partitions.iter().map(|one| one.columns.get(index));
    let nulls: Option<u64> = facts.map(|facts| Some(facts?.nulls)).sum();
    let Some(nulls) = nulls else {
        return statistics;
    };
    statistics.null_count = Precision::Exact(nulls as usize);
    let (mut least, mut greatest) = (Vec::new(), Vec::new());
    for partition in partitions {
        match partition.ends(index) {
            ColumnEnds::Unknown => return statistics,
            ColumnEnds::AllNull => {}
            ColumnEnds::Values(low, high) => {
                least.push(low);
                greatest.push(high);
            }
        }
    }
    if let Some((low, high)) = first(least, kind, false).zip(first(greatest, kind, true)) {
        statistics.min_value = Precision::Exact(low);
        statistics.max_value = Precision::Exact(high);
    }
    statistics
}

/// The first of these values in an order; none if there is none, or one cannot be read.
fn first(texts: Vec<&str>, kind: &DataType, descending: bool) -> Option<ScalarValue> {
    let texts: ArrayRef = Arc::new(StringArray::from(texts));
    let values = cast(&texts, kind).ok()?;
    let order = SortOptions {
        descending,
        nulls_first: true,
    };
    let order = sort_to_indices(&values, Some(order), Some(1)).ok()?;
    let first = *order.values().first()?;
    let value = ScalarValue::try_from_array(&values, first as usize).ok()?;
    (!value.is_null()).then_some(value)
}
