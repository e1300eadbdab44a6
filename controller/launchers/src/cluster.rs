//! Brings a cluster up from any process and takes it down again. The cluster is the launcher's: this
//! only starts one where none is, waits until it answers, and asks it to end.

use crate::cluster_lock::ClusterLock;
use crate::command::ProcessCommand;
use crate::error::LauncherError;
use crate::log_file::LogFile;
use crate::log_tail::log_tail;
use crate::run::{READY_LINE, own_log, remove_sockets};
use crate::running_process::RunningProcess;
use bireme_protocol::proto::launcher_client::LauncherClient;
use bireme_protocol::proto::{Empty, WaitReadyRequest};
use bireme_protocol::{Address, Fault, build_id};
use bireme_settings::Home;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tonic::transport::Channel;

/// Between two looks at whether another launcher answers or has gone.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long the launcher's answer may be late.
const ANSWER_SLACK: Duration = Duration::from_secs(2);
/// How long a launcher that was asked to end may take before it is killed, its children with it.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
/// How long the system takes to end killed processes at most.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// How long a launcher may live on once its lock is free: it has nothing left to do.
const EXIT_DEADLINE: Duration = Duration::from_secs(1);
/// How often a cluster is found that ends before it can be attached to.
const ATTACH_ATTEMPTS: u32 = 5;
/// Lines of the launcher's log an error carries.
const LOG_LINES: usize = 20;

/// How to start a cluster.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// What runs [`crate::run_launcher`].
    pub launcher: ProcessCommand,
    /// Longest wait for all engines to be there.
    pub timeout: Duration,
}

impl StartOptions {
    /// `PROGRAM launcher --engines N` with `BIREME_HOME`.
    pub fn of_program(program: &Path, home: &Home, engines: u32, timeout: Duration) -> Self {
        let engines = engines.to_string();
        let launcher = ProcessCommand::new(program, ["launcher", "--engines", &engines])
            .with_environment("BIREME_HOME", home.root());
        Self { launcher, timeout }
    }
}

/// A cluster that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedCluster {
    /// Its controller.
    pub controller: Address,
    /// Its launcher.
    pub launcher: Address,
    /// How many engines it has.
    pub engines: u32,
    /// Whether it was started now, not found running.
    pub is_new: bool,
}

/// Starts the cluster of a home, or attaches to the one that runs there, and returns once its
/// controller answers and all its engines are registered.
///
/// # Errors
/// Something does not start (with its last log lines), takes too long, or is of another build.
pub async fn start_cluster(
    home: &Home,
    options: &StartOptions,
) -> Result<StartedCluster, LauncherError> {
    let deadline = Instant::now() + options.timeout;
    for _ in 0..ATTACH_ATTEMPTS {
        if let Some(cluster) = start_or_attach(home, options, deadline).await? {
            return Ok(cluster);
        }
        tracing::debug!("the cluster that was found ended meanwhile");
    }
    Err(late("attach to clusters that end", options.timeout))
}

/// Starts or attaches. Nothing when the cluster that was found was about to end.
async fn start_or_attach(
    home: &Home,
    options: &StartOptions,
    deadline: Instant,
) -> Result<Option<StartedCluster>, LauncherError> {
    let is_new = match ClusterLock::holder(home)? {
        Some(_) => false,
        None => start_launcher(home, options, deadline).await?,
    };
    let error = match attach(home, options.timeout, deadline).await {
        Ok(cluster) => return Ok(Some(StartedCluster { is_new, ..cluster })),
        Err(error) => error,
    };
    if is_new {
        tracing::warn!(%error, "cluster does not start: what runs of it is ended");
        if let Err(error) = stop_cluster(home).await {
            tracing::warn!(%error, "half a cluster stays");
        }
    } else if ClusterLock::holder(home)?.is_none() {
        return Ok(None);
    }
    Err(error)
}

