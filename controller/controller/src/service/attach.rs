//! An engine's connection: registers with its first message, then passes its reports on until either
//! side closes it.

use super::{ANSWER_DEADLINE, ControllerService};
use crate::message::Message;
use crate::state::engine_registry::AttachmentId;
use bireme_protocol::proto::{EngineCommand, EngineReport, Register, engine_report::Report};
use bireme_protocol::{ErrorCode, Fault};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// How long an engine may take to say who it is.
const REGISTER_DEADLINE: Duration = Duration::from_secs(5);
/// Commands an engine may leave unread before it counts as lost.
const COMMANDS_MAX: usize = 64;

type Commands = ReceiverStream<Result<EngineCommand, Status>>;

impl ControllerService {
    pub(super) async fn attach_engine(
        &self,
        mut reports: Streaming<EngineReport>,
    ) -> Result<Commands, Fault> {
        let register = read_register(&mut reports).await?;
        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        let attach = |reply| Message::Attach {
            register,
            commands,
            reply,
        };
        let attachment = self.ask(ANSWER_DEADLINE, attach).await?;
        let messages = self.messages.clone();
        let is_over = self.is_over.clone();
        let (answers, stream) = mpsc::channel(COMMANDS_MAX);
        self.followers.spawn(async move {
            // Whichever side closes first: the other one has nobody to talk to any more.
            tokio::select! {
                () = read_reports(reports, attachment, &messages) => {}
                () = pass_commands(queue, &answers) => {}
                () = is_over.cancelled() => {}
            }
            if messages.send(Message::Detached(attachment)).await.is_err() {
                tracing::debug!(rank = attachment.rank, "engine left after the end");
            }
        });
        Ok(ReceiverStream::new(stream))
    }
}

async fn read_register(reports: &mut Streaming<EngineReport>) -> Result<Register, Fault> {
    let wrong = |message: String| Fault::new(ErrorCode::InvalidArgument, message);
    match tokio::time::timeout(REGISTER_DEADLINE, reports.message()).await {
        Ok(Ok(Some(EngineReport {
            report: Some(Report::Register(register)),
        }))) => Ok(register),
        Ok(Ok(_)) => Err(wrong(
            "register an engine: its first message is no registration".into(),
        )),
        Ok(Err(status)) => Err(status.into()),
        Err(_) => Err(wrong(format!(
            "register an engine: it said nothing for {REGISTER_DEADLINE:?}"
        ))),
    }
}

async fn read_reports(
    mut reports: Streaming<EngineReport>,
    attachment: AttachmentId,
    messages: &mpsc::Sender<Message>,
) {
    loop {
        let report = match reports.message().await {
            Ok(Some(report)) => report.report,
            Ok(None) => return,
            Err(status) => {
                tracing::debug!(rank = attachment.rank, %status, "engine's connection broke");
                return;
            }
        };
        let message = match report {
            Some(Report::Heartbeat(heartbeat)) => Message::Heartbeat(attachment, heartbeat),
            Some(Report::QueryEnded(ended)) => Message::QueryEnded(attachment, ended),
            Some(Report::Register(_)) | None => continue,
        };
        if messages.send(message).await.is_err() {
            return;
        }
    }
}

/// Passes commands on until the loop lets go of the engine or it stops reading.
async fn pass_commands(
    mut queue: mpsc::Receiver<EngineCommand>,
    answers: &mpsc::Sender<Result<EngineCommand, Status>>,
) {
    while let Some(command) = queue.recv().await {
        if answers.send(Ok(command)).await.is_err() {
            return;
        }
    }
}
