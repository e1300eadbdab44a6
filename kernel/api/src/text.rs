//! A table as plain text, in a box.

use crate::preview::{Preview, PreviewColumn, clip};
use crate::table::Table;

/// Characters of a value that are shown.
const WIDTH: usize = 32;
const MORE: &str = "…";

/// The table as text.
pub(crate) fn render(table: &Table) -> String {
    let preview = Preview::of(table);
    if preview.columns.is_empty() {
        return preview.shape;
    }
    let mut columns: Vec<TextColumn> = preview.columns.iter().map(TextColumn::new).collect();
    if preview.hidden_columns > 0 {
        columns.push(TextColumn::more(preview.rows));
    }
    if let Some(gap) = preview.gap {
        for column in &mut columns {
            column.cells.insert(gap, MORE.to_string());
        }
    }
    let mut lines = vec![preview.shape, rule(&columns, ['┌', '─', '┬', '┐'])];
    lines.push(line(&columns, |column| &column.name));
    lines.push(line(&columns, |column| &column.type_name));
    lines.push(rule(&columns, ['╞', '═', '╪', '╡']));
    let rows = columns.first().map_or(0, |column| column.cells.len());
    for row in 0..rows {
        lines.push(line(&columns, |column| &column.cells[row]));
    }
    lines.push(rule(&columns, ['└', '─', '┴', '┘']));
    if preview.hidden_columns > 0 {
        lines.push(format!("{} more columns", preview.hidden_columns));
    }
    lines.join("\n")
}

struct TextColumn {
    name: String,
    type_name: String,
    is_number: bool,
    cells: Vec<String>,
}

impl TextColumn {
    fn new(column: &PreviewColumn) -> TextColumn {
        TextColumn {
            name: clip(&column.name, WIDTH),
            type_name: clip(&column.type_name, WIDTH),
            is_number: column.is_number,
            cells: column
                .values
                .iter()
                .map(|value| cell(value.as_deref()))
                .collect(),
        }
    }

    /// Stands for the columns that are not shown.
    fn more(rows: usize) -> TextColumn {
        TextColumn {
            name: MORE.to_string(),
            type_name: String::new(),
            is_number: false,
            cells: vec![MORE.to_string(); rows],
        }
    }

    fn width(&self) -> usize {
        let texts = self.cells.iter().chain([&self.name, &self.type_name]);
        texts.map(|text| columns_of(text)).max().unwrap_or(0)
    }
}

/// A missing value reads `null`; a text that reads the same is quoted.
fn cell(value: Option<&str>) -> String {
    match value {
        None => "null".to_string(),
        Some("null") => "\"null\"".to_string(),
        Some(text) => clip(text, WIDTH),
    }
}

fn line(columns: &[TextColumn], text: impl Fn(&TextColumn) -> &String) -> String {
    let padded = columns.iter().map(|column| {
        let text = text(column);
        let blank = " ".repeat(column.width().saturating_sub(columns_of(text)));
        if column.is_number {
            format!(" {blank}{text} ")
        } else {
            format!(" {text}{blank} ")
        }
    });
    format!("│{}│", padded.collect::<Vec<_>>().join("┆"))
}

fn rule(columns: &[TextColumn], [left, middle, cross, right]: [char; 4]) -> String {
    let parts = columns
        .iter()
        .map(|column| middle.to_string().repeat(column.width() + 2));
    let cross = cross.to_string();
    format!("{left}{}{right}", parts.collect::<Vec<_>>().join(&cross))
}

/// Columns of a terminal a text takes: East Asian wide letters and emoji take two.
fn columns_of(text: &str) -> usize {
    let wide = |letter: char| {
        matches!(u32::from(letter),
            0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff
            | 0xfe30..=0xfe4f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1f64f
            | 0x1f900..=0x1f9ff | 0x20000..=0x3fffd)
    };
    text.chars()
        .map(|letter| if wide(letter) { 2 } else { 1 })
        .sum()
}
