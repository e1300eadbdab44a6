//! Synthetic vessel traffic in the columns of the Danish AIS archive.
//!
//! `fleet` makes the vessels, `voyage` says where a vessel is at a given second, `lane` is the map
//! and `report` turns rows into record batches. A row is a function of its number and of the total
//! alone, so files can be made in any order. Skewed on purpose: few vessels send most reports, some
//! never change their status, some have a broken speed sensor, and every optional column has nulls.

mod fleet;
mod lane;
mod report;
mod vessel_type;
mod voyage;

use std::path::PathBuf;
use std::sync::Arc;

use parquet::basic::Encoding;
use parquet::file::properties::WriterPropertiesBuilder;

use crate::dataset::{Piece, Rows, Source, file_count};
use fleet::Fleet;
use report::Reports;

/// Changes when the same number of rows gives other rows or other files.
pub(crate) const REVISION: u32 = 1;

/// Random sequences of this data set start here.
const SEED: u64 = 0x0b1e_3e0a_0a15;
/// Rows of one record batch.
const BATCH_ROWS: u64 = 8192;

/// Lists the files: consecutive stretches of time.
pub(crate) fn pieces(rows: u64) -> Vec<Piece> {
    let fleet = Arc::new(Fleet::for_rows(rows));
    let files = file_count(rows);
    let boundary = |file: u64| (u128::from(rows) * u128::from(file) / u128::from(files)) as u64;
    (0..files)
        .map(|file| {
            let (first, end) = (boundary(file), boundary(file + 1));
            Piece {
                path: PathBuf::from(format!("ais-{:04}.parquet", file + 1)),
                rows_expected: end - first,
                source: Arc::new(Stretch {
                    fleet: Arc::clone(&fleet),
                    first,
                    end,
                    total: rows,
                }),
            }
        })
        .collect()
}

/// The rows `first..end` of `total`.
struct Stretch {
    fleet: Arc<Fleet>,
    first: u64,
    end: u64,
    total: u64,
}

impl Source for Stretch {
    fn open(&self) -> Rows {
        let reports = Reports::new(Arc::clone(&self.fleet), self.total);
        let end = self.end;
        let starts = (self.first..end).step_by(BATCH_ROWS as usize);
        Rows {
            schema: reports.schema(),
            batches: Box::new(
                starts.map(move |first| reports.batch(first..(first + BATCH_ROWS).min(end))),
            ),
        }
    }

    fn tune(&self, properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        // Time only grows, and no two positions are alike.
        ["Timestamp", "Latitude", "Longitude"]
            .into_iter()
            .fold(properties, |properties, column| {
                properties.set_column_dictionary_enabled(column.into(), false)
            })
            .set_column_encoding("Timestamp".into(), Encoding::DELTA_BINARY_PACKED)
    }
}
