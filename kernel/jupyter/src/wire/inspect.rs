//! `inspect_request`: what is under the cursor.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#introspection>

use serde::{Deserialize, Serialize};

use super::{JsonMap, MimeBundle, lenient};

/// Asks what is under the cursor.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InspectRequest {
    /// The cell's text.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub code: String,
    /// Position in Unicode characters.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub cursor_pos: usize,
    /// 0 for the short form, 1 for all there is.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub detail_level: u32,
}

impl InspectRequest {
    /// The cursor as a byte offset into `code`, never past its end.
    pub fn cursor_byte(&self) -> usize {
        byte_offset(&self.code, self.cursor_pos)
    }
}

/// The byte at which the `position`th character of `code` starts, or its length.
pub(super) fn byte_offset(code: &str, position: usize) -> usize {
    code.char_indices()
        .nth(position)
        .map_or(code.len(), |(byte, _)| byte)
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InspectReply {
    /// Whether there is anything to show.
    #[serde(default)]
    pub found: bool,
    /// What to show.
    #[serde(default)]
    pub data: MimeBundle,
    /// Extra data by MIME type.
    #[serde(default)]
    pub metadata: JsonMap,
}

impl InspectReply {
    /// Something to show.
    pub fn found(data: MimeBundle) -> Self {
        Self {
            found: true,
            data,
            metadata: JsonMap::new(),
        }
    }

    /// Nothing to show.
    pub fn not_found() -> Self {
        Self::default()
    }
}
