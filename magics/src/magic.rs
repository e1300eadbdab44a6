//! What a magic is: a declaration from which help, completion, docs and tests derive, and one
//! function that runs it. A new magic is one file with a [`Spec`] and one line in the registry.
//!
//! Reading a call from a cell is [`crate::parse()`]'s; what a magic may ask for is [`crate::host`]'s.

use std::time::Duration;

use async_trait::async_trait;
use bireme_protocol::{Fault, Position};

use crate::arguments::Arguments;
use crate::host::Host;

/// Something a cell can ask of the kernel with `%name` or `%%name`.
#[async_trait]
pub trait Magic: Send + Sync {
    /// What the magic is called, takes and does.
    fn spec(&self) -> &'static Spec;

    /// Runs one call. Positions in a fault are positions in the cell.
    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault>;
}

/// The declaration of a magic.
#[derive(Debug)]
pub struct Spec {
    /// The name, without `%`.
    pub name: &'static str,
    /// Whether it stands in a line, heads a cell, or both.
    pub forms: Forms,
    /// One sentence.
    pub summary: &'static str,
    /// Paragraphs of Markdown; may be empty.
    pub doc: &'static str,
    /// Arguments without a name, in order.
    pub positionals: &'static [Positional],
    /// Arguments with a name.
    pub flags: &'static [Flag],
    /// What follows the arguments.
    pub body: BodyKind,
    /// Calls to learn from.
    pub examples: &'static [Example],
}

/// The forms a magic has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forms {
    /// `%name` only.
    Line,
    /// `%%name` only.
    Cell,
    /// `%name` and `%%name`.
    Both,
}

impl Forms {
    /// Whether a call of this form exists.
    pub fn has(self, form: Form) -> bool {
        !matches!(
            (self, form),
            (Self::Line, Form::Cell) | (Self::Cell, Form::Line)
        )
    }
}

/// The form of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `%name`, to the end of the line.
    Line,
    /// `%%name`, to the end of the cell.
    Cell,
}

impl Form {
    /// What stands before the name.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Line => "%",
            Self::Cell => "%%",
        }
    }
}

/// An argument without a name.
#[derive(Debug)]
pub struct Positional {
    /// Its name in help, e.g. `NAME`.
    pub name: &'static str,
    /// What it may be.
    pub kind: ValueKind,
    /// Whether the call needs it.
    pub is_required: bool,
    /// One sentence.
    pub doc: &'static str,
}

/// An argument with a name: `--name` or `--name VALUE`.
#[derive(Debug)]
pub struct Flag {
    /// The name, without `--`.
    pub name: &'static str,
    /// What it takes; nothing for a switch.
    pub value: Option<ValueKind>,
    /// What holds without it, as help shows it.
    pub default: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// Known, but no part of this build: refused with a clear error and absent from help.
    pub is_later: bool,
}

impl Flag {
    /// `--timeout`, of every magic that runs a query. [`Call::timeout`] reads it.
    pub(crate) const TIMEOUT: Self = Self::value(
        "timeout",
        ValueKind::Duration,
        "query.timeout",
        "Longest time it may run.",
    );

    /// A switch.
    pub const fn switch(name: &'static str, doc: &'static str) -> Self {
        Self {
            name,
            value: None,
            default: "",
            doc,
            is_later: false,
        }
    }

    /// A flag that takes a value.
    pub const fn value(
        name: &'static str,
        kind: ValueKind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            value: Some(kind),
            default,
            doc,
            is_later: false,
        }
    }

    /// A flag of a later build.
    pub const fn later(name: &'static str) -> Self {
        Self {
            name,
            value: None,
            default: "",
            doc: "",
            is_later: true,
        }
    }
}

/// What an argument may be; completion proposes accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Any text.
    Text,
    /// A SQL name that the call makes.
    NewName,
    /// A view or table of the session.
    Table,
    /// A whole number from 0.
    Integer,
    /// A whole number from 1.
    Count,
    /// A time: `30s`, `5m`, a bare number of seconds.
    Duration,
    /// One of a list of words.
    Choice(&'static [&'static str]),
    /// A query's id or a unique beginning of one.
    QueryId,
    /// The name of a magic.
    MagicName,
}

impl ValueKind {
    /// The placeholder that help shows.
    pub fn placeholder(self) -> String {
        match self {
            Self::Text => "TEXT".into(),
            Self::NewName | Self::Table => "NAME".into(),
            Self::Integer | Self::Count => "N".into(),
            Self::Duration => "DURATION".into(),
            Self::Choice(words) => words.join("|"),
            Self::QueryId => "ID".into(),
            Self::MagicName => "MAGIC".into(),
        }
    }