/// Waits until the launcher and everything it starts answer.
async fn attach(
    home: &Home,
    timeout: Duration,
    deadline: Instant,
) -> Result<StartedCluster, LauncherError> {
    let address = Address::unix(home.launcher_socket());
    let mut client = connect(home, &address, deadline).await?;
    let hello = client.hello(build_id::hello("launcher"));
    match tokio::time::timeout_at(deadline, hello).await {
        Ok(answer) => drop(answer.map_err(Fault::from)?),
        Err(_) => return Err(late("greet the launcher", timeout)),
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let request = WaitReadyRequest {
        timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
    };
    let ready = tokio::time::timeout(left + ANSWER_SLACK, client.wait_ready(request));
    let engines = match ready.await {
        Ok(reply) => reply.map_err(Fault::from)?.into_inner().engines,
        Err(_) => return Err(late("wait for the cluster", timeout)),
    };
    Ok(StartedCluster {
        controller: Address::unix(home.controller_socket()),
        launcher: address,
        engines,
        is_new: false,
    })
}

/// Ends the cluster of a home and returns once nothing of it is left. False when there was none.
///
/// # Errors
/// Its processes do not end, even killed.
pub async fn stop_cluster(home: &Home) -> Result<bool, LauncherError> {
    let Some(pid) = ClusterLock::holder(home)? else {
        clear_leftovers(home);
        return Ok(false);
    };
    let mut launcher = RunningProcess::find(pid);
    let asked = async {
        let deadline = Instant::now() + ANSWER_SLACK;
        let address = Address::unix(home.launcher_socket());
        let mut client = connect(home, &address, deadline).await?;
        client.stop(Empty {}).await.map_err(Fault::from)?;
        Ok::<_, LauncherError>(())
    };
    match tokio::time::timeout(STOP_DEADLINE, asked).await {
        Ok(Ok(())) => {}
        // Also one that ends by itself already no longer answers.
        Ok(Err(error)) => tracing::warn!(%error, "launcher does not answer"),
        Err(_) => tracing::warn!("launcher does not end in {STOP_DEADLINE:?}"),
    }
    if !wait_until_free(home, KILL_DEADLINE).await? {
        // Its children are tied to it and die with it.
        if pid != 0 && ClusterLock::holder(home)? == Some(pid) {
            tracing::warn!(pid, "launcher is killed");
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
        if !wait_until_free(home, KILL_DEADLINE).await? {
            return Err(late("end the launcher", STOP_DEADLINE + KILL_DEADLINE));
        }
        clear_leftovers(home);
    }
    if let Some(launcher) = &mut launcher {
        wait_until_ended(launcher).await;
    }
    Ok(true)
}

/// Removes what a killed launcher left, unless the next one has taken the lock already.
fn clear_leftovers(home: &Home) {
    match ClusterLock::take(home) {
        Ok(_lock) => remove_sockets(home),
        Err(error) => tracing::debug!(%error, "another launcher clears up"),
    }
}

/// Starts a launcher and waits until it answers. False when another one was faster.
async fn start_launcher(
    home: &Home,
    options: &StartOptions,
    deadline: Instant,
) -> Result<bool, LauncherError> {
    let log_path = own_log(home);
    let log = LogFile::open(&log_path)
        .map_err(|error| LauncherError::file("open log", &log_path, error))?;
    let spec = &options.launcher;
    let mut child = Command::new(&spec.program)
        .arg0(spec.name.as_deref().unwrap_or(spec.program.as_os_str()))
        .args(&spec.arguments)
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.into_file())
        .spawn()
        .map_err(|source| LauncherError::Spawn {
            name: "launcher".to_string(),
            program: spec.program.clone(),
            source,
        })?;
    let left = deadline.saturating_duration_since(Instant::now());
    match tokio::time::timeout(left, is_ready(&mut child)).await {
        Ok(true) => return Ok(true),
        Ok(false) => {}
        Err(_) => {
            // It may hold the lock by now: leave nothing half-started behind.
            end_launcher(&mut child).await;
            return Err(late("start the launcher", options.timeout));
        }
    }
    let exit = match tokio::time::timeout_at(deadline, child.wait()).await {
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => {
            end_launcher(&mut child).await;
            return Err(late(
                "wait for a launcher that does not start",
                options.timeout,
            ));
        }
    };
    match ClusterLock::holder(home)? {
        Some(_) => Ok(false),
        None => Err(LauncherError::LauncherEnded {
            exit,
            log: log_tail(&log_path, LOG_LINES),
        }),
    }
}

async fn end_launcher(child: &mut Child) {
    match tokio::time::timeout(KILL_DEADLINE, child.kill()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "launcher is not killed"),
        Err(_) => tracing::warn!("launcher does not end in {KILL_DEADLINE:?}, even killed"),
    }
}

/// Whether the launcher said that it is ready; false when it ended instead.
async fn is_ready(child: &mut Child) -> bool {
    let Some(output) = child.stdout.take() else {
        return false;
    };
    let mut lines = BufReader::new(output).lines();
    loop {
        match lines.next_line().await {
            Ok(Some(line)) if line == READY_LINE => return true,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return false,
        }
    }
}

/// Connects to the launcher, which may have taken its lock a moment ago and not listen yet.
async fn connect(
    home: &Home,
    address: &Address,
    deadline: Instant,
) -> Result<LauncherClient<Channel>, LauncherError> {
    loop {
        let fault = match address.connect().await {
            Ok(channel) => return Ok(LauncherClient::new(channel)),
            Err(fault) => fault,
        };
        if Instant::now() >= deadline || ClusterLock::holder(home)?.is_none() {
            return Err(fault.into());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Waits until nobody holds the lock of a home.
async fn wait_until_free(home: &Home, limit: Duration) -> Result<bool, LauncherError> {
    let deadline = Instant::now() + limit;
    while ClusterLock::holder(home)?.is_some() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(true)
}

/// Waits until a launcher that gave its lock back is no more.
async fn wait_until_ended(launcher: &mut RunningProcess) {
    let deadline = Instant::now() + EXIT_DEADLINE;
    while !launcher.has_ended() {
        if Instant::now() >= deadline {
            tracing::warn!("launcher lives {EXIT_DEADLINE:?} after its cluster");
            return;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn late(tried: &str, limit: Duration) -> LauncherError {
    LauncherError::Deadline {
        tried: tried.to_string(),
        limit,
    }
}
