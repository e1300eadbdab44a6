//! Everything that can go wrong between kernel, Rust host and cell host.

use std::io;
use std::path::PathBuf;

/// An error of the cell host, its relay, or the framing they share.
#[derive(Debug, thiserror::Error)]
pub enum PxError {
    /// A frame is larger than either side accepts.
    #[error(
        "read a frame of {size} bytes: the limit is {limit}; the peer is another program or out of step"
    )]
    FrameTooLarge {
        /// What the length prefix announced.
        size: usize,
        /// The largest size accepted.
        limit: usize,
    },
    /// A frame's header is not the message that was expected.
    #[error("decode a frame header of {size} bytes: {source}")]
    BadHeader {
        /// Size of the header.
        size: usize,
        /// Why the JSON did not parse.
        source: serde_json::Error,
    },
    /// A message could not be written as JSON.
    #[error("encode a message: {source}")]
    Encode {
        /// Why serde refused.
        source: serde_json::Error,
    },
    /// The peer closed the connection inside a frame.
    #[error("read a frame: the peer closed the connection after {got} of {wanted} bytes")]
    Truncated {
        /// Bytes that had arrived.
        got: usize,
        /// Bytes that were announced.
        wanted: usize,
    },
    /// A system call failed.
    #[error("{tried}: {source}")]
    Io {
        /// What was being done.
        tried: String,
        /// The error of the system.
        source: io::Error,
    },
    /// A compiled cell could not be loaded.
    #[error("load the compiled cell {library}: {reason}")]
    Load {
        /// The shared library.
        library: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The peer broke the order of the side channel.
    #[error("talk over the side channel: expected {expected}, got {got}")]
    OutOfStep {
        /// The message that had to come.
        expected: &'static str,
        /// The message that came.
        got: String,
    },
}

impl PxError {
    /// Wraps an error of the system with what was tried.
    pub fn io(tried: impl Into<String>, source: impl Into<io::Error>) -> PxError {
        PxError::Io {
            tried: tried.into(),
            source: source.into(),
        }
    }
}
