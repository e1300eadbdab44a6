//! From the text of a cell to what it asks for: one cell magic, or line magics, help and Rust in
//! order. Total: every text gives a cell or a fault with its place.
//!
//! - `%%name` heads the first line that is not blank and takes the whole cell.
//! - `%name` starts a statement and is a registered name, so `% c` and a line inside an expression,
//!   a string or a comment stay Rust.
//! - `?x`, `%x?` and `%%x?` ask for help; `x?` alone in a cell may be help or Rust.

use bireme_protocol::{ErrorCode, Fault, Position};

use crate::arguments::{self, Rest};
use crate::magic::{Body, BodyKind, Call, Form, Magic};
use crate::registry;
use crate::rust_lexer::{RustLexer, Start};

/// What a cell asks for.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Nothing.
    Empty,
    /// A cell magic.
    Magic(Call),
    /// Line magics, help and Rust, to be done in order.
    Segments(Vec<Segment>),
}

/// A part of a cell.
#[derive(Clone, Debug)]
pub enum Segment {
    /// Lines of Rust.
    Rust(Body),
    /// A line magic.
    Magic(Call),
    /// A question.
    Help(HelpRequest),
}

/// A question about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelpRequest {
    /// The name, without `%` and `?`.
    pub name: String,
    /// The form, when `%` or `%%` stood before it.
    pub form: Option<Form>,
    /// Whether it can be nothing but a question; `x?` is also Rust when `x` is a variable.
    pub is_certain: bool,
    /// The line it stands in.
    pub line: u32,
}

/// Reads a cell.
///
/// # Errors
/// When a magic or a flag does not exist, or an argument does not fit; nothing has run then.
pub fn parse(text: &str) -> Result<Cell, Fault> {
    let lines: Vec<&str> = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .collect();
    let Some(first) = lines.iter().position(|line| !line.trim().is_empty()) else {
        return Ok(Cell::Empty);
    };
    if let Some(request) = lone_question(&lines[first..], first) {
        return Ok(Cell::Segments(vec![Segment::Help(request)]));
    }
    if lines[first].trim_start().starts_with("%%") {
        return cell_magic(text, &lines, first);
    }
    segments(&lines, first).map(Cell::Segments)
}

/// A whole cell that is `x?`.
fn lone_question(lines: &[&str], first: usize) -> Option<HelpRequest> {
    let is_alone = lines[1..].iter().all(|line| line.trim().is_empty());
    let name = lines[0].trim().trim_end_matches('?');
    let marks = lines[0].trim().len() - name.len();
    if !is_alone || !(1..=2).contains(&marks) || !is_path(name) {
        return None;
    }
    let line = first as u32 + 1;
    Some(HelpRequest {
        name: name.into(),
        form: None,
        is_certain: false,
        line,
    })
}

fn cell_magic(text: &str, lines: &[&str], first: usize) -> Result<Cell, Fault> {
    let line = first as u32 + 1;
    if let Some(request) = question(lines[first], line) {
        return Ok(Cell::Segments(vec![Segment::Help(request)]));
    }
    let head = Head::read(lines[first], line, Form::Cell);
    let magic = head.find()?;
    let spec = magic.spec();
    let (arguments, _) = arguments::read(spec, Form::Cell, head.rest)?;
    let body = Body {
        text: lines_from(text, first + 1).into(),
        line: line + 1,
        column: 1,
    };
    if spec.body == BodyKind::None && !body.is_blank() {
        let message = format!("%%{} takes no lines below it", spec.name);
        return Err(usage(message, head.position));
    }
    Ok(Cell::Magic(head.call(magic, arguments, body)))
}

/// The text from a line on, as typed.
fn lines_from(text: &str, index: usize) -> &str {
    let mut rest = text;
    for _ in 0..index {
        match rest.split_once('\n') {
            Some((_, after)) => rest = after,
            None => return "",
        }
    }
    rest
}

fn segments(lines: &[&str], first: usize) -> Result<Vec<Segment>, Fault> {
    let mut builder = Builder::default();
    for (index, text) in lines.iter().enumerate().skip(first) {
        builder.line(text, index as u32 + 1)?;
    }
    builder.flush();
    Ok(builder.segments)
}

#[derive(Default)]
struct Builder<'a> {
    segments: Vec<Segment>,
    rust: Vec<&'a str>,
    rust_line: u32,
    lexer: RustLexer,
}

impl<'a> Builder<'a> {
    fn line(&mut self, text: &'a str, line: u32) -> Result<(), Fault> {
        let start = self.lexer.start();
        let trimmed = text.trim_start();
        if start == Start::No {
            self.rust(text, line);
        } else if let Some(request) = question(text, line) {
            self.push(Segment::Help(request));
        } else if trimmed.starts_with("%%") {
            return Err(misplaced_cell_magic(text, line));
        } else if let Some(call) = line_magic(text, line, start)? {
            self.push(Segment::Magic(call));
        } else if is_evcxr_command(trimmed) {
            // `:dep x = "1"` ends with its line, and is no Rust.
            self.keep(text, line);
        } else {
            self.rust(text, line);
        }
        Ok(())
    }

