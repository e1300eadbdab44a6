//! The one door to IOPub: every message to the front ends goes through here.
//!
//! Callers never wait. Text is kept in bounded lanes until it may leave, other messages go straight
//! into the queues of the listeners; a single timer task sends what has become due.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{Notify, oneshot};

use super::lanes::{Lanes, Pace, Ready};
use super::rate::StreamLimits;
use super::subscriber::{Subscriber, SubscriberId};
use crate::session::Session;
use crate::sockets::PeerQueue;
use crate::wire::{ExecutionState, JsonMap, Parent, Status, Stream, StreamName};

/// Longest sleep of the timer; it only bounds the harm of a missed wake-up.
const TIMER_SLEEP_MAX: Duration = Duration::from_secs(60);
/// Messages that a cell may send without end; an update is one as well.
const PACED: [&str; 3] = ["display_data", "clear_output", "comm_msg"];

/// Sends to the front ends.
pub(crate) struct Publisher {
    session: Arc<Session>,
    state: Mutex<State>,
    text_arrived: Notify,
}

struct State {
    lanes: Lanes,
    subscribers: HashMap<SubscriberId, Subscriber>,
    next_subscriber: SubscriberId,
    has_started: bool,
}

impl Publisher {
    pub(crate) fn new(session: Arc<Session>, limits: StreamLimits) -> Self {
        let state = State {
            lanes: Lanes::new(limits, Instant::now()),
            subscribers: HashMap::new(),
            next_subscriber: 0,
            has_started: false,
        };
        Self {
            session,
            state: Mutex::new(state),
            text_arrived: Notify::new(),
        }
    }

    /// Prints.
    pub(crate) fn stream(&self, parent: &Arc<Parent>, name: StreamName, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.lock();
        let is_new = state.lanes.text(Instant::now(), parent, name, bytes);
        drop(state);
        if is_new {
            self.text_arrived.notify_one();
        }
    }

    /// Sends a message behind what the request printed before.
    pub(crate) fn publish(
        &self,
        parent: &Arc<Parent>,
        msg_type: &'static str,
        content: impl Serialize,
    ) {
        self.publish_with(parent, msg_type, content, &JsonMap::new(), &[]);
    }

    /// Replaces what is shown under `display_id`; of several updates that wait the last is sent.
    pub(crate) fn update(&self, parent: &Arc<Parent>, content: impl Serialize, display_id: &str) {
        let frames = self.frames(parent, "update_display_data", content, &JsonMap::new(), &[]);
        self.add(parent, frames, Pace::Update(display_id));
    }

    /// Sends a message with metadata and attachments.
    pub(crate) fn publish_with(
        &self,
        parent: &Arc<Parent>,
        msg_type: &'static str,
        content: impl Serialize,
        metadata: &JsonMap,
        buffers: &[Bytes],
    ) {
        let frames = self.frames(parent, msg_type, content, metadata, buffers);
        let pace = match PACED.contains(&msg_type) {
            true => Pace::Output,
            false => Pace::Free,
        };
        self.add(parent, frames, pace);
    }

    fn frames(
        &self,
        parent: &Arc<Parent>,
        msg_type: &'static str,
        content: impl Serialize,
        metadata: &JsonMap,
        buffers: &[Bytes],
    ) -> Vec<Bytes> {
        let topic = [self.topic(msg_type)];
        self.session
            .message_with(&topic, msg_type, parent, content, metadata, buffers)
    }

    fn add(&self, parent: &Arc<Parent>, frames: Vec<Bytes>, pace: Pace<'_>) {
        let mut state = self.lock();
        let now = Instant::now();
        state.lanes.message(now, parent, frames, pace);
        self.send_now(&mut state, now);
    }

    /// Says that a request is being handled, or that all of it was sent.
    pub(crate) fn status(&self, parent: &Arc<Parent>, execution_state: ExecutionState) {
        self.publish(parent, "status", Status { execution_state });
        if execution_state == ExecutionState::Idle {
            self.lock().lanes.finish(parent);
        }
    }

    /// Resolves when everything that the request sent so far has left.
    pub(crate) fn flush(&self, parent: &Arc<Parent>) -> oneshot::Receiver<()> {
        let mut state = self.lock();
        let now = Instant::now();
        let passed_rx = state.lanes.barrier(now, parent);
        self.send_now(&mut state, now);
        passed_rx
    }

