//! A table as HTML that survives JupyterLab's sanitiser: one `<table>`, inline styles, no script.

use crate::preview::{GAP, Preview, PreviewColumn, Value, clip};
use crate::table::Table;
use std::fmt::Write as _;

/// Columns of a terminal that a value may take.
const WIDTH: usize = 100;
/// Most bytes of the HTML; full texts of clipped values are left out first.
const BYTES_MAX: usize = 256 * 1024;
/// Most bytes of a full text behind a clipped value.
const TITLE_BYTES_MAX: usize = 2048;
/// Bytes kept free for what is not yet written when a title is.
const TITLE_HEADROOM: usize = 144 * 1024;
const LEFT: &str = "text-align:left;padding:2px 8px";
const RIGHT: &str = "text-align:right;padding:2px 8px";
const DIM: &str = ";opacity:0.45;font-style:italic";

/// The table as HTML.
pub(crate) fn render(table: &Table) -> String {
    let preview = Preview::of(table);
    let mut html = format!(
        "<div style=\"overflow-x:auto\"><small style=\"opacity:0.7\">{}</small>",
        escape(&preview.shape)
    );
    if preview.columns.is_empty() {
        html.push_str("</div>");
        return html;
    }
    html.push_str("<table style=\"border-collapse:collapse\"><thead><tr>");
    for column in &preview.columns {
        head(&mut html, column);
    }
    html.push_str("</tr></thead><tbody>");
    let gap = Value::dim(GAP);
    for row in 0..preview.rows {
        if preview.gap == Some(row) {
            line(&mut html, &preview, |_| Some(&gap));
        }
        line(&mut html, &preview, |column| column.values.get(row));
    }
    html.push_str("</tbody></table></div>");
    html
}

fn head(html: &mut String, column: &PreviewColumn) {
    let name = escape(&clip(&column.name, WIDTH));
    let kind = escape(&clip(&column.type_name, WIDTH));
    let _ = write!(
        html,
        "<th style=\"{}\">{name}<br><small style=\"font-weight:normal;opacity:0.6\">{kind}</small></th>",
        align(column)
    );
}

fn line<'p>(
    html: &mut String,
    preview: &'p Preview,
    value: impl Fn(&'p PreviewColumn) -> Option<&'p Value>,
) {
    html.push_str("<tr>");
    for column in &preview.columns {
        if let Some(value) = value(column) {
            cell(html, align(column), value);
        }
    }
    html.push_str("</tr>");
}

fn cell(html: &mut String, align: &str, value: &Value) {
    let shown = clip(&value.text, WIDTH);
    let full = match &value.exact {
        Some(exact) => Some(exact),
        None => (shown != value.text).then_some(&value.text),
    };
    let title = match full {
        Some(full) if html.len() + TITLE_HEADROOM < BYTES_MAX => {
            format!(" title=\"{}\"", escape(beginning(full)))
        }
        _ => String::new(),
    };
    let look = if value.is_dim { DIM } else { "" };
    let text = escape(&shown);
    let _ = write!(
        html,
        "<td style=\"{align};white-space:pre{look}\"{title}>{text}</td>"
    );
}

/// As much of a text as a title may have.
fn beginning(text: &str) -> &str {
    let mut end = text.len().min(TITLE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn align(column: &PreviewColumn) -> &'static str {
    if column.is_number { RIGHT } else { LEFT }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
