//! What all requests share: the kernel, the way out, the registries, the state of the shells.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::comms::CommRegistry;
use super::request::Request;
use super::subshells::Subshells;
use crate::handler::Kernel;
use crate::output::Output;
use crate::publish::Publisher;
use crate::serve::{ExitReason, ServeOptions};
use crate::session::Session;
use crate::sockets::Stdin;
use crate::wire::{CellError, ExecutionState, Parent};

/// The state behind both channels.
pub(crate) struct Core {
    pub(crate) kernel: Arc<dyn Kernel>,
    pub(crate) session: Arc<Session>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) stdin: Stdin,
    pub(crate) comms: Arc<CommRegistry>,
    pub(crate) subshells: Subshells,
    pub(crate) options: ServeOptions,
    /// Every task that handles a request.
    pub(crate) requests: TaskTracker,
    /// Fires when the kernel should end; the reason is set before.
    pub(crate) ending: CancellationToken,
    exit_reason: Mutex<Option<ExitReason>>,
    /// Set once the kernel has released what it held.
    shut_down: OnceCell<()>,
    executions: AtomicU32,
    /// The cell that runs in the main shell.
    main_cell: Mutex<Option<Arc<Parent>>>,
}

impl Core {
    pub(crate) fn new(
        kernel: Arc<dyn Kernel>,
        session: Arc<Session>,
        publisher: Arc<Publisher>,
        stdin: Stdin,
        options: ServeOptions,
    ) -> Self {
        Self {
            kernel,
            session,
            publisher,
            stdin,
            comms: Arc::default(),
            subshells: Subshells::default(),
            options,
            requests: TaskTracker::new(),
            ending: CancellationToken::new(),
            exit_reason: Mutex::default(),
            shut_down: OnceCell::new(),
            executions: AtomicU32::new(0),
            main_cell: Mutex::default(),
        }
    }

    /// The outputs of a request.
    pub(crate) fn output(&self, parent: &Arc<Parent>, is_silent: bool) -> Output {
        let (publisher, comms) = (Arc::clone(&self.publisher), Arc::clone(&self.comms));
        Output::new(publisher, comms, Arc::clone(parent), is_silent)
    }

    /// The number of a cell; only one that `counts` takes it.
    pub(crate) fn execution_count(&self, counts: bool) -> u32 {
        if counts {
            self.executions.fetch_add(1, Ordering::Relaxed) + 1
        } else {
            self.executions.load(Ordering::Relaxed) + 1
        }
    }

    /// The number of the last cell that took one.
    pub(crate) fn last_execution_count(&self) -> u32 {
        self.executions.load(Ordering::Relaxed)
    }

    /// Says that a request is being handled.
    pub(crate) fn busy(&self, parent: &Arc<Parent>) {
        self.publisher.status(parent, ExecutionState::Busy);
    }

    /// Says that a cell of the main shell is being run.
    pub(crate) fn busy_in_main(&self, parent: &Arc<Parent>) {
        let mut main_cell = self
            .main_cell
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *main_cell = Some(Arc::clone(parent));
        self.busy(parent);
    }

    /// Says that all of a request was sent.
    ///
    /// Front ends show the last status they saw, whatever it was about. If a cell is still running
    /// its `busy` is therefore repeated; otherwise a completion would make the kernel look idle.
    pub(crate) fn idle(&self, parent: &Arc<Parent>) {
        let mut main_cell = self
            .main_cell
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if main_cell
            .as_ref()
            .is_some_and(|cell| Arc::ptr_eq(cell, parent))
        {
            *main_cell = None;
        }
        self.publisher.status(parent, ExecutionState::Idle);
        if let Some(cell) = main_cell.as_ref() {
            self.publisher.status(cell, ExecutionState::Busy);
        }
    }

    /// Runs a call of a handler in a task of its own, so that its panic ends only itself.
    pub(crate) async fn guard<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, CellError> {
        AbortOnDropHandle::new(self.requests.spawn(call))
            .await
            .map_err(|error| {
                tracing::error!(%error, "a handler panicked");
                CellError::new(
                    "KernelPanic",
                    format!("the kernel failed at this request: {error}"),
                )
            })
    }

    /// Cancels what runs and aborts what is queued, in all shells.
    pub(crate) fn interrupt_all(&self) {
        for queue in self.subshells.queues() {
            for request in queue.interrupt() {
                self.abort(&request);
            }
        }
    }

    /// Answers a cell that is not run.
    pub(crate) fn abort(&self, request: &Request) {
        self.busy(&request.parent);
        let count = self.last_execution_count();
        request.reply(
            self,
            crate::wire::Reply::aborted().with("execution_count", count),
        );
        self.idle(&request.parent);
    }

    /// Lets the kernel release what it holds: once, whoever asks first; others wait for it.
    pub(crate) async fn shut_down(&self, restart: bool) {
        let shutting_down = async {
            let kernel = Arc::clone(&self.kernel);
            let handling = self.guard(async move { kernel.shutdown(restart).await });
            let grace = self.options.shutdown_grace;
            if !matches!(timeout(grace, handling).await, Ok(Ok(()))) {
                tracing::warn!(?grace, "the kernel did not shut down cleanly");
            }
        };
        self.shut_down.get_or_init(|| shutting_down).await;
    }

    /// Ends the kernel, for the first reason that is given.
    pub(crate) fn end(&self, reason: ExitReason) {
        self.exit_reason
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(reason);
        self.ending.cancel();
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> ExitReason {
        self.ending.cancelled().await;
        let reason = *self
            .exit_reason
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        reason.unwrap_or(ExitReason::Stopped)
    }
}
