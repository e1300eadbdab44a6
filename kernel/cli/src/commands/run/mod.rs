//! `bireme run`: executes a notebook with a kernel in this process, without a front end, and keeps
//! what it gave in another notebook.

mod cell_outputs;
mod display;
mod notebook;
mod runner;

use crate::commands::sql::fresh_session;
use crate::context::{Context, read_engines, working_directory};
use crate::error::CliError;
use bireme_kernel::KernelOptions;
use bireme_protocol::SessionName;
use clap::Args;
use notebook::Notebook;
use runner::Runner;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The notebook.
    notebook: PathBuf,
    /// Where the executed notebook goes [default: beside it, as NAME.out.ipynb].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A parameter, set after the cell tagged `parameters`; may be given several times.
    #[arg(short, long = "parameter", value_name = "NAME=VALUE", value_parser = read_parameter)]
    parameters: Vec<(String, String)>,
    /// Go on after a cell that failed.
    #[arg(long)]
    keep_going: bool,
    /// The session on the cluster; a fresh one without it.
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// How many engines to start when no cluster runs.
    #[arg(long, value_parser = read_engines)]
    engines: Option<String>,
}

fn read_parameter(text: &str) -> Result<(String, String), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!("{text:?} is not NAME=VALUE"));
    };
    let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    match is_name {
        true => Ok((name.to_owned(), value.to_owned())),
        false => Err(format!(
            "{name:?} is not a name: letters, digits and _ only"
        )),
    }
}

impl RunArguments {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let mut notebook = Notebook::read(&self.notebook)?;
        notebook.inject_parameters(&self.parameters);
        let output = self
            .output
            .clone()
            .unwrap_or_else(|| default_output(&self.notebook));
        let home = context.home()?;
        let settings = context.settings(&home, self.engines.as_deref())?;
        let session = match &self.session {
            Some(name) => SessionName(name.clone()),
            None => fresh_session("run"),
        };
        let program = Context::program()?;
        let options = KernelOptions {
            client: "run",
            ..KernelOptions::new(home, settings, program, session, directory(&self.notebook)?)
        };
        let runner = Runner {
            output: &output,
            keep_going: self.keep_going,
        };
        Context::block_on(runner.run(&mut notebook, options))
    }
}

/// Paths in a notebook begin where it is, as in JupyterLab.
fn directory(notebook: &Path) -> Result<PathBuf, CliError> {
    let parent = notebook
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    match parent {
        Some(parent) => Ok(working_directory()?.join(parent)),
        None => working_directory(),
    }
}

/// `a.ipynb` becomes `a.out.ipynb`: the notebook itself is never written without being told to.
fn default_output(notebook: &Path) -> PathBuf {
    notebook.with_extension("out.ipynb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_names_with_values() {
        assert_eq!(read_parameter("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(read_parameter("1a=2").is_err());
        assert!(read_parameter("a").is_err());
    }

    #[test]
    fn the_output_stands_beside_the_notebook() {
        assert_eq!(
            default_output(Path::new("x/a.b.ipynb")),
            Path::new("x/a.b.out.ipynb")
        );
    }
}
