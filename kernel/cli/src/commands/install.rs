//! `bireme install` and `uninstall`: the kernelspec, by which Jupyter finds this kernel.

use crate::context::Context;
use crate::error::CliError;
use crate::terminal;
use bireme_jupyter::kernelspec::{self, InstallLocation};
use bireme_settings::environment;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Where the kernelspec goes.
#[derive(Debug, Args)]
pub(crate) struct Location {
    /// For this user only; what holds without another flag.
    #[arg(long, group = "location")]
    user: bool,
    /// Into the Python environment that is active.
    #[arg(long, group = "location")]
    sys_prefix: bool,
    /// Below a directory, in share/jupyter/kernels.
    #[arg(long, group = "location", value_name = "DIR")]
    prefix: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct InstallArguments {
    #[command(flatten)]
    location: Location,
}

#[derive(Debug, Args)]
pub(crate) struct UninstallArguments {
    #[command(flatten)]
    location: Location,
}

impl InstallArguments {
    pub(crate) fn run(self) -> Result<ExitCode, CliError> {
        let directory = kernelspec::install(&self.location.find()?, &Context::program()?)?;
        terminal::note(&format!(
            "installed the kernelspec in {}",
            directory.display()
        ));
        Ok(ExitCode::SUCCESS)
    }
}

impl UninstallArguments {
    pub(crate) fn run(self) -> Result<ExitCode, CliError> {
        let location = self.location.find()?;
        let line = match kernelspec::uninstall(&location)? {
            Some(directory) => format!("removed {}", directory.display()),
            None => format!(
                "there is no kernelspec in {}",
                location.kernels_dir().display()
            ),
        };
        terminal::note(&line);
        Ok(ExitCode::SUCCESS)
    }
}

impl Location {
    fn find(&self) -> Result<InstallLocation, CliError> {
        match (&self.prefix, self.sys_prefix) {
            (Some(prefix), _) => Ok(InstallLocation::Prefix(prefix.clone())),
            (None, true) => sys_prefix().map(InstallLocation::Prefix).ok_or_else(|| {
                CliError::usage(
                    "no Python environment is active: activate one, or use --prefix DIR",
                )
            }),
            (None, false) => user_location(),
        }
    }
}

/// The user's own Jupyter directory.
pub(crate) fn user_location() -> Result<InstallLocation, CliError> {
    let home =
        environment("HOME").ok_or_else(|| CliError::usage("HOME is not set: use --prefix DIR"))?;
    let data_dir = environment("JUPYTER_DATA_DIR").map(PathBuf::from);
    let data_home = environment("XDG_DATA_HOME").map(PathBuf::from);
    Ok(InstallLocation::user(
        Path::new(&home),
        data_dir.as_deref(),
        data_home.as_deref(),
    ))
}

/// The prefix of the active Python environment.
pub(crate) fn sys_prefix() -> Option<PathBuf> {
    let active = environment("VIRTUAL_ENV").or_else(|| environment("CONDA_PREFIX"));
    if let Some(prefix) = active {
        return Some(PathBuf::from(prefix));
    }
    let asked = Command::new("python3")
        .args(["-c", "import sys; print(sys.prefix)"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let prefix = String::from_utf8(asked.stdout).ok()?;
    (asked.status.success() && !prefix.trim().is_empty()).then(|| PathBuf::from(prefix.trim()))
}
