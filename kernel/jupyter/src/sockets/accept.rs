//! Accepts connections on a listener and runs each in its own task until it ends.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::BufReader;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::zmtp::{Listener, Peer, ReadHalf, SocketType, WriteHalf, handshake};

/// Pause after a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The tasks of all sockets and the signal that ends them.
#[derive(Clone, Default)]
pub(crate) struct SocketTasks {
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// A connection after its handshake.
pub(crate) struct Accepted {
    pub(crate) peer: Peer,
    pub(crate) reader: BufReader<ReadHalf>,
    pub(crate) writer: WriteHalf,
}

/// Serves every connection of `listener` with `connection` until the tasks are stopped.
///
/// One that fails, at the handshake or later, ends alone.
pub(crate) fn serve_connections<Serve, Served>(
    tasks: &SocketTasks,
    listener: Listener,
    socket_type: SocketType,
    connection: Serve,
) where
    Serve: Fn(Accepted) -> Served + Send + Sync + 'static,
    Served: Future<Output = ()> + Send + 'static,
{
    let own_tasks = tasks.clone();
    let connection = Arc::new(connection);
    let accepting = async move {
        loop {
            let (reader, writer) = match listener.accept().await {
                Ok(halves) => halves,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let connection = Arc::clone(&connection);
            let stop = own_tasks.stop.clone();
            own_tasks
                .tracker
                .spawn(stop.run_until_cancelled_owned(async move {
                    if let Some(accepted) = introduce(reader, writer, socket_type).await {
                        connection(accepted).await;
                    }
                }));
        }
    };
    let stop = tasks.stop.clone();
    tasks
        .tracker
        .spawn(stop.run_until_cancelled_owned(accepting));
}

async fn introduce(
    reader: ReadHalf,
    mut writer: WriteHalf,
    socket_type: SocketType,
) -> Option<Accepted> {
    let mut reader = BufReader::new(reader);
    match handshake(&mut reader, &mut writer, socket_type, b"").await {
        Ok(peer) => Some(Accepted {
            peer,
            reader,
            writer,
        }),
        Err(error) => {
            tracing::warn!(%error, ?socket_type, "a connection was refused");
            None
        }
    }
}
