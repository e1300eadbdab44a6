//! The result of a query: shape, names, types, first and last rows, and what was read for it.
//!
//! A null is `null`, pale in HTML; text that reads `null` is in quotes, so the two are never taken
//! for each other. Numbers stand right, long values are clipped, a table is never more than
//! [`CELLS_MAX`] values and 256 KB.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use bireme_client::QuerySummary;

use super::grid::{Align, Cell, Column, Grid, HTML_BYTES_MAX, Row};
use super::progress::read;
use super::units::{count, counted, escape_html, milliseconds, one_line};
use crate::mime_bundle::MimeBundle;

/// Most values a table shows.
pub const CELLS_MAX: usize = 500;
/// Widest value in text.
const PLAIN_WIDTH: usize = 32;
/// Widest value in HTML.
const HTML_WIDTH: usize = 100;
/// Most characters of a value that are looked at.
const VALUE_CHARACTERS_MAX: usize = 2048;

/// How much of a result is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Most rows.
    pub rows: usize,
    /// Most columns.
    pub columns: usize,
}

impl Default for Extent {
    fn default() -> Self {
        Self {
            rows: 10,
            columns: 12,
        }
    }
}

impl Extent {
    /// Rows of the head; the smaller half is the tail's.
    pub fn head(&self) -> usize {
        self.rows.div_ceil(2)
    }

    /// Rows of the tail.
    pub fn tail(&self) -> usize {
        self.rows / 2
    }
}

/// What is known of a result beside its rows.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Rows of the whole result.
    pub rows: u64,
    /// Engines that took part; 0 when none is to be named.
    pub engines: u32,
    /// Wall time.
    pub elapsed_ms: u64,
    /// Rows that were read for it.
    pub rows_read: u64,
    /// Bytes that were read for it; 0 when it reads no table.
    pub bytes_read: u64,
    /// More to say in the shape line, e.g. the limit that cut it.
    pub remarks: Vec<String>,
}

impl Facts {
    /// The facts of a query that has ended.
    pub fn of(summary: &QuerySummary, remarks: Vec<String>) -> Self {
        Self {
            rows: summary.rows,
            engines: summary.progress.engines,
            elapsed_ms: u64::try_from(summary.elapsed.as_millis()).unwrap_or(u64::MAX),
            rows_read: summary.progress.rows_scanned,
            bytes_read: summary.progress.bytes_scanned,
            remarks,
        }
    }
}

/// Draws a result from the first and the last of its rows.
pub fn render(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    facts: &Facts,
    extent: Extent,
    width: Option<usize>,
) -> MimeBundle {
    let shape = shape_line(schema, facts);
    let footer = read(facts.rows_read, facts.bytes_read);
    let mut grid = grid(schema, batches, facts.rows, extent);
    let mut drawn = grid.to_html();
    // Text of nothing but quotes and ampersands is six times as long in HTML.
    while drawn.len() + shape.len() * 6 + 400 > HTML_BYTES_MAX && grid.html_width > 1 {
        grid.html_width /= 2;
        drawn = grid.to_html();
    }
    let small = |text: &str| {
        let text = escape_html(text);
        format!("<small style=\"opacity:0.7\">{text}</small>")
    };
    let html = format!(
        "<div style=\"overflow-x:auto\">{}{drawn}{}</div>",
        small(&shape),
        footer.as_deref().map(small).unwrap_or_default()
    );
    if let Some(width) = width {
        grid = fitted(grid, schema, batches, facts.rows, extent, width);
    }
    let mut plain = shape;
    if !schema.fields().is_empty() {
        plain.push('\n');
        plain.push_str(&grid.to_plain());
    }
    if let Some(footer) = footer {
        plain.push('\n');
        plain.push_str(&footer);
    }
    MimeBundle::new(plain, html)
}

/// The first line of a table.
pub fn shape_line(schema: &SchemaRef, facts: &Facts) -> String {
    let mut line = format!(
        "shape: ({}, {})",
        count(facts.rows),
        count(schema.fields().len() as u64)
    );
    if facts.engines > 0 {
        line.push_str(&format!(
            " · {}",
            counted(u64::from(facts.engines), "engine")
        ));
    }
    line.push_str(&format!(" · {}", milliseconds(facts.elapsed_ms)));
    for remark in &facts.remarks {
        line.push_str(&format!(" · {remark}"));
    }
    line
}

/// Fewer columns, until the drawing fits a terminal.
fn fitted(
    first: Grid,
    schema: &SchemaRef,
    batches: &[RecordBatch],
    rows: u64,
    extent: Extent,
    width: usize,
) -> Grid {
    let mut drawn = first;
    let mut columns = extent.columns.min(schema.fields().len());
    while columns > 2 && drawn.plain_total_width() > width {
        columns -= 1;
        drawn = grid(schema, batches, rows, Extent { columns, ..extent });
    }
    drawn
}

fn grid(schema: &SchemaRef, batches: &[RecordBatch], total: u64, extent: Extent) -> Grid {
    let picked = picked_columns(schema.fields().len(), extent.columns);
    let shown = picked.len().max(1);
    let rows_max = extent.rows.min(CELLS_MAX / shown).max(1);
    let mut grid = Grid {
        columns: picked.iter().map(|pick| head(schema, *pick)).collect(),
        rows: Vec::new(),
        plain_width: PLAIN_WIDTH,
        html_width: HTML_WIDTH,
    };
    let have: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let (first, last) = match have as u64 >= total && have <= rows_max {
        true => (have, 0),
        false => (rows_max.div_ceil(2).min(have), (rows_max / 2).min(have)),
    };
    let last = last.min(have - first);
    push_rows(&mut grid, batches, &picked, 0..first);
    if ((first + last) as u64) < total {
        grid.rows.push(Row::Gap);
    }
    push_rows(&mut grid, batches, &picked, have - last..have);
    grid
}

