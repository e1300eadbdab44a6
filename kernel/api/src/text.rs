//! A table as plain text, in a box.

use crate::preview::{GAP, Preview, PreviewColumn, clip, columns_of};
use crate::table::Table;

/// Columns of a terminal that a value may take.
const WIDTH: usize = 32;

/// The table as text.
pub(crate) fn render(table: &Table) -> String {
    let preview = Preview::of(table);
    if preview.columns.is_empty() {
        return preview.shape;
    }
    let mut columns: Vec<TextColumn> = preview.columns.iter().map(TextColumn::new).collect();
    if let Some(gap) = preview.gap {
        for column in &mut columns {
            column.cells.insert(gap, GAP.to_string());
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
                .map(|value| clip(&value.text, WIDTH))
                .collect(),
        }
    }

    fn width(&self) -> usize {
        let texts = self.cells.iter().chain([&self.name, &self.type_name]);
        texts.map(|text| columns_of(text)).max().unwrap_or(0)
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
