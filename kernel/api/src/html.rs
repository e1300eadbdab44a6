//! A table as HTML that survives JupyterLab's sanitiser: one `<table>`, inline styles, no script.

use crate::preview::{Preview, PreviewColumn, clip};
use crate::table::Table;
use std::fmt::Write as _;

/// Characters of a value that are shown.
const WIDTH: usize = 100;
/// Characters of a value that its tooltip shows.
const TITLE_WIDTH: usize = 2000;
const LEFT: &str = "text-align:left";
const RIGHT: &str = "text-align:right";
const DIM: &str = "opacity:0.5";

/// The table as HTML.
pub(crate) fn render(table: &Table) -> String {
    let preview = Preview::of(table);
    let mut html = format!("<div><small>{}</small>", escape(&preview.shape));
    if preview.columns.is_empty() {
        html.push_str("</div>");
        return html;
    }
    html.push_str("<table><thead><tr>");
    for column in &preview.columns {
        let name = escape(&clip(&column.name, WIDTH));
        let kind = escape(&column.type_name);
        let _ = write!(
            html,
            "<th style=\"{}\">{name}<br><small style=\"{DIM};font-weight:normal\">{kind}</small></th>",
            align(column)
        );
    }
    if preview.hidden_columns > 0 {
        let _ = write!(
            html,
            "<th title=\"{} more columns\">…</th>",
            preview.hidden_columns
        );
    }
    html.push_str("</tr></thead><tbody>");
    for row in 0..preview.rows {
        if preview.gap == Some(row) {
            gap(&mut html, &preview);
        }
        html.push_str("<tr>");
        for column in &preview.columns {
            cell(&mut html, column, row);
        }
        if preview.hidden_columns > 0 {
            html.push_str("<td>…</td>");
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    html
}

fn cell(html: &mut String, column: &PreviewColumn, row: usize) {
    let align = align(column);
    let Some(Some(value)) = column.values.get(row) else {
        let _ = write!(html, "<td style=\"{align};{DIM}\">null</td>");
        return;
    };
    let shown = clip(value, WIDTH);
    let title = if shown.ends_with('…') && shown != *value {
        format!(" title=\"{}\"", escape(&clip(value, TITLE_WIDTH)))
    } else {
        String::new()
    };
    let _ = write!(html, "<td style=\"{align}\"{title}>{}</td>", escape(&shown));
}

fn gap(html: &mut String, preview: &Preview) {
    html.push_str("<tr>");
    let cells = preview.columns.len() + usize::from(preview.hidden_columns > 0);
    for _ in 0..cells {
        let _ = write!(html, "<td style=\"text-align:center;{DIM}\">…</td>");
    }
    html.push_str("</tr>");
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
            other => escaped.push(other),
        }
    }
    escaped
}