    /// Says what is wrong with a value, if anything is.
    pub fn reject(self, value: &str) -> Option<String> {
        let number = || value.replace('_', "").parse::<u64>();
        let fits = match self {
            Self::Integer => number().is_ok(),
            Self::Count => number().is_ok_and(|number| number > 0),
            Self::Duration => bireme_settings::parse_duration(value).is_some(),
            Self::Choice(words) => words.contains(&value),
            Self::NewName => is_name(value),
            Self::QueryId => value.chars().all(|c| c.is_ascii_hexdigit() || c == '-'),
            Self::Text | Self::Table | Self::MagicName => !value.is_empty(),
        };
        if fits {
            return None;
        }
        Some(match self {
            Self::Integer => format!("{value:?} is not a whole number"),
            Self::Count => format!("{value:?} is not a whole number from 1"),
            Self::Duration => format!("{value:?} is not a duration such as 30s, 5m or 250ms"),
            Self::Choice(words) => format!("{value:?} is none of {}", words.join(", ")),
            Self::NewName => format!("{value:?} is not a name: letters, digits and _ only"),
            Self::QueryId => format!("{value:?} is not a query id"),
            _ => "the value is empty".into(),
        })
    }
}

/// Whether a text can be a name in SQL without quotes, or is a quoted one.
pub(crate) fn is_name(text: &str) -> bool {
    let quoted = text.len() > 2 && text.starts_with('"') && text.ends_with('"');
    let mut characters = text.chars();
    let plain = characters
        .next()
        .is_some_and(|c| c.is_alphabetic() || c == '_')
        && characters.all(|c| c.is_alphanumeric() || c == '_');
    quoted || plain
}

/// What follows the arguments of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// Nothing.
    None,
    /// SQL; the line form has it on the same line, the cell form below.
    Sql,
    /// Rust, or a cell of any kind.
    Code,
    /// `KEY [VALUE]` of a setting.
    Setting,
    /// `NAME = VALUE` of a parameter.
    Parameter,
}

impl BodyKind {
    /// What help shows for it.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Sql => "SQL",
            Self::Code => "CODE",
            Self::Setting => "[KEY [VALUE]]",
            Self::Parameter => "[NAME = VALUE]",
        }
    }
}

/// A call to learn from.
#[derive(Debug)]
pub struct Example {
    /// The cell.
    pub cell: &'static str,
    /// What it does, in half a sentence.
    pub doc: &'static str,
}

/// One call of a magic, as a cell makes it.
#[derive(Clone)]
pub struct Call {
    /// The magic.
    pub magic: &'static dyn Magic,
    /// The form used.
    pub form: Form,
    /// The line of the cell where the call starts, from 1.
    pub line: u32,
    /// The column of its `%`, from 1, in characters.
    pub column: u32,
    /// Its arguments, checked against the declaration.
    pub arguments: Arguments,
    /// What follows the arguments.
    pub body: Body,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("magic", &self.magic.spec().name)
            .field("form", &self.form)
            .field("line", &self.line)
            .field("arguments", &self.arguments)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// The call's name as it stands in the cell, e.g. `%%sql`.
    pub fn title(&self) -> String {
        format!("{}{}", self.form.prefix(), self.magic.spec().name)
    }

    /// Where the call's name stands.
    pub fn position(&self) -> Position {
        let length = self.title().chars().count() as u32;
        Position {
            line: self.line,
            column: self.column,
            length,
        }
    }

    /// The time given with `--timeout`; 0 means none.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.arguments.duration("timeout")
    }
}

/// Text of the cell with the place where it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// The text, as typed.
    pub text: String,
    /// The line of its first character, from 1.
    pub line: u32,
    /// The column of its first character, from 1.
    pub column: u32,
}

impl Body {
    /// Whether there is nothing but white space.
    pub fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }

    /// The text moved, by line breaks and spaces, to where it stands in the cell, so that
    /// positions found in it are positions in the cell.
    pub fn padded(&self) -> String {
        let mut padded = "\n".repeat(self.line.saturating_sub(1) as usize);
        padded.push_str(&" ".repeat(self.column.saturating_sub(1) as usize));
        padded.push_str(&self.text);
        padded
    }

    /// Moves a position within the text to its place in the cell.
    pub fn to_cell(&self, position: Position) -> Position {
        let first_line = position.line <= 1;
        Position {
            line: position.line + self.line - 1,
            column: position.column + if first_line { self.column - 1 } else { 0 },
            length: position.length,
        }
    }
}
