//! A grid of text, drawn with box characters or as an HTML table. Tables of results and listings of
//! engines, jobs and settings are all drawn here, so that they look alike.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::units::{clip, escape_html};

/// Most bytes the HTML of a grid has; full texts of clipped values are left out first.
pub const HTML_BYTES_MAX: usize = 256 * 1024;
/// Most bytes of a full text behind a clipped value.
const TITLE_BYTES_MAX: usize = 2048;
/// Bytes kept free for what is not yet written when a title is.
const TITLE_HEADROOM: usize = 96 * 1024;

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Align {
    /// Text.
    #[default]
    Left,
    /// Numbers.
    Right,
}

/// How a value looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// As it is.
    #[default]
    Normal,
    /// Pale, as what is not there.
    Dim,
    /// Bold, as what needs a look.
    Strong,
}

/// A column's head.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, in a line below the name.
    pub kind: Option<String>,
    /// Where its text stands.
    pub align: Align,
}

impl Column {
    /// A column of text.
    pub fn left(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// A column of numbers.
    pub fn right(name: &str) -> Self {
        Self {
            name: name.into(),
            align: Align::Right,
            ..Self::default()
        }
    }
}

/// A value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// The whole text, on one line.
    pub text: String,
    /// More exact text, shown where there is room for it.
    pub title: Option<String>,
    /// How it looks.
    pub look: Look,
}

impl Cell {
    /// A pale value.
    pub fn dim(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            look: Look::Dim,
            title: None,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            title: None,
            look: Look::Normal,
        }
    }
}

/// A row of values, or the place of rows that are not shown.
#[derive(Clone, Debug)]
pub enum Row {
    /// Values, one per column.
    Cells(Vec<Cell>),
    /// Rows left out.
    Gap,
}

/// A grid with the widths its values are clipped to.
#[derive(Clone, Debug)]
pub struct Grid {
    /// Columns.
    pub columns: Vec<Column>,
    /// Rows.
    pub rows: Vec<Row>,
    /// Widest value in text, in columns of a terminal.
    pub plain_width: usize,
    /// Widest value in HTML.
    pub html_width: usize,
}

impl Grid {
    /// A grid that clips nothing of use: for listings.
    pub fn new(columns: Vec<Column>) -> Self {
        Self {
            columns,
            rows: Vec::new(),
            plain_width: 80,
            html_width: 200,
        }
    }

    /// Adds a row.
    pub fn push(&mut self, cells: Vec<Cell>) {
        self.rows.push(Row::Cells(cells));
    }

