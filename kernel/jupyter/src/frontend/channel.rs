//! One connection of a client: connecting with patience, sending, and reading into the routes.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::BufReader;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::connection_file::{Channel, ConnectionFile};
use crate::error::{JupyterError, Result};
use crate::zmtp::{self, ReadHalf, Received, SocketType, WriteHalf, handshake};

/// Between two attempts to connect to a kernel that is still starting.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// A kernel that takes nothing for this long is given up.
const SEND_STALL_MAX: Duration = Duration::from_secs(30);

/// The receiving side of a channel.
pub(super) type Reader = BufReader<ReadHalf>;

/// The sending side of a channel.
pub(super) struct Sender {
    name: &'static str,
    writer: Mutex<WriteHalf>,
}

/// Connects to a channel of a kernel that may not have bound it yet.
pub(super) async fn connect(
    connection: &ConnectionFile,
    channel: Channel,
    identity: &[u8],
    deadline: Instant,
) -> Result<(Sender, Reader)> {
    let endpoint = connection.endpoint(channel);
    let socket_type = match channel {
        Channel::IoPub => SocketType::Sub,
        _ => SocketType::Dealer,
    };
    loop {
        let attempt = async {
            let (reader, mut writer) = zmtp::connect(&endpoint).await?;
            let mut reader = BufReader::new(reader);
            handshake(&mut reader, &mut writer, socket_type, identity).await?;
            Ok((reader, writer))
        };
        let error: std::io::Error = match tokio::time::timeout_at(deadline, attempt).await {
            Ok(Ok((reader, writer))) => {
                let writer = Mutex::new(writer);
                return Ok((
                    Sender {
                        name: channel.name(),
                        writer,
                    },
                    reader,
                ));
            }
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed.into(),
        };
        if Instant::now() + RETRY_INTERVAL >= deadline {
            let reason = error.to_string();
            return Err(JupyterError::Connect {
                endpoint: endpoint.to_string(),
                reason,
            });
        }
        sleep(RETRY_INTERVAL).await;
    }
}

impl Sender {
    /// Sends a message.
    pub(super) async fn send(&self, frames: &[Bytes]) -> Result<()> {
        let mut writer = self.writer.lock().await;
        zmtp::write_message(&mut *writer, frames, SEND_STALL_MAX)
            .await
            .map_err(|_| JupyterError::Closed { channel: self.name })
    }
}

/// Reads the frames of the next message; `None` when the kernel is gone.
pub(super) async fn next_message(reader: &mut Reader) -> Option<Vec<Bytes>> {
    loop {
        match zmtp::read(reader).await {
            Ok(Received::Message(frames)) => return Some(frames),
            // A kernel of ours sends no commands after the handshake.
            Ok(Received::Command(_)) => {}
            Err(error) => {
                tracing::debug!(%error, "the kernel closed a channel");
                return None;
            }
        }
    }
}
