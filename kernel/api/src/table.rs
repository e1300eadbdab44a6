//! [`Table`]: record batches of one schema, which show themselves.
//!
//! It holds Arrow data as it came and copies nothing. How it is drawn is left to the text and HTML
//! renderers.

use crate::column::Column;
use crate::show::{Show, Shown};
use crate::{html, text};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use std::fmt;
use std::sync::Arc;

/// Record batches of one schema.
#[derive(Clone, PartialEq)]
pub struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

/// Why a table could not be made.
#[derive(Debug)]
pub enum TableError {
    /// A batch has another schema than the table.
    OtherSchema {
        /// Which batch, counted from 0.
        batch: usize,
        /// The schema of the table.
        expected: SchemaRef,
        /// The schema of the batch.
        found: SchemaRef,
    },
    /// Arrow refused the columns, for example because their lengths differ.
    Arrow(ArrowError),
}

impl fmt::Display for TableError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::OtherSchema {
                batch,
                expected,
                found,
            } => write!(
                out,
                "make a table: batch {batch} has the columns ({}), the table has ({})",
                crate::names::columns(found),
                crate::names::columns(expected),
            ),
            TableError::Arrow(error) => write!(out, "make a table: {error}"),
        }
    }
}

impl std::error::Error for TableError {}

impl From<ArrowError> for TableError {
    fn from(error: ArrowError) -> TableError {
        TableError::Arrow(error)
    }
}

impl Table {
    /// A table of columns, all of one length.
    ///
    /// ```
    /// # use bireme::prelude::*;
    /// let table = Table::new([
    ///     Column::new("id", vec![1, 2, 3]),
    ///     Column::new("name", vec![Some("a"), None, Some("c")]),
    /// ])?;
    /// assert_eq!((table.num_rows(), table.num_columns()), (3, 2));
    /// # Ok::<(), TableError>(())
    /// ```
    ///
    /// # Errors
    /// When the lengths differ.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Result<Table, TableError> {
        let (fields, arrays): (Vec<_>, Vec<ArrayRef>) =
            columns.into_iter().map(Column::into_parts).unzip();
        let schema = Arc::new(Schema::new(fields));
        if arrays.is_empty() {
            return Ok(Table::empty(schema));
        }
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
        let batches = vec![batch];
        Ok(Table { schema, batches })
    }

    /// A table without rows.
    pub fn empty(schema: SchemaRef) -> Table {
        let batches = Vec::new();
        Table { schema, batches }
    }

    /// A table of record batches, which all have this schema.
    ///
    /// # Errors
    /// When one does not.
    pub fn from_batches(
        schema: SchemaRef,
        batches: impl IntoIterator<Item = RecordBatch>,
    ) -> Result<Table, TableError> {
        let batches: Vec<RecordBatch> = batches.into_iter().collect();
        for (at, batch) in batches.iter().enumerate() {
            if batch.schema_ref().fields() != schema.fields() {
                return Err(TableError::OtherSchema {
                    batch: at,
                    expected: schema,
                    found: batch.schema(),
                });
            }
        }
        Ok(Table { schema, batches })
    }

    /// The names and types of the columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The record batches.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// The record batches, given away.
    pub fn into_batches(self) -> Vec<RecordBatch> {
        self.batches
    }

    /// Rows of all batches.
    pub fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Columns.
    pub fn num_columns(&self) -> usize {
        self.schema.fields().len()
    }

    /// Bytes the data occupies in memory.
    pub fn num_bytes(&self) -> usize {
        let bytes = RecordBatch::get_array_memory_size;
        self.batches.iter().map(bytes).sum()
    }

    /// The chunks of a column, one per batch.
    pub fn column(&self, name: &str) -> Option<Vec<ArrayRef>> {
        let at = self.schema.index_of(name).ok()?;
        let chunk = |batch: &RecordBatch| Arc::clone(batch.column(at));
        Some(self.batches.iter().map(chunk).collect())
    }

    /// The rows from `offset` on, at most `length`; no data is copied.
    pub fn slice(&self, offset: usize, length: usize) -> Table {
        let (mut skip, mut left) = (offset, length);
        let mut batches = Vec::new();
        for batch in &self.batches {
            let start = skip.min(batch.num_rows());
            let taken = left.min(batch.num_rows() - start);
            skip -= start;
            left -= taken;
            if taken > 0 {
                batches.push(batch.slice(start, taken));
            }
        }
        let schema = Arc::clone(&self.schema);
        Table { schema, batches }
    }

    /// The first rows.
    pub fn head(&self, rows: usize) -> Table {
        self.slice(0, rows)
    }

    /// The last rows.
    pub fn tail(&self, rows: usize) -> Table {
        self.slice(self.num_rows().saturating_sub(rows), rows)
    }
}

impl From<RecordBatch> for Table {
    fn from(batch: RecordBatch) -> Table {
        let schema = batch.schema();
        let batches = vec![batch];
        Table { schema, batches }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&text::render(self))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Show for Table {
    fn shown(&self) -> Shown {
        Shown::new()
            .with("text/html", html::render(self))
            .with("text/plain", text::render(self))
    }
}

impl Show for RecordBatch {
    fn shown(&self) -> Shown {
        Table::from(self.clone()).shown()
    }
}

impl Show for Vec<RecordBatch> {
    fn shown(&self) -> Shown {
        let Some(first) = self.first() else {
            return Shown::new().with("text/plain", "[] (no record batches)");
        };
        match Table::from_batches(first.schema(), self.iter().cloned()) {
            Ok(table) => table.shown(),
            Err(_) => Shown::new().with("text/plain", format!("{self:?}")),
        }
    }
}
