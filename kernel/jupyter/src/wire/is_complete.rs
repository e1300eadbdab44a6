//! `is_complete_request`: may a console run this text, or does it need another line.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#code-completeness>

use serde::{Deserialize, Serialize};

use super::lenient;

/// Asks whether `code` can be run as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct IsCompleteRequest {
    /// The text so far.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub code: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum IsCompleteReply {
    /// It can run.
    Complete,
    /// It needs more, indented by `indent`.
    Incomplete {
        /// What to start the next line with.
        #[serde(default)]
        indent: String,
    },
    /// It will never be right.
    Invalid,
    /// Nobody can say.
    Unknown,
}
