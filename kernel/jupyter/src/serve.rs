//! Runs a kernel: starts the sockets, hands requests to the handlers, and ends without losing
//! anything that was said.
//!
//! The order at the end: running cells are cancelled and awaited, the kernel releases what it holds,
//! streams are flushed, queues are emptied, then the sockets linger a moment so that clients can read
//! before the process exits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::dispatch::{Core, run_control, run_shell};
use crate::error::Result;
use crate::handler::Kernel;
use crate::parent_watch;
use crate::publish::{Publisher, StreamLimits};
use crate::session::Session;
use crate::signing::Signer;
use crate::sockets::{self, BoundSockets, Router, SocketTasks, Stdin};

/// Running cells that have not ended by then are dropped.
const CELLS_DEADLINE: Duration = Duration::from_secs(2);
/// What clients have not taken by then is lost.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// Left to clients to read what the operating system holds.
const LINGER: Duration = Duration::from_millis(200);

/// How a kernel is served.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// End when this process ends (`JPY_PARENT_PID`).
    pub parent_pid: Option<u32>,
    /// How long a handler may take to end an interrupted cell before it is dropped.
    pub interrupt_grace: Duration,
    /// How long [`ControlHandler::shutdown`](crate::ControlHandler::shutdown) may take.
    pub shutdown_grace: Duration,
    /// Pacing of printed text.
    pub stream_limits: StreamLimits,
    /// Ends the kernel from inside the process.
    pub stop: CancellationToken,
    /// The name in the headers of our messages.
    pub username: String,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            parent_pid: None,
            interrupt_grace: Duration::from_secs(5),
            shutdown_grace: Duration::from_secs(3),
            stream_limits: StreamLimits::default(),
            stop: CancellationToken::new(),
            username: "kernel".to_owned(),
        }
    }
}

/// Why a kernel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// A client asked for it.
    Shutdown {
        /// Whether another kernel takes its place.
        restart: bool,
    },
    /// The process that started it is gone.
    ParentDied,
    /// [`ServeOptions::stop`] was cancelled.
    Stopped,
}

/// Serves a kernel on bound sockets until it ends.
///
/// ```no_run
/// # use std::{path::Path, sync::Arc};
/// # use bireme_jupyter::{BoundSockets, ConnectionFile, Kernel, ServeOptions, serve};
/// # async fn run(kernel: Arc<dyn Kernel>) -> bireme_jupyter::Result<()> {
/// let connection = ConnectionFile::read(Path::new("kernel-1.json"))?;
/// let sockets = BoundSockets::bind(&connection).await?;
/// let reason = serve(sockets, kernel, ServeOptions::default()).await?;
/// # Ok(()) }
/// ```
pub async fn serve(
    sockets: BoundSockets,
    kernel: Arc<dyn Kernel>,
    options: ServeOptions,
) -> Result<ExitReason> {
    let connection = sockets.connection();
    let signer = Arc::new(Signer::new(&connection.signature_scheme, &connection.key)?);
    let session = Arc::new(Session::new(&options.username, signer));
    let publisher = Arc::new(Publisher::new(Arc::clone(&session), options.stream_limits));
    let tasks = SocketTasks::default();
    // Tasks end with this future even if it is dropped.
    let _stop_on_drop = tasks.stop.clone().drop_guard();

    sockets::start_heartbeat(&tasks, sockets.heartbeat);
    sockets::start_iopub(&tasks, sockets.iopub, Arc::clone(&publisher));
    let (shell, shell_inbox) = Router::start(&tasks, sockets.shell, "shell");
    let (control, control_inbox) = Router::start(&tasks, sockets.control, "control");
    let (stdin, stdin_inbox) = Router::start(&tasks, sockets.stdin, "stdin");
    let stdin = Stdin::new(stdin, Arc::clone(&session));

    let core = Arc::new(Core::new(
        kernel,
        session,
        publisher,
        stdin.clone(),
        options,
    ));
    let stop = &tasks.stop;
    tasks.tracker.spawn(
        stop.clone()
            .run_until_cancelled_owned(stdin.run(stdin_inbox)),
    );
    let shell_loop = run_shell(Arc::clone(&core), shell.clone(), shell_inbox);
    tasks
        .tracker
        .spawn(stop.clone().run_until_cancelled_owned(shell_loop));
    let control_loop = run_control(Arc::clone(&core), control.clone(), control_inbox);
    tasks
        .tracker
        .spawn(stop.clone().run_until_cancelled_owned(control_loop));

    let reason = wait_for_end(&core).await;
    finish(&core, &[shell, control]).await;
    tasks.stop.cancel();
    tasks.tracker.close();
    tasks.tracker.wait().await;
    Ok(reason)
}

async fn wait_for_end(core: &Core) -> ExitReason {
    let parent_died = async {
        match core.options.parent_pid {
            Some(pid) => parent_watch::wait_for_exit(pid).await,
            None => std::future::pending().await,
        }
    };
    let reason = tokio::select! {
        reason = core.ended() => return reason,
        () = parent_died => ExitReason::ParentDied,
        () = core.options.stop.cancelled() => ExitReason::Stopped,
    };
    core.end(reason);
    core.ended().await
}

/// Lets everything that was said reach the clients.
async fn finish(core: &Core, routers: &[Router]) {
    core.interrupt_all();
    core.requests.close();
    if timeout(CELLS_DEADLINE, core.requests.wait()).await.is_err() {
        tracing::warn!("a cell did not end and was dropped");
    }
    // Nobody asked for it when a signal or the parent's death ends us. Cells come first: what they
    // drop at their end still has to reach the cluster.
    core.shut_down(false).await;
    let draining = async {
        for router in routers {
            router.drained().await;
        }
        core.publisher.drained().await;
    };
    if timeout(DRAIN_DEADLINE, draining).await.is_err() {
        tracing::warn!("a client did not take all messages before the end");
    }
    sleep(LINGER).await;
}
