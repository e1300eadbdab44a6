//! Runs processes as children of this one, which becomes the subreaper of all they start. Their
//! output goes through a pipe into bounded logs; their ends come with SIGCHLD.

use crate::command::ProcessCommand;
use crate::error::LauncherError;
use crate::exit::Exit;
use crate::launcher::{Ending, Launcher, ProcessSpec, StartedProcess};
use crate::log_file::LogFile;
use crate::parent_death::die_with_parent;
use async_trait::async_trait;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// Bytes of output moved to a log at once.
const OUTPUT_BUFFER_BYTES: usize = 16 << 10;
/// Rounds of ending what children left behind, with the pause between them.
const CLEAN_UP_ROUNDS: u32 = 50;
const CLEAN_UP_PAUSE: Duration = Duration::from_millis(20);

/// Child processes of this process.
#[derive(Debug)]
pub struct LocalLauncher {
    /// Names by process id, of those that were not reaped: only these may be signalled.
    children: BTreeMap<StartedProcess, String>,
    ends: tokio::signal::unix::Signal,
    outputs: JoinSet<()>,
}

impl LocalLauncher {
    /// Makes this process the parent of what it starts and of what that leaves behind. One per
    /// process, on a thread that lives as long as it: it reaps every child there is.
    ///
    /// # Errors
    /// The system refuses, or no runtime runs.
    pub fn new() -> Result<Self, LauncherError> {
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(|errno| LauncherError::system("become the parent of orphans", errno))?;
        let ends = signal(SignalKind::child())
            .map_err(|error| LauncherError::system("watch for ended children", error))?;
        Ok(Self {
            children: BTreeMap::new(),
            ends,
            outputs: JoinSet::new(),
        })
    }

    /// Takes one end that waits to be noticed.
    fn reap(&mut self) -> Result<Option<(StartedProcess, Exit)>, LauncherError> {
        loop {
            let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Exit::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Exit::Signal(signal)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(errno) => return Err(LauncherError::system("wait for children", errno)),
            };
            let process = StartedProcess(pid.as_raw().unsigned_abs());
            match self.children.remove(&process) {
                Some(name) => {
                    tracing::info!(%name, pid = process.0, %exit, "process ended");
                    return Ok(Some((process, exit)));
                }
                None => tracing::debug!(pid = process.0, %exit, "orphan ended"),
            }
        }
    }
}

#[async_trait]
impl Launcher for LocalLauncher {
    fn start(&mut self, spec: ProcessSpec) -> Result<StartedProcess, LauncherError> {
        let log = LogFile::open(&spec.log)
            .map_err(|error| LauncherError::file("open log", &spec.log, error))?;
        let refused = |source| LauncherError::Spawn {
            name: spec.name.clone(),
            program: spec.command.program.clone(),
            source,
        };
        let (output, child_output) = std::io::pipe().map_err(refused)?;
        let mut command = prepare(&spec.command);
        command.stdin(spec.stdin.map_or_else(Stdio::null, Stdio::from));
        command.stdout(child_output.try_clone().map_err(refused)?);
        command.stderr(child_output);
        die_with_parent(&mut command);
        let child = command.spawn().map_err(refused)?;
        drop(command);
        let process = StartedProcess(child.id());
        tracing::info!(name = %spec.name, pid = process.0, "process started");
        self.children.insert(process, spec.name.clone());
        while self.outputs.try_join_next().is_some() {}
        let output = pipe::Receiver::from_owned_fd(OwnedFd::from(output)).map_err(refused)?;
        self.outputs.spawn(keep_output(output, log, spec.log));
        Ok(process)
    }

    fn stop(&mut self, process: StartedProcess, ending: Ending) {
        let Some(name) = self.children.get(&process) else {
            return;
        };
        let signal = match ending {
            Ending::Ask => Signal::SIGTERM,
            Ending::Force => Signal::SIGKILL,
        };
        tracing::info!(%name, pid = process.0, %signal, "process is told to end");
        send(process, signal);
    }

    async fn poll(&mut self) -> Result<(StartedProcess, Exit), LauncherError> {
        loop {
            if let Some(end) = self.reap()? {
                return Ok(end);
            }
            if self.ends.recv().await.is_none() {
                let gone = io::Error::other("the signal handler is gone");
                return Err(LauncherError::system("wait for children", gone));
            }
        }
    }

    async fn clean_up(&mut self) {
        for _ in 0..CLEAN_UP_ROUNDS {
            while let Ok(Some(_)) = self.reap() {}
            let left = children_of(std::process::id());
            if left.is_empty() {
                break;
            }
            left.iter()
                .for_each(|orphan| send(*orphan, Signal::SIGKILL));
            let ended = tokio::time::timeout(CLEAN_UP_PAUSE, self.ends.recv());
            drop(ended.await);
        }
        let outputs = async { while self.outputs.join_next().await.is_some() {} };
        if tokio::time::timeout(CLEAN_UP_PAUSE, outputs).await.is_err() {
            self.outputs.abort_all();
        }
    }
}

fn prepare(spec: &ProcessCommand) -> Command {
    let mut command = Command::new(&spec.program);
    if let Some(name) = &spec.name {
        command.arg0(name);
    }
    command.args(&spec.arguments);
    let variables = spec.environment.iter().map(|(name, value)| (name, value));
    command.envs(variables);
    command
}

fn send(process: StartedProcess, signal: Signal) {
    let pid = Pid::from_raw(process.0.cast_signed());
    match kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => tracing::warn!(pid = process.0, %signal, %error, "signal was not sent"),
    }
}

/// Copies a child's output to its log until nobody can write any more. A log that cannot be written
/// is read on, so that the child never waits for it.
async fn keep_output(mut output: pipe::Receiver, mut log: LogFile, path: PathBuf) {
    let mut buffer = vec![0; OUTPUT_BUFFER_BYTES];
    let mut is_told = false;
    loop {
        let read = match output.read(&mut buffer).await {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "output of a process is lost");
                return;
            }
        };
        if let Err(error) = log.append(&buffer[..read])
            && !std::mem::replace(&mut is_told, true)
        {
            tracing::warn!(path = %path.display(), %error, "log cannot be written");
        }
    }
}

/// The processes whose parent is `parent`, the dead among them that wait to be reaped.
fn children_of(parent: u32) -> Vec<StartedProcess> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent))
        .map(StartedProcess)
        .collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name is in parentheses and may hold anything; state and parent follow it.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}
