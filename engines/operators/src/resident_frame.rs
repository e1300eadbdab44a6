//! A frame as plans know it: its columns, how its rows are laid out, and which engine holds what.

use crate::column_statistics::column_statistics;
use crate::error::OperatorsError;
use crate::frame_scan_exec::Scope;
use bireme_frames::{Placement, owners_from_bytes};
use bireme_protocol::QueryId;
use bireme_protocol::proto::{Frame, LayoutKind, PartitionFacts, Segment};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::ColumnStatistics;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A frame at one version.
#[derive(Clone, Debug)]
pub struct ResidentFrame {
    name: String,
    schema: SchemaRef,
    layout: Layout,
    partitions: usize,
    parts: Vec<Part>,
    /// Of all its rows, by column.
    statistics: Vec<ColumnStatistics>,
    /// Where a layout by hash has put the rows of each segment.
    placements: HashMap<QueryId, Placement>,
    /// Where shuffles of the session put rows.
    session: Placement,
    /// Engines that take part in queries; those of higher ranks are about to leave.
    engines: u32,
    /// As the catalog has it.
    described: Frame,
}

/// How the rows are laid out.
#[derive(Clone, Debug)]
enum Layout {
    RoundRobin,
    Hash {
        columns: Vec<usize>,
        /// Shuffles of this session put rows where all of the frame has them.
        is_current: bool,
    },
    Replicated,
}

/// One partition of one segment.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The segment.
    pub segment: QueryId,
    /// The engine that holds it.
    pub rank: u32,
    /// The partition on that engine.
    pub partition: usize,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// Sizes of a frame or a part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameFacts {
    /// Rows.
    pub rows: u64,
    /// Bytes, wherever they are.
    pub bytes: u64,
}

impl ResidentFrame {
    /// The frame of a catalog entry. `placement` is how this session's shuffles place rows: a frame
    /// that is laid out otherwise is read like one without a layout.
    ///
    /// # Errors
    /// What the catalog tells of it does not fit together.
    pub fn new(
        name: &str,
        schema: SchemaRef,
        frame: &Frame,
        placement: &Placement,
    ) -> Result<Self> {
        let wrong = |reason: String| OperatorsError::Frame {
            name: name.to_string(),
            reason,
        };
        let layout = frame.layout.clone().unwrap_or_default();
        let partitions = layout.partitions as usize;
        let mut parts = Vec::new();
        let mut placements = HashMap::new();
        for segment in &frame.segments {
            let id: QueryId = segment
                .id
                .parse()
                .map_err(|_| wrong(format!("{:?} is no segment", segment.id)))?;
            if layout.kind() == LayoutKind::Hash {
                let owners = owners_from_bytes(&segment.owners);
                placements.insert(id, Placement::owned(owners, partitions)?);
            }
            parts.extend(segment.partitions.iter().map(|facts| Part {
                segment: id,
                rank: facts.rank,
                partition: facts.partition as usize,
                rows: facts.rows,
                bytes: facts.bytes,
            }));
        }
        let layout = match layout.kind() {
            LayoutKind::Replicated => Layout::Replicated,
            LayoutKind::Hash => {
                let index = |name: &String| schema.index_of(name);
                let columns: std::result::Result<Vec<_>, _> =
                    layout.columns.iter().map(index).collect();
                Layout::Hash {
                    columns: columns.map_err(|error| wrong(error.to_string()))?,
                    is_current: placements.values().all(|own| own == placement),
                }
            }
            LayoutKind::RoundRobin | LayoutKind::Unspecified => Layout::RoundRobin,
        };
        let engines = placement.owners().iter().copied().max();
        Ok(Self {
            name: name.to_string(),
            statistics: column_statistics(&schema, frame.counted_partitions()),
            schema,
            layout,
            partitions: partitions.max(1),
            parts,
            placements,
            session: placement.clone(),
            engines: engines.map_or(1, |rank| u32::from(rank) + 1),
            described: described(frame),
        })
    }

    /// The frame's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Partitions on each engine.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// Whether every engine has all rows.
    pub fn is_replicated(&self) -> bool {
        matches!(self.layout, Layout::Replicated)
    }

    /// The columns its rows are placed by, where this session's shuffles would place them too, as
    /// columns of a projection of it.
    pub(crate) fn hash_keys(&self, projected: &Schema) -> Option<Vec<Arc<dyn PhysicalExpr>>> {
        let Layout::Hash {
            columns,
            is_current: true,
            ..
        } = &self.layout
        else {
            return None;
        };
        let key = |column: &usize| {
            let name = self.schema.field(*column).name();
            let index = projected.index_of(name).ok()?;
            Some(Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>)
        };
        columns.iter().map(key).collect()
    }

    /// The columns the rows of a segment are placed by, and where.
    pub(crate) fn placed_by(&self, segment: QueryId) -> Option<(&[usize], &Placement)> {
        match &self.layout {
            Layout::Hash { columns, .. } => Some((columns, self.placements.get(&segment)?)),
            _ => None,
        }
    }

