//! Everything a command can end with instead of its result. Printing is `report`'s.

use bireme_controller::ControllerError;
use bireme_engine::EngineError;
use bireme_jupyter::JupyterError;
use bireme_launchers::LauncherError;
use bireme_protocol::Fault;
use bireme_settings::SettingsError;
use bireme_workloads::WorkloadError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// The text a fault's position is in.
#[derive(Clone, Debug)]
pub(crate) struct Excerpt {
    /// What the user wrote.
    pub(crate) text: String,
    /// What to call it: a file, `statement`.
    pub(crate) origin: String,
}

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// What a process of the cluster, or its client, answered.
    #[error("{fault}")]
    Fault {
        /// The one root cause.
        fault: Box<Fault>,
        /// What its position is in.
        excerpt: Option<Excerpt>,
    },
    /// The cluster's directory is not usable.
    #[error("open the directory of the cluster")]
    Home {
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A setting is not accepted.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Jupyter's side failed.
    #[error(transparent)]
    Jupyter(#[from] JupyterError),
    /// The controller could not start or go on.
    #[error(transparent)]
    Controller(#[from] ControllerError),
    /// The engine could not start or go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Sample data could not be made.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The system refused.
    #[error("{tried}")]
    Io {
        /// What was tried.
        tried: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A file is not a notebook we can run.
    #[error("read notebook {}: {reason}", path.display())]
    Notebook {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A cell failed; what it said was shown already.
    #[error("cell {number} of {} failed: {ename}", path.display())]
    CellFailed {
        /// The notebook.
        path: PathBuf,
        /// The cell's place among all cells, from 1.
        number: usize,
        /// The kind of failure.
        ename: String,
    },
    /// A result could not be written in the wanted format.
    #[error("write the result as {format}: {reason}")]
    Format {
        /// The format.
        format: &'static str,
        /// Why not.
        reason: String,
    },
    /// The arguments do not fit together.
    #[error("{message}")]
    Usage {
        /// What is wrong and what to do.
        message: String,
    },
    /// Another program could not be used.
    #[error("{message}")]
    Program {
        /// Which one, and what to do.
        message: String,
    },
    /// The user ended it.
    #[error("interrupted")]
    Interrupted,
}

impl CliError {
    /// A system error with what was tried.
    pub(crate) fn io(tried: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            tried: tried.into(),
            source,
        }
    }

    /// Arguments that do not fit together.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
        }
    }
}

impl From<LauncherError> for CliError {
    fn from(error: LauncherError) -> Self {
        Fault::from(error).into()
    }
}
