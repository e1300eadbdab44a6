//! Small Parquet tables with nulls, skew, strings and several files.

use datafusion::arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray,
};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Rows of the larger table.
pub(crate) const FACTS: i64 = 3000;
/// Rows of the smaller one.
pub(crate) const DIMENSIONS: i64 = 500;

/// Where the tables of a test lie.
pub(crate) struct Tables {
    home: TempDir,
}

impl Tables {
    /// `facts(id, k, g, s, x, m, d)` in 7 files, `dimensions(k, name, w)` in 3, `empty` in 1.
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let of_facts = |part: i64| part * FACTS / 7..(part + 1) * FACTS / 7;
        for part in 0..7 {
            write(home.path(), "facts", part, &facts(of_facts(part)));
        }
        for part in 0..3 {
            let of_part = part * DIMENSIONS / 3..(part + 1) * DIMENSIONS / 3;
            write(home.path(), "dimensions", part, &dimensions(of_part));
        }
        write(home.path(), "empty", 0, &dimensions(0..0));
        Self { home }
    }

    pub(crate) fn register(&self, context: &SessionContext) {
        for table in ["facts", "dimensions", "empty"] {
            let path = self.home.path().join(table);
            let path = format!("{}/", path.display());
            let registered = futures::executor::block_on(context.register_parquet(
                table,
                path,
                ParquetReadOptions::default(),
            ));
            registered.unwrap();
        }
    }
}

fn write(home: &Path, table: &str, part: i64, batch: &RecordBatch) {
    let directory = home.join(table);
    std::fs::create_dir_all(&directory).unwrap();
    let file = File::create(directory.join(format!("{part}.parquet"))).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(100))
        .build();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn facts(ids: std::ops::Range<i64>) -> RecordBatch {
    let ids: Vec<_> = ids.collect();
    // A third of all rows has one key; every 17th has none; some have no partner.
    let key = |id: i64| match id {
        id if id % 17 == 0 => None,
        id if id % 3 == 0 => Some(1),
        id => Some(id * 7919 % (DIMENSIONS + 100)),
    };
    let text = |id: i64| (id % 11 != 0).then(|| format!("text number {} of the facts", id % 97));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        (
            "k",
            Arc::new(ids.iter().map(|id| key(*id)).collect::<Int64Array>()),
        ),
        (
            "g",
            Arc::new(
                ids.iter()
                    .map(|id| (*id % 13 != 5).then_some((*id % 29) as i32))
                    .collect::<Int32Array>(),
            ),
        ),
        (
            "s",
            Arc::new(ids.iter().map(|id| text(*id)).collect::<StringArray>()),
        ),
        (
            "x",
            Arc::new(
                ids.iter()
                    .map(|id| (*id % 19 != 0).then_some(*id as f64 / 8.0))
                    .collect::<Float64Array>(),
            ),
        ),
        (
            "m",
            Arc::new(
                ids.iter()
                    .map(|id| Some(i128::from(*id) * 101))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(15, 2)
                    .unwrap(),
            ),
        ),
        (
            "d",
            Arc::new(
                ids.iter()
                    .map(|id| Some(9000 + (*id % 365) as i32))
                    .collect::<Date32Array>(),
            ),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

fn dimensions(keys: std::ops::Range<i64>) -> RecordBatch {
    let keys: Vec<_> = keys.collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "k",
            Arc::new(
                keys.iter()
                    .map(|key| (*key % 50 != 49).then_some(*key))
                    .collect::<Int64Array>(),
            ),
        ),
        (
            "name",
            Arc::new(
                keys.iter()
                    .map(|key| Some(format!("dimension {}", key % 40)))
                    .collect::<StringArray>(),
            ),
        ),
        (
            "w",
            Arc::new(
                keys.iter()
                    .map(|key| Some(*key as i32 % 7))
                    .collect::<Int32Array>(),
            ),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}
