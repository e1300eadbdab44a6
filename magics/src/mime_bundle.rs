//! One output in the forms a front end may choose from.

use serde_json::{Map, Value};

/// One output: text for every front end, HTML for those that have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MimeBundle {
    /// `text/plain`.
    pub plain: String,
    /// `text/html`: inline styles only, so that it survives sanitising.
    pub html: Option<String>,
}

impl MimeBundle {
    /// An output that is the same everywhere.
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            plain: text.into(),
            html: None,
        }
    }

    /// An output in both forms.
    pub fn new(plain: impl Into<String>, html: impl Into<String>) -> Self {
        Self {
            plain: plain.into(),
            html: Some(html.into()),
        }
    }

    /// The bundle as Jupyter's `data`: MIME type to content.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut data = Map::new();
        data.insert("text/plain".into(), Value::String(self.plain.clone()));
        if let Some(html) = &self.html {
            data.insert("text/html".into(), Value::String(html.clone()));
        }
        data
    }
}
