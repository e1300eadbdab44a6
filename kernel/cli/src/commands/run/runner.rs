//! Runs the cells of a notebook one after the other and writes the notebook after each, so that a
//! long run that is cut short leaves what it had.

use super::cell_outputs::CellOutputs;
use super::display::RunDisplay;
use super::notebook::Notebook;
use crate::error::CliError;
use bireme_jupyter::wire::{CellError, ExecuteRequest};
use bireme_jupyter::{
    BoundSockets, ConnectionFile, ExecutionEnd, Frontend, FrontendMessage, ServeOptions, serve,
};
use bireme_kernel::{BiremeKernel, KernelOptions};
use bireme_magics::display::units::duration;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The kernel is in this process: it answers at once or never.
const KERNEL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked whether the line on the terminal may change.
const REFRESH: Duration = Duration::from_millis(50);
/// Longest wait for the kernel's end.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// How a notebook is run.
pub(crate) struct Runner<'a> {
    pub(crate) output: &'a Path,
    pub(crate) keep_going: bool,
}

/// The run so far.
struct Run<'a> {
    notebook: &'a mut Notebook,
    front_end: &'a Frontend,
    outputs: CellOutputs,
    display: RunDisplay,
    is_interrupted: bool,
}

impl Runner<'_> {
    /// Runs all cells; the exit code says whether one failed.
    pub(crate) async fn run(
        &self,
        notebook: &mut Notebook,
        options: KernelOptions,
    ) -> Result<ExitCode, CliError> {
        let directory = tempfile::Builder::new()
            .prefix("bireme-run-")
            .tempdir()
            .map_err(|source| CliError::io("make a directory for the kernel's sockets", source))?;
        let connection = ConnectionFile::new_ipc(directory.path());
        let sockets = BoundSockets::bind(&connection).await?;
        let kernel = Arc::new(BiremeKernel::new(options));
        let serving = ServeOptions::default();
        let mut kernels = JoinSet::new();
        kernels.spawn(serve(sockets, kernel, serving));
        let front_end = Frontend::connect(&connection, KERNEL_TIMEOUT).await?;
        let info = front_end.kernel_info().await?;
        notebook.set_kernel(&json!(info.language_info));
        notebook.clear_outputs();
        let outcome = self.run_cells(notebook, &front_end).await;
        if let Err(error) = front_end.shutdown(false).await {
            tracing::warn!(%error, "the kernel was not asked to end");
        }
        let ended = tokio::time::timeout(END_TIMEOUT, kernels.join_next()).await;
        if ended.is_err() {
            tracing::warn!("the kernel did not end in {END_TIMEOUT:?}");
        }
        outcome
    }

    async fn run_cells(
        &self,
        notebook: &mut Notebook,
        front_end: &Frontend,
    ) -> Result<ExitCode, CliError> {
        let started_at = Instant::now();
        let total = notebook.len();
        let mut run = Run {
            notebook,
            front_end,
            outputs: CellOutputs::default(),
            display: RunDisplay::new(total),
            is_interrupted: false,
        };
        let mut failure = None;
        for index in 0..total {
            let Some(source) = run.notebook.code(index) else {
                continue;
            };
            let error = run.cell(index, &source).await?;
            run.notebook.write(self.output)?;
            let Some(error) = error else { continue };
            if run.is_interrupted {
                return Err(CliError::Interrupted);
            }
            if run.notebook.may_fail(index) {
                continue;
            }
            run.display.failure(&source, &error);
            failure.get_or_insert((index, error));
            if !self.keep_going {
                break;
            }
        }
        run.notebook.write(self.output)?;
        let took = duration(started_at.elapsed());
        run.display
            .note(&format!("wrote {} after {took}", self.output.display()));
        match failure {
            None => Ok(ExitCode::SUCCESS),
            Some((index, error)) => Err(CliError::CellFailed {
                path: run.notebook.path.clone(),
                number: index + 1,
                ename: error.ename,
            }),
        }
    }
}

impl Run<'_> {
    /// Runs one cell; gives its failure, if it failed.
    async fn cell(&mut self, index: usize, source: &str) -> Result<Option<CellError>, CliError> {
        let request = ExecuteRequest {
            allow_stdin: false,
            ..ExecuteRequest::new(source)
        };
        let metadata = self.notebook.cell_metadata(index);
        self.display.begin(index + 1, source);
        let mut execution = self.front_end.execute_with(request, &metadata).await?;
        let mut beat = tokio::time::interval(REFRESH);
        loop {
            tokio::select! {
                biased;
                message = execution.next() => match message? {
                    Some(message) => self.message(index, &message),
                    None => break,
                },
                _ = tokio::signal::ctrl_c() => {
                    self.is_interrupted = true;
                    self.front_end.interrupt().await?;
                }
                _ = beat.tick() => self.display.refresh(),
            }
        }
        let (count, error) = match execution.end() {
            Some(ExecutionEnd { reply, .. }) => (Some(reply.execution_count), reply.error.clone()),
            None => (None, None),
        };
        self.notebook
            .set_outputs(index, count, self.outputs.of(index));
        self.display.end(error.as_ref());
        Ok(error)
    }

    fn message(&mut self, index: usize, message: &FrontendMessage) {
        self.display.message(message);
        for other in self.outputs.apply(index, message) {
            self.notebook.replace_outputs(other, self.outputs.of(other));
        }
    }
}
