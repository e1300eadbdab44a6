//! The seam between watching processes and the place where they run. [`crate::LocalLauncher`] runs
//! them as child processes; a launcher for another place (ssh, a batch system) implements the same
//! three verbs and leaves restarts, back-off and reports to the supervisor.

use crate::command::ProcessCommand;
use crate::error::LauncherError;
use crate::exit::Exit;
use async_trait::async_trait;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// A process to start.
#[derive(Debug)]
pub struct ProcessSpec {
    /// "controller" or "engine 3": for logs and errors.
    pub name: String,
    /// What to execute.
    pub command: ProcessCommand,
    /// Where its output goes.
    pub log: PathBuf,
    /// What it reads; nothing when absent.
    pub stdin: Option<OwnedFd>,
}

/// A process that was started: its id where it runs, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StartedProcess(pub u32);

/// How to end a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It may finish what it does (SIGTERM).
    Ask,
    /// At once (SIGKILL).
    Force,
}

/// Starts and ends processes somewhere, and notices their end.
#[async_trait]
pub trait Launcher: Send {
    /// Starts a process and returns without waiting for it to be ready.
    ///
    /// # Errors
    /// It could not be started; nothing runs then.
    fn start(&mut self, spec: ProcessSpec) -> Result<StartedProcess, LauncherError>;

    /// Ends a process, best effort; that it ended is told by [`Launcher::poll`]. A process that has
    /// ended already is left alone.
    fn stop(&mut self, process: StartedProcess, ending: Ending);

    /// Waits until a process that was started has ended, each told once. Safe to cancel.
    ///
    /// # Errors
    /// Ends can no longer be noticed.
    async fn poll(&mut self) -> Result<(StartedProcess, Exit), LauncherError>;

    /// Ends what processes have left behind, once all of them have ended.
    async fn clean_up(&mut self);
}
