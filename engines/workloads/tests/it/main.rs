//! The data sets as users meet them: files in a directory.
#![cfg(test)]

mod ais;
mod directory;
mod tpch;

use std::fs::{self, File};
use std::hash::Hasher;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bireme_workloads::{Dataset, Summary, generate};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Generates without listening to progress.
fn generate_quietly(dataset: &Dataset, out: &Path) -> Summary {
    generate(dataset, out, &mut |_| ()).unwrap()
}

/// Reads all files of a directory, in the order of their names.
fn read_directory(directory: &Path) -> Vec<RecordBatch> {
    let mut paths: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "parquet")
        })
        .collect();
    paths.sort();
    let read = |path| {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        builder
            .build()
            .unwrap()
            .map(Result::unwrap)
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(read).collect()
}

/// Rows, and a checksum over the text of every value: it depends on the data alone, not on how a
/// version of the Parquet writer lays it out.
fn fingerprint(batches: &[RecordBatch]) -> String {
    let mut hash = Fnv1a(0xcbf2_9ce4_8422_2325);
    let options = FormatOptions::default().with_null("null");
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            for column in &columns {
                hash.write(column.value(row).to_string().as_bytes());
                hash.write(b"\t");
            }
        }
    }
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    format!("{rows} rows, {:016x}", hash.finish())
}

struct Fnv1a(u64);

impl Hasher for Fnv1a {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
