//! Places in text: bytes to lines and columns and back, and the small grammar `KEY = VALUE`.

use bireme_protocol::Position;

use crate::magic::Body;

/// A part of a body's text with the byte where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub text: &'a str,
    pub offset: usize,
}

impl Piece<'_> {
    /// The piece's place in the cell.
    pub(crate) fn position(&self, body: &Body) -> Position {
        let length = self.text.lines().next().unwrap_or_default().chars().count();
        body.to_cell(position(&body.text, self.offset, length))
    }
}

/// The place of a byte: line and column from 1, in characters.
pub(crate) fn position(text: &str, offset: usize, length: usize) -> Position {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Position {
        line: before.matches('\n').count() as u32 + 1,
        column: before[line_start..].chars().count() as u32 + 1,
        length: (length as u32).max(1),
    }
}

/// The byte of a place.
pub(crate) fn offset(text: &str, position: Position) -> usize {
    let mut start = 0;
    for _ in 1..position.line {
        match text[start..].find('\n') {
            Some(at) => start += at + 1,
            None => return text.len(),
        }
    }
    let column = (position.column as usize).saturating_sub(1);
    let line = &text[start..];
    start
        + line
            .char_indices()
            .nth(column)
            .map_or(line.len(), |(at, _)| at)
}

/// `KEY`, `KEY VALUE` or `KEY = VALUE`; the value is the rest of the line.
pub(crate) fn key_and_value(body: &Body) -> (Option<Piece<'_>>, Option<Piece<'_>>) {
    let text = body.text.trim_end();
    let start = text.len() - text.trim_start().len();
    let rest = &text[start..];
    if rest.is_empty() {
        return (None, None);
    }
    let end = rest
        .find(|c: char| c.is_whitespace() || c == '=')
        .unwrap_or(rest.len());
    let key = Piece {
        text: &rest[..end],
        offset: start,
    };
    let after = rest[end..].trim_start();
    let after = after.strip_prefix('=').unwrap_or(after).trim_start();
    let value = Piece {
        text: after,
        offset: text.len() - after.len(),
    };
    (Some(key), (!after.is_empty()).then_some(value))
}
