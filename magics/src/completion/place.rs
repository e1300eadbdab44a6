//! What a cursor stands in: the name of a magic, its arguments, SQL or Rust. Works on cells that
//! are half typed, where [`crate::parse`] would rightly refuse.

use crate::arguments::{self, Rest};
use crate::magic::{BodyKind, Form, Spec};
use crate::registry;
use crate::rust_lexer::{RustLexer, Start};

/// What a cursor stands in. Offsets are bytes of the cell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// A name after `%`, `%%` or `?`; `start` is where the `%` or the bare name begins.
    MagicName {
        form: Option<Form>,
        start: usize,
        is_question: bool,
    },
    /// Arguments of a magic, from `start`.
    Arguments { spec: &'static Spec, start: usize },
    /// SQL from `start` to `end`.
    Sql { start: usize, end: usize },
    /// Anything else.
    Rust,
}

/// Finds what the cursor stands in.
pub(crate) fn find(cell: &str, cursor: usize) -> Place {
    find_from(cell, 0, cursor)
}

fn find_from(cell: &str, from: usize, cursor: usize) -> Place {
    let text = &cell[from..];
    let head = from + text.len() - text.trim_start().len();
    if cell[head..].starts_with("%%") && cursor > head {
        return in_cell_magic(cell, head, cursor);
    }
    in_segments(cell, from, cursor)
}

fn in_cell_magic(cell: &str, head: usize, cursor: usize) -> Place {
    let line_end = cell[head..].find('\n').map_or(cell.len(), |at| head + at);
    if cursor <= line_end {
        return in_magic_line(cell, head, line_end, cursor, Form::Cell);
    }
    let name = name_at(cell, head + 2);
    let body = line_end + 1;
    match registry::find(name).map(|magic| magic.spec().body) {
        Some(BodyKind::Sql) => Place::Sql {
            start: body,
            end: cell.len(),
        },
        Some(BodyKind::Code) => find_from(cell, body, cursor),
        _ => Place::Rust,
    }
}

fn in_segments(cell: &str, from: usize, cursor: usize) -> Place {
    let mut lexer = RustLexer::default();
    let mut start = from;
    for line in cell[from..].split('\n') {
        let end = start + line.len();
        let head = start + line.len() - line.trim_start().len();
        let is_magic = lexer.start() != Start::No && is_magic_line(&cell[head..end]);
        if cursor <= end {
            if lexer.start() == Start::No || cursor <= head {
                return Place::Rust;
            }
            return match cell[head..].chars().next() {
                Some('%') => in_magic_line(cell, head, end, cursor, Form::Line),
                Some('?') => question(cell, head, cursor),
                _ => Place::Rust,
            };
        }
        match is_magic {
            true => lexer = RustLexer::default(),
            false => lexer.feed(line),
        }
        start = end + 1;
    }
    Place::Rust
}

fn is_magic_line(line: &str) -> bool {
    line.strip_prefix('%')
        .is_some_and(|_| registry::find(name_at(line, 1)).is_some())
}

fn question(cell: &str, head: usize, cursor: usize) -> Place {
    let typed = cell[head..cursor].trim_start_matches('?');
    let start = cursor - typed.len();
    let form = match typed.bytes().take_while(|byte| *byte == b'%').count() {
        0 => None,
        1 => Some(Form::Line),
        _ => Some(Form::Cell),
    };
    Place::MagicName {
        form,
        start,
        is_question: true,
    }
}

fn in_magic_line(cell: &str, head: usize, end: usize, cursor: usize, form: Form) -> Place {
    let name_start = head + form.prefix().len();
    let name = name_at(cell, name_start);
    let name_end = name_start + name.len();
    if cursor <= name_end {
        // One percent sign at the start of a cell may become two.
        let form = (cursor > head + 1 || form == Form::Cell || head > 0).then_some(form);
        return Place::MagicName {
            form,
            start: head,
            is_question: false,
        };
    }
    let Some(magic) = registry::find(name) else {
        return Place::Rust;
    };
    let spec = magic.spec();
    if form == Form::Line {
        let rest = Rest {
            text: &cell[name_end..end],
            line: 1,
            column: 1,
        };
        if let Ok((_, body)) = arguments::read(spec, form, rest) {
            let body = end - body.text.len();
            let is_in_body = cursor >= body && body < end;
            match spec.body {
                BodyKind::Sql if is_in_body => return Place::Sql { start: body, end },
                BodyKind::Sql if cell[name_end..cursor].trim().is_empty() => {
                    return Place::Sql { start: cursor, end };
                }
                BodyKind::Code if is_in_body => return find_from(cell, body, cursor),
                _ => {}
            }
        }
    }
    Place::Arguments {
        spec,
        start: name_end,
    }
}

fn name_at(text: &str, start: usize) -> &str {
    let rest = text.get(start..).unwrap_or_default();
    let end = rest
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(rest.len());
    &rest[..end]
}
