//! [`Show`]: how a value appears in a notebook.
//!
//! A cell's last expression is shown through `evcxr_display`, which this trait provides; a cell can show
//! a value at any moment with [`Show::display`]. The value travels on standard output, as one content block that the
//! relay takes out, so it stays in order with what is printed.

use std::fmt::Write as _;
use std::io::Write as _;

/// The content block that carries a whole bundle.
const BUNDLE_MIME: &str = "application/vnd.bireme.bundle+json";

/// A value that can be shown in a notebook.
pub trait Show {
    /// The value in one or more representations; front ends take the richest they know.
    fn shown(&self) -> Shown;

    /// Shows the value now.
    fn display(&self) {
        self.shown().send();
    }

    /// What a notebook calls for a cell's last expression.
    fn evcxr_display(&self) {
        self.shown().send();
    }
}

/// A value in representations by MIME type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    parts: Vec<(String, String)>,
    display_id: Option<String>,
    update: bool,
}

impl Shown {
    /// Nothing yet.
    pub fn new() -> Shown {
        Shown::default()
    }

    /// Adds a representation; a binary one, such as an image, as base64.
    #[must_use]
    pub fn with(mut self, mime: impl Into<String>, content: impl Into<String>) -> Shown {
        self.parts.push((mime.into(), content.into()));
        self
    }

    /// Shows it under an id, so that it can be replaced later.
    #[must_use]
    pub fn under(mut self, display_id: impl Into<String>) -> Shown {
        self.display_id = Some(display_id.into());
        self.update = false;
        self
    }

    /// Replaces what is shown under an id.
    #[must_use]
    pub fn replacing(mut self, display_id: impl Into<String>) -> Shown {
        self.display_id = Some(display_id.into());
        self.update = true;
        self
    }

    /// The representations.
    pub fn parts(&self) -> &[(String, String)] {
        &self.parts
    }

    /// Shows it now.
    pub fn send(&self) {
        let block = format!(
            "EVCXR_BEGIN_CONTENT {BUNDLE_MIME}\n{}\nEVCXR_END_CONTENT\n",
            self.to_json()
        );
        // A closed standard output is the cell's own doing; there is nowhere else to show it.
        let _ = std::io::stdout().write_all(block.as_bytes());
    }

    /// The bundle as the relay reads it, on one line.
    fn to_json(&self) -> String {
        let mut json = String::from("{\"data\":{");
        for (at, (mime, content)) in self.parts.iter().enumerate() {
            if at > 0 {
                json.push(',');
            }
            string(&mut json, mime);
            json.push(':');
            let is_json = mime == "application/json" || mime.ends_with("+json");
            if is_json {
                json.push_str(&content.replace('\n', " "));
            } else {
                string(&mut json, content);
            }
        }
        json.push('}');
        if let Some(id) = &self.display_id {
            json.push_str(",\"display_id\":");
            string(&mut json, id);
            let _ = write!(json, ",\"update\":{}", self.update);
        }
        json.push('}');
        json
    }
}

/// Appends a JSON string.
fn string(json: &mut String, text: &str) {
    json.push('"');
    for letter in text.chars() {
        match letter {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(json, "\\u{:04x}", control as u32);
            }
            other => json.push(other),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_one_line_of_json() {
        let shown = Shown::new()
            .with("text/plain", "a \"b\"\n\u{1}")
            .with("application/vnd.vegalite.v5+json", "{\n\"mark\": \"bar\"}")
            .replacing("p1");
        assert_eq!(
            shown.to_json(),
            r#"{"data":{"text/plain":"a \"b\"\n\u0001","application/vnd.vegalite.v5+json":{ "mark": "bar"}},"display_id":"p1","update":true}"#
        );
    }
}
