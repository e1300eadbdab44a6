//! `bireme kernel`: the process Jupyter starts for a notebook. What it does is the kernel's.

use crate::context::{Context, working_directory};
use crate::error::CliError;
use bireme_jupyter::{BoundSockets, ConnectionFile, ServeOptions, serve};
use bireme_kernel::{BiremeKernel, KernelOptions, session_name};
use bireme_settings::environment;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// One thread for the sockets while another one renders a table.
const WORKERS: usize = 2;
/// Rarely used: files and the history have threads of their own.
const BLOCKING_THREADS_MAX: usize = 4;

#[derive(Debug, Args)]
pub(crate) struct KernelArguments {
    /// The connection file, made by Jupyter.
    #[arg(short = 'f', long = "connection-file", value_name = "FILE")]
    connection_file: PathBuf,
}

impl KernelArguments {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let connection = ConnectionFile::read(&self.connection_file)?;
        runtime()?.block_on(async {
            // First of all: clients are waiting to connect.
            let sockets = BoundSockets::bind(&connection).await?;
            let home = context.home()?;
            let settings = context.settings(&home, None)?;
            let session = session_name(&self.connection_file);
            let program = Context::program()?;
            let options =
                KernelOptions::new(home, settings, program, session, working_directory()?);
            let kernel = Arc::new(BiremeKernel::new(options));
            let serving = ServeOptions {
                parent_pid: environment("JPY_PARENT_PID").and_then(|pid| pid.parse().ok()),
                ..ServeOptions::default()
            };
            let mut signals = JoinSet::new();
            watch_signals(&mut signals, &serving)?;
            let reason = serve(sockets, kernel, serving).await?;
            tracing::info!(?reason, "the kernel ends");
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn runtime() -> Result<Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .map_err(|source| CliError::io("start the runtime", source))
}

/// SIGTERM ends the kernel in order. SIGINT is a terminal's Ctrl-C, which reaches us beside the
/// console that sends an interrupt message for it: it must not end us.
fn watch_signals(tasks: &mut JoinSet<()>, serving: &ServeOptions) -> Result<(), CliError> {
    let listen = |kind| signal(kind).map_err(|source| CliError::io("listen for signals", source));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let stop = serving.stop.clone();
    tasks.spawn(async move {
        terminate.recv().await;
        stop.cancel();
    });
    tasks.spawn(async move { while interrupt.recv().await.is_some() {} });
    Ok(())
}
