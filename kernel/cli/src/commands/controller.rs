//! `bireme controller`: the control plane's process. Everything it does is the controller's.

use crate::context::Context;
use crate::error::CliError;
use crate::signals;
use bireme_controller::{ControllerOptions, listener_from_stdin};
use bireme_protocol::process;
use clap::Args;
use std::process::ExitCode;

/// What the process is started with.
#[derive(Debug, Args)]
pub(crate) struct ControllerArguments {
    /// How many engines there shall be.
    #[arg(long)]
    engines: u32,
    /// Serve the Unix socket that standard input is.
    #[arg(long)]
    listen_on_stdin: bool,
}

impl ControllerArguments {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        process::set_short_name("bireme");
        let home = context.home()?;
        let settings = context.settings(&home, None)?;
        let mut options = ControllerOptions::new(home, self.engines, &settings);
        if self.listen_on_stdin {
            let listener = listener_from_stdin().map_err(|source| {
                CliError::io("take the launcher's socket from standard input", source)
            })?;
            options.listener = Some(listener);
        }
        let ended = Context::block_on(async {
            let told = signals::told_to_end()?;
            Ok(bireme_controller::run(options, told).await?)
        })?;
        Ok(ExitCode::from(ended.exit_code()))
    }
}
