//! A client that hides nothing: every message of every channel in the order it came.
//!
//! It is what tests of a kernel are scripted with; programs use [`Frontend`](super::Frontend).

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::channel::{Reader, Sender, connect, next_message};
use super::client::{msg_id, timed_out};
use crate::connection_file::{Channel, ConnectionFile};
use crate::error::{JupyterError, Result};
use crate::session::Session;
use crate::signing::Signer;
use crate::wire::{Header, Incoming, JsonMap, Outgoing, Parent};

/// A client of one kernel, message by message.
pub struct RawClient {
    session: Session,
    deadline: Duration,
    shell: (Sender, Reader),
    control: (Sender, Reader),
    stdin: (Sender, Reader),
    iopub: (Sender, Reader),
    heartbeat: (Sender, Reader),
}

impl RawClient {
    /// Connects all channels and subscribes to everything. Every receive has this deadline.
    pub async fn connect(connection: &ConnectionFile, deadline: Duration) -> Result<Self> {
        let until = Instant::now() + deadline;
        let signer = Signer::new(&connection.signature_scheme, &connection.key)?;
        let session = Session::new("raw", signer.into());
        let identity = session.id().as_bytes().to_vec();
        let connect = |channel| connect(connection, channel, &identity, until);
        let client = Self {
            shell: connect(Channel::Shell).await?,
            control: connect(Channel::Control).await?,
            stdin: connect(Channel::Stdin).await?,
            iopub: connect(Channel::IoPub).await?,
            heartbeat: connect(Channel::Heartbeat).await?,
            session,
            deadline,
        };
        client.iopub.0.send(&[Bytes::from_static(&[1])]).await?;
        Ok(client)
    }

    /// Sends a message and returns its id.
    pub async fn send(
        &self,
        channel: Channel,
        msg_type: &str,
        parent: &Parent,
        content: impl Serialize,
    ) -> Result<String> {
        let frames = self.session.message(&[], msg_type, parent, content);
        let id = msg_id(&frames);
        self.send_frames(channel, &frames).await?;
        Ok(id)
    }

    /// Writes the frames of a request without sending them.
    pub fn message(&self, msg_type: &str, content: impl Serialize) -> Vec<Bytes> {
        self.session
            .message(&[], msg_type, &Parent::none(), content)
    }

    /// Connects a channel anew under the same identity, as after a lost network.
    pub async fn reconnect(&mut self, connection: &ConnectionFile, channel: Channel) -> Result<()> {
        let until = Instant::now() + self.deadline;
        let identity = self.session.id().as_bytes();
        *self.channel(channel) = connect(connection, channel, identity, until).await?;
        Ok(())
    }

    /// Sends a request to a subshell and returns its id.
    pub async fn send_to_subshell(
        &self,
        subshell_id: &str,
        msg_type: &str,
        content: impl Serialize,
    ) -> Result<String> {
        let subshell_id = Some(subshell_id.to_owned());
        let header = Header {
            subshell_id,
            ..self.session.header(msg_type)
        };
        let outgoing = Outgoing {
            identities: &[],
            header: &header,
            parent: &Parent::none(),
            metadata: &JsonMap::new(),
            content,
            buffers: &[],
        };
        self.send_frames(Channel::Shell, &outgoing.into_frames(self.session.signer()))
            .await?;
        Ok(header.msg_id)
    }

    /// Sends frames as they are.
    pub async fn send_frames(&self, channel: Channel, frames: &[Bytes]) -> Result<()> {
        let (sender, _) = match channel {
            Channel::Shell => &self.shell,
            Channel::Control => &self.control,
            Channel::Stdin => &self.stdin,
            Channel::IoPub => &self.iopub,
            Channel::Heartbeat => &self.heartbeat,
        };
        sender.send(frames).await
    }

    /// Receives the next message of a channel.
    pub async fn receive(&mut self, channel: Channel) -> Result<Incoming> {
        let frames = self.receive_frames(channel).await?;
        Incoming::from_frames(frames, self.session.signer()).map_err(|error| {
            JupyterError::Malformed {
                path: channel.name().into(),
                reason: error.to_string(),
            }
        })
    }

    /// Receives the frames of the next message of a channel.
    pub async fn receive_frames(&mut self, channel: Channel) -> Result<Vec<Bytes>> {
        let deadline = self.deadline;
        let (_, reader) = self.channel(channel);
        timeout(deadline, next_message(reader))
            .await
            .map_err(|_| timed_out(channel.name(), deadline))?
            .ok_or(JupyterError::Closed {
                channel: channel.name(),
            })
    }

    fn channel(&mut self, channel: Channel) -> &mut (Sender, Reader) {
        match channel {
            Channel::Shell => &mut self.shell,
            Channel::Control => &mut self.control,
            Channel::Stdin => &mut self.stdin,
            Channel::IoPub => &mut self.iopub,
            Channel::Heartbeat => &mut self.heartbeat,
        }
    }
}
