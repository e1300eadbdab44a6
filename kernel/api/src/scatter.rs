//! Variables on their way to the engines: what `%scatter` can make a frame of.

use crate::column::{Column, IntoColumn};
use crate::table::{Table, TableError};
use crate::transfer::{TableWriter, TransferError};
use arrow_array::RecordBatch;
use std::fs::OpenOptions;
use std::io::BufWriter;
use std::path::Path;

/// The column of a `Vec`.
const COLUMN: &str = "value";

/// What `%scatter` can make a frame of.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot become a frame",
    note = "`%scatter` takes a `Table`, a `RecordBatch`, a `Vec<RecordBatch>`, or a `Vec` of numbers, booleans or strings"
)]
pub trait ToTable {
    /// The rows.
    ///
    /// # Errors
    /// Batches of different columns.
    fn to_table(&self) -> Result<Table, TableError>;
}

impl ToTable for Table {
    fn to_table(&self) -> Result<Table, TableError> {
        Ok(self.clone())
    }
}

impl ToTable for RecordBatch {
    fn to_table(&self) -> Result<Table, TableError> {
        Ok(Table::from(self.clone()))
    }
}

impl ToTable for Vec<RecordBatch> {
    fn to_table(&self) -> Result<Table, TableError> {
        match self.first() {
            Some(first) => Table::from_batches(first.schema(), self.iter().cloned()),
            None => Ok(Table::empty(std::sync::Arc::new(
                arrow_schema::Schema::empty(),
            ))),
        }
    }
}

impl<T: Clone> ToTable for Vec<T>
where
    Vec<T>: IntoColumn,
{
    fn to_table(&self) -> Result<Table, TableError> {
        Table::new([Column::new(COLUMN, self.clone())])
    }
}

/// Writes the rows of a variable where the kernel reads them.
///
/// # Errors
/// The rows are none, or there is no room for them.
#[doc(hidden)]
pub fn write(rows: &impl ToTable, path: impl AsRef<Path>) -> Result<(), TransferError> {
    let table = rows
        .to_table()
        .map_err(|error| TransferError::Malformed(error.to_string()))?;
    let out = OpenOptions::new().write(true).open(path)?;
    let mut writer = TableWriter::new(BufWriter::new(out), table.schema())?;
    for batch in table.batches() {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(())
}
