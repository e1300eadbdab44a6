//! Everything a handler needs to run one cell: the request, its number, where to write, how to ask
//! the user, and how to learn that it should stop.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::output::Output;
use crate::sockets::{InputError, StdinChannel};
use crate::wire::{CellError, ExecuteRequest, JsonMap, MimeBundle, Parent, Payload};

/// Payloads a cell may add; more are dropped.
const PAYLOADS_MAX: usize = 64;

/// One execution of a cell. Clones are handles to the same execution.
#[derive(Clone)]
pub struct ExecuteContext {
    shared: Arc<Shared>,
}

struct Shared {
    request: ExecuteRequest,
    metadata: JsonMap,
    execution_count: u32,
    output: Output,
    cancellation: CancellationToken,
    stdin: StdinChannel,
    payloads: Mutex<Vec<Payload>>,
}

impl ExecuteContext {
    pub(crate) fn new(
        request: ExecuteRequest,
        metadata: JsonMap,
        execution_count: u32,
        output: Output,
        stdin: StdinChannel,
        cancellation: CancellationToken,
    ) -> Self {
        let shared = Shared {
            request,
            metadata,
            execution_count,
            output,
            cancellation,
            stdin,
            payloads: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The cell's text.
    pub fn code(&self) -> &str {
        &self.shared.request.code
    }

    /// The whole request.
    pub fn request(&self) -> &ExecuteRequest {
        &self.shared.request
    }

    /// The metadata of the request; JupyterLab puts the `cellId` there.
    pub fn metadata(&self) -> &JsonMap {
        &self.shared.metadata
    }

    /// The cell's number; for a cell that takes none, the number the next one will take.
    pub fn execution_count(&self) -> u32 {
        self.shared.execution_count
    }

    /// The request's header.
    pub fn parent(&self) -> &Parent {
        self.shared.output.parent()
    }

    /// The subshell the cell runs in; `None` for the main shell.
    pub fn subshell_id(&self) -> Option<&str> {
        self.parent().header().subshell_id.as_deref()
    }

    /// Where the cell's outputs go.
    pub fn output(&self) -> &Output {
        &self.shared.output
    }

    /// Shows the value of the cell.
    pub fn execute_result(&self, data: MimeBundle, metadata: JsonMap) {
        self.output()
            .execute_result(self.execution_count(), data, metadata);
    }

    /// Fires when the user interrupts the cell or the kernel shuts down.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.shared.cancellation
    }

    /// Asks the user for a line, in the front end that sent the cell, behind what was printed.
    pub async fn input(&self, prompt: &str, is_password: bool) -> Result<String, InputError> {
        if !self.shared.request.allow_stdin {
            return Err(InputError::NotAllowed);
        }
        let flushing = self
            .cancellation()
            .run_until_cancelled(self.output().flush());
        flushing.await.ok_or(InputError::Interrupted)?;
        let stdin = &self.shared.stdin;
        stdin
            .ask(self.parent(), prompt, is_password, self.cancellation())
            .await
    }

    /// Asks the front end to show `data` in its pager.
    pub fn page(&self, data: MimeBundle) {
        self.add_payload(Payload::Page { data, start: 0 });
    }

    /// Asks the front end to put `text` in the next cell, or in this one's place.
    pub fn set_next_input(&self, text: impl Into<String>, replace: bool) {
        self.add_payload(Payload::SetNextInput {
            text: text.into(),
            replace,
        });
    }

    fn add_payload(&self, payload: Payload) {
        let mut payloads = self
            .shared
            .payloads
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if payloads.len() < PAYLOADS_MAX {
            payloads.push(payload);
        } else {
            tracing::warn!(limit = PAYLOADS_MAX, "a cell's payload was dropped");
        }
    }

    pub(crate) fn take_payloads(&self) -> Vec<Payload> {
        std::mem::take(
            &mut *self
                .shared
                .payloads
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl From<InputError> for CellError {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Interrupted => Self::interrupted(),
            other => Self::new("StdinNotImplementedError", other.to_string()),
        }
    }
}
