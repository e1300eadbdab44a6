//! `history_request`: earlier inputs by tail, range or search.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#history>

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::lenient;

/// Which part of the history is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryAccess {
    /// The last `n` cells.
    Tail {
        /// How many; `None` for the kernel's choice.
        n: Option<usize>,
    },
    /// Cells `start..stop` of one session.
    Range {
        /// 0 is the current session, negative counts back from it.
        session: i64,
        /// First cell number.
        start: i64,
        /// Cell number behind the last one; `None` for all.
        stop: Option<i64>,
    },
    /// The last `n` cells that match a glob.
    Search {
        /// Glob over the input.
        pattern: String,
        /// How many; `None` for all.
        n: Option<usize>,
        /// Whether equal inputs count once.
        unique: bool,
    },
}

/// Asks for earlier inputs.
#[derive(Clone, Debug)]
pub struct HistoryRequest {
    /// Whether to return outputs too.
    pub output: bool,
    /// Whether inputs are wanted as typed.
    pub raw: bool,
    /// Which part.
    pub access: HistoryAccess,
}

/// The request as it is on the wire; clients leave out what they do not need.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct WireRequest {
    #[serde(deserialize_with = "lenient::or_default")]
    output: bool,
    #[serde(deserialize_with = "lenient::or_default")]
    raw: bool,
    #[serde(deserialize_with = "lenient::or_default")]
    hist_access_type: String,
    #[serde(deserialize_with = "lenient::or_default")]
    session: i64,
    #[serde(deserialize_with = "lenient::or_default")]
    start: i64,
    #[serde(deserialize_with = "lenient::or_default")]
    stop: Option<i64>,
    #[serde(deserialize_with = "lenient::or_default")]
    n: Option<usize>,
    #[serde(deserialize_with = "lenient::or_default")]
    pattern: Option<String>,
    #[serde(deserialize_with = "lenient::or_default")]
    unique: bool,
}

impl<'de> Deserialize<'de> for HistoryRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = WireRequest::deserialize(deserializer)?;
        let access = match wire.hist_access_type.as_str() {
            "range" => HistoryAccess::Range {
                session: wire.session,
                start: wire.start,
                stop: wire.stop,
            },
            "search" => HistoryAccess::Search {
                pattern: wire.pattern.unwrap_or_else(|| "*".to_owned()),
                n: wire.n,
                unique: wire.unique,
            },
            _ => HistoryAccess::Tail { n: wire.n },
        };
        Ok(Self {
            output: wire.output,
            raw: wire.raw,
            access,
        })
    }
}

/// One earlier cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The session it ran in.
    pub session: i64,
    /// Its number there.
    pub line: i64,
    /// Its text.
    pub input: String,
    /// Its result as plain text, if it was stored.
    pub output: Option<String>,
}

/// The cells found, oldest first.
#[derive(Clone, Debug, Default)]
pub struct HistoryReply {
    /// The cells.
    pub entries: Vec<HistoryEntry>,
}

impl HistoryReply {
    /// The content: triples, whose last item is a pair when outputs were asked for.
    pub(crate) fn to_json(&self, with_output: bool) -> Value {
        let rows: Vec<Value> = self
            .entries
            .iter()
            .map(|entry| {
                let text = if with_output {
                    json!([entry.input, entry.output])
                } else {
                    json!(entry.input)
                };
                json!([entry.session, entry.line, text])
            })
            .collect();
        json!({ "history": rows })
    }
}
