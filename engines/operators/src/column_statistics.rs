//! What the planner may go by of a frame's columns: the facts that its partitions came with.

use bireme_protocol::proto::{ColumnFacts, PartitionFacts};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue};

/// The statistics of each column over all of these partitions.
pub(crate) fn column_statistics<'a>(
    schema: &SchemaRef,
    partitions: impl Iterator<Item = &'a PartitionFacts> + Clone,
) -> Vec<ColumnStatistics> {
    let with_rows = partitions.filter(|partition| partition.rows > 0);
    let fields = schema.fields().iter().enumerate();
    let of_column = fields.map(|(index, field)| {
        let facts = with_rows.clone().map(|partition| {
            let facts = partition.columns.get(index)?;
            Some(Known::new(facts, partition.rows, field.data_type()))
        });
        let known: Option<Vec<Known>> = facts.collect();
        known.map_or_else(ColumnStatistics::new_unknown, |known| of_all(&known))
    });
    of_column.collect()
}

/// What is known of a column of one partition.
struct Known {
    nulls: u64,
    range: Range,
}

enum Range {
    Unknown,
    AllNull,
    Values(ScalarValue, ScalarValue),
}

impl Known {
    fn new(facts: &ColumnFacts, rows: u64, kind: &DataType) -> Self {
        let value = |text: &str| ScalarValue::try_from_string(text.to_string(), kind).ok();
        let range = match (value(&facts.least), value(&facts.greatest)) {
            _ if facts.nulls == rows => Range::AllNull,
            (Some(least), Some(greatest)) if !facts.least.is_empty() => {
                Range::Values(least, greatest)
            }
            _ => Range::Unknown,
        };
        Self {
            nulls: facts.nulls,
            range,
        }
    }
}

fn of_all(known: &[Known]) -> ColumnStatistics {
    let mut statistics = ColumnStatistics::new_unknown();
    let nulls: u64 = known.iter().map(|one| one.nulls).sum();
    statistics.null_count = Precision::Exact(nulls as usize);
    let (mut least, mut greatest) = (Precision::Absent, Precision::Absent);
    for one in known {
        match &one.range {
            Range::Unknown => return statistics,
            Range::AllNull => {}
            Range::Values(low, high) => {
                let (low, high) = (
                    Precision::Exact(low.clone()),
                    Precision::Exact(high.clone()),
                );
                least = if least == Precision::Absent {
                    low
                } else {
                    least.min(&low)
                };
                greatest = if greatest == Precision::Absent {
                    high
                } else {
                    greatest.max(&high)
                };
            }
        }
    }
    statistics.min_value = least;
    statistics.max_value = greatest;
    statistics
}