    /// Drops the text of a request that cannot leave at once, with a note.
    pub(crate) fn cut(&self, parent: &Parent) {
        let mut state = self.lock();
        let now = Instant::now();
        state.lanes.cut(parent);
        self.send_now(&mut state, now);
    }

    /// Sends text when it is due; runs as long as the kernel.
    pub(crate) async fn run_timer(&self) {
        loop {
            let arrived = self.text_arrived.notified();
            let wake = {
                let mut state = self.lock();
                let now = Instant::now();
                self.send_ready(&mut state, now);
                state.lanes.next_wake(now)
            };
            let wait = |wake: Instant| wake.saturating_duration_since(Instant::now());
            let sleep = wake.map_or(TIMER_SLEEP_MAX, wait);
            // At least a millisecond, so that rounding can never make this spin.
            let sleep = sleep.clamp(Duration::from_millis(1), TIMER_SLEEP_MAX);
            // Both a wake-up and the end of the sleep lead to a new look.
            let _ = tokio::time::timeout(sleep, arrived).await;
        }
    }

    /// Adds a listener that has not asked for anything yet.
    pub(crate) fn add_subscriber(&self, queue: Arc<PeerQueue>) -> SubscriberId {
        let mut state = self.lock();
        state.next_subscriber += 1;
        let id = state.next_subscriber;
        state.subscribers.insert(id, Subscriber::new(queue));
        id
    }

    /// Forgets a listener.
    pub(crate) fn remove_subscriber(&self, id: SubscriberId) {
        self.lock().subscribers.remove(&id);
    }

    /// Welcomes a listener on a topic (JEP 65), and announces the start to the very first.
    pub(crate) fn subscribe(&self, id: SubscriberId, topic: Bytes) {
        let content = serde_json::json!({ "subscription": String::from_utf8_lossy(&topic) });
        let nobody = Parent::none();
        let identities = [topic.clone()];
        let welcome = self
            .session
            .message(&identities, "iopub_welcome", &nobody, content);
        let mut state = self.lock();
        let Some(subscriber) = state.subscribers.get_mut(&id) else {
            return;
        };
        if !subscriber.subscribe(topic, welcome) {
            tracing::warn!("a front end asked for too many topics");
            subscriber.queue().close();
            return;
        }
        if !std::mem::replace(&mut state.has_started, true) {
            let status = Status {
                execution_state: ExecutionState::Starting,
            };
            let topic = [self.topic("status")];
            let frames = self.session.message(&topic, "status", &nobody, status);
            self.send_to_all(&mut state, &frames);
        }
    }

    /// Stops sending a topic to a listener.
    pub(crate) fn unsubscribe(&self, id: SubscriberId, topic: &[u8]) {
        if let Some(subscriber) = self.lock().subscribers.get_mut(&id) {
            subscriber.unsubscribe(topic);
        }
    }

    /// Waits until everything that left has been handed to the operating system.
    pub(crate) async fn drained(&self) {
        let queues: Vec<_> = self
            .lock()
            .subscribers
            .values()
            .map(|one| Arc::clone(one.queue()))
            .collect();
        for queue in queues {
            queue.drained().await;
        }
    }

    /// Sends what is ready, and lets the timer know of what is not.
    fn send_now(&self, state: &mut State, now: Instant) {
        self.send_ready(state, now);
        if state.lanes.next_wake(now).is_some() {
            self.text_arrived.notify_one();
        }
    }

    fn send_ready(&self, state: &mut State, now: Instant) {
        for ready in state.lanes.ready(now) {
            match ready {
                Ready::Message(frames) => self.send_to_all(state, &frames),
                Ready::Text { parent, name, text } => {
                    let text_bytes = text.len();
                    let topic = [self.topic("stream")];
                    let content = Stream { name, text };
                    let frames = self.session.message(&topic, "stream", &parent, content);
                    for subscriber in state.subscribers.values_mut() {
                        subscriber.send_stream(&self.session, &parent, text_bytes, &frames);
                    }
                }
            }
        }
    }

    fn send_to_all(&self, state: &mut State, frames: &[Bytes]) {
        for subscriber in state.subscribers.values_mut() {
            subscriber.send(&self.session, frames);
        }
    }

    fn topic(&self, msg_type: &str) -> Bytes {
        Bytes::from(format!("kernel.{}.{msg_type}", self.session.id()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
