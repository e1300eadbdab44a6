//! Variables on their way to the engines: what `%scatter` can make a frame of.

use crate::column::{Column, IntoColumn};
use crate::layout::{ArrayPlace, BatchPlace, Placing};
use crate::table::{Table, TableError};
use crate::transfer::{TableWriter, TransferError};
use arrow_array::RecordBatch;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The column of a `Vec`.
const COLUMN: &str = "value";
/// Rows of a batch of a frame, at most: what queries are given at once.
const BATCH_ROWS: usize = 1 << 16;
/// Parts that are written at once: new memory comes from the system page by page.
const WRITERS_MAX: usize = 8;

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

/// Writes the rows of a variable to files in memory that a process holds open under these
/// descriptors: what lies where to the first, and the rows, divided into equal parts in their order,
/// to the others, as many for each part. Of a part each column goes to one file.
///
/// # Errors
/// The rows are none, or there is no room for them.
#[doc(hidden)]
pub fn write(
    rows: &impl ToTable,
    process: u32,
    descriptors: &[i32],
    parts: usize,
) -> Result<(), TransferError> {
    let table = rows
        .to_table()
        .map_err(|error| TransferError::Malformed(error.to_string()))?;
    let open = |descriptor: &i32| {
        let path = format!("/proc/{process}/fd/{descriptor}");
        OpenOptions::new().write(true).open(path)
    };
    let files: Vec<File> = descriptors.iter().map(open).collect::<Result<_, _>>()?;
    let nowhere = || io::Error::other("there are no files for the rows");
    let (heads, files) = files.split_first().ok_or_else(nowhere)?;
    let each = files.len() / parts.max(1);
    if each == 0 {
        return Err(nowhere().into());
    }
    let mut writer = TableWriter::new(BufWriter::new(heads), table.schema())?;
    for part in write_parts(&table, files, each, parts)? {
        for place in part {
            writer.write_place(&place)?;
        }
    }
    writer.finish()?;
    Ok(())
}

type Written = Result<Vec<BatchPlace>, TransferError>;

/// Writes all parts, several at once.
fn write_parts(
    table: &Table,
    files: &[File],
    each: usize,
    parts: usize,
) -> Result<Vec<Vec<BatchPlace>>, TransferError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut written = Vec::new();
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                return written;
            }
            let own = &files[part * each..(part + 1) * each];
            written.push((part, write_part(table, own, part, parts)));
        }
    };
    let mut written: Vec<(usize, Written)> = std::thread::scope(|scope| {
        let others = 1..cores.min(WRITERS_MAX).min(parts);
        let others: Vec<_> = others.map(|_| scope.spawn(work)).collect();
        let mut written = work();
        // A writer that panicked has said why; the parts it left out are missed below.
        let others = others.into_iter().filter_map(|other| other.join().ok());
        others.for_each(|other| written.extend(other));
        written
    });
    if written.len() != parts {
        return Err(io::Error::other("a writer of rows panicked").into());
    }
    written.sort_by_key(|(part, _)| *part);
    written.into_iter().map(|(_, written)| written).collect()
}

/// Writes the rows of one part to its files.
fn write_part(table: &Table, files: &[File], part: usize, parts: usize) -> Written {
    let rows = table.num_rows() as u128;
    let bound = |part: usize| (rows * part as u128 / parts as u128) as usize;
    let wanted = bound(part)..bound(part + 1);
    let mut ends = vec![0; files.len()];
    let mut places = Vec::new();
    let mut first = 0;
    for batch in table.batches() {
        let all = first..first + batch.num_rows();
        first = all.end;
        let mut at = wanted.start.max(all.start);
        let end = wanted.end.min(all.end);
        while at < end {
            let taken = BATCH_ROWS.min(end - at);
            let range = at - all.start..at - all.start + taken;
            let columns = write_rows(batch, range, files, part, &mut ends)?;
            places.push(BatchPlace {
                part: part as u64,
                rows: taken as u64,
                columns,
            });
            at += taken;
        }
    }
    Ok(places)
}

/// Writes rows of a batch behind what the files hold already.
fn write_rows(
    batch: &RecordBatch,
    rows: Range<usize>,
    files: &[File],
    part: usize,
    ends: &mut [u64],
) -> Result<Vec<ArrayPlace>, TransferError> {
    let is_part = rows.len() < batch.num_rows();
    let columns = batch.columns().iter().enumerate();
    let columns = columns.map(|(index, column)| {
        let own = index % files.len();
        // The first file holds the heads.
        let number = 1 + part * files.len() + own;
        let mut placing = Placing::new(number as u64, ends[own]);
        let data = column.slice(rows.start, rows.len()).to_data();
        let place = placing.array(&data, is_part)?;
        ends[own] = placing.at;
        for (offset, buffer) in &placing.buffers {
            files[own].write_all_at(buffer, *offset)?;
        }
        Ok(place)
    });
    columns.collect()
}
