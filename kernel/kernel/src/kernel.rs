//! The kernel as the Jupyter framework sees it: cells, completion, history, and its own life.

use crate::cell_history::CellRecord;
use crate::editor;
use crate::kernel_state::KernelState;
use crate::options::KernelOptions;
use crate::running_cell::RunningCell;
use crate::{bundles, language};
use async_trait::async_trait;
use bireme_jupyter::wire::{
    CellError, CompleteReply, CompleteRequest, HistoryReply, HistoryRequest, InspectReply,
    InspectRequest, IsCompleteReply, IsCompleteRequest, KernelInfo,
};
use bireme_jupyter::{ControlHandler, ExecuteContext, ShellHandler};
use bireme_magics::{Cell, Segment, parse};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a magic may take to say that it was interrupted; then it is dropped, and with it its query.
const INTERRUPT_GRACE: Duration = Duration::from_millis(250);
/// How long Rust may take: its own limit, and some to tell.
const RUST_INTERRUPT_GRACE: Duration = Duration::from_secs(3);
/// Quiet time after the first request, before anything starts in the background.
const WARM_UP_AFTER: Duration = Duration::from_millis(500);

/// One notebook's kernel.
pub struct BiremeKernel {
    state: Arc<KernelState>,
    has_front_end: Arc<Notify>,
    background: TaskTracker,
    stop: CancellationToken,
}

impl BiremeKernel {
    /// A kernel that has started nothing yet. Call it within a runtime.
    pub fn new(options: KernelOptions) -> Self {
        let kernel = Self {
            state: Arc::new(KernelState::new(options)),
            has_front_end: Arc::new(Notify::new()),
            background: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        kernel.start_background();
        kernel
    }

    fn start_background(&self) {
        let (state, stop) = (Arc::clone(&self.state), self.stop.clone());
        self.background
            .spawn(async move { state.names.keep_fresh(&state.cluster, &stop).await });
        if self.state.settings.current().get("rust.start") != "off" {
            let (state, stop) = (Arc::clone(&self.state), self.stop.clone());
            let learning = async move { state.rust.learn_version().await };
            self.background
                .spawn(stop.run_until_cancelled_owned(learning));
        }
        let (state, stop) = (Arc::clone(&self.state), self.stop.clone());
        let has_front_end = Arc::clone(&self.has_front_end);
        self.background
            .spawn(stop.run_until_cancelled_owned(async move {
                has_front_end.notified().await;
                tokio::time::sleep(WARM_UP_AFTER).await;
                warm_up(&state).await;
            }));
    }

    async fn run_cell(&self, context: &ExecuteContext) -> Result<(), CellError> {
        let text = context.code();
        let parsed = parse(text);
        let counts = context.request().counts();
        if counts {
            let has_rust = parsed.as_ref().is_ok_and(has_rust);
            let line = context.execution_count();
            self.state.history.add(CellRecord {
                line,
                input: text.to_owned(),
                has_rust,
            });
        }
        let cell = parsed.map_err(|fault| bundles::fault_error(&fault, text))?;
        let running = RunningCell::new(Arc::clone(&self.state), context.clone());
        let outcome = until_interrupted(&running, &cell, context.cancellation()).await;
        if let Some(shown) = running.shown()
            && counts
        {
            self.state
                .history
                .add_output(context.execution_count(), shown);
        }
        outcome
    }
}

/// Runs a cell; one that was interrupted is given a moment to end by itself.
async fn until_interrupted(
    running: &RunningCell,
    cell: &Cell,
    cancellation: &CancellationToken,
) -> Result<(), CellError> {
    let mut run = std::pin::pin!(running.run(cell));
    tokio::select! {
        biased;
        outcome = &mut run => return outcome,
        () = cancellation.cancelled() => {}
    }
    let grace = match running.is_in_rust() {
        true => RUST_INTERRUPT_GRACE,
        false => INTERRUPT_GRACE,
    };
    match tokio::time::timeout(grace, run).await {
        Ok(outcome) => outcome,
        Err(_) => Err(CellError::interrupted()),
    }
}

fn has_rust(cell: &Cell) -> bool {
    match cell {
        Cell::Segments(segments) => segments.iter().any(|part| matches!(part, Segment::Rust(_))),
        Cell::Empty | Cell::Magic(_) => false,
    }
}

/// Attaches to a cluster that runs, and starts Rust for a notebook that has used it before.
async fn warm_up(state: &KernelState) {
    match state.cluster.session_if_running().await {
        Ok(_) => state.names.refresh(),
        Err(fault) => tracing::debug!(%fault, "no cluster yet"),
    }
    if state.rust_starts_by_itself() && state.history.has_rust().await {
        state.rust.warm_up(&state.settings.current());
    }
}

#[async_trait]
impl ShellHandler for BiremeKernel {
    fn kernel_info(&self) -> KernelInfo {
        self.has_front_end.notify_one();
        language::kernel_info(self.state.rust.rustc().as_deref())
    }

    async fn execute(&self, context: ExecuteContext) -> Result<(), CellError> {
        let outcome = self.run_cell(&context).await;
        self.state.names.refresh();
        outcome
    }

    async fn complete(&self, request: CompleteRequest) -> CompleteReply {
        editor::complete(&self.state, &request).await
    }

    async fn inspect(&self, request: InspectRequest) -> InspectReply {
        editor::inspect(&self.state, &request).await
    }

    async fn is_complete(&self, request: IsCompleteRequest) -> IsCompleteReply {
        editor::is_complete(&self.state, &request.code)
    }

    async fn history(&self, request: HistoryRequest) -> HistoryReply {
        HistoryReply {
            entries: self.state.history.find(request.access).await,
        }
    }
}

#[async_trait]
impl ControlHandler for BiremeKernel {
    async fn shutdown(&self, _restart: bool) {
        self.stop.cancel();
        self.background.close();
        // Everything that may take a moment takes it at the same time.
        tokio::join!(
            self.state.rust.forget(),
            self.state.cluster.settle(),
            self.state.history.flush(),
            self.background.wait(),
        );
    }
}

impl Drop for BiremeKernel {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
