//! An error that crosses processes whole: a stable code, what was tried, with what numbers, the
//! causes, a hint, and where in the user's text. Crates keep their own error enums and turn them
//! into a [`Fault`] at a process boundary; the user sees one root cause.

use serde::{Deserialize, Serialize};
use std::fmt;
use tonic::{Code, Status};

/// Bytes of a fault's JSON in a header. All headers of an answer together may have 16 KiB, in which
/// the JSON travels as base64, a third longer.
const HEADER_JSON_MAX: usize = 7 << 10;
/// Bytes of a status's own message, which is the fault's once more; escaping may triple them.
const HEADER_MESSAGE_MAX: usize = 1 << 10;
/// Causes that travel in a header.
const HEADER_CAUSES_MAX: usize = 32;
/// Texts cut to this many bytes fit in a header, whatever they hold.
const HEADER_TEXT_MIN: usize = 32;

/// What kind of failure it is: stable across versions, shown as the error's name in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorCode {
    /// The statement is not SQL.
    SqlParseError,
    /// The statement names something that is not there, or types do not fit.
    SqlPlanError,
    /// A query failed while it ran.
    ExecutionError,
    /// An engine ended or went silent.
    EngineLost,
    /// The user, or a client that went away, ended the query.
    Cancelled,
    /// The query ran longer than it was given.
    TimedOut,
    /// A reservation was refused.
    OutOfMemory,
    /// The spill directory or its limit is full.
    DiskFull,
    /// A session, query, view or file is not there.
    NotFound,
    /// An argument or a setting is not accepted.
    InvalidArgument,
    /// Two processes of different builds met.
    BuildMismatch,
    /// No cluster, no engine, or no answer in time.
    Unavailable,
    /// What is read is being made again: the controller lets the query wait.
    NotReady,
    /// A defect in Bireme.
    Internal,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where in a statement the error is: 1-based line and column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
    /// How many characters the caret underlines, at least 1.
    pub length: u32,
}

/// The error every process understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The kind of failure.
    pub code: ErrorCode,
    /// What was tried, with what numbers, and why it failed. One line, no full stop.
    pub message: String,
    /// What lies beneath, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where in the statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The engine that failed first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<u32>,
    /// The query it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

impl Fault {
    /// Makes a fault of a kind with its one-line message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            position: None,
            engine: None,
            query: None,
        }
    }

    /// A defect in Bireme: the message says what was found.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what lies beneath.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds the whole chain of an error's sources.
    #[must_use]
    pub fn with_sources(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(source) = next {
            let text = source.to_string();
            if !self.message.contains(&text) && !self.causes.contains(&text) {
                self.causes.push(text);
            }
            next = source.source();
        }
        self
    }

    /// Adds where in the statement.
    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// Adds the engine that failed first, unless it is known already.
    #[must_use]
    pub fn on_engine(mut self, rank: u32) -> Self {
        self.engine.get_or_insert(rank);
        self
    }

    /// Adds the query it belongs to.
    #[must_use]
    pub fn of_query(mut self, query: impl Into<String>) -> Self {
        self.query = Some(query.into());
        self
    }

    /// The fault as JSON, as it stands in messages and in the history.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            format!(r#"{{"code":"Internal","message":"encode a fault: {error}"}}"#)
        })
    }

    /// Reads what [`Fault::to_json`] wrote; text of another form becomes the message.
    pub fn from_json(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|_| Self::internal(text))
    }

    /// The fault as JSON that fits in a header: long texts are cut, all else stays.
    fn to_header_json(&self) -> String {
        let mut json = self.to_json();
        let mut text_max = HEADER_JSON_MAX / 2;
        while json.len() > HEADER_JSON_MAX && text_max >= HEADER_TEXT_MIN {
            json = self.cut_to(text_max).to_json();
            text_max /= 2;
        }
        json
    }

    fn cut_to(&self, text_max: usize) -> Self {
        let causes = self.causes.iter().take(HEADER_CAUSES_MAX);
        Self {
            message: cut(&self.message, text_max),
            causes: causes.map(|cause| cut(cause, text_max / 4)).collect(),
            hint: self.hint.as_deref().map(|hint| cut(hint, text_max)),
            ..self.clone()
        }
    }
}

fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_string();
    }
    let end = text.floor_char_boundary(bytes_max);
    format!("{} ... ({} bytes)", &text[..end], text.len())
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let code = match fault.code {
            ErrorCode::SqlParseError | ErrorCode::SqlPlanError | ErrorCode::InvalidArgument => {
                Code::InvalidArgument
            }
            ErrorCode::NotFound => Code::NotFound,
            ErrorCode::Cancelled => Code::Cancelled,
            ErrorCode::TimedOut => Code::DeadlineExceeded,
            ErrorCode::OutOfMemory | ErrorCode::DiskFull => Code::ResourceExhausted,
            ErrorCode::BuildMismatch => Code::FailedPrecondition,
            ErrorCode::EngineLost | ErrorCode::Unavailable | ErrorCode::NotReady => {
                Code::Unavailable
            }
            ErrorCode::ExecutionError | ErrorCode::Internal => Code::Internal,
        };
        let details = fault.to_header_json().into_bytes();
        let message = cut(&fault.message, HEADER_MESSAGE_MAX);
        Status::with_details(code, message, details.into())
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        if let Ok(fault) = serde_json::from_slice(status.details()) {
            return fault;
        }
        let code = match status.code() {
            Code::Cancelled => ErrorCode::Cancelled,
            Code::DeadlineExceeded => ErrorCode::TimedOut,
            Code::ResourceExhausted => ErrorCode::OutOfMemory,
            Code::NotFound => ErrorCode::NotFound,
            Code::InvalidArgument => ErrorCode::InvalidArgument,
            Code::Unavailable | Code::Unknown => ErrorCode::Unavailable,
            _ => ErrorCode::Internal,
        };
        Fault::new(code, status.message()).with_sources(&status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_a_status_whole() {
        let fault = Fault::new(ErrorCode::OutOfMemory, "reserve 2.0 GiB on engine 1")
            .with_cause("0.4 GiB free of 8 GiB")
            .with_hint("set memory.host_limit higher")
            .at(Position {
                line: 2,
                column: 7,
                length: 3,
            })
            .on_engine(1)
            .of_query("ab");
        assert_eq!(Fault::from(Status::from(fault.clone())), fault);
    }

    #[test]
    fn a_long_fault_is_cut_to_fit_in_a_header() {
        // A control character is six bytes in JSON.
        for text in ["x", "ä\"", "\u{1}"] {
            let mut fault = Fault::new(ErrorCode::ExecutionError, text.repeat(100_000))
                .with_hint(text.repeat(10_000))
                .on_engine(3)
                .of_query("ab");
            fault.causes = vec![text.repeat(1000); 200];
            let status = Status::from(fault.clone());
            assert!(status.details().len() <= HEADER_JSON_MAX);
            assert!(status.message().len() <= HEADER_MESSAGE_MAX + 32);
            let read = Fault::from(status);
            assert_eq!(
                (read.code, read.engine, &read.query),
                (fault.code, fault.engine, &fault.query)
            );
            assert!(read.message.starts_with(text), "{read}");
            assert!(read.message.contains(" bytes)"), "{read}");
            assert!(read.hint.is_some() && !read.causes.is_empty());
        }
    }

    #[test]
    fn text_that_is_no_fault_is_kept_as_the_message() {
        assert_eq!(Fault::from_json("boom").message, "boom");
    }
}
