//! Why the controller does not start or goes on no longer.

use bireme_protocol::{ErrorCode, Fault};
use std::path::PathBuf;
use thiserror::Error;

/// What went wrong with the controller itself. Queries and sessions answer with a [`Fault`].
#[derive(Debug, Error)]
pub enum ControllerError {
    /// Its socket cannot be served.
    #[error("listen on {}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The address was refused.
    #[error("{fault}")]
    Address {
        /// Why.
        fault: Box<Fault>,
    },
    /// The database cannot be used.
    #[error("{tried} the database {}", path.display())]
    Database {
        /// What was tried, e.g. `open`.
        tried: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: rusqlite::Error,
    },
    /// The database was written by a later version.
    #[error("open the database {}: it has layout {found}, this build reads up to {known}", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The latest layout this build reads.
        known: i64,
    },
    /// The database's thread cannot be started.
    #[error("start the database's thread")]
    Thread {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The gRPC server ended.
    #[error("serve {}", path.display())]
    Serve {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

impl From<ControllerError> for Fault {
    fn from(error: ControllerError) -> Self {
        let hint = match &error {
            ControllerError::Address { fault } => return (**fault).clone(),
            ControllerError::Database { path, .. } | ControllerError::Layout { path, .. } => {
                Some(format!(
                    "sessions and history are in {}; move the file away to start anew",
                    path.display()
                ))
            }
            _ => None,
        };
        let mut fault = Self::new(ErrorCode::Unavailable, error.to_string()).with_sources(&error);
        fault.hint = hint;
        fault
    }
}
