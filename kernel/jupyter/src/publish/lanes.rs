//! Orders, coalesces and paces what the requests in progress send.
//!
//! Each request has a lane. Text waits in it to be joined with more text; any other message goes
//! out at once, behind the text that was printed before it. Lanes do not wait for each other, so a
//! cell that floods its lane never delays the `idle` of a completion.
//!
//! ```text
//! lane of cell 7:   "1\n2\n3…" (stdout)  ->  display_data  ->  "4\n" (stdout)
//! lane of request 8:                                           (empty: sends at once)
//! ```
//!
//! No clock and no socket in here: time is an argument, what is ready is returned.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::rate::{Rate, StreamLimits};
use super::text::{PendingText, json_bytes};
use crate::wire::{Parent, StreamName};

/// How long the first text of a request waits for more.
const FIRST_FLUSH: Duration = Duration::from_millis(50);
/// How long later text waits.
const NEXT_FLUSH: Duration = Duration::from_millis(100);
/// Bytes of other messages that may wait behind text; beyond it the text is cut short.
const BEHIND_BYTES_MAX: usize = 8 << 20;
/// Empty lanes are swept when there are more than this.
const LANES_SWEEP: usize = 64;
/// Text is not sent in smaller pieces than this just because the rate is used up.
const PIECE_BYTES_MIN: usize = 48 << 10;

/// Something that is ready to be sent.
pub(super) enum Ready {
    /// Stream text of a request.
    Text {
        parent: Arc<Parent>,
        name: StreamName,
        text: String,
    },
    /// Any other message.
    Message(Vec<Bytes>),
}

enum Item {
    Text(StreamName, PendingText),
    Message(Vec<Bytes>),
    /// Told when everything before it has left.
    Barrier(oneshot::Sender<()>),
}

struct Lane {
    parent: Arc<Parent>,
    items: VecDeque<Item>,
    behind_bytes: usize,
    flushed: Option<Instant>,
    due: Instant,
}

/// The lanes of all requests.
pub(super) struct Lanes {
    lanes: HashMap<String, Lane>,
    rate: Rate,
    limits: StreamLimits,
}

impl Lanes {
    pub(super) fn new(limits: StreamLimits, now: Instant) -> Self {
        Self {
            lanes: HashMap::new(),
            rate: Rate::new(limits, now),
            limits,
        }
    }

    /// Adds printed text. True if a timer must be set for it.
    pub(super) fn text(
        &mut self,
        now: Instant,
        parent: &Arc<Parent>,
        name: StreamName,
        bytes: &[u8],
    ) -> bool {
        let waiting: usize = self.lanes.values().map(Lane::text_bytes).sum();
        let backlog_bytes = self.limits.backlog_bytes;
        let lane = self.lane(now, parent);
        let was_quiet = lane.items.is_empty();
        if was_quiet {
            lane.due = match lane.flushed {
                Some(flushed) => (flushed + NEXT_FLUSH).max(now),
                None => now + FIRST_FLUSH,
            };
        }
        let elsewhere = waiting.saturating_sub(lane.text_bytes());
        let limit = backlog_bytes.saturating_sub(elsewhere).max(PIECE_BYTES_MIN);
        lane.add_text(name, bytes, limit);
        was_quiet
    }

    /// Adds another message. It leaves with the next [`Self::ready`] unless text must go first.
    pub(super) fn message(&mut self, now: Instant, parent: &Arc<Parent>, frames: Vec<Bytes>) {
        let lane = self.lane(now, parent);
        lane.behind_bytes += frames.iter().map(Bytes::len).sum::<usize>();
        lane.items.push_back(Item::Message(frames));
        if lane.behind_bytes > BEHIND_BYTES_MAX {
            lane.cut(0);
        }
    }

    /// Asks to be told when everything that the request sent so far has left.
    pub(super) fn barrier(&mut self, now: Instant, parent: &Arc<Parent>) -> oneshot::Receiver<()> {
        let (passed_tx, passed_rx) = oneshot::channel();
        self.lane(now, parent)
            .items
            .push_back(Item::Barrier(passed_tx));
        passed_rx
    }

    /// Drops the text that cannot leave now, with a note; the user waits for the prompt.
    pub(super) fn cut(&mut self, parent: &Parent) {
        let keep = self.rate.bytes_left();
        if let Some(lane) = self.lanes.get_mut(parent.msg_id()) {
            lane.cut(keep);
        }
    }

    /// Forgets a request whose `idle` has been added, once its lane is empty.
    pub(super) fn finish(&mut self, parent: &Parent) {
        if self
            .lanes
            .get(parent.msg_id())
            .is_some_and(|lane| lane.items.is_empty())
        {
            self.lanes.remove(parent.msg_id());
        }
    }

