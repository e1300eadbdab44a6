//! One Rust host process: its pipes, its log and its end.

use super::door::Door;
use super::routes::Routes;
use crate::options::KernelOptions;
use bireme::request::SOCKET_ENV;
use bireme_magics::host::Host;
use bireme_protocol::{ErrorCode, Fault};
use bireme_px::frame::{self, FrameDecoder};
use bireme_px::host_protocol::{HostRequest, PRELUDE_CRATES_ENV};
use bireme_px::side_channel::MEMORY_ENV;
use bireme_settings::Settings;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Requests on their way to the host.
const REQUESTS_MAX: usize = 64;
/// Bytes of output taken from the pipe at once.
const READ_BYTES: usize = 64 << 10;
/// How long a host that was asked to end may take, and once more when it was killed.
const END_GRACE: Duration = Duration::from_millis(800);

/// A running Rust host. Dropping it ends the process.
pub(crate) struct RustHost {
    requests: mpsc::Sender<HostRequest>,
    pub(crate) routes: Arc<Routes>,
    /// Where its cells ask for queries.
    door: Option<Door>,
    next_id: AtomicU64,
    kill: CancellationToken,
    /// Read and write the pipes and wait for the process; the last ends when it has ended.
    tasks: Mutex<JoinSet<()>>,
}

impl RustHost {
    /// Starts the process. Cells wait until it is ready.
    pub(crate) fn start(options: &KernelOptions, settings: &Settings) -> Result<Self, Fault> {
        let door = Door::open(&options.home);
        let door = door.inspect_err(|fault| tracing::warn!(%fault, "Rust cells run no queries"));
        let door = door.ok();
        let mut child = spawn(options, settings, door.as_ref())?;
        let routes = Arc::new(Routes::new());
        let kill = CancellationToken::new();
        let (requests_tx, requests) = mpsc::channel(REQUESTS_MAX);
        let mut tasks = JoinSet::new();
        if let Some(stdin) = child.stdin.take() {
            tasks.spawn(until(kill.clone(), write_requests(stdin, requests)));
        }
        if let Some(stderr) = child.stderr.take() {
            tasks.spawn(until(kill.clone(), keep_log(stderr)));
        }
        let stdout = child.stdout.take();
        tasks.spawn(follow(child, stdout, Arc::clone(&routes), kill.clone()));
        Ok(Self {
            requests: requests_tx,
            routes,
            door,
            next_id: AtomicU64::new(1),
            kill,
            tasks: Mutex::new(tasks),
        })
    }

    /// An id nothing else in this host has.
    pub(crate) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request; false when the host is gone.
    pub(crate) async fn send(&self, request: HostRequest) -> bool {
        self.requests.send(request).await.is_ok()
    }

    /// Answers what cells ask for, until it is dropped.
    pub(crate) async fn serve(&self, queries: &dyn Host) {
        match &self.door {
            Some(door) => door.serve(queries).await,
            None => std::future::pending().await,
        }
    }

    /// Ends the process at once.
    pub(crate) fn kill(&self) {
        self.kill.cancel();
    }

    /// Ends the process: asks first, for a moment.
    pub(crate) async fn end(&self) {
        let asked = self.requests.try_send(HostRequest::Shutdown).is_ok();
        let mut tasks = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        if asked {
            // What has not ended by then is killed below.
            let _ = tokio::time::timeout(END_GRACE, all_of(&mut tasks)).await;
        }
        self.kill.cancel();
        let killed = tokio::time::timeout(END_GRACE, all_of(&mut tasks)).await;
        if killed.is_err() {
            tracing::warn!("the Rust host was killed and has not ended within {END_GRACE:?}");
        }
    }
}

async fn all_of(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

impl Drop for RustHost {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}

fn spawn(
    options: &KernelOptions,
    settings: &Settings,
    door: Option<&Door>,
) -> Result<Child, Fault> {
    let program = &options.rust_program;
    let mut command = Command::new(program);
    command
        .arg("host")
        .arg("--home")
        .arg(options.home.root())
        .current_dir(&options.directory)
        .env("BIREME_HOME", options.home.root())
        .env(PRELUDE_CRATES_ENV, settings.get("rust.prelude_crates"))
        .env(MEMORY_ENV, settings.bytes("rust.memory_limit").to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A terminal's Ctrl-C is for the kernel, which interrupts the cell.
        .process_group(0)
        .kill_on_drop(true);
    match door {
        Some(door) => command.env(SOCKET_ENV, door.path()),
        None => command.env_remove(SOCKET_ENV),
    };
    command
        .spawn()
        .map_err(|error| not_started(program, &error))
}

fn not_started(program: &Path, error: &std::io::Error) -> Fault {
    let fault = Fault::new(
        ErrorCode::Unavailable,
        format!("start the Rust host {}", program.display()),
    );
    let fault = fault.with_sources(error);
    match error.kind() {
        std::io::ErrorKind::NotFound => fault.with_hint(
            "the program bireme-rust belongs beside bireme: `cargo build -p bireme-rust-host` builds it",
        ),
        _ => fault,
    }
}

/// Does some work until the host is over: pipes may outlive it in processes it left behind.
async fn until(over: CancellationToken, work: impl Future<Output = ()>) {
    over.run_until_cancelled(work).await;
}

async fn write_requests(mut stdin: ChildStdin, mut requests: mpsc::Receiver<HostRequest>) {
    while let Some(request) = requests.recv().await {
        let written = match frame::encode(&request, &[]) {
            Ok(bytes) => stdin.write_all(&bytes).await,
            Err(error) => {
                tracing::warn!(%error, "a request to the Rust host is not sent");
                continue;
            }
        };
        if let Err(error) = written {
            tracing::debug!(%error, "the Rust host takes no more requests");
            return;
        }
    }
}

/// What the host logs, and what programs below it print by themselves.
async fn keep_log(stderr: ChildStderr) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(target: "bireme_rust", "{line}");
    }
}

/// Hands out the host's messages until it ends.
async fn follow(
    mut child: Child,
    stdout: Option<ChildStdout>,
    routes: Arc<Routes>,
    kill: CancellationToken,
) {
    let reading = async {
        let Some(mut stdout) = stdout else { return };
        let mut decoder = FrameDecoder::default();
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(count @ 1..) = stdout.read(&mut buffer).await {
            decoder.push(&buffer[..count]);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => routes.deliver(frame),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!(%error, "the Rust host sent something else than messages");
                        return;
                    }
                }
            }
        }
    };
    // Whatever ends the reading, the process must not stay.
    kill.run_until_cancelled(reading).await;
    if let Err(error) = child.start_kill() {
        tracing::debug!(%error, "the Rust host had ended");
    }
    match child.wait().await {
        Ok(status) => tracing::info!(%status, "the Rust host ended"),
        Err(error) => tracing::warn!(%error, "how the Rust host ended is not known"),
    }
    routes.close();
    kill.cancel();
}
