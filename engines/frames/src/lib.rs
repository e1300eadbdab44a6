//! What an engine holds and where: the tiers, the one budget all reservations come from, the
//! spill directory, and where a row belongs (placement). Resident frames build on these; moving
//! rows between engines is left to bireme-collectives.

mod batch_file;
mod budget;
mod bytes_text;
mod checked_block;
mod compact_views;
mod error;
mod host_ledger;
mod operator_file;
mod placement;
mod query_budget;
mod snapshot;
mod spill_directory;
mod spill_file;
mod tier;

pub use batch_file::{BatchEntry, BatchFile, SpillCompression};
pub use budget::Budget;
pub use bytes_text::bytes_text;
pub use compact_views::compact_views;
pub use error::FramesError;
pub use placement::{BUCKETS, Layout, Placement, hash_rows};
pub use query_budget::QueryBudget;
pub use snapshot::{BudgetSnapshot, ConsumerSnapshot, QuerySnapshot, TierSnapshot};
pub use spill_directory::{SpillCounters, SpillDirectory};
pub use spill_file::SpillTempFile;
pub use tier::Tier;
