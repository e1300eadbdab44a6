//! What a frame's columns hold, from the facts in its catalog entry: the least and the greatest value
//! and the nulls.

use arrow::array::{ArrayRef, StringArray};
use arrow::compute::{SortOptions, cast, sort_to_indices};
use arrow_schema::{DataType, Schema};
use bireme_protocol::frame_facts::ColumnEnds;
use bireme_protocol::proto::{CatalogEntry, PartitionFacts};
use std::sync::Arc;

/// What is known of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ColumnRange {
    pub(crate) least: Option<String>,
    pub(crate) greatest: Option<String>,
    pub(crate) nulls: u64,
}

/// Of each column; nothing for what is no frame, or where some of its rows came without facts.
pub(crate) fn ranges(entry: &CatalogEntry) -> Option<Vec<ColumnRange>> {
    let partitions: Vec<&PartitionFacts> = entry.frame.as_ref()?.counted_partitions().collect();
    let schema: Schema = serde_json::from_str(&entry.schema_json).ok()?;
    let fields = schema.fields().iter().enumerate();
    let ranges = fields.map(|(index, field)| range(&partitions, index, field.data_type()));
    ranges.collect()
}

fn range(partitions: &[&PartitionFacts], index: usize, kind: &DataType) -> Option<ColumnRange> {
    let facts = partitions.iter().map(|one| one.columns.get(index));
    let nulls = facts.map(|facts| Some(facts?.nulls)).sum::<Option<u64>>()?;
    let (mut least, mut greatest) = (Vec::new(), Vec::new());
    for partition in partitions {
        match partition.ends(index) {
            // The others may hold neither the least nor the greatest.
            ColumnEnds::Unknown => {
                return Some(ColumnRange {
                    nulls,
                    ..ColumnRange::default()
                });
            }
            ColumnEnds::AllNull => {}
            ColumnEnds::Values(low, high) => {
                least.push(low);
                greatest.push(high);
            }
        }
    }
    Some(ColumnRange {
        least: first(&least, kind, false),
        greatest: first(&greatest, kind, true),
        nulls,
    })
}

/// The first of these texts in the order of their values.
fn first(texts: &[&str], kind: &DataType, descending: bool) -> Option<String> {
    let values: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    let values = cast(&values, kind).ok()?;
    let order = SortOptions {
        descending,
        nulls_first: false,
    };
    let order = sort_to_indices(&values, Some(order), Some(1)).ok()?;
    let first = usize::try_from(*order.values().first()?).ok()?;
    texts.get(first).map(|text| (*text).to_string())
}
