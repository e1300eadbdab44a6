//! The heartbeat: whatever a client sends comes back unchanged.

use std::time::Duration;

use super::accept::{Accepted, SocketTasks, serve_connections};
use crate::zmtp::{self, Listener, Received, SocketType};

/// A client that does not take its echo for this long is dropped.
const ECHO_STALL_MAX: Duration = Duration::from_secs(10);

/// Starts echoing on a listener.
pub(crate) fn start(tasks: &SocketTasks, listener: Listener) {
    serve_connections(tasks, listener, SocketType::Rep, |accepted| async {
        if let Err(error) = echo(accepted).await {
            tracing::debug!(%error, "a heartbeat connection ended");
        }
    });
}

async fn echo(accepted: Accepted) -> std::io::Result<()> {
    let Accepted {
        mut reader,
        mut writer,
        ..
    } = accepted;
    loop {
        match zmtp::read(&mut reader).await? {
            Received::Message(frames) => {
                zmtp::write_message(&mut writer, &frames, ECHO_STALL_MAX).await?;
            }
            Received::Command(command) => {
                if let Some(pong) = zmtp::pong(&command) {
                    zmtp::write_command(&mut writer, &pong, ECHO_STALL_MAX).await?;
                }
            }
        }
    }
}
