//! Why a cluster does not start, run or end.

use bireme_protocol::{ErrorCode, Fault};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// What went wrong with the processes of a cluster.
#[derive(Debug, Error)]
pub enum LauncherError {
    /// Another launcher serves this home.
    #[error("start a cluster in {}: the launcher with pid {pid} has one there", home.display())]
    AlreadyRunning {
        /// The directory of the cluster.
        home: PathBuf,
        /// Who holds its lock.
        pid: u32,
    },
    /// A file or a socket of the cluster is not accessible.
    #[error("{tried} {}", path.display())]
    File {
        /// What was tried, e.g. `lock`.
        tried: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A program could not be started.
    #[error("start {name} as {}", program.display())]
    Spawn {
        /// The process's name.
        name: String,
        /// The program.
        program: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The system refused a request about processes or signals.
    #[error("{tried}")]
    System {
        /// What was tried.
        tried: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The launcher ended before it was ready.
    #[error("start the launcher: it ended with {exit} before it was ready")]
    LauncherEnded {
        /// How it ended.
        exit: String,
        /// Its last log lines.
        log: Vec<String>,
    },
    /// Something took longer than it may.
    #[error("{tried}: not done after {limit:?}")]
    Deadline {
        /// What was tried.
        tried: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The controller crashed too often.
    #[error("run the controller: it crashed too often and is not started again")]
    ControllerFailed {
        /// The last crash, with the last log lines.
        fault: Box<Fault>,
    },
    /// What another process answered.
    #[error("{fault}")]
    Remote {
        /// Its fault, whole.
        fault: Box<Fault>,
    },
}

impl LauncherError {
    pub(crate) fn file(tried: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File {
            tried,
            path: path.into(),
            source,
        }
    }

    pub(crate) fn system(tried: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            tried: tried.into(),
            source: source.into(),
        }
    }
}

impl From<Fault> for LauncherError {
    fn from(fault: Fault) -> Self {
        Self::Remote {
            fault: Box::new(fault),
        }
    }
}

impl From<LauncherError> for Fault {
    fn from(error: LauncherError) -> Self {
        match error {
            LauncherError::Remote { fault } | LauncherError::ControllerFailed { fault } => *fault,
            LauncherError::LauncherEnded { ref log, .. } => {
                let mut fault = Self::new(ErrorCode::Unavailable, error.to_string());
                fault.causes.extend(log.iter().cloned());
                fault.with_hint("`bireme cluster logs` shows all of its log")
            }
            LauncherError::Deadline { .. } => Self::new(ErrorCode::Unavailable, error.to_string())
                .with_hint("`bireme cluster logs` shows what its processes do"),
            other => Self::new(ErrorCode::Unavailable, other.to_string()).with_sources(&other),
        }
    }
}
