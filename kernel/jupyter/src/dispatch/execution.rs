//! Runs the cells of one shell in order, and says everything the protocol wants said about each.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::execute_queue::ExecuteQueue;
use super::request::Request;
use crate::execute_context::ExecuteContext;
use crate::wire::{CellError, ExecuteInput, ExecuteReply, ExecuteRequest, Reply};

/// After a failure, cells that are on their way are still counted as queued behind it. The reply
/// waits this long, so whoever knows of the failure is never aborted.
const ABORT_SETTLE: Duration = Duration::from_millis(10);

/// What a cell has printed and shown and has not left by then is cut short.
const FLUSH_DEADLINE: Duration = Duration::from_secs(30);

/// Runs cells until `ending` fires.
pub(crate) async fn run(core: Arc<Core>, queue: Arc<ExecuteQueue>, ending: CancellationToken) {
    while let Some((request, cancellation)) = ending.run_until_cancelled(queue.next()).await {
        let execution = Execution {
            core: &core,
            queue: &queue,
            request: &request,
        };
        let aborted = execution.run(cancellation).await;
        queue.finished();
        aborted.iter().for_each(|request| core.abort(request));
    }
}

/// One cell being run.
struct Execution<'a> {
    core: &'a Arc<Core>,
    queue: &'a ExecuteQueue,
    request: &'a Request,
}

impl Execution<'_> {
    /// Runs the cell. Returns those behind it that must be aborted.
    async fn run(&self, cancellation: CancellationToken) -> Vec<Request> {
        let (core, parent) = (self.core, &self.request.parent);
        if parent.header().subshell_id.is_none() {
            core.busy_in_main(parent);
        } else {
            core.busy(parent);
        }
        let request: ExecuteRequest = self
            .request
            .message
            .content_as()
            .unwrap_or_else(|_| ExecuteRequest::new(""));
        let stops = request.stop_on_error && !request.silent;
        let reply = if request.code.trim().is_empty() {
            ExecuteReply::new(core.last_execution_count(), &[], None)
        } else {
            self.run_code(request, cancellation).await
        };
        let aborted = if reply.error.is_some() && stops {
            sleep(ABORT_SETTLE).await;
            self.queue.take_waiting()
        } else {
            Vec::new()
        };
        let status = if reply.error.is_some() { "error" } else { "ok" };
        self.request.reply(core, Reply::with_status(status, reply));
        core.idle(parent);
        aborted
    }

    async fn run_code(
        &self,
        request: ExecuteRequest,
        cancellation: CancellationToken,
    ) -> ExecuteReply {
        let core = self.core;
        let execution_count = core.execution_count(request.counts());
        let output = core.output(&self.request.parent, request.silent);
        if !request.silent {
            let code = request.code.clone();
            output.send(
                "execute_input",
                ExecuteInput {
                    code,
                    execution_count,
                },
            );
        }
        let message = &self.request.message;
        let context = ExecuteContext::new(
            request,
            message.metadata.clone(),
            execution_count,
            output.clone(),
            core.stdin.channel_to(message.identities.clone()),
            cancellation,
        );
        let error = self.call_handler(context.clone()).await.err();
        if let Some(error) = &error {
            output.error(error);
        }
        self.flush(context.cancellation()).await;
        ExecuteReply::new(execution_count, &context.take_payloads(), error)
    }

    /// Calls the handler. One that ignores the interrupt for too long is dropped.
    async fn call_handler(&self, context: ExecuteContext) -> Result<(), CellError> {
        let kernel = Arc::clone(&self.core.kernel);
        let cancellation = context.cancellation().clone();
        let grace = self.core.options.interrupt_grace;
        let call = self
            .core
            .guard(async move { kernel.execute(context).await });
        let given_up = async {
            cancellation.cancelled().await;
            sleep(grace).await;
        };
        tokio::select! {
            outcome = call => outcome.unwrap_or_else(Err),
            () = given_up => {
                tracing::warn!(?grace, "a cell ignored its interrupt and was dropped");
                Err(CellError::interrupted())
            }
        }
    }

    /// Waits until the cell's output has left, which pacing may delay. An interrupt cuts it short.
    async fn flush(&self, cancellation: &CancellationToken) {
        let publisher = &self.core.publisher;
        let passed = publisher.flush(&self.request.parent);
        let flushing = cancellation.run_until_cancelled(timeout(FLUSH_DEADLINE, passed));
        if !matches!(flushing.await, Some(Ok(_))) {
            publisher.cut(&self.request.parent);
        }
    }
}
