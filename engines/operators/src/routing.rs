//! Where a collective sends rows: the one thing a shuffle, a broadcast and a gather differ in.

use bireme_frames::Placement;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use std::fmt;
use std::sync::Arc;

/// Where a collective sends rows.
#[derive(Clone, Debug)]
pub enum Routing {
    /// To the rank and partition of their hash.
    Shuffle {
        /// What is hashed.
        keys: Vec<Arc<dyn PhysicalExpr>>,
        /// Which hash belongs where.
        placement: Placement,
    },
    /// A batch to each partition of each rank in turn.
    Spread {
        /// N: partitions on each rank.
        partitions: usize,
    },
    /// Every row to every rank, in one partition.
    Broadcast,
    /// Every row to rank 0, a partition per partition of each rank, in order.
    Gather,
}

impl Routing {
    /// The name of the node that does it.
    pub fn node_name(&self) -> &'static str {
        match self {
            Self::Shuffle { .. } => "CollectiveShuffleExec",
            Self::Spread { .. } => "CollectiveSpreadExec",
            Self::Broadcast => "CollectiveBroadcastExec",
            Self::Gather => "CollectiveGatherExec",
        }
    }

    /// The partitions that come out on the ranks that get rows.
    pub fn output_partitioning(&self, engines: usize, input_partitions: usize) -> Partitioning {
        match self {
            Self::Shuffle { keys, placement } => {
                Partitioning::Hash(keys.clone(), placement.partitions())
            }
            Self::Spread { partitions } => Partitioning::UnknownPartitioning(*partitions),
            Self::Broadcast => Partitioning::UnknownPartitioning(1),
            Self::Gather => Partitioning::UnknownPartitioning(engines * input_partitions),
        }
    }

    /// How many partitions each rank receives.
    pub fn partitions_by_rank(&self, engines: usize, input_partitions: usize) -> Vec<usize> {
        match self {
            Self::Shuffle { placement, .. } => vec![placement.partitions(); engines],
            Self::Spread { partitions } => vec![*partitions; engines],
            Self::Broadcast => vec![1; engines],
            Self::Gather => {
                let mut by_rank = vec![0; engines];
                if let Some(zero) = by_rank.first_mut() {
                    *zero = engines * input_partitions;
                }
                by_rank
            }
        }
    }
}

impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shuffle { keys, placement } => {
                let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
                let partitions = placement.partitions();
                write!(f, "hash([{}]), partitions={partitions}", keys.join(", "))
            }
            Self::Spread { partitions } => write!(f, "in turn, partitions={partitions}"),
            Self::Broadcast => write!(f, "to every engine"),
            Self::Gather => write!(f, "to engine 0"),
        }
    }
}
