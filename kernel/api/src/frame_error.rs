//! [`FrameError`]: why a lazy frame could not be made, run or shown.
//!
//! What an engine said comes whole, as the cell of a `%%sql` would show it.

use crate::transfer::TransferError;
use std::fmt;

/// Why a lazy frame could not be made, run or shown. `{}` and `{:?}` both tell all of it.
#[derive(Clone, PartialEq, Eq)]
pub enum FrameError {
    /// The engines, or the kernel for them, refused or failed.
    Query {
        /// The stable code, for example `SqlPlanError`, `OutOfMemory` or `Cancelled`.
        code: String,
        /// What was tried and why it failed, without the rest.
        message: String,
        /// What to do about it, if that is known.
        hint: Option<String>,
        /// Everything: code, message, place in the SQL, causes, hint, engine and query.
        report: String,
    },
    /// A verb names a column that its frame does not have.
    NoSuchColumn {
        /// The verb, for example `select`.
        verb: &'static str,
        /// The name.
        column: String,
        /// The columns there are.
        columns: Vec<String>,
    },
    /// A verb cannot do what it was asked; the text says why and what to do.
    Refused {
        /// The verb, for example `group_by`.
        verb: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// The kernel could not be asked, or gave no answer.
    Kernel {
        /// What was tried and why it failed.
        reason: String,
    },
    /// The rows came and could not be read.
    Rows {
        /// Why.
        reason: String,
    },
}

impl FrameError {
    /// The stable code of a failed query, for example `SqlPlanError`; none of other errors.
    pub fn code(&self) -> Option<&str> {
        match self {
            FrameError::Query { code, .. } => Some(code),
            _ => None,
        }
    }

    pub(crate) fn refused(verb: &'static str, reason: impl Into<String>) -> FrameError {
        let reason = reason.into();
        FrameError::Refused { verb, reason }
    }

    pub(crate) fn kernel(reason: impl Into<String>) -> FrameError {
        let reason = reason.into();
        FrameError::Kernel { reason }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Query { report, .. } => out.write_str(report),
            FrameError::NoSuchColumn {
                verb,
                column,
                columns,
            } => no_such_column(out, verb, column, columns),
            FrameError::Refused { verb, reason } => write!(out, "{verb}: {reason}"),
            FrameError::Kernel { reason } => write!(out, "ask the kernel for a query: {reason}"),
            FrameError::Rows { reason } => write!(out, "take the rows of a query: {reason}"),
        }
    }
}

impl fmt::Debug for FrameError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl std::error::Error for FrameError {}

impl From<TransferError> for FrameError {
    fn from(error: TransferError) -> FrameError {
        let reason = error.to_string();
        FrameError::Rows { reason }
    }
}

/// Columns that an error names.
const NAMED_COLUMNS: usize = 20;

fn no_such_column(
    out: &mut fmt::Formatter<'_>,
    verb: &str,
    column: &str,
    columns: &[String],
) -> fmt::Result {
    write!(out, "{verb}: there is no column {column:?}")?;
    let lower = column.to_lowercase();
    let alike = columns.iter().find(|name| name.to_lowercase() == lower);
    if let Some(alike) = alike {
        return write!(
            out,
            "; names are matched exactly, and there is one {alike:?}"
        );
    }
    let shown: Vec<&str> = columns
        .iter()
        .take(NAMED_COLUMNS)
        .map(|name| &**name)
        .collect();
    write!(out, "; there are {}", shown.join(", "))?;
    match columns.len().saturating_sub(NAMED_COLUMNS) {
        0 => Ok(()),
        more => write!(out, " and {more} more"),
    }
}
