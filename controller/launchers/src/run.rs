//! The launcher process: detaches, takes the lock, starts everything, and keeps it alive until it
//! is told to stop or the controller ends by itself. Decisions are the supervisor's.

use crate::cluster_lock::ClusterLock;
use crate::command::ClusterCommands;
use crate::controller_link::{ControllerLink, REPORTS_MAX};
use crate::error::LauncherError;
use crate::exit::Exit;
use crate::launcher::{Launcher, StartedProcess};
use crate::local::LocalLauncher;
use crate::log_file::LogFile;
use crate::service::{Command, LauncherService};
use crate::supervisor::{Supervisor, SupervisorParts};
use bireme_protocol::proto::launcher_server::LauncherServer;
use bireme_protocol::{Address, Fault};
use bireme_settings::Home;
use nix::errno::Errno;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;

/// Most engines a cluster has.
pub const ENGINES_MAX: u32 = 256;
/// Requests that wait for the loop.
const COMMANDS_MAX: usize = 64;
/// How long answers may take to leave once everything has ended.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);
/// With nothing due the loop still looks around this often.
const IDLE_TICK: Duration = Duration::from_secs(60);
/// What a launcher writes to its standard output once it answers.
pub(crate) const READY_LINE: &str = "ready";

/// What the launcher process runs with.
#[derive(Debug)]
pub struct LauncherOptions {
    /// The cluster's directory.
    pub home: Home,
    /// How many engines.
    pub engines: u32,
    /// What to start.
    pub commands: ClusterCommands,
}

/// Runs the launcher process until its cluster has ended. Call it on the main thread of a process
/// that does nothing else: it leaves the caller's session, reaps every child, and its children die
/// with this thread. Writes one line to standard output once `launcher.sock` answers.
///
/// # Errors
/// Another launcher serves this home, the system refuses, or the controller crashed too often.
pub fn run_launcher(options: LauncherOptions) -> Result<(), LauncherError> {
    match nix::unistd::setsid() {
        Ok(_) => {}
        // Already the leader of a group, as when started by a shell: it stays in that session.
        Err(Errno::EPERM) => tracing::warn!("launcher stays in the session that started it"),
        Err(errno) => return Err(LauncherError::system("start a session", errno)),
    }
    let lock = ClusterLock::take(&options.home)?;
    std::env::set_current_dir(options.home.root())
        .map_err(|error| LauncherError::file("enter", options.home.root(), error))?;
    // What a killed launcher left: its children end with it, but may not have ended yet.
    remove_sockets(&options.home);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| LauncherError::system("start the runtime", error))?;
    let home = options.home.clone();
    let ended = runtime.block_on(serve(options));
    remove_sockets(&home);
    drop(lock);
    ended
}

async fn serve(options: LauncherOptions) -> Result<(), LauncherError> {
    let mut launcher = LocalLauncher::new()?;
    let controller = Address::unix(options.home.controller_socket());
    let listener = controller
        .listen()?
        .into_std()
        .map_err(|error| LauncherError::file("listen on", controller.path(), error))?;
    let own = Address::unix(options.home.launcher_socket());
    let own_listener = own.listen()?;
    let (reports_tx, reports_rx) = mpsc::channel(REPORTS_MAX);
    let (commands_tx, commands) = mpsc::channel(COMMANDS_MAX);
    let link = ControllerLink::new(&controller);
    let log = own_log(&options.home);
    let parts = SupervisorParts {
        home: options.home,
        commands: options.commands,
        listener,
        engines: options.engines.clamp(1, ENGINES_MAX),
        reports: reports_tx,
    };
    let supervisor = Supervisor::new(parts, Instant::now());
    let service = LauncherService {
        commands: commands_tx,
        controller: link.clone(),
        failure: supervisor.failure(),
    };
    let is_over = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(link.pass_reports(reports_rx));
    tasks.spawn(answer(service, own_listener, is_over.clone()));
    let mut event_loop = EventLoop {
        supervisor,
        commands,
        stops: Vec::new(),
        log,
    };
    let ended = event_loop.run(&mut launcher).await;
    launcher.clean_up().await;
    for stop in event_loop.stops.drain(..) {
        let _ = stop.send(());
    }
    let failure = event_loop.supervisor.failure().borrow().clone();
    drop(event_loop);
    is_over.cancel();
    let flushed = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(FLUSH_DEADLINE, flushed).await.is_err() {
        tracing::debug!("answers were cut short");
    }
    ended?.and_failure(failure)
}

