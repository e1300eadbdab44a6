//! The client itself: connects, sends requests, waits for their replies.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::channel::{Reader, Sender, connect, next_message};
use super::execution::Execution;
use super::routes::{Origin, Routes};
use crate::connection_file::{Channel, ConnectionFile};
use crate::error::{JupyterError, Result};
use crate::session::Session;
use crate::signing::Signer;
use crate::wire::{
    CompleteReply, CompleteRequest, ExecuteRequest, Incoming, InspectReply, InspectRequest,
    IsCompleteReply, IsCompleteRequest, JsonMap, KernelInfo, Parent, ShutdownReply,
    ShutdownRequest,
};

/// A client of one kernel.
pub struct Frontend {
    session: Arc<Session>,
    shell: Sender,
    control: Sender,
    stdin: Arc<Sender>,
    routes: Routes,
    deadline: Duration,
    /// Reads the channels; they end with the client.
    _readers: JoinSet<()>,
    /// Keeps the subscription open.
    _iopub: Sender,
}

impl Frontend {
    /// How long a request may take if nothing else is said.
    pub const DEADLINE: Duration = Duration::from_secs(30);

    /// Connects to a kernel, which may still be starting, and waits until its outputs will be
    /// received. `deadline` holds for this and for every later request except cells.
    pub async fn connect(connection: &ConnectionFile, deadline: Duration) -> Result<Self> {
        let until = Instant::now() + deadline;
        let signer = Arc::new(Signer::new(&connection.signature_scheme, &connection.key)?);
        let session = Arc::new(Session::new("bireme", signer));
        let identity = session.id().as_bytes().to_vec();
        let connect = |channel| connect(connection, channel, &identity, until);
        let (iopub, iopub_reader) = connect(Channel::IoPub).await?;
        let (shell, shell_reader) = connect(Channel::Shell).await?;
        let (control, control_reader) = connect(Channel::Control).await?;
        let (stdin, stdin_reader) = connect(Channel::Stdin).await?;

        let routes = Routes::default();
        let mut readers = JoinSet::new();
        let (welcome_tx, welcome_rx) = oneshot::channel();
        let read = |from, reader, welcome_tx| {
            follow(
                routes.clone(),
                Arc::clone(&session),
                from,
                reader,
                welcome_tx,
            )
        };
        readers.spawn(read(Origin::IoPub, iopub_reader, Some(welcome_tx)));
        readers.spawn(read(Origin::Reply, shell_reader, None));
        readers.spawn(read(Origin::Reply, control_reader, None));
        readers.spawn(read(Origin::Stdin, stdin_reader, None));
        iopub.send(&[Bytes::from_static(&[1])]).await?;
        match timeout_at(until, welcome_rx).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(JupyterError::Closed { channel: "iopub" }),
            Err(_) => return Err(timed_out("iopub welcome", deadline)),
        }
        let stdin = Arc::new(stdin);
        let _readers = readers;
        Ok(Self {
            session,
            shell,
            control,
            stdin,
            routes,
            deadline,
            _readers,
            _iopub: iopub,
        })
    }

    /// Asks the kernel who it is.
    pub async fn kernel_info(&self) -> Result<KernelInfo> {
        self.shell_request("kernel_info_request", JsonMap::new())
            .await
    }

    /// Starts a cell. Its messages are read from the [`Execution`].
    pub async fn execute(&self, request: ExecuteRequest) -> Result<Execution> {
        self.execute_with(request, &JsonMap::new()).await
    }

    /// Starts a cell with metadata, such as a `cellId`.
    pub async fn execute_with(
        &self,
        request: ExecuteRequest,
        metadata: &JsonMap,
    ) -> Result<Execution> {
        let nobody = Parent::none();
        let frames =
            self.session
                .message_with(&[], "execute_request", &nobody, request, metadata, &[]);
        let route = self.routes.add(&msg_id(&frames));
        self.shell.send(&frames).await?;
        Ok(Execution::new(
            route,
            Arc::clone(&self.session),
            Arc::clone(&self.stdin),
        ))
    }

    /// Completes at a character of `code`.
    pub async fn complete(&self, code: &str, cursor_pos: usize) -> Result<CompleteReply> {
        let request = CompleteRequest {
            code: code.to_owned(),
            cursor_pos,
        };
        self.shell_request("complete_request", request).await
    }

    /// Describes what is at a character of `code`.
    pub async fn inspect(&self, code: &str, cursor_pos: usize) -> Result<InspectReply> {
        let request = InspectRequest {
            code: code.to_owned(),
            cursor_pos,
            detail_level: 0,
        };
        self.shell_request("inspect_request", request).await
    }

    /// Asks whether a console may run `code`.
    pub async fn is_complete(&self, code: &str) -> Result<IsCompleteReply> {
        let request = IsCompleteRequest {
            code: code.to_owned(),
        };
        self.shell_request("is_complete_request", request).await
    }

    /// Interrupts what runs.
    pub async fn interrupt(&self) -> Result<()> {
        let _: JsonMap = self
            .control_request("interrupt_request", JsonMap::new())
            .await?;
        Ok(())
    }

    /// Asks the kernel to end.
    pub async fn shutdown(&self, restart: bool) -> Result<()> {
        let request = ShutdownRequest { restart };
        let _: ShutdownReply = self.control_request("shutdown_request", request).await?;
        Ok(())
    }

    /// Sends any request on the shell channel and reads the content of its reply.
    pub async fn shell_request<T: DeserializeOwned>(
        &self,
        msg_type: &str,
        content: impl Serialize,
    ) -> Result<T> {
        self.request(&self.shell, msg_type, content).await
    }

    /// Sends any request on the control channel and reads the content of its reply.
    pub async fn control_request<T: DeserializeOwned>(
        &self,
        msg_type: &str,
        content: impl Serialize,
    ) -> Result<T> {
        self.request(&self.control, msg_type, content).await
    }

    async fn request<T: DeserializeOwned>(
        &self,
        channel: &Sender,
        msg_type: &str,
        content: impl Serialize,
    ) -> Result<T> {
        let frames = self
            .session
            .message(&[], msg_type, &Parent::none(), content);
        let mut route = self.routes.add(&msg_id(&frames));
        channel.send(&frames).await?;
        let replying = async {
            while let Some((from, message)) = route.next().await {
                if from == Origin::Reply {
                    return Some(message);
                }
            }
            None
        };
        let reply = timeout(self.deadline, replying)
            .await
            .map_err(|_| timed_out("reply from the kernel", self.deadline))?
            .ok_or(JupyterError::Closed { channel: "shell" })?;
        reply.content_as().map_err(|error| JupyterError::Malformed {
            path: reply.msg_type().into(),
            reason: error.to_string(),
        })
    }
}

pub(super) fn timed_out(what: &'static str, deadline: Duration) -> JupyterError {
    JupyterError::Timeout {
        what,
        seconds: deadline.as_secs_f64(),
    }
}

/// The id of a message that has no routing frames.
pub(super) fn msg_id(frames: &[Bytes]) -> String {
    frames
        .get(2)
        .and_then(|header| serde_json::from_slice::<crate::wire::Header>(header).ok())
        .map(|header| header.msg_id)
        .unwrap_or_default()
}

/// Hands what a channel brings to the calls that wait for it.
async fn follow(
    routes: Routes,
    session: Arc<Session>,
    from: Origin,
    mut reader: Reader,
    mut welcome_tx: Option<oneshot::Sender<()>>,
) {
    while let Some(frames) = next_message(&mut reader).await {
        match Incoming::from_frames(frames, session.signer()) {
            Ok(message) if message.msg_type() == "iopub_welcome" => {
                if let Some(welcome_tx) = welcome_tx.take() {
                    // The one who connects may have given up.
                    let _ = welcome_tx.send(());
                }
            }
            Ok(message) => routes.deliver(from, message).await,
            Err(error) => tracing::warn!(%error, "a message of the kernel was dropped"),
        }
    }
    routes.close();
}
