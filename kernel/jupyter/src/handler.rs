//! What a kernel implements: the traits behind the shell and the control channel.
//!
//! The framework owns everything the protocol prescribes (busy and idle, queues, counts, aborting,
//! replies, comms' registry, subshells); a handler only answers. Handlers run on the caller's
//! runtime, concurrently: `execute` one cell at a time per shell, everything else at any time, also
//! while a cell runs. A handler that panics fails its request, not the kernel.

use async_trait::async_trait;

use crate::execute_context::ExecuteContext;
use crate::output::Output;
use crate::wire::{
    CellError, CommClose, CommMessage, CommOpen, CompleteReply, CompleteRequest, HistoryReply,
    HistoryRequest, InspectReply, InspectRequest, IsCompleteReply, IsCompleteRequest, JsonMap,
    KernelInfo,
};

/// Answers the requests of the shell channel.
#[async_trait]
pub trait ShellHandler: Send + Sync + 'static {
    /// Describes the kernel. Called for every `kernel_info_request`, so it must not wait.
    /// <https://jupyter-client.readthedocs.io/en/stable/messaging.html#kernel-info>
    fn kernel_info(&self) -> KernelInfo;

    /// Runs a cell. The failure it returns is published as `error` and repeated in the reply;
    /// a handler never publishes it itself. On interrupt `context.cancellation()` fires; if the
    /// handler has not returned after a grace period the call is dropped.
    /// <https://jupyter-client.readthedocs.io/en/stable/messaging.html#execute>
    async fn execute(&self, context: ExecuteContext) -> Result<(), CellError>;

    /// Completes at the cursor.
    /// <https://jupyter-client.readthedocs.io/en/stable/messaging.html#completion>
    async fn complete(&self, request: CompleteRequest) -> CompleteReply {
        CompleteReply::empty(request.cursor_pos)
    }

    /// Describes what is under the cursor.
    /// <https://jupyter-client.readthedocs.io/en/stable/messaging.html#introspection>
    async fn inspect(&self, _request: InspectRequest) -> InspectReply {
        InspectReply::not_found()
    }

    /// Says whether a console may run the text as it is.
    /// <https://jupyter-client.readthedocs.io/en/stable/messaging.html#code-completeness>
    async fn is_complete(&self, _request: IsCompleteRequest) -> IsCompleteReply {
        IsCompleteReply::Unknown
    }

    /// Finds earlier cells.
    /// <https://jupyter-client.readthedocs.io/en/stable/messaging.html#history>
    async fn history(&self, _request: HistoryRequest) -> HistoryReply {
        HistoryReply::default()
    }

    /// Accepts a comm, or refuses it with `false`; then the framework answers `comm_close`.
    /// <https://jupyter-client.readthedocs.io/en/stable/messaging.html#opening-a-comm>
    async fn comm_open(&self, _output: Output, _open: CommOpen) -> bool {
        false
    }

    /// Takes data on an accepted comm.
    /// <https://jupyter-client.readthedocs.io/en/stable/messaging.html#comm-messages>
    async fn comm_msg(&self, _output: Output, _message: CommMessage) {}

    /// Learns that the front end closed an accepted comm.
    /// <https://jupyter-client.readthedocs.io/en/stable/messaging.html#tearing-down-comms>
    async fn comm_close(&self, _output: Output, _close: CommClose) {}
}

/// Answers the requests of the control channel, which is never blocked by a cell.
#[async_trait]
pub trait ControlHandler: Send + Sync + 'static {
    /// Interrupts what runs. When this is called the framework has already fired the cancellation
    /// tokens of all running cells and aborted the queued ones.
    /// <https://jupyter-client.readthedocs.io/en/stable/messaging.html#kernel-interrupt>
    async fn interrupt(&self) {}

    /// Releases what the kernel holds: called once, for whatever reason the kernel ends. A client
    /// that asked for the end gets its reply afterwards, at most
    /// [`ServeOptions::shutdown_grace`](crate::ServeOptions::shutdown_grace) later.
    /// <https://jupyter-client.readthedocs.io/en/stable/messaging.html#kernel-shutdown>
    async fn shutdown(&self, _restart: bool) {}

    /// Answers a debugger request, a message of the Debug Adapter Protocol; `None` for commands
    /// that are not supported, which the framework refuses politely.
    /// <https://jupyter-client.readthedocs.io/en/stable/messaging.html#debug-request>
    async fn debug(&self, _request: JsonMap) -> Option<JsonMap> {
        None
    }

    /// Adds keys to the reply of `usage_request`, such as GPU memory.
    async fn usage(&self) -> JsonMap {
        JsonMap::new()
    }
}

/// A whole kernel; implemented by every type that answers both channels.
pub trait Kernel: ShellHandler + ControlHandler {}

impl<T: ShellHandler + ControlHandler> Kernel for T {}