/// How the loop ended: told to, or for want of a controller.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LoopEnd {
    Asked,
    ControllerFailed,
}

impl LoopEnd {
    fn and_failure(self, failure: Option<Fault>) -> Result<(), LauncherError> {
        match (self, failure) {
            (Self::ControllerFailed, Some(fault)) => Err(LauncherError::ControllerFailed {
                fault: Box::new(fault),
            }),
            _ => Ok(()),
        }
    }
}

enum Event {
    Ended(StartedProcess, Exit),
    Command(Command),
    Signal,
    Tick,
}

struct EventLoop {
    supervisor: Supervisor,
    commands: mpsc::Receiver<Command>,
    /// Who waits for everything to have ended.
    stops: Vec<oneshot::Sender<()>>,
    /// Where its standard error goes, unless somebody else reads it.
    log: PathBuf,
}

impl EventLoop {
    async fn run(&mut self, launcher: &mut LocalLauncher) -> Result<LoopEnd, LauncherError> {
        let mut signals = signal(SignalKind::terminate())
            .map_err(|error| LauncherError::system("watch for SIGTERM", error))?;
        self.supervisor.tick(launcher, Instant::now());
        tell_ready();
        let mut was_asked = false;
        while !self.supervisor.is_over() {
            let deadline = self.supervisor.deadline();
            let due = deadline.unwrap_or_else(|| Instant::now() + IDLE_TICK);
            let event = tokio::select! {
                end = launcher.poll() => {
                    let (process, exit) = end?;
                    Event::Ended(process, exit)
                }
                Some(command) = self.commands.recv() => Event::Command(command),
                _ = signals.recv() => Event::Signal,
                () = tokio::time::sleep_until(due.into()) => Event::Tick,
            };
            was_asked |= matches!(event, Event::Signal | Event::Command(Command::Stop(_)));
            self.handle(event, launcher, Instant::now());
            if let Err(error) = LogFile::bound_stderr(&self.log, LogFile::BYTES_MAX) {
                tracing::debug!(%error, "the launcher's log is not begun anew");
            }
        }
        let has_failed = self.supervisor.has_failed_controller() && !was_asked;
        Ok(if has_failed {
            LoopEnd::ControllerFailed
        } else {
            LoopEnd::Asked
        })
    }

    fn handle(&mut self, event: Event, launcher: &mut LocalLauncher, now: Instant) {
        match event {
            Event::Ended(process, exit) => {
                self.supervisor.ended(process, exit, launcher, now);
                self.supervisor.tick(launcher, now);
            }
            Event::Command(Command::Processes(reply)) => {
                let _ = reply.send(self.supervisor.processes());
            }
            Event::Command(Command::Engines(reply)) => {
                let _ = reply.send(self.supervisor.engines());
            }
            Event::Command(Command::Scale(engines, reply)) => {
                self.supervisor.scale(engines, launcher, now);
                let _ = reply.send(());
            }
            Event::Command(Command::Stop(reply)) => {
                self.stops.push(reply);
                self.supervisor.stop_all(launcher, now);
            }
            Event::Signal => self.supervisor.stop_all(launcher, now),
            Event::Tick => self.supervisor.tick(launcher, now),
        }
    }
}

async fn answer(service: LauncherService, listener: UnixListener, is_over: CancellationToken) {
    let served = tonic::transport::Server::builder()
        .add_service(LauncherServer::new(service))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), is_over.cancelled());
    if let Err(error) = served.await {
        tracing::error!(error = %Fault::internal("serve the launcher").with_sources(&error), "launcher no longer answers");
    }
}

/// The launcher's log: who starts it makes it its standard error.
pub(crate) fn own_log(home: &Home) -> PathBuf {
    home.logs().join("launcher.log")
}

/// Whoever started us may have gone already, which is no reason not to serve.
fn tell_ready() {
    let mut output = std::io::stdout();
    let told = writeln!(output, "{READY_LINE}").and_then(|()| output.flush());
    if let Err(error) = told {
        tracing::debug!(%error, "nobody waits for the launcher");
    }
}

/// Removes every socket of the cluster: all who served them have ended.
pub(crate) fn remove_sockets(home: &Home) {
    let Ok(entries) = std::fs::read_dir(home.sockets()) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_socket = path
            .extension()
            .is_some_and(|extension| extension == "sock");
        if is_socket && let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "socket stays");
        }
    }
}
