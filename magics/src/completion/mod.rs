//! Completion, inspection and completeness of magics and SQL, from a snapshot of names: nothing
//! here waits, so answers come while a query runs. What is Rust is left to the Rust host.
//!
//! Cursors are counted in characters, as Jupyter counts them.

mod functions;
mod inspect;
mod is_complete;
mod keywords;
mod magics;
mod place;
mod sql;
mod sql_names;
mod sql_words;

pub use functions::{Function, builtin_functions};
pub use inspect::inspect;
pub(crate) use inspect::word;
pub use is_complete::{Completeness, is_complete};

use bireme_protocol::proto::{Catalog, EntryKind};
use serde_json::Value;

use crate::columns::columns;
use place::{Place, find};

/// Most matches an answer has.
const MATCHES_MAX: usize = 500;

/// The names a cell may use, as they were when last asked for.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Views and tables of the session.
    pub tables: Vec<Table>,
    /// Functions of SQL; [`builtin_functions`] when the engines have not said.
    pub functions: Vec<Function>,
    /// Parameters with their values.
    pub parameters: Vec<(String, Value)>,
}

impl Names {
    /// The names of a session, with the functions every engine has.
    pub fn new(catalog: &Catalog, parameters: Vec<(String, Value)>) -> Self {
        let tables = catalog.entries.iter().map(|entry| Table {
            name: entry.name.clone(),
            kind: match entry.kind() {
                EntryKind::ExternalTable => "table",
                EntryKind::Frame => "frame",
                EntryKind::View | EntryKind::Unspecified => "view",
            },
            columns: columns(&entry.schema_json),
        });
        Self {
            tables: tables.collect(),
            functions: builtin_functions(),
            parameters,
        }
    }
}

/// A view or table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// `view` or `table`.
    pub kind: &'static str,
    /// Names and types of its columns.
    pub columns: Vec<(String, String)>,
}

/// What a match is; front ends show it beside the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchKind {
    /// A magic.
    Magic,
    /// A flag of a magic.
    Flag,
    /// A word that an argument may be.
    Value,
    /// A view or table.
    Table,
    /// A column.
    Column,
    /// A function.
    Function,
    /// A keyword of SQL.
    Keyword,
    /// A parameter.
    Parameter,
    /// A setting.
    Setting,
}

impl MatchKind {
    /// The kind as `_jupyter_types_experimental` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Magic => "magic",
            Self::Flag => "flag",
            Self::Value => "value",
            Self::Table => "table",
            Self::Column => "column",
            Self::Function => "function",
            Self::Keyword => "keyword",
            Self::Parameter => "parameter",
            Self::Setting => "setting",
        }
    }
}

/// One proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// What is put in the cell.
    pub text: String,
    /// What it is.
    pub kind: MatchKind,
    /// More about it: a type, a table, a signature.
    pub detail: String,
}

impl Match {
    pub(crate) fn new(text: impl Into<String>, kind: MatchKind, detail: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            kind,
            detail: detail.into(),
        }
    }
}

/// What may stand in place of a range of the cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Where the range begins, in characters.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Best first.
    pub matches: Vec<Match>,
}

/// Proposes what may stand at the cursor. `None` when that is Rust.
pub fn complete(cell: &str, cursor: usize, names: &Names) -> Option<Completion> {
    let cursor = byte_of(cell, cursor);
    let (start, mut matches) = match find(cell, cursor) {
        Place::Rust => return None,
        Place::MagicName {
            form,
            start,
            is_question,
        } => (
            start,
            magics::names(form, is_question, &cell[start..cursor]),
        ),
        Place::Arguments { spec, start } => {
            let word = cell[start..cursor].rfind(char::is_whitespace);
            let word_start = word.map_or(start, |at| {
                start + at + cell[start + at..].chars().next().map_or(1, char::len_utf8)
            });
            let (offset, matches) = magics::arguments(
                spec,
                &cell[start..word_start],
                &cell[word_start..cursor],
                names,
            );
            (word_start + offset, matches)
        }
        Place::Sql { start, end } => {
            let (offset, matches) = sql::complete(&cell[start..end], cursor - start, names);
            (start + offset, matches)
        }
    };
    matches.truncate(MATCHES_MAX);
    Some(Completion {
        start: cell[..start].chars().count(),
        end: cell[..cursor].chars().count(),
        matches,
    })
}

/// The byte of a cursor that is counted in characters.
fn byte_of(text: &str, cursor: usize) -> usize {
    text.char_indices()
        .nth(cursor)
        .map_or(text.len(), |(at, _)| at)
}

/// Whether a name begins with what is typed, whatever its case.
fn begins(name: &str, typed: &str) -> bool {
    let mut characters = name.chars().flat_map(char::to_lowercase);
    typed
        .chars()
        .flat_map(char::to_lowercase)
        .all(|typed| characters.next() == Some(typed))
}
