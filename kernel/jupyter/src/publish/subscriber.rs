//! One listener on IOPub: its topics, and what happens when it does not keep up.
//!
//! Outputs, status and comms are owed to a listener: they are queued as long as it lives. Stream
//! text is dropped when too much waits, and a note says how much. A listener to whom even the owed
//! messages pile up is disconnected, so that it knows that it missed something.

use std::sync::Arc;

use bytes::Bytes;

use super::text::drop_note;
use crate::session::Session;
use crate::sockets::PeerQueue;
use crate::wire::{Parent, Stream, StreamName};

/// Bytes that may wait before stream text is dropped.
const STREAM_QUEUE_BYTES_MAX: usize = 32 << 20;
/// Bytes that may wait before the listener is disconnected.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Topics a listener may ask for.
const TOPICS_MAX: usize = 256;

/// Names a listener while it is connected.
pub(crate) type SubscriberId = u64;

/// A connected listener.
pub(super) struct Subscriber {
    queue: Arc<PeerQueue>,
    topics: Vec<Bytes>,
    dropped: Option<Dropped>,
}

/// Stream text that was not sent, and the request it belonged to.
struct Dropped {
    bytes: u64,
    parent: Arc<Parent>,
}

impl Subscriber {
    pub(super) fn new(queue: Arc<PeerQueue>) -> Self {
        Self {
            queue,
            topics: Vec::new(),
            dropped: None,
        }
    }

    /// The queue of its connection.
    pub(super) fn queue(&self) -> &Arc<PeerQueue> {
        &self.queue
    }

    /// Sends the welcome, then everything on `topic`. False if it asks for too many.
    pub(super) fn subscribe(&mut self, topic: Bytes, welcome: Vec<Bytes>) -> bool {
        if self.topics.len() == TOPICS_MAX {
            return false;
        }
        self.queue.push(welcome);
        self.topics.push(topic);
        true
    }

    /// Stops sending what is on `topic`.
    pub(super) fn unsubscribe(&mut self, topic: &[u8]) {
        if let Some(index) = self.topics.iter().position(|known| known.as_ref() == topic) {
            self.topics.swap_remove(index);
        }
    }

    fn wants(&self, frames: &[Bytes]) -> bool {
        let topic = frames.first().map(Bytes::as_ref).unwrap_or_default();
        self.topics.iter().any(|wanted| topic.starts_with(wanted))
    }

    /// Queues a message that is owed.
    pub(super) fn send(&mut self, session: &Session, frames: &[Bytes]) {
        if !self.wants(frames) {
            return;
        }
        self.note_dropped(session, &frames[0]);
        let waiting = self.queue.pending_bytes();
        if waiting > QUEUE_BYTES_MAX {
            tracing::warn!(
                bytes = waiting,
                "a front end that does not read was disconnected"
            );
            self.queue.close();
        } else {
            self.queue.push(frames.to_vec());
        }
    }

    /// Queues stream text if there is room for it.
    pub(super) fn send_stream(
        &mut self,
        session: &Session,
        parent: &Arc<Parent>,
        text_bytes: usize,
        frames: &[Bytes],
    ) {
        if !self.wants(frames) {
            return;
        }
        if self.queue.pending_bytes() <= STREAM_QUEUE_BYTES_MAX {
            self.note_dropped(session, &frames[0]);
            self.queue.push(frames.to_vec());
            return;
        }
        let bytes = text_bytes as u64;
        match &mut self.dropped {
            Some(dropped) if Arc::ptr_eq(&dropped.parent, parent) => dropped.bytes += bytes,
            _ => {
                self.note_dropped(session, &frames[0]);
                self.dropped = Some(Dropped {
                    bytes,
                    parent: Arc::clone(parent),
                });
            }
        }
    }

    /// Says how much text is missing, in the place where it is missing.
    fn note_dropped(&mut self, session: &Session, topic: &Bytes) {
        if let Some(Dropped { bytes, parent }) = self.dropped.take() {
            let content = Stream {
                name: StreamName::Stderr,
                text: drop_note(bytes),
            };
            let topic = std::slice::from_ref(topic);
            self.queue
                .push(session.message(topic, "stream", &parent, content));
        }
    }
}
