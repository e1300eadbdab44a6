//! What of a table is shown: which rows and columns, and every value as text. It looks as the results
//! of SQL cells do, which `magics/src/display` draws.

use crate::names;
use crate::table::Table;
use crate::values;
use arrow_array::RecordBatch;
use std::ops::Range;

/// Rows shown at each end of a table that is longer than both together.
const END_ROWS: usize = 5;
/// Columns shown, half of them from each end.
const COLUMNS: usize = 12;
/// Letters of a value that are looked at.
const LETTERS: usize = 2048;
/// Stands for what is left out.
pub(crate) const GAP: &str = "…";

/// The part of a table that is shown.
pub(crate) struct Preview {
    pub(crate) shape: String,
    /// The first and the last ones, with a gap where others are left out.
    pub(crate) columns: Vec<PreviewColumn>,
    /// The row before which rows are left out.
    pub(crate) gap: Option<usize>,
    pub(crate) rows: usize,
}

/// One column of it.
pub(crate) struct PreviewColumn {
    pub(crate) name: String,
    pub(crate) type_name: String,
    pub(crate) is_number: bool,
    /// One per row.
    pub(crate) values: Vec<Value>,
}

/// One value, on one line.
#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) text: String,
    /// The exact text of a number that is shown rounded.
    pub(crate) exact: Option<String>,
    /// Whether it stands for something that is not there.
    pub(crate) is_dim: bool,
}

impl Value {
    pub(crate) fn new(text: impl Into<String>) -> Value {
        Value {
            text: text.into(),
            exact: None,
            is_dim: false,
        }
    }

    pub(crate) fn dim(text: impl Into<String>) -> Value {
        Value {
            is_dim: true,
            ..Value::new(text)
        }
    }
}

impl Preview {
    pub(crate) fn of(table: &Table) -> Preview {
        let total = table.num_rows();
        let is_long = total > 2 * END_ROWS;
        let parts = if is_long {
            vec![table.head(END_ROWS), table.tail(END_ROWS)]
        } else {
            vec![table.clone()]
        };
        let batches: Vec<&RecordBatch> = parts.iter().flat_map(Table::batches).collect();
        let fields = table.schema().fields();
        let rows = total.min(2 * END_ROWS);
        let column = |at: usize| {
            let field = &fields[at];
            let of_batch = |batch: &&RecordBatch| values::values(batch.column(at).as_ref());
            PreviewColumn {
                name: one_line(field.name()),
                type_name: names::short(field.data_type()),
                is_number: names::is_number(field.data_type()),
                values: batches.iter().flat_map(of_batch).collect(),
            }
        };
        let (first, last) = shown_columns(fields.len());
        let gap = (first.end < last.start).then(|| PreviewColumn::gap(rows));
        let columns = first.map(column).chain(gap).chain(last.map(column));
        Preview {
            shape: format!("shape: ({}, {})", grouped(total), grouped(fields.len())),
            columns: columns.collect(),
            gap: is_long.then_some(END_ROWS),
            rows,
        }
    }
}

impl PreviewColumn {
    /// Stands for the columns that are not shown.
    fn gap(rows: usize) -> PreviewColumn {
        PreviewColumn {
            name: GAP.to_string(),
            type_name: GAP.to_string(),
            is_number: false,
            values: vec![Value::dim(GAP); rows],
        }
    }
}

/// The columns before and after the gap.
fn shown_columns(count: usize) -> (Range<usize>, Range<usize>) {
    if count <= COLUMNS {
        return (0..count, count..count);
    }
    let first = COLUMNS.div_ceil(2);
    (0..first, count - (COLUMNS - first)..count)
}

/// A count with its thousands apart.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// A text cut to so many columns of a terminal, with an ellipsis when something is missing.
pub(crate) fn clip(text: &str, limit: usize) -> String {
    if columns_of(text) <= limit {
        return text.to_string();
    }
    let mut clipped = String::new();
    let mut used = 1;
    for letter in text.chars() {
        used += width(letter);
        if used > limit {
            break;
        }
        clipped.push(letter);
    }
    clipped.push_str(GAP);
    clipped
}

/// The beginning of a text with what would break a line written as an escape.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for letter in text.chars().take(LETTERS) {
        match letter {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            control if control.is_control() => line.push('\u{fffd}'),
            other => line.push(other),
        }
    }
    line
}

/// Columns of a terminal that a text takes.
pub(crate) fn columns_of(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// East Asian wide letters and emoji take two.
fn width(letter: char) -> usize {
    match u32::from(letter) {
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe4f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_long_texts() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1_234_567");
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(clip("abcd", 4), "abcd");
        assert_eq!(clip("日本語文字", 6), "日本…");
        assert_eq!(one_line("a\nb"), "a\\nb");
    }

    #[test]
    fn a_wide_table_keeps_both_ends() {
        assert_eq!(shown_columns(12), (0..12, 12..12));
        assert_eq!(shown_columns(13), (0..6, 7..13));
    }
}
