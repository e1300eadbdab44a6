//! How fast messages may leave: token buckets over `stream` messages, over their bytes, and over all that is shown.
//!
//! jupyter_server drops messages of every kind above 1 000 messages per second, counted over three, and 1 MB of stream per second.
//! The kernel therefore stays below on its own.

use std::time::{Duration, Instant};

/// What a front end is sent at most.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// Stream messages in any second. Text in front of another output is exempt, but counts.
    pub messages_per_second: u32,
    /// Bytes of stream text, as JSON, in any second.
    pub bytes_per_second: u32,
    /// Displays, updates and other outputs, text among them, in any three seconds.
    pub outputs_per_window: u32,
    /// Text that may wait to be sent; beyond it the middle is dropped, with a note.
    pub backlog_bytes: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            messages_per_second: 20,
            bytes_per_second: 900_000,
            outputs_per_window: 2_700,
            backlog_bytes: 2 << 20,
        }
    }
}

/// Part of a limit that may be used at once; the rest flows in evenly.
const BURST_SHARE: f64 = 0.25;

/// The rate of messages and bytes that is left.
pub(super) struct Rate {
    messages: Bucket,
    bytes: Bucket,
    outputs: Bucket,
}

impl Rate {
    pub(super) fn new(limits: StreamLimits, now: Instant) -> Self {
        Self {
            messages: Bucket::new(f64::from(limits.messages_per_second), 1.0, now),
            bytes: Bucket::new(f64::from(limits.bytes_per_second), 1.0, now),
            outputs: Bucket::new(f64::from(limits.outputs_per_window), 3.0, now),
        }
    }

    /// Lets time pass.
    pub(super) fn refill(&mut self, now: Instant) {
        self.messages.refill(now);
        self.bytes.refill(now);
        self.outputs.refill(now);
    }

    /// Books an output, whatever it is.
    pub(super) fn take_output(&mut self) {
        self.outputs.level = (self.outputs.level - 1.0).max(-self.outputs.capacity);
    }

    /// Outputs that may be sent now.
    pub(super) fn outputs_left(&self) -> usize {
        to_count(self.outputs.level)
    }

    /// When an output may be sent.
    pub(super) fn output_ready_at(&self, now: Instant) -> Instant {
        now + self.outputs.wait_for(1.0)
    }

    /// Bytes that may be sent now.
    pub(super) fn bytes_left(&self) -> usize {
        to_count(self.bytes.level)
    }

    /// Books a sent message. One that had to go first may put the count into debt.
    pub(super) fn take(&mut self, bytes: usize) {
        self.messages.level = (self.messages.level - 1.0).max(-self.messages.per_second);
        self.bytes.level -= bytes as f64;
    }

    /// When a message of `bytes` may be sent, if `is_forced` regardless of the count of messages.
    pub(super) fn ready_at(&self, bytes: usize, is_forced: bool, now: Instant) -> Instant {
        let wait_bytes = self.bytes.wait_for(bytes as f64);
        let wait_message = if is_forced {
            Duration::ZERO
        } else {
            self.messages.wait_for(1.0)
        };
        now + wait_bytes.max(wait_message)
    }

    /// The most bytes that can ever be ready at once.
    pub(super) fn burst_bytes(&self) -> usize {
        to_count(self.bytes.capacity)
    }
}

struct Bucket {
    level: f64,
    capacity: f64,
    /// Inflow. With the burst it never exceeds the limit in a window.
    per_second: f64,
    refilled: Instant,
}

impl Bucket {
    fn new(limit: f64, window_seconds: f64, now: Instant) -> Self {
        let capacity = (limit * BURST_SHARE).max(1.0);
        Self {
            level: capacity,
            capacity,
            per_second: (limit - capacity) / window_seconds,
            refilled: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.level = (self.level + elapsed * self.per_second).min(self.capacity);
        self.refilled = self.refilled.max(now);
    }

    fn wait_for(&self, amount: f64) -> Duration {
        let missing = amount.min(self.capacity) - self.level;
        if missing <= 0.0 {
            return Duration::ZERO;
        }
        // Rounded up, so that a timer never fires just too early.
        Duration::from_secs_f64(missing / self.per_second) + Duration::from_millis(1)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bucket's level is clamped to zero and below 2^32"
)]
fn to_count(level: f64) -> usize {
    level.max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_holds_more_than_the_limit() {
        let limits = StreamLimits::default();
        let start = Instant::now();
        let mut rate = Rate::new(limits, start);
        let mut sent = Vec::new();
        for millisecond in 0..5_000 {
            let now = start + Duration::from_millis(millisecond);
            rate.refill(now);
            if rate.ready_at(40_000, false, now) <= now {
                rate.take(40_000);
                sent.push(now);
            }
            // A clock read before the lock was taken may be older than the last one.
            rate.refill(now - Duration::from_millis(millisecond.min(3)));
        }
        for first in &sent {
            let second = sent
                .iter()
                .filter(|at| (*first..*first + Duration::from_secs(1)).contains(at));
            let messages = second.count();
            assert!(messages <= 20 && messages * 40_000 <= 900_000, "{messages}");
        }
        assert!(sent.len() > 70, "the limit is also used: {}", sent.len());
    }

    #[test]
    fn three_seconds_hold_no_more_outputs_than_the_limit() {
        let start = Instant::now();
        let mut rate = Rate::new(StreamLimits::default(), start);
        let mut sent = Vec::new();
        for now in (0..7_000).map(|millisecond| start + Duration::from_millis(millisecond)) {
            rate.refill(now);
            for _ in 0..3 {
                if rate.output_ready_at(now) <= now {
                    rate.take_output();
                    sent.push(now);
                }
            }
        }
        for (at, first) in sent.iter().enumerate() {
            let within = sent[at..]
                .iter()
                .take_while(|one| **one < *first + Duration::from_secs(3));
            assert!(within.count() <= 2_700);
        }
        assert!(sent.len() > 5_000, "the limit is also used: {}", sent.len());
    }
}
