//! A value in several representations, keyed by MIME type, as every display carries it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A JSON object.
pub type JsonMap = Map<String, Value>;

/// Representations of one value; the front end picks the richest it can show.
///
/// ```
/// # use bireme_jupyter::wire::MimeBundle;
/// let bundle = MimeBundle::text("2 rows").with_html("<b>2 rows</b>");
/// assert_eq!(bundle.plain_text(), Some("2 rows"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MimeBundle(JsonMap);

impl MimeBundle {
    /// Starts a bundle with its plain text, which every bundle should have.
    pub fn text(text: impl Into<String>) -> Self {
        Self::default().with("text/plain", Value::String(text.into()))
    }

    /// Adds one representation.
    pub fn with(mut self, mime: &str, value: impl Into<Value>) -> Self {
        self.0.insert(mime.to_owned(), value.into());
        self
    }

    /// Adds `text/html`.
    pub fn with_html(self, html: impl Into<String>) -> Self {
        self.with("text/html", Value::String(html.into()))
    }

    /// Returns one representation.
    pub fn get(&self, mime: &str) -> Option<&Value> {
        self.0.get(mime)
    }

    /// Returns the plain text, if it is there.
    pub fn plain_text(&self) -> Option<&str> {
        self.get("text/plain").and_then(Value::as_str)
    }

    /// True if there is no representation at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the representations as a JSON object.
    pub fn into_map(self) -> JsonMap {
        self.0
    }
}

impl From<JsonMap> for MimeBundle {
    fn from(map: JsonMap) -> Self {
        Self(map)
    }
}
