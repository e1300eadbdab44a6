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
/// Bytes that may wait, besides the largest message, before the listener is disconnected.
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
        let waiting = self.queue.backlog_bytes();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::Signer;
    use crate::zmtp::{self, Received, WriteHalf};

    const MEGABYTE: usize = 1 << 20;

    /// A listener to everything, whose queue nobody writes out.
    fn stalled() -> (Subscriber, Session) {
        let signer = Signer::new("hmac-sha256", "key").unwrap();
        let mut subscriber = Subscriber::new(Arc::new(PeerQueue::new()));
        assert!(subscriber.subscribe(Bytes::new(), message("welcome", 0)));
        (subscriber, Session::new("test", Arc::new(signer)))
    }

    fn message(topic: &'static str, bytes: usize) -> Vec<Bytes> {
        vec![Bytes::from(topic), Bytes::from(vec![b'x'; bytes])]
    }

    /// Everything that waits, as a listener that reads again gets it.
    async fn read_all(queue: &PeerQueue) -> Vec<Vec<Bytes>> {
        queue.push(message("end", 0));
        let (ours, mut theirs) = tokio::io::duplex(MEGABYTE);
        let mut writer: WriteHalf = Box::new(ours);
        let reading = async {
            let mut messages = Vec::new();
            loop {
                match zmtp::read(&mut theirs).await.unwrap() {
                    Received::Message(frames) if frames[0] == "end" => return messages,
                    Received::Message(frames) => messages.push(frames),
                    Received::Command(command) => panic!("read a command: {command:?}"),
                }
            }
        };
        tokio::select! {
            messages = reading => messages,
            ended = queue.write_to(&mut writer) => panic!("the writer ended: {ended:?}"),
        }
    }

    #[tokio::test]
    async fn text_is_dropped_with_a_note_in_its_place_and_the_rest_is_owed() {
        let (mut subscriber, session) = stalled();
        let parent = Arc::new(Parent::none());
        let owed = message("display", MEGABYTE);
        while subscriber.queue.pending_bytes() <= STREAM_QUEUE_BYTES_MAX {
            subscriber.send(&session, &owed);
        }
        let full = subscriber.queue.pending_bytes();
        for _ in 0..3 {
            subscriber.send_stream(&session, &parent, 1000, &message("stream", 1000));
        }
        assert_eq!(subscriber.queue.pending_bytes(), full);
        subscriber.send(&session, &message("idle", 0));

        let messages = read_all(&subscriber.queue).await;
        let topics: Vec<&[u8]> = messages.iter().map(|frames| frames[0].as_ref()).collect();
        let displays = topics.iter().filter(|topic| **topic == b"display").count();
        assert_eq!(displays, full / MEGABYTE);
        // The note goes where the text would have, by the topic of what follows it.
        assert_eq!(topics[topics.len() - 2..], [b"idle", b"idle"]);
        let note = &messages[messages.len() - 2];
        let text = String::from_utf8_lossy(&note[note.len() - 1]).into_owned();
        assert!(text.contains("3000 bytes dropped"), "{text}");
        subscriber.send_stream(&session, &parent, 4, &message("stream", 4));
        assert_eq!(read_all(&subscriber.queue).await, [message("stream", 4)]);
    }

    #[tokio::test]
    async fn a_listener_to_whom_too_much_is_owed_is_disconnected() {
        let (mut subscriber, session) = stalled();
        let owed = message("display", MEGABYTE);
        let mut sent = 0;
        while subscriber.queue.pending_bytes() > 0 {
            subscriber.send(&session, &owed);
            sent += 1;
        }
        assert!((64..=70).contains(&sent), "{sent}");
    }

    #[tokio::test]
    async fn one_large_message_disconnects_nobody() {
        let (mut subscriber, session) = stalled();
        subscriber.send(&session, &message("comm_msg", QUEUE_BYTES_MAX + MEGABYTE));
        for _ in 0..10 {
            subscriber.send(&session, &message("idle", 0));
        }
        assert_eq!(read_all(&subscriber.queue).await.len(), 12);
    }
}
