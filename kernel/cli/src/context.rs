//! What every command starts from: the cluster's home, its settings, this program, a runtime.

use crate::error::CliError;
use bireme_protocol::Fault;
use bireme_settings::{Home, Settings, Source};
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

/// The surroundings of a command.
#[derive(Debug)]
pub(crate) struct Context {
    home_flag: Option<PathBuf>,
}

impl Context {
    pub(crate) fn new(home_flag: Option<PathBuf>) -> Self {
        Self { home_flag }
    }

    /// The directory of the cluster, made when missing.
    pub(crate) fn home(&self) -> Result<Home, CliError> {
        let home = match &self.home_flag {
            Some(root) => Home::at(root),
            None => Home::from_environment(),
        };
        home.map_err(|source| CliError::Home { source })
    }

    /// The settings of a home, with the number of engines a flag asks for.
    pub(crate) fn settings(
        &self,
        home: &Home,
        engines: Option<&str>,
    ) -> Result<Settings, CliError> {
        let mut settings = Settings::load(home)?;
        if let Some(engines) = engines {
            settings.set("cluster.engines", engines, Source::Flag)?;
        }
        Ok(settings)
    }

    /// This program's file.
    pub(crate) fn program() -> Result<PathBuf, CliError> {
        let program = std::env::current_exe()
            .map_err(|source| CliError::io("find the running program", source))?;
        // The link's text when the file was replaced while it ran: start the new one.
        match program
            .to_str()
            .and_then(|path| path.strip_suffix(" (deleted)"))
        {
            Some(path) => Ok(Path::new(path).to_path_buf()),
            None => Ok(program),
        }
    }

    /// A runtime for a command that mostly waits.
    pub(crate) fn runtime() -> Result<Runtime, CliError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| CliError::io("start the runtime", source))
    }

    /// Runs a future of a command that mostly waits.
    pub(crate) fn block_on<T>(
        future: impl Future<Output = Result<T, CliError>>,
    ) -> Result<T, CliError> {
        Self::runtime()?.block_on(future)
    }
}

/// Reads `N`, `gpu` or `auto`; GPUs are no part of this build.
pub(crate) fn read_engines(text: &str) -> Result<String, String> {
    match text {
        "auto" => Ok(text.to_string()),
        "gpu" => Err("engines on GPUs are no part of this build: give a number or `auto`".into()),
        _ => match text.parse::<u32>() {
            Ok(1..=256) => Ok(text.to_string()),
            _ => Err("give a number from 1 to 256, or `auto`".into()),
        },
    }
}

/// The current directory.
pub(crate) fn working_directory() -> Result<PathBuf, CliError> {
    std::env::current_dir().map_err(|source| CliError::io("find the current directory", source))
}

impl From<Fault> for CliError {
    fn from(fault: Fault) -> Self {
        Self::Fault {
            fault: Box::new(fault),
            excerpt: None,
        }
    }
}
