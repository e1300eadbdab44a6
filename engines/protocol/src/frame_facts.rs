//! What the facts about a frame's partitions mean: which of them count, and what they tell of a column.

use crate::proto::{Frame, LayoutKind, PartitionFacts};

/// The values of a column of a partition, as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnEnds<'a> {
    /// Nothing is known of them.
    Unknown,
    /// There are none but nulls.
    AllNull,
    /// The least and the greatest, as text.
    Values(&'a str, &'a str),
}

impl Frame {
    /// The partitions that have rows; of copies those of one engine.
    pub fn counted_partitions(&self) -> impl Iterator<Item = &PartitionFacts> + Clone {
        let held = self.segments.iter().flat_map(|one| &one.partitions);
        let held = held.filter(|one| one.rows > 0);
        let layout = self.layout.as_ref().map(|layout| layout.kind());
        let copy = match layout {
            Some(LayoutKind::Replicated) => held.clone().map(|one| one.rank).min(),
            _ => None,
        };
        held.filter(move |one| copy.is_none_or(|rank| rank == one.rank))
    }
}

impl PartitionFacts {
    /// What is known of a column.
    pub fn ends(&self, column: usize) -> ColumnEnds<'_> {
        match self.columns.get(column) {
            None => ColumnEnds::Unknown,
            Some(facts) if facts.nulls == self.rows => ColumnEnds::AllNull,
            Some(facts) if facts.least.is_empty() || facts.greatest.is_empty() => {
                ColumnEnds::Unknown
            }
            Some(facts) => ColumnEnds::Values(&facts.least, &facts.greatest),
        }
    }
}
