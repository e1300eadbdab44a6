//! What a frame's columns hold, from the facts in its catalog entry: the least and the greatest value
//! and the nulls.

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::{SortOptions, cast, sort_to_indices};
use arrow_schema::{DataType, Schema};
use bireme_protocol::proto::{CatalogEntry, ColumnFacts, LayoutKind, PartitionFacts};
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
    entry.frame.as_ref()?;
    let schema: Schema = serde_json::from_str(&entry.schema_json).ok()?;
    let partitions = with_rows(entry);
    let fields = schema.fields().iter().enumerate();
    let ranges = fields.map(|(index, field)| {
        let facts = partitions.iter().map(|one| one.columns.get(index));
        let facts: Option<Vec<&ColumnFacts>> = facts.collect();
        Some(range(&facts?, field.data_type()))
    });
    ranges.collect()
}

/// The partitions that have rows; of copies one.
fn with_rows(entry: &CatalogEntry) -> Vec<&PartitionFacts> {
    let frame = entry.frame.iter();
    let partitions = frame.flat_map(|frame| frame.segments.iter().flat_map(|one| &one.partitions));
    let partitions: Vec<_> = partitions.filter(|one| one.rows > 0).collect();
    let layout = entry.frame.as_ref().and_then(|frame| frame.layout.as_ref());
    let is_copied = layout.is_some_and(|layout| layout.kind() == LayoutKind::Replicated);
    let copy = partitions.iter().map(|one| one.rank).min();
    let counts = |one: &&PartitionFacts| !is_copied || Some(one.rank) == copy;
    partitions.into_iter().filter(counts).collect()
}

fn range(facts: &[&ColumnFacts], kind: &DataType) -> ColumnRange {
    let first = |end: fn(&ColumnFacts) -> &str, descending| {
        let texts = facts
            .iter()
            .map(|one| end(one))
            .filter(|text| !text.is_empty());
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        let values = cast(&texts, kind)
            .ok()
            .filter(|values| values.null_count() == 0)?;
        let order = SortOptions {
            descending,
            nulls_first: false,
        };
        let first = sort_to_indices(&values, Some(order), Some(1)).ok()?;
        let first = first.values().first()?;
        let texts = texts.as_any().downcast_ref::<StringArray>()?;
        Some(texts.value(*first as usize).to_string())
    };
    ColumnRange {
        least: first(|one| &one.least, false),
        greatest: first(|one| &one.greatest, true),
        nulls: facts.iter().map(|one| one.nulls).sum(),
    }
}
