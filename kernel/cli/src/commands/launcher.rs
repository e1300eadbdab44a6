//! `bireme launcher`: the parent of a cluster's processes. Everything it does is the launchers'.

use crate::context::Context;
use crate::error::CliError;
use bireme_launchers::{ClusterCommands, ENGINES_MAX, LauncherOptions, run_launcher};
use clap::Args;
use std::process::ExitCode;

/// What the process is started with.
#[derive(Debug, Args)]
pub(crate) struct LauncherArguments {
    /// How many engines.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(ENGINES_MAX)))]
    engines: u32,
}

impl LauncherArguments {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let home = context.home()?;
        let commands = ClusterCommands::of_this_process(&Context::program()?, home.root());
        run_launcher(LauncherOptions {
            home,
            engines: self.engines,
            commands,
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
