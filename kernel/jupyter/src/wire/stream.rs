//! Text that a cell prints.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#streams-stdout-stderr-etc>

use serde::{Deserialize, Serialize};

/// Which of the two streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamName {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

/// Content of `stream`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stream {
    /// Which stream.
    pub name: StreamName,
    /// The text.
    pub text: String,
}