    /// Draws with box characters.
    pub fn to_plain(&self) -> String {
        let has_kinds = self.has_kinds();
        let texts: Vec<Vec<String>> = self.rows.iter().map(|row| self.plain_row(row)).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|index| self.plain_column_width(index, &texts))
            .collect();
        let mut drawing = rule(&widths, ["┌", "─", "┬", "┐"]);
        let names: Vec<String> = self
            .columns
            .iter()
            .map(|column| clip(&column.name, self.plain_width))
            .collect();
        self.draw_row(&mut drawing, &widths, &names);
        if has_kinds {
            let kinds: Vec<String> = self.columns.iter().map(|c| self.plain_kind(c)).collect();
            self.draw_row(&mut drawing, &widths, &kinds);
        }
        drawing.push_str(&rule(&widths, ["╞", "═", "╪", "╡"]));
        for row in &texts {
            self.draw_row(&mut drawing, &widths, row);
        }
        drawing.push_str(rule(&widths, ["└", "─", "┴", "┘"]).trim_end());
        drawing
    }

    /// The width of the drawing in columns of a terminal.
    pub fn plain_total_width(&self) -> usize {
        self.to_plain()
            .lines()
            .next()
            .map_or(0, UnicodeWidthStr::width)
    }

    fn has_kinds(&self) -> bool {
        self.columns.iter().any(|column| column.kind.is_some())
    }

    fn plain_kind(&self, column: &Column) -> String {
        clip(column.kind.as_deref().unwrap_or_default(), self.plain_width)
    }

    fn plain_row(&self, row: &Row) -> Vec<String> {
        match row {
            Row::Cells(cells) => cells
                .iter()
                .map(|cell| clip(&cell.text, self.plain_width))
                .collect(),
            Row::Gap => vec!["…".to_string(); self.columns.len()],
        }
    }

    fn plain_column_width(&self, index: usize, rows: &[Vec<String>]) -> usize {
        let column = &self.columns[index];
        let name = clip(&column.name, self.plain_width).width();
        let head = name.max(self.plain_kind(column).width());
        let values = rows
            .iter()
            .filter_map(|row| row.get(index))
            .map(|text| text.width());
        values.max().unwrap_or(0).max(head)
    }

    fn draw_row(&self, drawing: &mut String, widths: &[usize], texts: &[String]) {
        drawing.push('│');
        for (index, width) in widths.iter().enumerate() {
            let text = texts.get(index).map_or("", String::as_str);
            let space = " ".repeat(width.saturating_sub(text.width()));
            let (before, after) = match self.columns[index].align {
                Align::Left => ("", space.as_str()),
                Align::Right => (space.as_str(), ""),
            };
            let border = if index + 1 == widths.len() {
                "│"
            } else {
                "┆"
            };
            drawing.push_str(&format!(" {before}{text}{after} {border}"));
        }
        drawing.push('\n');
    }

    /// Writes an HTML table.
    pub fn to_html(&self) -> String {
        let mut html = String::from("<table style=\"border-collapse:collapse\"><thead><tr>");
        for column in &self.columns {
            let name = escape_html(&clip(&column.name, self.html_width));
            let align = html_align(column.align);
            html.push_str(&format!(
                "<th style=\"text-align:{align};padding:2px 8px\">{name}"
            ));
            if let Some(kind) = &column.kind {
                let kind = escape_html(&clip(kind, self.html_width));
                html.push_str(&format!(
                    "<br><small style=\"font-weight:normal;opacity:0.6\">{kind}</small>"
                ));
            }
            html.push_str("</th>");
        }
        html.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            html.push_str("<tr>");
            self.html_row(&mut html, row);
            html.push_str("</tr>");
        }
        html.push_str("</tbody></table>");
        html
    }

    fn html_row(&self, html: &mut String, row: &Row) {
        for (index, column) in self.columns.iter().enumerate() {
            let gap = Cell::dim("…");
            let cell = match row {
                Row::Cells(cells) => cells.get(index),
                Row::Gap => Some(&gap),
            };
            let cell = cell.cloned().unwrap_or_default();
            let clipped = clip(&cell.text, self.html_width);
            let title = self.html_title(&cell, &clipped, html.len());
            let look = match cell.look {
                Look::Normal => "",
                Look::Dim => ";opacity:0.45;font-style:italic",
                Look::Strong => ";font-weight:bold",
            };
            let align = html_align(column.align);
            let text = escape_html(&clipped);
            // A string cannot fail to take text.
            let _ = write!(
                html,
                "<td style=\"text-align:{align};padding:2px 8px;white-space:pre{look}\"{title}>{text}</td>"
            );
        }
    }

    fn html_title(&self, cell: &Cell, clipped: &str, html_bytes: usize) -> String {
        let full = cell
            .title
            .as_deref()
            .or((clipped != cell.text).then_some(cell.text.as_str()));
        match full {
            Some(full) if html_bytes + TITLE_HEADROOM < HTML_BYTES_MAX => {
                let mut end = full.len().min(TITLE_BYTES_MAX);
                while !full.is_char_boundary(end) {
                    end -= 1;
                }
                format!(" title=\"{}\"", escape_html(&full[..end]))
            }
            _ => String::new(),
        }
    }
}

fn html_align(align: Align) -> &'static str {
    match align {
        Align::Left => "left",
        Align::Right => "right",
    }
}

fn rule(widths: &[usize], [left, line, cross, right]: [&str; 4]) -> String {
    let parts: Vec<String> = widths.iter().map(|width| line.repeat(width + 2)).collect();
    format!("{left}{}{right}\n", parts.join(cross))
}