    /// Sizes of all of it, or of one partition of every engine.
    pub fn facts(&self, partition: Option<usize>) -> FrameFacts {
        let mut facts = FrameFacts::default();
        let counted = self.counted_rank();
        for part in &self.parts {
            let is_wanted = partition.is_none_or(|partition| partition == part.partition);
            if is_wanted && counted.is_none_or(|rank| rank == part.rank) {
                facts.rows += part.rows;
                facts.bytes += part.bytes;
            }
        }
        facts
    }

    /// What is known of the values of each column, of all rows.
    pub fn column_statistics(&self) -> &[ColumnStatistics] {
        &self.statistics
    }

    /// The parts that make a partition as the engine of a rank reads it.
    pub(crate) fn parts(&self, partition: usize, scope: Scope, rank: u32) -> Vec<Part> {
        let is_read = |part: &Part| match (self.is_replicated(), scope) {
            (true, _) => Some(part.rank) == self.copy_for(part.segment, rank),
            (false, Scope::AllEngines) => true,
            // What lies on an engine that is about to leave is read by one that stays.
            (false, Scope::OwnEngine) if part.rank >= self.engines => {
                part.rank % self.engines == rank
            }
            (false, Scope::OwnEngine) => part.rank == rank,
        };
        let parts = self.parts.iter().copied();
        parts
            .filter(|part| part.partition == partition && part.rows > 0 && is_read(part))
            .collect()
    }

    /// The engine whose copy of a segment is read: the own one if there is one. Engines come and go, and
    /// not all segments reach a new one at once.
    fn copy_for(&self, segment: QueryId, rank: u32) -> Option<u32> {
        let copies = self.parts.iter().filter(|part| part.segment == segment);
        copies
            .map(|part| part.rank)
            .min_by_key(|holder| (*holder != rank, *holder))
    }

    /// The copy that counts where there are several.
    fn counted_rank(&self) -> Option<u32> {
        let lowest = self.parts.iter().map(|part| part.rank).min();
        lowest.filter(|_| self.is_replicated())
    }

    /// Where shuffles of the session put rows.
    pub(crate) fn session_placement(&self) -> &Placement {
        &self.session
    }

    /// As it travels.
    pub(crate) fn to_proto(&self) -> Frame {
        self.described.clone()
    }
}

/// What a scan needs to know of a frame.
fn described(frame: &Frame) -> Frame {
    let place = |facts: &PartitionFacts| PartitionFacts {
        columns: Vec::new(),
        ..facts.clone()
    };
    let segments = frame.segments.iter().map(|segment| Segment {
        id: segment.id.clone(),
        partitions: segment.partitions.iter().map(place).collect(),
        lineage: None,
        owners: segment.owners.clone(),
    });
    Frame {
        layout: frame.layout.clone(),
        segments: segments.collect(),
        ..Frame::default()
    }
}

impl fmt::Display for ResidentFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match &self.layout {
            Layout::RoundRobin => write!(f, ", partitions={}", self.partitions),
            Layout::Replicated => write!(f, ", replicated"),
            Layout::Hash {
                columns,
                is_current,
                ..
            } => {
                let names: Vec<_> = columns
                    .iter()
                    .map(|column| self.schema.field(*column).name().as_str())
                    .collect();
                let other = if *is_current {
                    ""
                } else {
                    ", laid out for other engines"
                };
                write!(
                    f,
                    ", hash([{}]), partitions={}{other}",
                    names.join(", "),
                    self.partitions
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bireme_frames::deal;
    use bireme_protocol::proto::FrameLayout;
    use datafusion::arrow::datatypes::{DataType, Field};

    #[test]
    fn of_each_segment_the_nearest_copy_is_read() {
        let copies = |ranks: &[u32]| Segment {
            id: QueryId::random().to_string(),
            partitions: ranks
                .iter()
                .map(|rank| PartitionFacts {
                    rank: *rank,
                    rows: 1,
                    ..PartitionFacts::default()
                })
                .collect(),
            ..Segment::default()
        };
        // The first has reached engine 2 already, the second has not.
        let frame = Frame {
            segments: vec![copies(&[0, 1, 2]), copies(&[0, 1])],
            layout: Some(FrameLayout {
                kind: LayoutKind::Replicated.into(),
                partitions: 1,
                ..FrameLayout::default()
            }),
            ..Frame::default()
        };
        let schema = Schema::new(vec![Field::new("k", DataType::Int64, true)]);
        let placement = Placement::owned(deal(3), 1).unwrap();
        let frame = ResidentFrame::new("f", Arc::new(schema), &frame, &placement).unwrap();
        for (rank, holders) in [(0, [0, 0]), (1, [1, 1]), (2, [2, 0])] {
            let parts = frame.parts(0, Scope::OwnEngine, rank);
            let read: Vec<u32> = parts.iter().map(|part| part.rank).collect();
            assert_eq!(read, holders, "engine {rank}");
        }
    }
}
