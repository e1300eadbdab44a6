//! Whether a cell may run as it stands, for consoles that ask before they send it.

use super::sql_words::words;
use crate::magic::{Body, BodyKind, Call, Form};
use crate::parse::{Cell, Segment, parse};

/// Whether a cell may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// It may.
    Complete,
    /// More lines must follow.
    Incomplete,
    /// It cannot become right by going on.
    Invalid,
    /// Its last part is this Rust, which the Rust host must judge.
    Rust(Body),
}

/// Judges a cell.
pub fn is_complete(cell: &str) -> Completeness {
    match parse(cell) {
        Err(_) => Completeness::Invalid,
        Ok(Cell::Empty) => Completeness::Complete,
        Ok(Cell::Magic(call)) => body(&call),
        Ok(Cell::Segments(segments)) => match segments.last() {
            Some(Segment::Rust(rust)) => Completeness::Rust(rust.clone()),
            Some(Segment::Magic(call)) => body(call),
            Some(Segment::Help(_)) | None => Completeness::Complete,
        },
    }
}

fn body(call: &Call) -> Completeness {
    let text = &call.body.text;
    match (call.magic.spec().body, call.form) {
        (BodyKind::Sql, Form::Cell) => sql(text),
        (BodyKind::Sql, Form::Line) if words(text).iter().any(|word| word.is_open()) => {
            Completeness::Invalid
        }
        (BodyKind::Code, _) if text.trim().is_empty() => Completeness::Incomplete,
        (BodyKind::Code, _) => match is_complete(&call.body.padded()) {
            Completeness::Rust(rust) => Completeness::Rust(rust),
            other => other,
        },
        _ => Completeness::Complete,
    }
}

/// SQL ends with a semicolon or an empty line, outside everything that opens.
fn sql(text: &str) -> Completeness {
    let words = words(text);
    let opened = words.iter().filter(|word| word.is_sign("(")).count();
    let closed = words.iter().filter(|word| word.is_sign(")")).count();
    let is_open = words
        .iter()
        .any(|word| word.text.starts_with(['\'', '/']) && word.is_open());
    let ends = words.last().is_some_and(|word| word.is_sign(";")) || text.ends_with("\n\n");
    let is_ended =
        ends || (text.ends_with('\n') && text.lines().last().is_some_and(|l| l.trim().is_empty()));
    if text.trim().is_empty() || is_open || opened > closed || !is_ended {
        return Completeness::Incomplete;
    }
    Completeness::Complete
}
