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
/// Bytes of other messages that may wait; beyond it text is cut short, and they wait no longer.
const BEHIND_BYTES_MAX: usize = 32 << 20;
/// So often the two streams of a request may take turns while their text waits.
const TURNS_MAX: usize = 6;
/// Empty lanes are swept when there are more than this.
const LANES_SWEEP: usize = 64;
/// Text is not sent in smaller pieces than this just because the rate is used up.
const PIECE_BYTES_MIN: usize = 48 << 10;

/// How a message that is no text may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace<'a> {
    /// As soon as what stands before it has left.
    Free,
    /// As often as the limit for outputs allows.
    Output,
    /// The same; it takes the place of one for the same display that has not left.
    Update(&'a str),
}

/// A message that waits for its turn.
struct Waiting {
    frames: Vec<Bytes>,
    is_output: bool,
    /// The display that it updates.
    updates: Option<String>,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.frames.iter().map(Bytes::len).sum()
    }
}

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
    Message(Waiting),
    /// Told when everything before it has left.
    Barrier(oneshot::Sender<()>),
}

impl Item {
    fn is_output(&self) -> bool {
        match self {
            Item::Text(..) => true,
            Item::Message(message) => message.is_output,
            Item::Barrier(_) => false,
        }
    }

    /// Its bytes if it is no text.
    fn behind_bytes(&self) -> usize {
        match self {
            Item::Message(message) => message.bytes(),
            Item::Text(..) | Item::Barrier(_) => 0,
        }
    }
}

struct Lane {
    parent: Arc<Parent>,
    items: VecDeque<Item>,
    /// Bytes of the messages that are no text.
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

    /// Adds another message. It leaves with the next [`Self::ready`] unless text must go first, or there
    /// were many outputs lately.
    pub(super) fn message(
        &mut self,
        now: Instant,
        parent: &Arc<Parent>,
        frames: Vec<Bytes>,
        pace: Pace<'_>,
    ) {
        let lane = self.lane(now, parent);
        lane.add_message(frames, pace);
        if lane.behind_bytes > BEHIND_BYTES_MAX {
            lane.cut_text(0);
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

    /// Drops the text and the outputs that cannot leave now, with notes; the user waits for the prompt.
    pub(super) fn cut(&mut self, parent: &Parent) {
        let (bytes, outputs) = (self.rate.bytes_left(), self.rate.outputs_left());
        if let Some(lane) = self.lanes.get_mut(parent.msg_id()) {
            lane.cut_text(bytes);
            lane.cut_outputs(outputs);
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

    /// Joins text to what waits of its stream. The two streams keep their order while they take few
    /// turns, and no other message is passed.
    fn add_text(&mut self, name: StreamName, bytes: &[u8], limit: usize) {
        let is_text = |item: &&Item| matches!(item, Item::Text(..));
        let turns = self.items.iter().rev().take_while(is_text).count();
        let reach = match turns {
            TURNS_MAX.. => turns,
            _ => 1,
        };
        let mut last = self.items.iter_mut().rev().take(reach);
        let joined = last.find_map(|item| match item {
            Item::Text(known, text) if *known == name => Some(text),
            Item::Text(..) | Item::Message(_) | Item::Barrier(_) => None,
        });
        if let Some(text) = joined {
            text.push(bytes, limit);
            return;
        }
        drop(last);
        let mut text = PendingText::default();
        text.push(bytes, limit);
        self.items.push_back(Item::Text(name, text));
    }

    fn add_message(&mut self, frames: Vec<Bytes>, pace: Pace<'_>) {
        let message = Waiting {
            frames,
            is_output: pace != Pace::Free,
            updates: match pace {
                Pace::Update(display) => Some(display.to_owned()),
                Pace::Free | Pace::Output => None,
            },
        };
        self.behind_bytes += message.bytes();
        let updates = self.items.iter_mut().rev().map_while(|item| match item {
            Item::Message(waiting) if waiting.updates.is_some() => Some(Some(waiting)),
            Item::Text(..) => Some(None),
            Item::Message(_) | Item::Barrier(_) => None,
        });
        let mut updates = updates.flatten();
        if message.updates.is_some()
            && let Some(old) = updates.find(|old| old.updates == message.updates)
        {
            self.behind_bytes -= old.bytes();
            *old = message;
            return;
        }
        drop(updates);
        self.items.push_back(Item::Message(message));
    }

    /// Whether the message at the front may leave; many bytes of them do not wait.
    fn may_leave(&self, message: &Waiting, rate: &Rate, now: Instant) -> bool {
        let is_free = !message.is_output || self.behind_bytes > BEHIND_BYTES_MAX;
        is_free || rate.output_ready_at(now) <= now
    }

    fn cut_text(&mut self, mut keep: usize) {
        for item in &mut self.items {
            if let Item::Text(_, text) = item {
                text.truncate(keep);
                keep = keep.saturating_sub(text.len());
            }
        }
    }

    /// Keeps the first outputs and the last, which is the cell's value if it has one.
    fn cut_outputs(&mut self, keep: usize) {
        let outputs = self.items.iter().filter(|item| item.is_output()).count();
        let dropped = outputs.saturating_sub(keep + 1);
        if dropped == 0 {
            return;
        }
        let mut number = 0;
        let (before, after) = std::mem::take(&mut self.items)
            .into_iter()
            .partition::<VecDeque<_>, _>(|item| {
                number += usize::from(item.is_output());
                number <= keep
            });
        self.items = before;
        let mut note = PendingText::default();
        let text = format!("… {dropped} outputs left out\n");
        note.push(text.as_bytes(), text.len());
        self.items.push_back(Item::Text(StreamName::Stderr, note));
        let mut left = dropped;
        for item in after {
            if item.is_output() && left > 0 {
                left -= 1;
                continue;
            }
            self.items.push_back(item);
        }
        self.behind_bytes = self.items.iter().map(Item::behind_bytes).sum();
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
            if let Some(Item::Message(message)) = self.items.front()
                && !self.may_leave(message, rate, now)
            {
                return;
            }
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
                        rate.take_output();
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
                Some(_) => self.take_message(rate, ready),
            }
        }
    }

    fn take_message(&mut self, rate: &mut Rate, ready: &mut Vec<Ready>) {
        match self.items.pop_front() {
            Some(Item::Message(message)) => {
                self.behind_bytes = self.behind_bytes.saturating_sub(message.bytes());
                if message.is_output {
                    rate.take_output();
                }
                ready.push(Ready::Message(message.frames));
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
            Item::Message(message) if !self.may_leave(message, rate, now) => {
                Some(rate.output_ready_at(now))
            }
            Item::Message(_) | Item::Barrier(_) => Some(now),
        }
    }
}

/// When the rate allows a piece of `text` that is worth a message.
fn text_ready_at(text: &PendingText, is_forced: bool, rate: &Rate, now: Instant) -> Instant {
    let piece = text.len().clamp(1, PIECE_BYTES_MIN).min(rate.burst_bytes());
    rate.ready_at(piece, is_forced, now)
        .max(rate.output_ready_at(now))
}
