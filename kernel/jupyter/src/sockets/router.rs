//! The ROUTER of a channel: messages in from all clients, answers out to the one that asked.
//!
//! A client that reconnects under its identity replaces its old connection. An answer to a client
//! that is gone is logged and dropped; it is never an error of the kernel.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::accept::{Accepted, SocketTasks, serve_connections};
use super::peer_queue::PeerQueue;
use crate::zmtp::{self, Listener, Received, SocketType};

/// Messages read from clients that nobody has taken yet; then reading pauses.
const INBOX_MESSAGES_MAX: usize = 256;
/// Bytes that may wait for one client; one that lets more pile up is disconnected.
const OUTBOX_BYTES_MAX: usize = 256 << 20;

/// Bytes of messages that were read and are not dealt with; then reading pauses. At least one fits.
const INBOX_BYTES_MAX: usize = 128 << 20;

/// A message of a client.
pub(crate) struct Letter {
    /// The first names the client.
    pub(crate) frames: Vec<Bytes>,
    /// Its share of the bytes that may wait, until it is dealt with.
    pub(crate) room: OwnedSemaphorePermit,
}

/// Messages of a channel.
pub(crate) type Inbox = mpsc::Receiver<Letter>;

/// The sending side of a channel.
#[derive(Clone)]
pub(crate) struct Router {
    shared: Arc<Shared>,
}

struct Shared {
    channel: &'static str,
    peers: Mutex<HashMap<Bytes, Arc<PeerQueue>>>,
    next_identity: AtomicU64,
    /// One permit per byte that may wait.
    room: Arc<Semaphore>,
}

impl Router {
    /// Starts serving a listener.
    pub(crate) fn start(
        tasks: &SocketTasks,
        listener: Listener,
        channel: &'static str,
    ) -> (Self, Inbox) {
        let (inbox_tx, inbox_rx) = mpsc::channel(INBOX_MESSAGES_MAX);
        let shared = Shared {
            channel,
            peers: Mutex::default(),
            next_identity: AtomicU64::new(1),
            room: Arc::new(Semaphore::new(INBOX_BYTES_MAX)),
        };
        let router = Self {
            shared: Arc::new(shared),
        };
        let serving = router.clone();
        serve_connections(tasks, listener, SocketType::Router, move |accepted| {
            serving.clone().serve(accepted, inbox_tx.clone())
        });
        (router, inbox_rx)
    }

    /// Queues a message for the client named by its first frame.
    pub(crate) fn send(&self, mut frames: Vec<Bytes>) {
        if frames.is_empty() {
            return;
        }
        let identity = frames.remove(0);
        let channel = self.shared.channel;
        let Some(queue) = self.lock_peers().get(&identity).map(Arc::clone) else {
            tracing::info!(channel, "an answer was dropped: its client is gone");
            return;
        };
        let waiting = queue.pending_bytes();
        if waiting > OUTBOX_BYTES_MAX {
            tracing::warn!(
                channel,
                bytes = waiting,
                "a client that does not read was dropped"
            );
            queue.close();
        } else {
            queue.push(frames);
        }
    }

    /// Waits until every answer has been handed to the operating system.
    pub(crate) async fn drained(&self) {
        let queues: Vec<_> = self.lock_peers().values().map(Arc::clone).collect();
        for queue in queues {
            queue.drained().await;
        }
    }

    async fn serve(self, accepted: Accepted, inbox_tx: mpsc::Sender<Letter>) {
        let Accepted {
            peer,
            mut reader,
            mut writer,
        } = accepted;
        let identity = self.identity_for(peer.identity);
        let queue = Arc::new(PeerQueue::new());
        if let Some(old) = self
            .lock_peers()
            .insert(identity.clone(), Arc::clone(&queue))
        {
            old.close();
        }
        let reading = async {
            loop {
                match zmtp::read(&mut reader).await? {
                    Received::Message(mut frames) => {
                        let Some(room) = self.room_for(&frames).await else {
                            return Ok(());
                        };
                        frames.insert(0, identity.clone());
                        if inbox_tx.send(Letter { frames, room }).await.is_err() {
                            return Ok(());
                        }
                    }
                    Received::Command(command) => {
                        if let Some(pong) = zmtp::pong(&command) {
                            queue.push_command(pong);
                        }
                    }
                }
            }
        };
        let ended: std::io::Result<()> = tokio::select! {
            ended = reading => ended,
            ended = queue.write_to(&mut writer) => ended,
        };
        tracing::debug!(channel = self.shared.channel, ?ended, "a client left");
        queue.close();
        let mut peers = self.lock_peers();
        if peers
            .get(&identity)
            .is_some_and(|current| Arc::ptr_eq(current, &queue))
        {
            peers.remove(&identity);
        }
    }

    /// Waits until a message may be kept; `None` never comes, as nobody closes the room.
    async fn room_for(&self, frames: &[Bytes]) -> Option<OwnedSemaphorePermit> {
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        let permits = u32::try_from(bytes.min(INBOX_BYTES_MAX)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.shared.room);
        room.acquire_many_owned(permits).await.ok()
    }

    /// The identity that the client asks for, or one of ours, which start with a zero byte.
    fn identity_for(&self, wanted: Bytes) -> Bytes {
        if !wanted.is_empty() {
            return wanted;
        }
        let number = self.shared.next_identity.fetch_add(1, Ordering::Relaxed);
        let mut identity = vec![0];
        identity.extend_from_slice(&number.to_be_bytes());
        identity.into()
    }

    fn lock_peers(&self) -> std::sync::MutexGuard<'_, HashMap<Bytes, Arc<PeerQueue>>> {
        self.shared
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
