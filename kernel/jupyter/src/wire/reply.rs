//! What every reply has in common: a status, and the failure when there is one.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#request-reply>

use serde::Serialize;
use serde_json::Value;

use super::{CellError, JsonMap};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyStatus {
    /// As asked.
    Ok,
    /// With a failure.
    Error,
    /// Not tried, because something before it failed.
    Aborted,
}

/// The content of a reply.
#[derive(Clone, Debug)]
pub struct Reply(JsonMap);

impl Reply {
    /// A reply of success with the fields of `content`.
    pub fn ok(content: impl Serialize) -> Self {
        Self::with_status("ok", content)
    }

    /// A reply of failure.
    pub fn error(error: &CellError) -> Self {
        Self::with_status("error", error)
    }

    /// A reply to a request that was not tried.
    ///
    /// It carries the fields of an error too, because some clients read them whenever the status
    /// is not `ok`.
    pub fn aborted() -> Self {
        let why = CellError::new("Aborted", "an earlier cell failed or was interrupted");
        Self::with_status("aborted", why.with_traceback(Vec::new()))
    }

    pub(crate) fn with_status(status: &str, content: impl Serialize) -> Self {
        let mut map = JsonMap::new();
        map.insert("status".to_owned(), Value::String(status.to_owned()));
        if let Ok(Value::Object(fields)) = serde_json::to_value(content) {
            map.extend(fields);
        }
        Self(map)
    }

    /// Adds a field.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// The content as a JSON object.
    pub fn into_map(self) -> JsonMap {
        self.0
    }
}
