//! What can go wrong with shared memory.

use nix::errno::Errno;

/// What can go wrong with shared memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedMemoryError {
    /// The system refused a call.
    #[error("{action} shared memory of {bytes} bytes: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// On how much.
        bytes: u64,
        /// Why it failed.
        source: Errno,
    },
    /// A limit of this process is below what an arena needs.
    #[error("make shared memory of {bytes} bytes: files of this process are limited to {limit}")]
    Limited {
        /// How much was asked for.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The other side of a connection named memory that does not exist.
    #[error("use {bytes} bytes at {offset} of shared memory of {size} bytes: {reason}")]
    Misplaced {
        /// Where it begins.
        offset: u64,
        /// How long it is.
        bytes: u64,
        /// How large the memory is.
        size: u64,
        /// What is wrong with that.
        reason: &'static str,
    },
    /// The memory could shrink or grow under its readers.
    #[error("map shared memory of {bytes} bytes: its size is not sealed")]
    Unsealed {
        /// How large it is.
        bytes: u64,
    },
    /// What a path names is no memory that another process has handed over.
    #[error("use the shared memory {path}: {reason}")]
    NotHanded {
        /// The path.
        path: String,
        /// Why not.
        reason: &'static str,
    },
}
