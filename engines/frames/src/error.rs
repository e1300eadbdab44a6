//! What can go wrong with budgets, spill files and placement.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum FramesError {
    /// The spill directory cannot be used.
    #[error(
        "open spill directory {}: {source}; choose another with memory.spill_dir",
        path.display()
    )]
    OpenSpillDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A spill file could not be made, written or read.
    #[error("{action} spill file {} ({bytes} bytes): {source}", path.display())]
    SpillFile {
        /// create, append to, read, truncate.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// How many bytes were asked for.
        bytes: u64,
        /// What the system said.
        source: std::io::Error,
    },
    /// A spill file holds other bytes than were written.
    #[error(
        "read spill file {}: the block at offset {offset} is not what was written there, {reason}; \
         check the disk, and whether something else writes to memory.spill_dir",
        path.display()
    )]
    CorruptSpill {
        /// The file.
        path: PathBuf,
        /// Where the block begins.
        offset: u64,
        /// How that shows.
        reason: String,
    },
    /// The segment has been let go of, so that nothing of it may come any more.
    #[error(
        "write partition {partition} of segment {segment}: it was dropped, as its query has ended"
    )]
    Dropped {
        /// The segment.
        segment: String,
        /// The partition.
        partition: usize,
    },
    /// The disk limit is reached.
    #[error(
        "reserve {requested} of disk for spilling: {used} of {limit} are in use; raise \
         memory.disk_limit or let fewer queries run at once"
    )]
    DiskLimit {
        /// What was asked for.
        requested: String,
        /// What is in use.
        used: String,
        /// The limit.
        limit: String,
    },
    /// A row lies where its hash does not put it.
    #[error(
        "check placement of {keys} on rank {rank}, partition {partition}: row {row} has hash \
         {hash:#018x}, which belongs to rank {expected_rank}, partition {expected_partition}; a \
         join on it would lose rows, this is a defect"
    )]
    Misplaced {
        /// The key columns.
        keys: String,
        /// Where the row was found.
        rank: usize,
        /// Where the row was found.
        partition: usize,
        /// Its position in the batch.
        row: usize,
        /// Its hash.
        hash: u64,
        /// Where it belongs.
        expected_rank: usize,
        /// Where it belongs.
        expected_partition: usize,
    },
    /// A placement that cannot be.
    #[error("make a placement of {partitions} partitions over {owners} owner entries: {reason}")]
    InvalidPlacement {
        /// Partitions per rank.
        partitions: usize,
        /// Entries of the owner table.
        owners: usize,
        /// Why not.
        reason: String,
    },
    /// A batch could not be turned into bytes, or bytes into a batch.
    #[error("{action} a batch of {rows} rows and {columns} columns: {source}")]
    Codec {
        /// encode or decode.
        action: &'static str,
        /// How many rows, as far as they are known.
        rows: usize,
        /// How many columns.
        columns: usize,
        /// What Arrow said.
        source: Box<arrow::error::ArrowError>,
    },
    /// Memory of the host tier could not be used.
    #[error("keep {bytes} bytes of a frame in memory: {source}")]
    HostTier {
        /// How many bytes.
        bytes: u64,
        /// What the system said.
        source: bireme_shared_memory::SharedMemoryError,
    },
    /// Rows that another process has handed over cannot be read.
    #[error("read rows in shared memory ({path}): {reason}")]
    SharedRows {
        /// Where they are described.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A thread that moves frames cannot be started, or ended before its time.
    #[error("move frames on a thread of its own: {source}")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
    /// Two tasks write the same partition.
    #[error("write partition {partition} of segment {segment}: it is written already")]
    WrittenTwice {
        /// The segment.
        segment: String,
        /// The partition.
        partition: usize,
    },
    /// Rows of a frame are not on this engine.
    #[error(
        "read partition {partition} of segment {segment}: this engine does not hold it; the frame was \
         dropped, or this engine started anew: make the frame again"
    )]
    NotHeld {
        /// The segment.
        segment: String,
        /// The partition.
        partition: usize,
    },
    /// DataFusion could not hash the columns.
    #[error("hash {columns} columns of {rows} rows: {source}")]
    Hash {
        /// How many columns.
        columns: usize,
        /// How many rows.
        rows: usize,
        /// What DataFusion said.
        source: Box<datafusion::error::DataFusionError>,
    },
}

impl FramesError {
    /// Work on a thread of its own ended before it was done.
    pub fn ended(source: tokio::task::JoinError) -> Self {
        Self::Thread {
            source: std::io::Error::other(source),
        }
    }
}

impl From<FramesError> for datafusion::error::DataFusionError {
    fn from(error: FramesError) -> Self {
        // Not `ResourcesExhausted`: operators take that for memory and try to spill.
        Self::External(Box::new(error))
    }
}

impl From<FramesError> for std::io::Error {
    fn from(error: FramesError) -> Self {
        let kind = match &error {
            FramesError::DiskLimit { .. } => std::io::ErrorKind::QuotaExceeded,
            FramesError::SpillFile { source, .. } => source.kind(),
            _ => std::io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
