//! The failure of a cell: the same three fields in the IOPub `error` and in the reply.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#execution-errors>

use serde::{Deserialize, Serialize};

use super::lenient;

/// Why a cell failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellError {
    /// A short class of failure, such as `SqlParseError`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub ename: String,
    /// One line that says what happened.
    #[serde(deserialize_with = "lenient::or_default")]
    pub evalue: String,
    /// What the front end shows, one entry per line or block; may hold ANSI colours.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub traceback: Vec<String>,
}

impl CellError {
    /// The class of a cell that ended because the user interrupted it, whatever it was doing.
    pub const INTERRUPTED: &'static str = "Cancelled";

    /// A failure whose traceback is its one line.
    pub fn new(ename: impl Into<String>, evalue: impl Into<String>) -> Self {
        let (ename, evalue) = (ename.into(), evalue.into());
        let traceback = vec![format!("{ename}: {evalue}")];
        Self {
            ename,
            evalue,
            traceback,
        }
    }

    /// The failure of a cell that the user interrupted.
    pub fn interrupted() -> Self {
        Self::new(Self::INTERRUPTED, "the cell was interrupted")
    }

    /// Replaces the traceback.
    pub fn with_traceback(mut self, traceback: Vec<String>) -> Self {
        self.traceback = traceback;
        self
    }
}