/// A column to show, or the place of those that are not.
#[derive(Clone, Copy)]
enum Pick {
    Column(usize),
    Gap,
}

fn picked_columns(have: usize, most: usize) -> Vec<Pick> {
    if have <= most {
        return (0..have).map(Pick::Column).collect();
    }
    let first = most.div_ceil(2);
    let last = most - first;
    let mut picked: Vec<Pick> = (0..first).map(Pick::Column).collect();
    picked.push(Pick::Gap);
    picked.extend((have - last..have).map(Pick::Column));
    picked
}

fn head(schema: &SchemaRef, pick: Pick) -> Column {
    match pick {
        Pick::Gap => Column {
            name: "…".into(),
            kind: Some("…".into()),
            align: Align::Left,
        },
        Pick::Column(index) => {
            let field = schema.field(index);
            let align = match field.data_type().is_numeric() {
                true => Align::Right,
                false => Align::Left,
            };
            Column {
                name: one_line(field.name()),
                kind: Some(short_type(field.data_type())),
                align,
            }
        }
    }
}

fn push_rows(
    grid: &mut Grid,
    batches: &[RecordBatch],
    picked: &[Pick],
    rows: std::ops::Range<usize>,
) {
    let mut start = 0;
    for batch in batches {
        let end = start + batch.num_rows();
        for row in rows.start.max(start)..rows.end.min(end) {
            let cells = picked.iter().map(|pick| match pick {
                Pick::Gap => Cell::dim("…"),
                Pick::Column(index) => value(batch.column(*index).as_ref(), row - start),
            });
            grid.rows.push(Row::Cells(cells.collect()));
        }
        start = end;
    }
}

/// One value as a cell.
fn value(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        return Cell::dim("null");
    }
    match array.data_type() {
        DataType::Float64 => {
            let number = array.as_primitive::<Float64Type>().value(row);
            float(number, number.to_string())
        }
        DataType::Float32 => {
            let number = array.as_primitive::<Float32Type>().value(row);
            float(f64::from(number), number.to_string())
        }
        kind => {
            let options = FormatOptions::new()
                .with_null("null")
                .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
                .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));
            let text = ArrayFormatter::try_new(array, &options)
                .and_then(|formatter| formatter.value(row).try_to_string())
                .unwrap_or_else(|error| format!("({error})"));
            match is_text(kind) {
                true => text_value(&text),
                false => one_line(&text).into(),
            }
        }
    }
}

fn text_value(text: &str) -> Cell {
    let looked_at = match text.char_indices().nth(VALUE_CHARACTERS_MAX) {
        Some((end, _)) => &text[..end],
        None => text,
    };
    let line = one_line(looked_at);
    let is_misleading = line == "null" || line.is_empty() || line.trim() != line;
    match is_misleading {
        true => format!("\"{line}\"").into(),
        false => line.into(),
    }
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

/// A float with what the eye needs; the exact value is its title.
fn float(number: f64, exact: String) -> Cell {
    let size = number.abs();
    let text = if !number.is_finite() {
        return exact.to_lowercase().into();
    } else if size >= 1e15 || (size > 0.0 && size < 1e-4) {
        format!("{number:.6e}")
    } else {
        let fixed = format!("{number:.6}");
        let trimmed = fixed.trim_end_matches('0');
        match trimmed.ends_with('.') {
            true => format!("{trimmed}0"),
            false => trimmed.to_string(),
        }
    };
    let title = (text.parse::<f64>() != exact.parse()).then_some(exact);
    Cell {
        text,
        title,
        ..Cell::default()
    }
}

/// An Arrow type in a few letters: `i64`, `str`, `ts[us]`, `dec(38,2)`.
pub fn short_type(kind: &DataType) -> String {
    use arrow::datatypes::TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let unit = |unit: &arrow::datatypes::TimeUnit| match unit {
        Second => "s",
        Millisecond => "ms",
        Microsecond => "us",
        Nanosecond => "ns",
    };
    match kind {
        DataType::Null => "null".into(),
        DataType::Boolean => "bool".into(),
        DataType::Int8 => "i8".into(),
        DataType::Int16 => "i16".into(),
        DataType::Int32 => "i32".into(),
        DataType::Int64 => "i64".into(),
        DataType::UInt8 => "u8".into(),
        DataType::UInt16 => "u16".into(),
        DataType::UInt32 => "u32".into(),
        DataType::UInt64 => "u64".into(),
        DataType::Float16 => "f16".into(),
        DataType::Float32 => "f32".into(),
        DataType::Float64 => "f64".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "str".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bin".into(),
        DataType::FixedSizeBinary(size) => format!("bin({size})"),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(each) | DataType::Time64(each) => format!("time[{}]", unit(each)),
        DataType::Timestamp(each, None) => format!("ts[{}]", unit(each)),
        DataType::Timestamp(each, Some(zone)) => format!("ts[{}, {zone}]", unit(each)),
        DataType::Duration(each) => format!("dur[{}]", unit(each)),
        DataType::Interval(_) => "interval".into(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("dec({precision},{scale})"),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => format!("list[{}]", short_type(item.data_type())),
        DataType::FixedSizeList(item, size) => {
            format!("list[{}; {size}]", short_type(item.data_type()))
        }
        DataType::Struct(fields) => format!("struct[{}]", fields.len()),
        DataType::Union(fields, _) => format!("union[{}]", fields.len()),
        DataType::Dictionary(_, value) => format!("dict[{}]", short_type(value)),
        DataType::Map(_, _) => "map".into(),
        DataType::RunEndEncoded(_, value) => format!("runs[{}]", short_type(value.data_type())),
    }
}
