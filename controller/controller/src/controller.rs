//! The controller process: opens the database, serves its socket, runs the loop, and puts everything
//! down in order.

use crate::error::ControllerError;
use crate::event_loop::{EventLoop, MESSAGES_MAX};
use crate::options::ControllerOptions;
use crate::service::ControllerService;
use crate::state::State;
use crate::store::Store;
use bireme_protocol::Address;
use bireme_protocol::address::MESSAGE_BYTES_MAX;
use bireme_protocol::proto::controller_server::ControllerServer;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long each part may take to end.
const END_DEADLINE: Duration = Duration::from_secs(1);

/// Why the controller ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nobody used the cluster: all of it may end.
    Idle,
    /// It was told to.
    Told,
}

impl Ended {
    /// The exit code that tells the launcher: 0 ends the cluster, another one has the controller
    /// started again unless the launcher itself ended it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::Told => 143,
        }
    }
}

/// Runs the controller until it is told to end (`told` completes) or the cluster was idle for long
/// enough. Everything answered by then is in the database.
///
/// # Errors
/// The database or the socket cannot be used.
pub async fn run(
    mut options: ControllerOptions,
    told: impl Future<Output = ()>,
) -> Result<Ended, ControllerError> {
    let (store, loaded, store_thread) = Store::open(&options.home.database())?;
    let socket = Address::unix(options.home.controller_socket());
    let is_own = options.listener.is_none();
    let listener = match options.listener.take() {
        Some(listener) => adopt(listener, &socket)?,
        None => socket.listen().map_err(|fault| ControllerError::Address {
            fault: Box::new(fault),
        })?,
    };
    let now = options.clock.now();
    let mut state = State::new(&options, loaded.cluster_id, loaded.sessions, now);
    let inherited = state.take_over(loaded.open_queries, now);
    let (sender, messages) = mpsc::channel(MESSAGES_MAX);
    let is_over = CancellationToken::new();
    let followers = TaskTracker::new();
    let service = ControllerService {
        messages: sender.clone(),
        store: store.clone(),
        followers: followers.clone(),
        is_over: is_over.clone(),
        cluster_id: state.cluster_id.clone(),
    };
    let mut event_loop = EventLoop {
        state,
        clock: options.clock,
        store,
        messages,
        sender,
        tasks: JoinSet::new(),
    };
    event_loop.perform(inherited);
    let mut server = JoinSet::new();
    server.spawn(serve(service, listener, is_over.clone()));
    tracing::info!(socket = %socket, "controller serves");
    let ended = tokio::select! {
        ended = event_loop.run() => Ok(ended),
        () = told => Ok(Ended::Told),
        Some(Ok(Err(source))) = server.join_next() => Err(ControllerError::Serve {
            path: socket.path().to_path_buf(),
            source,
        }),
    };
    is_over.cancel();
    event_loop.tasks.shutdown().await;
    drop(event_loop);
    put_down(server, followers, store_thread).await;
    if is_own && let Err(error) = std::fs::remove_file(socket.path()) {
        tracing::warn!(%error, "socket stays");
    }
    ended
}

async fn serve(
    service: ControllerService,
    listener: UnixListener,
    is_over: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = ControllerServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), is_over.cancelled())
        .await
}

/// Ends the tasks that serve, then the database's thread, which first writes what waits.
async fn put_down(
    mut server: JoinSet<Result<(), tonic::transport::Error>>,
    followers: TaskTracker,
    store_thread: JoinHandle<()>,
) {
    followers.close();
    if tokio::time::timeout(END_DEADLINE, followers.wait())
        .await
        .is_err()
    {
        tracing::debug!("streams were cut short");
    }
    let served = async { while server.join_next().await.is_some() {} };
    if tokio::time::timeout(END_DEADLINE, served).await.is_err() {
        server.shutdown().await;
    }
    let written = tokio::task::spawn_blocking(move || store_thread.join());
    if tokio::time::timeout(END_DEADLINE, written).await.is_err() {
        tracing::error!("database did not finish writing in time");
    }
}

fn adopt(
    listener: std::os::unix::net::UnixListener,
    socket: &Address,
) -> Result<UnixListener, ControllerError> {
    let adopted = listener
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(listener));
    adopted.map_err(|source| ControllerError::Listen {
        path: socket.path().to_path_buf(),
        source,
    })
}
