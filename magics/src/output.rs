//! How much of a result a cell shows and in which form: settings and flags, read in one place.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bireme_protocol::Fault;

use crate::display::table::Extent;
use crate::host::{Host, StreamName};

/// Most rows a cell prints as CSV or JSON.
pub(crate) const TEXT_ROWS_MAX: u64 = 1000;
/// What is said of a result that has more rows than `--limit` lets through.
pub(crate) const CUT: &str = "cut by --limit";
/// Most rows a table shows.
const ROWS_MAX: u64 = 200;

/// The form of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Csv,
    Json,
}

impl Format {
    /// What `--format` takes.
    pub(crate) const WORDS: &'static [&'static str] = &["table", "csv", "json"];

    pub(crate) fn read(word: Option<&str>) -> Self {
        match word {
            Some("csv") => Self::Csv,
            Some("json") => Self::Json,
            _ => Self::Table,
        }
    }
}

/// How much of a table is shown.
pub(crate) fn extent(host: &dyn Host, rows: Option<u64>) -> Extent {
    let settings = host.settings();
    let rows = rows
        .unwrap_or_else(|| settings.integer("display.rows"))
        .clamp(1, ROWS_MAX);
    let columns = settings.integer("display.columns").clamp(1, 100);
    Extent {
        rows: rows as usize,
        columns: columns as usize,
    }
}

/// Prints rows as CSV or as one JSON object per line.
pub(crate) fn print(
    host: &dyn Host,
    format: Format,
    schema: &arrow::datatypes::SchemaRef,
    batches: &[RecordBatch],
) -> Result<(), Fault> {
    let failed = |error: arrow::error::ArrowError| Fault::internal(format!("write rows: {error}"));
    let mut bytes = Vec::new();
    if format == Format::Csv {
        let mut writer = arrow::csv::WriterBuilder::new()
            .with_header(true)
            .build(&mut bytes);
        if batches.is_empty() {
            writer
                .write(&RecordBatch::new_empty(Arc::clone(schema)))
                .map_err(failed)?;
        }
        for batch in batches {
            writer.write(batch).map_err(failed)?;
        }
    } else {
        let mut writer = arrow::json::WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, arrow::json::writer::LineDelimited>(&mut bytes);
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        writer
            .write_batches(&batches)
            .and_then(|()| writer.finish())
            .map_err(failed)?;
    }
    host.stream(StreamName::Stdout, &String::from_utf8_lossy(&bytes));
    Ok(())
}
