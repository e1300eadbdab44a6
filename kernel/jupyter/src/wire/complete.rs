//! `complete_request`: what may stand at the cursor.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#completion>

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{JsonMap, lenient};

/// Asks what may stand at the cursor.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CompleteRequest {
    /// The cell's text.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub code: String,
    /// Position in Unicode characters, as the specification has it since 5.2.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub cursor_pos: usize,
}

impl CompleteRequest {
    /// The cursor as a byte offset into `code`, never past its end.
    pub fn cursor_byte(&self) -> usize {
        super::inspect::byte_offset(&self.code, self.cursor_pos)
    }
}

/// One completion with its kind, for the front ends that show it (JupyterLab does).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletionType {
    /// The text put in place.
    pub text: String,
    /// The kind: `function`, `table`, `column`, `magic`, `keyword` ...
    pub kind: String,
    /// Its signature or type; may be empty.
    pub signature: String,
}

/// The completions and the part of the cell that they replace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CompleteReply {
    /// The texts, best first.
    #[serde(default)]
    pub matches: Vec<String>,
    /// First replaced character.
    #[serde(default)]
    pub cursor_start: usize,
    /// Character behind the last replaced one.
    #[serde(default)]
    pub cursor_end: usize,
    /// Extra data by key.
    #[serde(default)]
    pub metadata: JsonMap,
}

impl CompleteReply {
    /// Nothing to offer at this position.
    pub fn empty(cursor_pos: usize) -> Self {
        Self {
            cursor_start: cursor_pos,
            cursor_end: cursor_pos,
            ..Self::default()
        }
    }

    /// Completions for the characters `cursor_start..cursor_end`, with their kinds.
    pub fn typed(cursor_start: usize, cursor_end: usize, types: &[CompletionType]) -> Self {
        let described: Vec<Value> = types
            .iter()
            .map(|one| {
                json!({
                    "start": cursor_start,
                    "end": cursor_end,
                    "text": one.text,
                    "type": one.kind,
                    "signature": one.signature,
                })
            })
            .collect();
        let mut metadata = JsonMap::new();
        metadata.insert(
            "_jupyter_types_experimental".to_owned(),
            Value::Array(described),
        );
        let matches = types.iter().map(|one| one.text.clone()).collect();
        Self {
            matches,
            cursor_start,
            cursor_end,
            metadata,
        }
    }
}
