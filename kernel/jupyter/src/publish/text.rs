//! Printed text that waits to be sent: bounded, losing its middle first, cut between characters.

use std::collections::VecDeque;

/// Searched for the end of a line after text was dropped, so that the rest starts on a new line.
const LINE_SEARCH_BYTES: usize = 4096;

/// The text of one stream between two other outputs.
///
/// ```text
/// head (sent next) | dropped bytes | tail (the newest)
/// ```
#[derive(Default)]
pub(super) struct PendingText {
    head: VecDeque<u8>,
    dropped: u64,
    tail: VecDeque<u8>,
}

impl PendingText {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// True if there is nothing left to say, not even that something was dropped.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.dropped == 0
    }

    /// Appends text. When more than `limit` bytes wait, the oldest behind the first half go.
    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) {
        let tail_max = limit / 2;
        if self.dropped == 0 && self.tail.is_empty() && self.head.len() + bytes.len() <= limit {
            self.head.extend(bytes);
            return;
        }
        if self.tail.is_empty() && self.dropped == 0 && self.head.len() > limit - tail_max {
            self.tail = self.head.split_off(limit - tail_max);
        }
        let newest = &bytes[bytes.len().saturating_sub(tail_max)..];
        self.dropped += (bytes.len() - newest.len()) as u64;
        self.tail.extend(newest);
        let excess = self.tail.len().saturating_sub(tail_max);
        if excess > 0 {
            self.drop_from_tail(excess);
        }
    }

    fn drop_from_tail(&mut self, excess: usize) {
        let search = self.tail.iter().skip(excess).take(LINE_SEARCH_BYTES);
        let to_line_end = search.take_while(|byte| **byte != b'\n').count();
        let is_line_end = self.tail.get(excess + to_line_end) == Some(&b'\n');
        let count = excess + if is_line_end { to_line_end + 1 } else { 0 };
        self.tail.drain(..count);
        self.dropped += count as u64;
    }

    /// Drops everything but the first `keep` bytes.
    pub(super) fn truncate(&mut self, keep: usize) {
        let keep = keep.min(self.head.len());
        self.dropped += (self.len() - keep) as u64;
        self.head.truncate(keep);
        self.tail.clear();
    }

    /// Takes text that is at most `limit` bytes as JSON. A character that is not complete yet
    /// stays behind, unless `is_final` says that its rest will not come.
    pub(super) fn take(&mut self, limit: usize, is_final: bool) -> Option<String> {
        if self.head.is_empty() && self.dropped > 0 {
            let note = drop_note(std::mem::take(&mut self.dropped));
            self.head = VecDeque::from(note.into_bytes());
            self.head.append(&mut self.tail);
        }
        let is_final = is_final || self.dropped > 0;
        let bytes = &*self.head.make_contiguous();
        let mut count = bytes_within(bytes, limit);
        if count < bytes.len() || !is_final {
            count -= incomplete_suffix(&bytes[..count]);
        }
        if count == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        self.head.drain(..count);
        Some(text)
    }
}

/// The line that stands for text that was dropped.
pub(super) fn drop_note(bytes: u64) -> String {
    format!("\n\u{2026} {bytes} bytes dropped\n")
}

/// Bytes that `text` takes in a JSON string.
pub(super) fn json_bytes(text: &str) -> usize {
    text.bytes().map(json_cost).sum()
}

/// How many of `bytes` take at most `limit` bytes in a JSON string.
fn bytes_within(bytes: &[u8], limit: usize) -> usize {
    let mut cost = 0;
    for (index, byte) in bytes.iter().enumerate() {
        cost += json_cost(*byte);
        if cost > limit {
            return index;
        }
    }
    bytes.len()
}

fn json_cost(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

/// Length of a character at the end whose last bytes have not come yet.
fn incomplete_suffix(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &mut PendingText) -> String {
        std::iter::from_fn(|| text.take(usize::MAX, true)).collect()
    }

    #[test]
    fn a_character_split_over_two_writes_arrives_whole() {
        let mut text = PendingText::default();
        let euro = "\u{20ac}".as_bytes();
        text.push(b"1 ", 100);
        text.push(&euro[..2], 100);
        assert_eq!(text.take(100, false).as_deref(), Some("1 "));
        assert_eq!(text.take(100, false), None);
        text.push(&euro[2..], 100);
        assert_eq!(text.take(100, false).as_deref(), Some("\u{20ac}"));
    }

    #[test]
    fn what_is_not_utf8_is_replaced_and_never_waits_for_ever() {
        let mut text = PendingText::default();
        text.push(b"a\xff\xe2\x82", 100);
        assert_eq!(text.take(100, false).as_deref(), Some("a\u{fffd}"));
        assert_eq!(text.take(100, true).as_deref(), Some("\u{fffd}"));
        assert!(text.is_empty());
    }

    #[test]
    fn a_flood_keeps_its_start_and_its_end() {
        let mut text = PendingText::default();
        for line in 0..1000 {
            text.push(format!("line {line}\n").as_bytes(), 100);
            assert!(text.len() <= 100);
        }
        let shown = all(&mut text);
        assert!(shown.starts_with("line 0\nline 1\n"), "{shown}");
        assert!(shown.ends_with("line 998\nline 999\n"), "{shown}");
        let dropped: usize = shown
            .split_once('\u{2026}')
            .and_then(|(_, rest)| rest.trim_start().split(' ').next()?.parse().ok())
            .unwrap();
        let written: usize = (0..1000).map(|line| format!("line {line}\n").len()).sum();
        let kept = shown.len() - drop_note(dropped as u64).len();
        assert_eq!(kept + dropped, written);
    }

    #[test]
    fn pieces_respect_the_limit_as_json() {
        let mut text = PendingText::default();
        text.push(b"\x1b\x1b\x1bplain", 100);
        assert_eq!(text.take(13, false).as_deref(), Some("\u{1b}\u{1b}"));
        assert_eq!(text.take(100, false).as_deref(), Some("\u{1b}plain"));
    }

    #[test]
    fn truncation_says_how_much_is_missing() {
        let mut text = PendingText::default();
        text.push(b"0123456789", 100);
        text.truncate(4);
        assert_eq!(all(&mut text), format!("0123{}", drop_note(6)));
    }
}
