//! Reads the control channel. Every request is handled at once in a task of its own: an interrupt
//! never waits, neither for a cell nor for another control request.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::core::Core;
use super::execution;
use super::request::Request;
use crate::serve::ExitReason;
use crate::sockets::{Inbox, Letter, Router};
use crate::usage;
use crate::wire::{
    CellError, CreateSubshellReply, DeleteSubshellRequest, Incoming, JsonMap, ListSubshellReply,
    Reply, ShutdownReply, ShutdownRequest,
};

/// Control requests handled at a time; more wait.
const CONCURRENT_MAX: usize = 64;
/// The interrupt's reply waits for the handler at most this long.
const INTERRUPT_DEADLINE: Duration = Duration::from_secs(5);

/// Reads until the channel closes.
pub(crate) async fn run(core: Arc<Core>, router: Router, mut inbox: Inbox) {
    let slots = Arc::new(Semaphore::new(CONCURRENT_MAX));
    while let Some(Letter { frames, room }) = inbox.recv().await {
        let message = match Incoming::from_frames(frames, core.session.signer()) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%error, "a message on control was dropped");
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let request = Request::new(message, room, &router);
        let own_core = Arc::clone(&core);
        core.requests.spawn(async move {
            answer(&own_core, &request).await;
            drop(slot);
        });
    }
}

async fn answer(core: &Arc<Core>, request: &Request) {
    core.busy(&request.parent);
    match request.message.msg_type() {
        "shutdown_request" => return shut_down(core, request).await,
        "kernel_info_request" => request.reply(core, Reply::ok(core.kernel.kernel_info())),
        "interrupt_request" => interrupt(core, request).await,
        "usage_request" => request.reply(core, usage_reply(core).await),
        "debug_request" => request.reply(core, debug_reply(core, request).await),
        "create_subshell_request" => request.reply(core, create_subshell(core)),
        "delete_subshell_request" => request.reply(core, delete_subshell(core, request)),
        "list_subshell_request" => {
            let reply = ListSubshellReply {
                subshell_id: core.subshells.ids(),
            };
            request.reply(core, Reply::ok(reply));
        }
        unknown => tracing::warn!(msg_type = unknown, "a control request was not answered"),
    }
    core.idle(&request.parent);
}

async fn interrupt(core: &Arc<Core>, request: &Request) {
    core.interrupt_all();
    let kernel = Arc::clone(&core.kernel);
    let handling = core.guard(async move { kernel.interrupt().await });
    let reply = match timeout(INTERRUPT_DEADLINE, handling).await {
        Ok(Ok(())) | Err(_) => Reply::ok(JsonMap::new()),
        Ok(Err(error)) => Reply::error(&error),
    };
    request.reply(core, reply);
}

async fn shut_down(core: &Arc<Core>, request: &Request) {
    let ShutdownRequest { restart } = request.content();
    core.interrupt_all();
    core.shut_down(restart).await;
    request.reply(core, Reply::ok(ShutdownReply { restart }));
    core.idle(&request.parent);
    core.end(ExitReason::Shutdown { restart });
}

async fn usage_reply(core: &Arc<Core>) -> Reply {
    let kernel = Arc::clone(&core.kernel);
    let mut usage = usage::measure().await;
    match core.guard(async move { kernel.usage().await }).await {
        Ok(extra) => {
            usage.extend(extra);
            Reply::ok(usage)
        }
        Err(error) => Reply::error(&error),
    }
}

/// Answers in the Debug Adapter Protocol, where a refusal is a response with `success: false`.
async fn debug_reply(core: &Arc<Core>, request: &Request) -> Reply {
    let kernel = Arc::clone(&core.kernel);
    let content: JsonMap = request.content();
    let (command, seq) = (content.get("command").cloned(), content.get("seq").cloned());
    let response = match core.guard(async move { kernel.debug(content).await }).await {
        Ok(Some(response)) => response,
        Ok(None) => {
            let mut response = JsonMap::new();
            response.insert("type".to_owned(), "response".into());
            response.insert("success".to_owned(), false.into());
            response.insert("message".to_owned(), "this kernel has no debugger".into());
            response.insert("command".to_owned(), command.unwrap_or_default());
            response.insert("request_seq".to_owned(), seq.unwrap_or_else(|| 0.into()));
            response.insert("body".to_owned(), JsonMap::new().into());
            response
        }
        Err(error) => return Reply::error(&error),
    };
    Reply::ok(response)
}

fn create_subshell(core: &Arc<Core>) -> Reply {
    let Some(subshell) = core.subshells.create(core.ending.child_token()) else {
        return Reply::error(&CellError::new(
            "SubshellRefused",
            "too many subshells exist",
        ));
    };
    core.requests.spawn(execution::run(
        Arc::clone(core),
        subshell.queue,
        subshell.ending,
    ));
    Reply::ok(CreateSubshellReply {
        subshell_id: subshell.id,
    })
}

fn delete_subshell(core: &Core, request: &Request) -> Reply {
    let DeleteSubshellRequest { subshell_id } = request.content();
    let Some(queue) = core.subshells.delete(&subshell_id) else {
        let reason = format!("subshell {subshell_id:?} does not exist");
        return Reply::error(&CellError::new("SubshellNotFound", reason));
    };
    for waiting in queue.close() {
        core.abort(&waiting);
    }
    Reply::ok(JsonMap::new())
}
