//! Asking the user for a line of text.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#messages-on-the-stdin-router-dealer-channel>

use serde::{Deserialize, Serialize};

use super::lenient;

/// Asks for a line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InputRequest {
    /// What the user sees.
    pub prompt: String,
    /// Whether the line is a secret.
    pub password: bool,
}

/// The line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InputReply {
    /// The text, without a newline.
    #[serde(deserialize_with = "lenient::or_default")]
    pub value: String,
}
