//! A value in several representations, keyed by MIME type, as every display carries it.

use std::cmp::Reverse;
use std::io;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The representation that every front end can show.
const PLAIN: &str = "text/plain";

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
        Self::default().with(PLAIN, Value::String(text.into()))
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
        self.get(PLAIN).and_then(Value::as_str)
    }

    /// True if there is no representation at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bundle in about `bytes_max` bytes of JSON: the largest representations are left out, and
    /// the plain text says so.
    pub(crate) fn within(mut self, bytes_max: usize) -> Self {
        let sized = |(mime, value): (&String, &Value)| (mime.clone(), json_bytes(value));
        let mut sizes: Vec<(String, usize)> = self.0.iter().map(sized).collect();
        let mut total: usize = sizes.iter().map(|(_, bytes)| bytes).sum();
        sizes.sort_by_key(|(_, bytes)| Reverse(*bytes));
        let mut left_out = Vec::new();
        for (mime, bytes) in sizes {
            if total <= bytes_max {
                break;
            }
            self.0.remove(&mime);
            total -= bytes;
            left_out.push(format!("{mime} of {} MB", megabytes(bytes)));
        }
        if left_out.is_empty() {
            return self;
        }
        let note = format!(
            "\u{2026} not shown: {}; a display may have {} MB: show less of it, or write it to a file",
            left_out.join(", "),
            megabytes(bytes_max)
        );
        let text = match self.plain_text() {
            Some(text) => format!("{text}\n{note}"),
            None => note,
        };
        self.with(PLAIN, text)
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

/// Bytes that a value takes as JSON.
fn json_bytes(value: &Value) -> usize {
    struct Count(usize);

    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    // Counting does not fail, and a value is always JSON.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// Millions of bytes, with one digit behind the point.
fn megabytes(bytes: usize) -> String {
    let tenths = bytes.div_ceil(100_000);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_fits_stays_as_it_is() {
        let bundle = MimeBundle::text("two").with_html("<b>two</b>");
        assert_eq!(bundle.clone().within(100), bundle);
    }

    #[test]
    fn the_largest_representations_are_left_out_and_named() {
        let image = "x".repeat(3_000_000);
        let bundle = MimeBundle::text("two").with_html("<b>two</b>");
        let cut = bundle.with("image/png", image).within(1_000_000);
        assert!(cut.get("image/png").is_none());
        assert!(cut.get("text/html").is_some());
        assert_eq!(
            cut.plain_text(),
            Some(
                "two\n\u{2026} not shown: image/png of 3.1 MB; a display may have 1.0 MB: show less of it, or write it to a file"
            )
        );
    }

    #[test]
    fn a_plain_text_that_is_too_large_is_replaced_by_the_note() {
        let cut = MimeBundle::text("\n".repeat(600_000)).within(1_000_000);
        let text = cut.plain_text().unwrap();
        assert!(
            text.starts_with("\u{2026} not shown: text/plain of 1.3 MB;"),
            "{text}"
        );
    }
}
