//! What a cell asks of its kernel, and what that answers: words and text as in [`crate::transfer`],
//! behind their length in bytes as one word. One request per connection, one answer.

use crate::layout::{Head, Source};
use crate::transfer::{TransferError, malformed};

/// Environment variable that tells a cell the Unix socket where its kernel answers requests.
pub const SOCKET_ENV: &str = "BIREME_CELL_QUERIES";
/// What the kernel writes when it takes a connection.
pub const TAKEN: u8 = b't';
/// The longest request or answer in bytes; rows travel beside it.
pub const LENGTH_MAX: u64 = 64 << 20;
/// Bytes of the length before a request or an answer.
pub const PREFIX: usize = 8;

/// What a cell asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Run all statements but a query at the end, and tell the columns of that.
    Define(String),
    /// Run a query and hand its rows over.
    Rows(String),
    /// Run a query and draw its first and last rows.
    Show(String),
    /// Plan a query, and run it if that is `true`, and draw the plan.
    Explain(String, bool),
}

/// What the kernel answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A query and the names of its columns.
    Query(String, Vec<String>),
    /// No query, but statements that ran, and what the last did.
    Done(String),
    /// The rows are in a file that is there until the connection ends.
    Rows(String),
    /// Something drawn: text, and HTML.
    Drawn(String, String),
    /// It failed: code, message, hint, and everything as text.
    Failed(String, String, Option<String>, String),
}

const DEFINE: u64 = 1;
const ROWS: u64 = 2;
const SHOW: u64 = 3;
const EXPLAIN: u64 = 4;
const ANALYZE: u64 = 5;

const QUERY: u64 = 1;
const DONE: u64 = 2;
const FILE: u64 = 3;
const DRAWN: u64 = 4;
const FAILED: u64 = 5;

impl Request {
    /// The request with its length before it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, sql) = match self {
            Request::Define(sql) => (DEFINE, sql),
            Request::Rows(sql) => (ROWS, sql),
            Request::Show(sql) => (SHOW, sql),
            Request::Explain(sql, false) => (EXPLAIN, sql),
            Request::Explain(sql, true) => (ANALYZE, sql),
        };
        let mut head = Head::default();
        head.word(kind);
        head.text(sql);
        framed(head)
    }

    /// Reads what [`Request::to_bytes`] wrote behind the length.
    ///
    /// # Errors
    /// When it is no request.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Request, TransferError> {
        let mut source = Source::new(&bytes);
        let kind = source.word()?;
        let sql = source.text()?;
        Ok(match kind {
            DEFINE => Request::Define(sql),
            ROWS => Request::Rows(sql),
            SHOW => Request::Show(sql),
            EXPLAIN => Request::Explain(sql, false),
            ANALYZE => Request::Explain(sql, true),
            _ => return Err(malformed("a request is not known")),
        })
    }
}

impl Answer {
    /// The answer with its length before it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = Head::default();
        match self {
            Answer::Query(sql, columns) => {
                head.word(QUERY);
                head.text(sql);
                head.word(columns.len() as u64);
                columns.iter().for_each(|name| head.text(name));
            }
            Answer::Done(text) => {
                head.word(DONE);
                head.text(text);
            }
            Answer::Rows(path) => {
                head.word(FILE);
                head.text(path);
            }
            Answer::Drawn(text, html) => {
                head.word(DRAWN);
                head.text(text);
                head.text(html);
            }
            Answer::Failed(code, message, hint, report) => {
                head.word(FAILED);
                head.text(code);
                head.text(message);
                head.word(u64::from(hint.is_some()));
                head.text(hint.as_deref().unwrap_or_default());
                head.text(report);
            }
        }
        framed(head)
    }

    /// Reads what [`Answer::to_bytes`] wrote behind the length.
    ///
    /// # Errors
    /// When it is no answer.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Answer, TransferError> {
        let mut source = Source::new(&bytes);
        Ok(match source.word()? {
            QUERY => {
                let sql = source.text()?;
                let count = source.word()?;
                let columns: Result<Vec<String>, _> = (0..count).map(|_| source.text()).collect();
                Answer::Query(sql, columns?)
            }
            DONE => Answer::Done(source.text()?),
            FILE => Answer::Rows(source.text()?),
            DRAWN => Answer::Drawn(source.text()?, source.text()?),
            FAILED => {
                let (code, message) = (source.text()?, source.text()?);
                let has_hint = source.word()? != 0;
                let hint = Some(source.text()?).filter(|_| has_hint);
                Answer::Failed(code, message, hint, source.text()?)
            }
            _ => return Err(malformed("an answer is not known")),
        })
    }
}

fn framed(head: Head) -> Vec<u8> {
    let body = head.into_bytes();
    let mut bytes = (body.len() as u64).to_le_bytes().to_vec();
    bytes.extend(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_and_answered_comes_back_as_it_was() {
        let sql = || "SELECT 'ü' AS \"a\nb\"".to_string();
        for request in [
            Request::Define(String::new()),
            Request::Rows(sql()),
            Request::Show(sql()),
            Request::Explain(sql(), false),
            Request::Explain(sql(), true),
        ] {
            let bytes = request.to_bytes()[PREFIX..].to_vec();
            assert_eq!(Request::from_bytes(bytes).unwrap(), request);
        }
        let text = |text: &str| text.to_string();
        for answer in [
            Answer::Query(sql(), vec![text("a"), text(""), text("é\"")]),
            Answer::Done(text("created")),
            Answer::Rows(text("/proc/1/fd/2")),
            Answer::Drawn(text("a"), text("<b>")),
            Answer::Failed(text("Code"), text("why"), None, text("all")),
            Answer::Failed(text("Code"), text("why"), Some(text("")), text("all")),
        ] {
            let bytes = answer.to_bytes()[PREFIX..].to_vec();
            assert_eq!(Answer::from_bytes(bytes).unwrap(), answer);
        }
        assert!(Request::from_bytes(vec![9; 40]).is_err());
        assert!(Answer::from_bytes(vec![1, 0]).is_err());
    }
}
