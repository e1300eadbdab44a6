//! A kernel process that is measured, and a front end to it.

use crate::context::Context;
use crate::error::CliError;
use bireme_jupyter::wire::{CellError, ExecuteRequest};
use bireme_jupyter::{ConnectionFile, Execution, Frontend};
use bireme_settings::Home;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// Longest wait for a kernel.
const KERNEL_TIMEOUT: Duration = Duration::from_secs(20);

/// A running kernel. It is killed when this is dropped.
pub(super) struct BenchKernel {
    process: Child,
    pub(super) front_end: Frontend,
}

impl BenchKernel {
    /// Starts one and returns when it has said who it is.
    pub(super) async fn start(home: &Home) -> Result<Self, CliError> {
        let connection = with_free_ports(ConnectionFile::new_loopback())?;
        let file = home.root().join("kernel-bench.json");
        connection.write(&file)?;
        let process = Command::new(Context::program()?)
            .args(["kernel", "-f"])
            .arg(&file)
            .env("BIREME_HOME", home.root())
            // A measurement that is killed takes its kernel along.
            .env("JPY_PARENT_PID", std::process::id().to_string())
            .current_dir(home.root())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| CliError::io("start a kernel", source))?;
        let front_end = Frontend::connect(&connection, KERNEL_TIMEOUT).await?;
        front_end.kernel_info().await?;
        Ok(Self { process, front_end })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.id().unwrap_or_default()
    }

    /// Asks it to run a cell.
    pub(super) async fn begin(&self, code: &str) -> Result<Execution, CliError> {
        Ok(self.front_end.execute(ExecuteRequest::new(code)).await?)
    }

    /// Runs a cell; tells the time from the request to idle.
    pub(super) async fn time(&self, code: &str) -> Result<Duration, CliError> {
        let started_at = Instant::now();
        let (_, end) = self.begin(code).await?.collect().await?;
        match end.reply.error {
            None => Ok(started_at.elapsed()),
            Some(CellError { ename, evalue, .. }) => Err(CliError::Program {
                message: format!("measure the cell `{code}`: {ename}: {evalue}"),
            }),
        }
    }

    /// Asks it to end and waits for that.
    pub(super) async fn end(mut self) -> Result<(), CliError> {
        self.front_end.shutdown(false).await?;
        // It has been asked to end; a kernel that does not is killed when dropped.
        let _ = tokio::time::timeout(KERNEL_TIMEOUT, self.process.wait()).await;
        Ok(())
    }
}

/// Ports that are free now, as Jupyter chooses them.
fn with_free_ports(mut connection: ConnectionFile) -> Result<ConnectionFile, CliError> {
    let failed = |source| CliError::io("find a free port", source);
    let listeners = std::iter::repeat_with(|| std::net::TcpListener::bind("127.0.0.1:0"))
        .take(5)
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(failed)?;
    let ports = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(failed)?;
    if let [shell, control, stdin, iopub, heartbeat] = ports[..] {
        connection.shell_port = shell;
        connection.control_port = control;
        connection.stdin_port = stdin;
        connection.iopub_port = iopub;
        connection.hb_port = heartbeat;
    }
    Ok(connection)
}
