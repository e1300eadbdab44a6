//! What can go wrong in the framework itself. Failures of cells are `wire::CellError`.

use std::io;
use std::path::PathBuf;

/// Why the framework could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JupyterError {
    /// A file could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A connection or kernelspec file is not what it should be.
    #[error("read {}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The signature scheme is not the one everybody uses.
    #[error("signature scheme {scheme:?} is not supported, only \"hmac-sha256\" is")]
    SignatureScheme {
        /// What the connection file asks for.
        scheme: String,
    },
    /// A socket could not be bound.
    #[error("bind the {channel} socket to {endpoint}: {source}")]
    Bind {
        /// Which of the five.
        channel: &'static str,
        /// Where.
        endpoint: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A socket could not be connected.
    #[error("connect to {endpoint}: {reason}")]
    Connect {
        /// Where.
        endpoint: String,
        /// Why not.
        reason: String,
    },
    /// The other side did not answer in time.
    #[error("no {what} within {seconds:.1} s")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        seconds: f64,
    },
    /// The connection to the kernel ended.
    #[error("the kernel closed its {channel} channel")]
    Closed {
        /// Which channel.
        channel: &'static str,
    },
    /// The directory for kernelspecs is unknown.
    #[error("find {what}: {reason}")]
    NotFound {
        /// What was looked for.
        what: String,
        /// Why it is not there, and what to do.
        reason: String,
    },
}

/// The result of the framework's own calls.
pub type Result<T, E = JupyterError> = std::result::Result<T, E>;
