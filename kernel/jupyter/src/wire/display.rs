//! Rich output: results, displays, their updates, and clearing them.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#display-data>

use serde::{Deserialize, Serialize};

use super::{JsonMap, MimeBundle, lenient};

/// What a notebook does not store about a display.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Transient {
    /// Name under which the display can be updated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_id: Option<String>,
}

/// Content of `display_data` and `update_display_data`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DisplayData {
    /// The representations.
    pub data: MimeBundle,
    /// Extra data by MIME type.
    #[serde(deserialize_with = "lenient::or_default")]
    pub metadata: JsonMap,
    /// What is not stored.
    #[serde(deserialize_with = "lenient::or_default")]
    pub transient: Transient,
}

/// Content of `execute_result`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecuteResult {
    /// The cell's number.
    pub execution_count: u32,
    /// The representations.
    pub data: MimeBundle,
    /// Extra data by MIME type.
    #[serde(deserialize_with = "lenient::or_default")]
    pub metadata: JsonMap,
    /// What is not stored.
    #[serde(deserialize_with = "lenient::or_default")]
    pub transient: Transient,
}

/// Content of `clear_output`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClearOutput {
    /// Clear only when the next output comes, to avoid flicker.
    pub wait: bool,
}
