//! What of a table is shown: which rows and columns, and every value as text.

use crate::names;
use crate::table::Table;
use crate::values;
use arrow_array::RecordBatch;

/// Rows shown at each end of a table that is longer than both together.
const END_ROWS: usize = 5;
/// Columns shown.
const COLUMNS: usize = 12;

/// The part of a table that is shown.
pub(crate) struct Preview {
    pub(crate) shape: String,
    pub(crate) columns: Vec<PreviewColumn>,
    /// Columns that are not shown.
    pub(crate) hidden_columns: usize,
    /// The row before which rows are left out.
    pub(crate) gap: Option<usize>,
    pub(crate) rows: usize,
}

/// One column of it.
pub(crate) struct PreviewColumn {
    pub(crate) name: String,
    pub(crate) type_name: String,
    pub(crate) is_number: bool,
    /// One text per row; none for a missing value.
    pub(crate) values: Vec<Option<String>>,
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
        let columns = fields.iter().take(COLUMNS).enumerate().map(|(at, field)| {
            let of_batch = |batch: &&RecordBatch| values::texts(batch.column(at).as_ref());
            PreviewColumn {
                name: field.name().clone(),
                type_name: names::short(field.data_type()),
                is_number: names::is_number(field.data_type()),
                values: batches.iter().flat_map(of_batch).collect(),
            }
        });
        Preview {
            shape: format!("shape: ({}, {})", grouped(total), grouped(fields.len())),
            columns: columns.collect(),
            hidden_columns: fields.len().saturating_sub(COLUMNS),
            gap: is_long.then_some(END_ROWS),
            rows: total.min(2 * END_ROWS),
        }
    }
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

/// At most so many characters, the last one an ellipsis when something is cut; what would break a
/// line is written as an escape.
pub(crate) fn clip(text: &str, limit: usize) -> String {
    let mut clipped = String::new();
    for (at, letter) in text.chars().enumerate() {
        if at + 1 == limit && text.chars().nth(limit).is_some() {
            clipped.push('…');
            return clipped;
        }
        match letter {
            '\n' => clipped.push_str("\\n"),
            '\r' => clipped.push_str("\\r"),
            '\t' => clipped.push_str("\\t"),
            control if control.is_control() => clipped.push('\u{fffd}'),
            other => clipped.push(other),
        }
    }
    clipped
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
        assert_eq!(clip("a\nb", 9), "a\\nb");
    }
}
