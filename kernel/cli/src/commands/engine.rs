//! `bireme engine`: one engine's process. Everything it does is the engine's.

use crate::context::Context;
use crate::error::CliError;
use crate::signals;
use bireme_engine::EngineOptions;
use bireme_protocol::process;
use clap::Args;
use std::process::ExitCode;

/// What the process is started with.
#[derive(Debug, Args)]
pub(crate) struct EngineArguments {
    /// Its place in the cluster, from 0.
    #[arg(long)]
    rank: u32,
    /// How many engines there shall be: they share cores and memory.
    #[arg(long)]
    engines: u32,
}

impl EngineArguments {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        process::set_short_name("bireme");
        let home = context.home()?;
        let settings = context.settings(&home, None)?;
        let options = EngineOptions {
            home,
            rank: self.rank,
            engines: self.engines,
            settings,
        };
        bireme_engine::run(options, &signals::token()?)?;
        Ok(ExitCode::SUCCESS)
    }
}
