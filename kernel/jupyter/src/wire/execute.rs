//! `execute_request`, its reply, and the echo of the input on IOPub.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#execute>

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::lenient;
use super::{CellError, JsonMap, MimeBundle};

/// Asks to run a cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecuteRequest {
    /// The cell's text.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub code: String,
    /// Run without echo, result and count.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub silent: bool,
    /// Whether the cell belongs in the history and takes a number. Silent cells never do.
    #[serde(default = "lenient::yes", deserialize_with = "lenient::or_true")]
    pub store_history: bool,
    /// Expressions to evaluate afterwards.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub user_expressions: JsonMap,
    /// Whether the client can answer an `input_request`.
    #[serde(default = "lenient::yes", deserialize_with = "lenient::or_true")]
    pub allow_stdin: bool,
    /// Whether a failure aborts the cells queued behind this one.
    #[serde(default = "lenient::yes", deserialize_with = "lenient::or_true")]
    pub stop_on_error: bool,
}

impl ExecuteRequest {
    /// A plain request to run `code`, as a notebook sends it.
    pub fn new(code: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            silent: false,
            store_history: true,
            user_expressions: JsonMap::new(),
            allow_stdin: true,
            stop_on_error: true,
        }
    }

    /// True if the cell takes a number and is stored.
    pub fn counts(&self) -> bool {
        self.store_history && !self.silent
    }
}

/// What the front end should do besides showing the outputs.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Show text in the pager.
    Page {
        /// What to show.
        data: MimeBundle,
        /// Line to start at.
        start: u32,
    },
    /// Put text in a new cell, or in the place of this one.
    SetNextInput {
        /// The text.
        text: String,
        /// True to replace the cell that ran.
        replace: bool,
    },
}

impl Payload {
    fn to_json(&self) -> Value {
        match self {
            Self::Page { data, start } => json!({"source": "page", "data": data, "start": start}),
            Self::SetNextInput { text, replace } => {
                json!({"source": "set_next_input", "text": text, "replace": replace})
            }
        }
    }
}

/// The end of an execution, as the shell channel tells it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecuteReply {
    /// The number of the cell, or of the last numbered one.
    pub execution_count: u32,
    /// Values of the requested expressions.
    #[serde(deserialize_with = "lenient::or_default")]
    pub user_expressions: JsonMap,
    /// Payloads in the order they were asked for.
    #[serde(deserialize_with = "lenient::or_default")]
    pub payload: Vec<Value>,
    /// The failure, absent on success.
    #[serde(flatten)]
    pub error: Option<CellError>,
}

impl ExecuteReply {
    pub(crate) fn new(
        execution_count: u32,
        payloads: &[Payload],
        error: Option<CellError>,
    ) -> Self {
        Self {
            execution_count,
            user_expressions: JsonMap::new(),
            payload: payloads.iter().map(Payload::to_json).collect(),
            error,
        }
    }
}

/// Tells every front end what is being run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecuteInput {
    /// The cell's text.
    pub code: String,
    /// The cell's number.
    pub execution_count: u32,
}
