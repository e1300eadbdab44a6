//! The command line: global flags and the list of commands. What a command takes is declared in its
//! own file.

use crate::commands::{bench, cluster, controller, datagen, engine, install, kernel, lab};
use crate::commands::{launcher, run, sql};
use crate::context::Context;
use crate::error::CliError;
use crate::logging::{self, Verbosity};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// SQL and Rust in Jupyter notebooks, executed by ranks of engine processes.
#[derive(Debug, Parser)]
#[command(
    name = "bireme",
    version,
    max_term_width = 100,
    propagate_version = true
)]
pub(crate) struct Arguments {
    /// The directory of the cluster: sockets, state, logs and spill files [default: BIREME_HOME or ~/.bireme].
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Execute a notebook without a front end.
    Run(run::RunArguments),
    /// Open JupyterLab with this kernel.
    Lab(lab::LabArguments),
    /// Tell Jupyter about this kernel.
    Install(install::InstallArguments),
    /// Make Jupyter forget this kernel.
    Uninstall(install::UninstallArguments),
    /// Start, look at and stop the cluster.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Run SQL; rows go to standard output, everything else to standard error.
    Sql(sql::SqlArguments),
    /// Generate sample data as Parquet.
    #[command(subcommand)]
    Datagen(datagen::DatagenCommand),
    /// Measure this build on this machine.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// The process Jupyter starts for a notebook.
    Kernel(kernel::KernelArguments),
    /// The control plane of a cluster; started by the launcher.
    #[command(hide = true)]
    Controller(controller::ControllerArguments),
    /// One engine of a cluster; started by the launcher.
    #[command(hide = true)]
    Engine(engine::EngineArguments),
    /// The parent of a cluster's processes; started on first need.
    #[command(hide = true)]
    Launcher(launcher::LauncherArguments),
}

impl Command {
    /// Processes of a cluster write to log files, commands to a person.
    fn verbosity(&self) -> Verbosity {
        match self {
            Self::Controller(_) | Self::Engine(_) | Self::Launcher(_) => Verbosity::Service,
            _ => Verbosity::Quiet,
        }
    }
}

impl Arguments {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, CliError> {
        logging::start(self.command.verbosity());
        let context = Context::new(self.home);
        match self.command {
            Command::Run(arguments) => arguments.run(&context),
            Command::Lab(arguments) => arguments.run(&context),
            Command::Install(arguments) => arguments.run(&context),
            Command::Uninstall(arguments) => arguments.run(),
            Command::Cluster(command) => command.run(&context),
            Command::Sql(arguments) => arguments.run(&context),
            Command::Datagen(command) => command.run(),
            Command::Bench(command) => command.run(&context),
            Command::Kernel(arguments) => arguments.run(&context),
            Command::Controller(arguments) => arguments.run(&context),
            Command::Engine(arguments) => arguments.run(&context),
            Command::Launcher(arguments) => arguments.run(&context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
