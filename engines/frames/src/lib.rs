//! What an engine holds and where: the tiers, the one budget all reservations come from, the
//! spill directory, the resident partitions of frames, and where a row belongs (placement). Moving
//! rows between engines is left to bireme-collectives.

mod aligned;
mod batch_codec;
mod budget;
mod bytes_text;
mod checked_block;
mod chunk;
mod column_bounds;
mod compact_views;
mod disk_copy;
mod error;
mod frame_counters;
mod frame_partition;
mod frame_store;
mod host_ledger;
mod host_tier;
mod operator_file;
mod partition_writer;
mod placement;
mod query_budget;
mod shared_rows;
mod shared_writer;
mod slab;
mod snapshot;
mod spill_directory;
mod spill_file;
mod tier;

pub use batch_codec::{decode_batch, encode_batch, row_bytes};
pub use budget::{Budget, FrameRoom, Reclaim};
pub use bytes_text::bytes_text;
pub use column_bounds::BatchBounds;
pub use compact_views::{compact_memory_of_views, compact_views};
pub use disk_copy::Compression;
pub use error::FramesError;
pub use frame_partition::{PartitionFacts, PartitionReader};
pub use frame_store::{Forgotten, FrameStore, SegmentSnapshot};
pub use partition_writer::PartitionWriter;
pub use placement::{BUCKETS, Placement, deal, hash_rows, owners_from_bytes, owners_to_bytes};
pub use query_budget::QueryBudget;
pub use shared_rows::{SharedRows, SharedRowsReader};
pub use shared_writer::SharedWriter;
pub use snapshot::{BudgetSnapshot, ConsumerSnapshot, QuerySnapshot, TierSnapshot};
pub use spill_directory::{SpillCounters, SpillDirectory};
pub use spill_file::SpillTempFile;
pub use tier::Tier;
