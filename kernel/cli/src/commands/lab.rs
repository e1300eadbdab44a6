//! `bireme lab`: JupyterLab with this kernel, from nothing installed to an open notebook.

use super::install::{sys_prefix, user_location};
use crate::context::Context;
use crate::error::CliError;
use crate::terminal;
use bireme_jupyter::kernelspec::{self, InstallLocation};
use clap::Args;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

#[derive(Debug, Args)]
pub(crate) struct LabArguments {
    /// The directory to open.
    directory: Option<PathBuf>,
    /// Passed on to JupyterLab, such as `-- --no-browser`.
    #[arg(last = true)]
    rest: Vec<String>,
}

impl LabArguments {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let home = context.home()?;
        let mut locations = vec![user_location()?];
        locations.extend(sys_prefix().map(InstallLocation::Prefix));
        if kernelspec::find(&locations).is_none() {
            let directory = kernelspec::install(&locations[0], &Context::program()?)?;
            terminal::note(&format!(
                "installed the kernelspec in {}",
                directory.display()
            ));
        }
        let mut command = Command::new("jupyter");
        command.arg("lab").args(&self.directory).args(&self.rest);
        command.env("BIREME_HOME", home.root());
        // JupyterLab takes this process's place, and with it the terminal.
        let source = command.exec();
        if source.kind() == std::io::ErrorKind::NotFound {
            let message = "start JupyterLab: there is no program `jupyter`; `pip install jupyterlab` installs it".into();
            return Err(CliError::Program { message });
        }
        Err(CliError::io("start JupyterLab", source))
    }
}
