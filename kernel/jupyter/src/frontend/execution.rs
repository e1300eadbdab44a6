//! A cell being run by a kernel, seen from the client: its messages in order, then its end.

use std::sync::Arc;

use super::channel::Sender;
use super::routes::{Origin, Route};
use crate::error::{JupyterError, Result};
use crate::session::Session;
use crate::wire::{
    CellError, ClearOutput, DisplayData, ExecuteInput, ExecuteReply, ExecuteResult, ExecutionState,
    Incoming, InputReply, InputRequest, ReplyStatus, Status, Stream,
};

/// A message of a running cell.
#[derive(Clone, Debug)]
pub enum FrontendMessage {
    /// The cell has its number and runs.
    ExecuteInput(ExecuteInput),
    /// Printed text.
    Stream(Stream),
    /// The cell's value.
    ExecuteResult(ExecuteResult),
    /// Something shown.
    DisplayData(DisplayData),
    /// Something shown again under its `display_id`.
    UpdateDisplayData(DisplayData),
    /// Remove the outputs so far.
    ClearOutput(ClearOutput),
    /// The failure.
    Error(CellError),
    /// A question; answer with [`Execution::answer`].
    InputRequest(InputRequest),
    /// A message of another type, such as those of comms.
    Other(Box<Incoming>),
}

/// How a cell ended.
#[derive(Clone, Debug)]
pub struct ExecutionEnd {
    /// Ok, error or aborted.
    pub status: ReplyStatus,
    /// The whole reply.
    pub reply: ExecuteReply,
}

/// A running cell.
pub struct Execution {
    route: Route,
    session: Arc<Session>,
    stdin: Arc<Sender>,
    question: Option<Incoming>,
    end: Option<ExecutionEnd>,
    is_idle: bool,
}

impl Execution {
    pub(super) fn new(route: Route, session: Arc<Session>, stdin: Arc<Sender>) -> Self {
        Self {
            route,
            session,
            stdin,
            question: None,
            end: None,
            is_idle: false,
        }
    }

    /// The next message; `None` when the cell has ended and all of its output has been read.
    ///
    /// There is no deadline, because a cell may run for days; the caller sets one if it wants.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<FrontendMessage>> {
        while !(self.is_idle && self.end.is_some()) {
            let Some((from, message)) = self.route.next().await else {
                return Err(JupyterError::Closed { channel: "shell" });
            };
            match from {
                Origin::Reply => self.end = Some(read_end(&message)),
                Origin::Stdin => {
                    let content = message.content_as().unwrap_or_default();
                    self.question = Some(message);
                    return Ok(Some(FrontendMessage::InputRequest(content)));
                }
                Origin::IoPub => match read_output(message) {
                    Output::Message(message) => return Ok(Some(message)),
                    Output::Status(ExecutionState::Idle) => self.is_idle = true,
                    Output::Status(_) => {}
                },
            }
        }
        Ok(None)
    }

    /// Answers the last question.
    pub async fn answer(&mut self, value: &str) -> Result<()> {
        let Some(question) = self.question.take() else {
            return Ok(());
        };
        let content = InputReply {
            value: value.to_owned(),
        };
        let frames = self
            .session
            .message(&[], "input_reply", &question.request, content);
        self.stdin.send(&frames).await
    }

    /// How the cell ended, once it has.
    pub fn end(&self) -> Option<&ExecutionEnd> {
        self.end.as_ref()
    }

    /// Reads to the end and returns all messages and the end.
    pub async fn collect(mut self) -> Result<(Vec<FrontendMessage>, ExecutionEnd)> {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await? {
            messages.push(message);
        }
        let end = self.end.ok_or(JupyterError::Closed { channel: "shell" })?;
        Ok((messages, end))
    }
}

enum Output {
    Message(FrontendMessage),
    Status(ExecutionState),
}

fn read_output(message: Incoming) -> Output {
    use FrontendMessage as M;
    Output::Message(match message.msg_type() {
        "status" => {
            let status: Status = message.content_as().unwrap_or_default();
            return Output::Status(status.execution_state);
        }
        "execute_input" => M::ExecuteInput(message.content_as().unwrap_or_default()),
        "stream" => M::Stream(message.content_as().unwrap_or_default()),
        "execute_result" => M::ExecuteResult(message.content_as().unwrap_or_default()),
        "display_data" => M::DisplayData(message.content_as().unwrap_or_default()),
        "update_display_data" => M::UpdateDisplayData(message.content_as().unwrap_or_default()),
        "clear_output" => M::ClearOutput(message.content_as().unwrap_or_default()),
        "error" => M::Error(message.content_as().unwrap_or_default()),
        _ => M::Other(Box::new(message)),
    })
}

fn read_end(message: &Incoming) -> ExecutionEnd {
    let status = match message
        .content
        .get("status")
        .and_then(|status| status.as_str())
    {
        Some("ok") => ReplyStatus::Ok,
        Some("aborted" | "abort") => ReplyStatus::Aborted,
        _ => ReplyStatus::Error,
    };
    ExecutionEnd {
        status,
        reply: message.content_as().unwrap_or_default(),
    }
}
