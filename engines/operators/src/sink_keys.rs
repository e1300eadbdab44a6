//! Rows by the values of their keys, as directories `a=1/b=x` keep them.

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::Result;
use datafusion::object_store::path::PathPart;
use std::collections::HashMap;
use std::path::PathBuf;

/// What stands for null in the name of a directory: as Hive, Spark and DuckDB write it.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Divides rows by keys.
#[derive(Debug)]
pub(crate) struct KeySplitter {
    names: Vec<String>,
    columns: Vec<usize>,
    /// The columns that go into files.
    kept: Vec<usize>,
    converter: RowConverter,
}

/// Rows of one value of the keys.
#[derive(Debug)]
pub(crate) struct KeyedRows {
    /// The directory of these values.
    pub(crate) folder: PathBuf,
    /// Their rows, in the order they came.
    pub(crate) rows: RecordBatch,
}

impl KeySplitter {
    /// Divides rows of these columns by some, which are kept in files or not.
    pub(crate) fn new(schema: &SchemaRef, keys: &[&str], keeps_keys: bool) -> Result<Self> {
        let columns: std::result::Result<Vec<_>, _> =
            keys.iter().map(|name| schema.index_of(name)).collect();
        let columns = columns?;
        let fields = columns
            .iter()
            .map(|column| SortField::new(schema.field(*column).data_type().clone()));
        let all = 0..schema.fields().len();
        Ok(Self {
            names: keys.iter().map(ToString::to_string).collect(),
            converter: RowConverter::new(fields.collect())?,
            kept: all
                .filter(|column| keeps_keys || !columns.contains(column))
                .collect(),
            columns,
        })
    }

    /// The rows by their keys, in the order in which keys come first.
    pub(crate) fn split(&self, batch: &RecordBatch) -> Result<Vec<KeyedRows>> {
        let columns = self.columns.iter().map(|column| batch.column(*column));
        let columns: Vec<ArrayRef> = columns.cloned().collect();
        let keys = self.converter.convert_columns(&columns)?;
        let mut known: HashMap<&[u8], usize> = HashMap::new();
        let mut rows_of: Vec<Vec<u32>> = Vec::new();
        for (row, key) in (0..).zip(&keys) {
            let next = rows_of.len();
            let group = *known.entry(key.data()).or_insert(next);
            if group == next {
                rows_of.push(Vec::new());
            }
            rows_of[group].push(row);
        }
        let kept = batch.project(&self.kept)?;
        let groups = rows_of.into_iter().map(|rows| {
            let first = rows.first().map_or(0, |row| *row as usize);
            Ok(KeyedRows {
                folder: self.folder(&columns, first)?,
                rows: match rows.len() == kept.num_rows() {
                    true => kept.clone(),
                    false => take_record_batch(&kept, &UInt32Array::from(rows))?,
                },
            })
        });
        groups.collect()
    }

    fn folder(&self, columns: &[ArrayRef], row: usize) -> Result<PathBuf> {
        let mut folder = PathBuf::new();
        for (name, column) in self.names.iter().zip(columns) {
            let value = match is_null(column, row) {
                true => NULL.to_string(),
                false => {
                    let options = FormatOptions::default();
                    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
                    formatter.value(row).try_to_string()?
                }
            };
            // What a file name cannot hold is escaped.
            folder.push(PathPart::from(format!("{name}={value}")).as_ref());
        }
        Ok(folder)
    }
}

fn is_null(column: &ArrayRef, row: usize) -> bool {
    match column.data_type() {
        DataType::Null => true,
        // A key that is there may be one of a value that is not.
        DataType::Dictionary(..) => column
            .logical_nulls()
            .is_some_and(|nulls| nulls.is_null(row)),
        _ => column.is_null(row),
    }
}