    fn push(&mut self, segment: Segment) {
        self.flush();
        self.lexer = RustLexer::default();
        self.segments.push(segment);
    }

    fn rust(&mut self, text: &'a str, line: u32) {
        self.lexer.feed(text);
        self.keep(text, line);
    }

    fn keep(&mut self, text: &'a str, line: u32) {
        if self.rust.is_empty() {
            self.rust_line = line;
        }
        self.rust.push(text);
    }

    fn flush(&mut self) {
        let lines = std::mem::take(&mut self.rust);
        if lines.iter().any(|line| !line.trim().is_empty()) {
            let body = Body {
                text: lines.join("\n"),
                line: self.rust_line,
                column: 1,
            };
            self.segments.push(Segment::Rust(body));
        }
    }
}

fn is_evcxr_command(line: &str) -> bool {
    line.strip_prefix(':')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// A line magic. After a closing brace only a registered name is one.
fn line_magic(text: &str, line: u32, start: Start) -> Result<Option<Call>, Fault> {
    let after = text.trim_start().strip_prefix('%');
    if !after.is_some_and(|after| after.starts_with(|c: char| c.is_alphabetic() || c == '_')) {
        return Ok(None);
    }
    let head = Head::read(text, line, Form::Line);
    if start == Start::Likely && registry::find(head.name).is_none() {
        return Ok(None);
    }
    let magic = head.find()?;
    let (arguments, rest) = arguments::read(magic.spec(), Form::Line, head.rest)?;
    let body = Body {
        text: rest.text.trim_end().into(),
        line: rest.line,
        column: rest.column,
    };
    Ok(Some(head.call(magic, arguments, body)))
}

/// The `%name` of a call and what follows it on the line.
struct Head<'a> {
    form: Form,
    name: &'a str,
    position: Position,
    rest: Rest<'a>,
}

impl<'a> Head<'a> {
    fn read(text: &'a str, line: u32, form: Form) -> Self {
        let trimmed = text.trim_start();
        let column = (text.chars().count() - trimmed.chars().count()) as u32 + 1;
        let prefix = form.prefix().len();
        let after = &trimmed[prefix..];
        let end = after
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(after.len());
        let name = &after[..end];
        let length = (prefix + name.chars().count()) as u32;
        let rest = Rest {
            text: &after[end..],
            line,
            column: column + length,
        };
        Self {
            form,
            name,
            position: Position {
                line,
                column,
                length,
            },
            rest,
        }
    }

    fn find(&self) -> Result<&'static dyn Magic, Fault> {
        let typed = format!("{}{}", self.form.prefix(), self.name);
        if self.name.is_empty() {
            let hint = "%help lists the magics; write for example %%sql";
            return Err(
                usage("the name of a magic is missing".into(), self.position).with_hint(hint),
            );
        }
        let Some(magic) = registry::find(self.name) else {
            let fault = usage(format!("there is no magic {typed}"), self.position);
            return Err(match registry::nearest(self.name, self.form) {
                Some(name) => fault.with_hint(format!("did you mean {name}?")),
                None => fault.with_hint("%help lists the magics"),
            });
        };
        if !magic.spec().forms.has(self.form) {
            let (other, place) = match self.form {
                Form::Cell => ("%", "in a line"),
                Form::Line => ("%%", "as the first line of its cell"),
            };
            let message = format!("there is no {typed}, only {other}{}, {place}", self.name);
            return Err(usage(message, self.position));
        }
        Ok(magic)
    }

    fn call(&self, magic: &'static dyn Magic, arguments: arguments::Arguments, body: Body) -> Call {
        let Position { line, column, .. } = self.position;
        Call {
            magic,
            form: self.form,
            line,
            column,
            arguments,
            body,
        }
    }
}

fn misplaced_cell_magic(text: &str, line: u32) -> Fault {
    let head = Head::read(text, line, Form::Cell);
    let message = format!("%%{} is not at the start of its cell", head.name);
    usage(message, head.position)
        .with_hint("a cell magic heads its cell: move what stands above it to another cell")
}

/// `?x`, `%x?` and their kin: what can be nothing but a question.
fn question(text: &str, line: u32) -> Option<HelpRequest> {
    let trimmed = text.trim();
    let before = trimmed.trim_start_matches('?');
    let asked_before = trimmed.len() - before.len();
    let bare = before.trim_start_matches('%');
    let percents = before.len() - bare.len();
    let name = bare.trim_end_matches('?');
    let asked_after = bare.len() - name.len();
    let is_question = asked_before + asked_after > 0 && asked_before.max(asked_after) <= 2;
    let is_certain = asked_before > 0 || percents > 0;
    let name = name.trim();
    if !is_question || !is_certain || percents > 2 || !is_path(name) {
        return None;
    }
    let form = match percents {
        0 => None,
        1 => Some(Form::Line),
        _ => Some(Form::Cell),
    };
    Some(HelpRequest {
        name: name.into(),
        form,
        is_certain: true,
        line,
    })
}

/// `name` or `name.name`.
fn is_path(text: &str) -> bool {
    text.split('.').all(|part| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

fn usage(message: String, position: Position) -> Fault {
    Fault::new(ErrorCode::InvalidArgument, message).at(position)
}
