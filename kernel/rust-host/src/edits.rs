//! What was put into a cell before it is compiled, and the way back from a place in the result to
//! one in the user's own code. No edit adds or removes a line.

use crate::source_map::Position;
use std::ops::Range;

/// One change of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Byte offset in the text before.
    pub(crate) at: usize,
    /// Bytes that go.
    pub(crate) removed: usize,
    /// What comes in their place.
    pub(crate) inserted: &'static str,
}

/// Changes of one text, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Edits(Vec<Edit>);

impl Edits {
    /// Changes in any order; those at one place stay in theirs.
    pub(crate) fn new(mut edits: Vec<Edit>) -> Self {
        edits.sort_by_key(|edit| edit.at);
        Self(edits)
    }

    /// The changed text.
    pub(crate) fn apply(&self, text: &str) -> String {
        let mut changed = String::with_capacity(text.len());
        let mut done = 0;
        for edit in &self.0 {
            changed.push_str(&text[done..edit.at]);
            changed.push_str(edit.inserted);
            done = edit.at + edit.removed;
        }
        changed + &text[done..]
    }

    /// Where an offset in the changed text was before; what was put in stands for where it was put.
    pub(crate) fn undo(&self, offset: usize) -> usize {
        let (mut changed, mut original) = (0, 0);
        for edit in &self.0 {
            let start = changed + (edit.at - original);
            if offset < start {
                break;
            }
            if offset < start + edit.inserted.len() {
                return edit.at;
            }
            changed = start + edit.inserted.len();
            original = edit.at + edit.removed;
        }
        original + offset.saturating_sub(changed)
    }

    /// Where a range is in the changed text, without what was put in at its ends.
    pub(crate) fn redo(&self, range: &Range<usize>) -> Range<usize> {
        let starts_behind = self.0.iter().filter(|edit| edit.at <= range.start);
        let ends_behind = self.0.iter().filter(|edit| edit.at < range.end);
        moved(range.start, starts_behind)..moved(range.end, ends_behind)
    }

    /// A place in the changed text as one in the text before.
    pub(crate) fn original(&self, before: &str, changed: &str, place: Position) -> Position {
        let Some(start) = line_start(changed, place.line) else {
            return place;
        };
        let line = changed[start..].split('\n').next().unwrap_or_default();
        let column = place.column.saturating_sub(1);
        let inner = line
            .char_indices()
            .nth(column)
            .map_or(line.len(), |(at, _)| at);
        let offset = self.undo(start + inner).min(before.len());
        let before = before.get(..offset).unwrap_or(before);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            line: place.line,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// An offset behind some edits.
fn moved<'e>(offset: usize, edits: impl Iterator<Item = &'e Edit>) -> usize {
    edits.fold(offset, |moved, edit| {
        let gone = edit.removed.min(offset - edit.at);
        moved + edit.inserted.len() - gone
    })
}

fn line_start(text: &str, line: usize) -> Option<usize> {
    match line.checked_sub(2) {
        None => Some(0),
        Some(skipped) => Some(text.match_indices('\n').nth(skipped)?.0 + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_go_there_and_back() {
        let edit = |at, removed, inserted| Edit {
            at,
            removed,
            inserted,
        };
        let edits = Edits::new(vec![edit(4, 2, "<in>"), edit(0, 0, "a("), edit(8, 0, ")")]);
        let text = "01é45\n78";
        let changed = edits.apply(text);
        assert_eq!(changed, "a(01é<in>\n7)8");
        let back: Vec<usize> = (0..=changed.len()).map(|at| edits.undo(at)).collect();
        assert_eq!(back, [0, 0, 0, 1, 2, 3, 4, 4, 4, 4, 6, 7, 8, 8, 9]);
        let forth = [0..2, 2..4, 2..6, 0..8].map(|range| &changed[edits.redo(&range)]);
        assert_eq!(forth, ["01", "é", "é<in>", "01é<in>\n7"]);
        let at = |line, column| edits.original(text, &changed, Position { line, column });
        assert_eq!(at(1, 5), Position { line: 1, column: 3 });
        assert_eq!(at(2, 3), Position { line: 2, column: 2 });
    }
}