    /// Takes everything that may be sent now.
    pub(super) fn ready(&mut self, now: Instant) -> Vec<Ready> {
        self.rate.refill(now);
        let mut ready = Vec::new();
        for lane in self.lanes.values_mut() {
            lane.take_ready(now, &mut self.rate, &mut ready);
        }
        ready
    }

    /// When [`Self::ready`] should be called again, if anything waits.
    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        self.lanes
            .values()
            .filter_map(|lane| lane.next_wake(&self.rate, now))
            .min()
    }

    fn lane(&mut self, now: Instant, parent: &Arc<Parent>) -> &mut Lane {
        if self.lanes.len() > LANES_SWEEP && !self.lanes.contains_key(parent.msg_id()) {
            self.lanes.retain(|_, lane| !lane.items.is_empty());
        }
        self.lanes
            .entry(parent.msg_id().to_owned())
            .or_insert_with(|| Lane {
                parent: Arc::clone(parent),
                items: VecDeque::new(),
                behind_bytes: 0,
                flushed: None,
                due: now,
            })
    }
}

impl Lane {
    fn text_bytes(&self) -> usize {
        self.items
            .iter()
            .map(|item| {
                if let Item::Text(_, text) = item {
                    text.len()
                } else {
                    0
                }
            })
            .sum()
    }

    /// Joins text to the last of its stream, unless another message stands behind that.
    fn add_text(&mut self, name: StreamName, bytes: &[u8], limit: usize) {
        let mut texts = self.items.iter_mut().rev().map_while(|item| match item {
            Item::Text(known, text) => Some((known, text)),
            Item::Message(_) | Item::Barrier(_) => None,
        });
        if let Some((_, text)) = texts.find(|(known, _)| **known == name) {
            text.push(bytes, limit);
            return;
        }
        drop(texts);
        let mut text = PendingText::default();
        text.push(bytes, limit);
        self.items.push_back(Item::Text(name, text));
    }

    fn cut(&mut self, mut keep: usize) {
        for item in &mut self.items {
            if let Item::Text(_, text) = item {
                text.truncate(keep);
                keep = keep.saturating_sub(text.len());
            }
        }
    }

    /// True if something stands behind the text, which therefore must not wait for more.
    fn is_forced(&self) -> bool {
        self.items
            .iter()
            .any(|item| !matches!(item, Item::Text(..)))
    }

    fn take_ready(&mut self, now: Instant, rate: &mut Rate, ready: &mut Vec<Ready>) {
        loop {
            let is_forced = self.is_forced();
            match self.items.front_mut() {
                None => return,
                Some(Item::Text(name, text)) => {
                    let name = *name;
                    let is_blocked = (!is_forced && now < self.due)
                        || now < text_ready_at(text, is_forced, rate, now);
                    if is_blocked {
                        return;
                    }
                    let piece = text.take(rate.bytes_left(), is_forced);
                    let is_done = text.is_empty();
                    let is_stuck = piece.is_none() && !is_done;
                    if let Some(text) = piece {
                        rate.take(json_bytes(&text));
                        self.flushed = Some(now);
                        let parent = Arc::clone(&self.parent);
                        ready.push(Ready::Text { parent, name, text });
                    }
                    if is_stuck {
                        // Half a character: its rest, or the next message, frees it.
                        self.due = now + NEXT_FLUSH;
                        return;
                    }
                    if is_done {
                        self.items.pop_front();
                    }
                }
                Some(_) => self.take_message(ready),
            }
        }
    }

    fn take_message(&mut self, ready: &mut Vec<Ready>) {
        match self.items.pop_front() {
            Some(Item::Message(frames)) => {
                let bytes: usize = frames.iter().map(Bytes::len).sum();
                self.behind_bytes = self.behind_bytes.saturating_sub(bytes);
                ready.push(Ready::Message(frames));
            }
            // The one who waits may have given up.
            Some(Item::Barrier(passed_tx)) => drop(passed_tx.send(())),
            Some(Item::Text(..)) | None => {}
        }
    }

    fn next_wake(&self, rate: &Rate, now: Instant) -> Option<Instant> {
        let is_forced = self.is_forced();
        match self.items.front()? {
            Item::Text(_, text) => {
                let due = if is_forced { now } else { self.due };
                Some(due.max(text_ready_at(text, is_forced, rate, now)))
            }
            Item::Message(_) | Item::Barrier(_) => Some(now),
        }
    }
}

/// When the rate allows a piece of `text` that is worth a message.
fn text_ready_at(text: &PendingText, is_forced: bool, rate: &Rate, now: Instant) -> Instant {
    let piece = text.len().clamp(1, PIECE_BYTES_MIN).min(rate.burst_bytes());
    rate.ready_at(piece, is_forced, now)
}
