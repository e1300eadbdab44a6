//! Writes one piece of a data set as one Parquet file.
//!
//! Only the row group in the making is held in memory. The file is complete when the call returns;
//! in which directory, and under which name readers see it, is the matter of `staging`.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::WorkloadError;
use crate::dataset::Source;

/// Rows of one row group: the unit that engines share a file by.
const ROW_GROUP_ROWS: usize = 256 * 1024;

/// What a file holds, so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// Writes all rows of `source` to `path` and tells `on_batch` what was added since the last call.
/// Stops early, with what was written, once `stop` is set.
pub(crate) fn write(
    path: &Path,
    source: &dyn Source,
    stop: &AtomicBool,
    mut on_batch: impl FnMut(Written),
) -> Result<Written, WorkloadError> {
    let parquet_error = |source| WorkloadError::Parquet {
        path: path.to_path_buf(),
        source,
    };
    let file = File::create(path).map_err(WorkloadError::io("create", path))?;
    let rows = source.open();
    let properties = source.tune(
        WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS)),
    );
    // Plain Parquet types, as any other tool would write them.
    let options = ArrowWriterOptions::new()
        .with_properties(properties.build())
        .with_skip_arrow_metadata(true);
    let mut writer =
        ArrowWriter::try_new_with_options(file, rows.schema, options).map_err(parquet_error)?;
    let mut written = Written::default();
    for batch in rows.batches {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let batch = batch.map_err(|source| WorkloadError::Rows {
            path: path.to_path_buf(),
            source,
        })?;
        writer.write(&batch).map_err(parquet_error)?;
        let before = written;
        written.rows += batch.num_rows() as u64;
        written.bytes = writer.bytes_written() as u64;
        on_batch(Written {
            rows: written.rows - before.rows,
            bytes: written.bytes - before.bytes,
        });
    }
    let before = written;
    writer.finish().map_err(parquet_error)?;
    written.bytes = writer.bytes_written() as u64;
    on_batch(Written {
        rows: 0,
        bytes: written.bytes - before.bytes,
    });
    Ok(written)
}
