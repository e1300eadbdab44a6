//! The five sockets of a kernel: bound in one place, then served by one file each.
//!
//! Binding comes first, before the kernel is built, so that a client that connects early only has
//! to wait and never to retry.

mod accept;
mod heartbeat;
mod iopub;
mod peer_queue;
mod router;
mod stdin;

use std::time::Duration;

pub(crate) use accept::SocketTasks;
pub(crate) use peer_queue::PeerQueue;
pub(crate) use router::{Inbox, Letter, Router};
pub use stdin::InputError;
pub(crate) use stdin::{Stdin, StdinChannel};

pub(crate) use heartbeat::start as start_heartbeat;
pub(crate) use iopub::start as start_iopub;

use crate::connection_file::{Channel, ConnectionFile};
use crate::error::{JupyterError, Result};
use crate::zmtp::Listener;

/// A stale or slow socket directory must not hang the start.
const BIND_DEADLINE: Duration = Duration::from_secs(10);

/// The five sockets of a kernel, bound but not yet served.
pub struct BoundSockets {
    connection: ConnectionFile,
    pub(crate) shell: Listener,
    pub(crate) control: Listener,
    pub(crate) stdin: Listener,
    pub(crate) iopub: Listener,
    pub(crate) heartbeat: Listener,
}

impl BoundSockets {
    /// Binds the sockets of a connection file. A TCP port of 0 takes a free one.
    pub async fn bind(connection: &ConnectionFile) -> Result<Self> {
        let mut connection = connection.clone();
        Ok(Self {
            shell: bind(&mut connection, Channel::Shell).await?,
            control: bind(&mut connection, Channel::Control).await?,
            stdin: bind(&mut connection, Channel::Stdin).await?,
            iopub: bind(&mut connection, Channel::IoPub).await?,
            heartbeat: bind(&mut connection, Channel::Heartbeat).await?,
            connection,
        })
    }

    /// The connection with the ports that were taken, for clients.
    pub fn connection(&self) -> &ConnectionFile {
        &self.connection
    }
}

async fn bind(connection: &mut ConnectionFile, channel: Channel) -> Result<Listener> {
    let endpoint = connection.endpoint(channel);
    let binding = tokio::time::timeout(BIND_DEADLINE, Listener::bind(&endpoint));
    let bound = binding.await.unwrap_or_else(|elapsed| Err(elapsed.into()));
    let listener = bound.map_err(|source| JupyterError::Bind {
        channel: channel.name(),
        endpoint: endpoint.to_string(),
        source,
    })?;
    if let Some(port) = listener.port() {
        connection.set_port(channel, port);
    }
    Ok(listener)
}
