//! Reads the shell channel. Cells go to the queue of their shell; everything else is answered at
//! once, beside them, so that completion works while a cell runs.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::core::Core;
use super::execution;
use super::request::Request;
use crate::sockets::{Inbox, Letter, Router};
use crate::wire::{
    CellError, CommClose, CommInfoRequest, CommMessage, CommOpen, HistoryRequest, Incoming, Reply,
};

/// Requests that are answered at a time beside the cells; more wait.
const CONCURRENT_MAX: usize = 32;
/// Comm messages that may wait for their turn; they are handled in order.
const COMM_MESSAGES_MAX: usize = 1024;

/// Reads until the channel closes.
pub(crate) async fn run(core: Arc<Core>, router: Router, mut inbox: Inbox) {
    let main = Arc::clone(core.subshells.main());
    let ending = core.ending.clone();
    core.requests
        .spawn(execution::run(Arc::clone(&core), main, ending));
    let (comm_tx, comm_rx) = mpsc::channel(COMM_MESSAGES_MAX);
    let comms = run_comms(Arc::clone(&core), comm_rx);
    core.requests
        .spawn(core.ending.clone().run_until_cancelled_owned(comms));
    let slots = Arc::new(Semaphore::new(CONCURRENT_MAX));
    while let Some(Letter { frames, room }) = inbox.recv().await {
        let message = match Incoming::from_frames(frames, core.session.signer()) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%error, "a message on shell was dropped");
                continue;
            }
        };
        let request = Request::new(message, room, &router);
        match request.message.msg_type() {
            "execute_request" => enqueue(&core, request),
            "comm_open" | "comm_msg" | "comm_close" => {
                if comm_tx.try_send(request).is_err() {
                    tracing::warn!(limit = COMM_MESSAGES_MAX, "a comm message was dropped");
                }
            }
            _ => {
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                    return;
                };
                let own_core = Arc::clone(&core);
                core.requests.spawn(async move {
                    answer(&own_core, &request).await;
                    drop(slot);
                });
            }
        }
    }
}

fn enqueue(core: &Core, request: Request) {
    let subshell_id = request.parent.header().subshell_id.as_deref();
    let refused = match core.subshells.queue(subshell_id) {
        Some(queue) => match queue.push(request) {
            Ok(()) => return,
            Err(refused) => (refused.request, refused.reason.to_owned()),
        },
        None => {
            let reason = format!(
                "subshell {:?} does not exist",
                subshell_id.unwrap_or_default()
            );
            (request, reason)
        }
    };
    let (request, reason) = refused;
    tracing::warn!(reason, "a cell was refused");
    core.busy(&request.parent);
    let reply = Reply::error(&CellError::new("CellRefused", reason))
        .with("execution_count", core.last_execution_count());
    request.reply(core, reply);
    core.idle(&request.parent);
}

/// Answers a request that is neither a cell nor a comm.
async fn answer(core: &Arc<Core>, request: &Request) {
    core.busy(&request.parent);
    match reply_to(core, request).await {
        Some(Ok(reply)) => request.reply(core, reply),
        Some(Err(error)) => request.reply(core, Reply::error(&error)),
        None => tracing::warn!(
            msg_type = request.message.msg_type(),
            "a request of an unknown type was not answered"
        ),
    }
    core.idle(&request.parent);
}

async fn reply_to(core: &Arc<Core>, request: &Request) -> Option<Result<Reply, CellError>> {
    let kernel = Arc::clone(&core.kernel);
    let reply = match request.message.msg_type() {
        "kernel_info_request" => Ok(Reply::ok(kernel.kernel_info())),
        "complete_request" => {
            let content = request.content();
            core.guard(async move { kernel.complete(content).await })
                .await
                .map(Reply::ok)
        }
        "inspect_request" => {
            let content = request.content();
            core.guard(async move { kernel.inspect(content).await })
                .await
                .map(Reply::ok)
        }
        "is_complete_request" => {
            let content = request.content();
            let verdict = core
                .guard(async move { kernel.is_complete(content).await })
                .await;
            // Its own status stands where that of the reply would.
            verdict.map(|verdict| Reply::with_status("unknown", verdict))
        }
        "history_request" => history(core, request).await,
        "comm_info_request" => {
            let content: CommInfoRequest = request.content();
            Ok(Reply::ok(core.comms.info(content.target_name.as_deref())))
        }
        _ => return None,
    };
    Some(reply)
}

async fn history(core: &Arc<Core>, request: &Request) -> Result<Reply, CellError> {
    let kernel = Arc::clone(&core.kernel);
    let content: HistoryRequest = request
        .message
        .content_as()
        .map_err(|error| CellError::new("MalformedRequest", error.to_string()))?;
    let with_output = content.output;
    let found = core
        .guard(async move { kernel.history(content).await })
        .await?;
    Ok(Reply::ok(found.to_json(with_output)))
}

/// Handles comm messages in the order they came.
async fn run_comms(core: Arc<Core>, mut comm_rx: mpsc::Receiver<Request>) {
    while let Some(request) = comm_rx.recv().await {
        core.busy(&request.parent);
        if let Err(error) = handle_comm(&core, &request).await {
            tracing::error!(evalue = error.evalue, "a comm handler failed");
        }
        core.idle(&request.parent);
    }
}

async fn handle_comm(core: &Arc<Core>, request: &Request) -> Result<(), CellError> {
    let kernel = Arc::clone(&core.kernel);
    let output = core.output(&request.parent, false);
    match request.message.msg_type() {
        "comm_open" => open_comm(core, request).await?,
        "comm_close" => {
            let close: CommClose = request.content();
            if core.comms.remove(&close.comm_id) {
                core.guard(async move { kernel.comm_close(output, close).await })
                    .await?;
            }
        }
        _ => {
            let message: CommMessage = request.content();
            if core.comms.contains(&message.comm_id) {
                core.guard(async move { kernel.comm_msg(output, message).await })
                    .await?;
            } else {
                tracing::info!(
                    comm_id = message.comm_id,
                    "data for a comm that is not open"
                );
            }
        }
    }
    Ok(())
}

/// Opens a comm, or closes it at once if nobody answers to its target.
async fn open_comm(core: &Arc<Core>, request: &Request) -> Result<(), CellError> {
    let kernel = Arc::clone(&core.kernel);
    let output = core.output(&request.parent, false);
    let open: CommOpen = request.content();
    let comm_id = open.comm_id.clone();
    let handler_output = output.clone();
    let is_known = core.comms.insert(&open);
    let accepting = async move { is_known && kernel.comm_open(handler_output, open).await };
    let verdict = core.guard(accepting).await;
    if !matches!(verdict, Ok(true)) {
        output.comm_close(&CommClose {
            comm_id,
            data: crate::wire::JsonMap::new(),
        });
    }
    verdict.map(|_| ())
}
