//! Everything that can go wrong in the Rust host outside the user's cells.

use bireme_px::PxError;
use std::io;

/// An error of the Rust host.
#[derive(Debug, thiserror::Error)]
pub enum RustHostError {
    /// A system call failed.
    #[error("{tried}: {source}")]
    Io {
        /// What was being done.
        tried: String,
        /// The error of the system.
        source: io::Error,
    },
    /// evcxr could not start.
    #[error("start the Rust compiler of this notebook: {reason}")]
    Start {
        /// What evcxr said.
        reason: String,
    },
    /// The prelude of cells does not compile, most likely because the toolchain is too old.
    #[error("compile the prelude of cells: {reason}")]
    Prelude {
        /// What evcxr said.
        reason: String,
    },
    /// The crate that cells link against could not be compiled.
    #[error("compile the bireme crate for cells: {reason}")]
    CellCrate {
        /// The end of cargo's output.
        reason: String,
    },
    /// The crates of `rust.prelude_crates` cannot be had.
    #[error("provide the crates of rust.prelude_crates: {reason}")]
    PreludeCrates {
        /// Why, and what to do.
        reason: String,
    },
    /// The relay or the framing failed.
    #[error(transparent)]
    Px(#[from] PxError),
    /// The command line is not understood.
    #[error(
        "{reason}; usage: bireme-rust host --home DIR | cell-host | prepare --home DIR | analyst | idle-host"
    )]
    Usage {
        /// What is wrong with it.
        reason: String,
    },
}

impl RustHostError {
    /// Wraps an error of the system with what was tried.
    pub fn io(tried: impl Into<String>, source: impl Into<io::Error>) -> RustHostError {
        RustHostError::Io {
            tried: tried.into(),
            source: source.into(),
        }
    }
}
