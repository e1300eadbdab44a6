//! Tables on their way between processes of one build on one machine: heads that say what lies
//! where (see [`crate::layout`]), and the buffers of the arrays, each on a multiple of 64 bytes. They
//! follow their head in the same file, or lie in files of their own, and are read where they are.
//! Arrow's own IPC is not used, because cells link neither it nor flatbuffers.

use crate::data_types::{read_field, write_field};
use crate::layout::{ALIGNMENT, BatchPlace, Head, Placing, Source};
use crate::mapped;
use crate::table::Table;
use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_schema::{ArrowError, Schema, SchemaRef};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

const MAGIC: u64 = u64::from_le_bytes(*b"biremeT2");
const ZEROS: [u8; ALIGNMENT as usize] = [0; ALIGNMENT as usize];

/// Why a table could not be written or read.
#[derive(Debug)]
pub enum TransferError {
    /// The file cannot be written or read.
    Io(io::Error),
    /// What was read is no table.
    Malformed(String),
    /// Arrow refused what was read.
    Arrow(ArrowError),
}

impl fmt::Display for TransferError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferError::Io(error) => write!(out, "hand a table over: {error}"),
            TransferError::Malformed(reason) => write!(out, "take a table over: {reason}"),
            TransferError::Arrow(error) => write!(out, "take a table over: {error}"),
        }
    }
}

impl std::error::Error for TransferError {}

impl From<io::Error> for TransferError {
    fn from(error: io::Error) -> TransferError {
        TransferError::Io(error)
    }
}

impl From<ArrowError> for TransferError {
    fn from(error: ArrowError) -> TransferError {
        TransferError::Arrow(error)
    }
}

/// Writes a table batch by batch. Each batch stands by itself, so that none is kept.
#[derive(Debug)]
pub struct TableWriter<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> TableWriter<W> {
    /// Begins a table.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn new(out: W, schema: &Schema) -> Result<Self, TransferError> {
        let mut head = Head::default();
        head.word(MAGIC);
        head.word(schema.fields().len() as u64);
        for field in schema.fields() {
            write_field(&mut head, field);
        }
        let mut writer = Self { out, bytes: 0 };
        writer.head(&head, 0)?;
        Ok(writer)
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), TransferError> {
        let mut placing = Placing::new(0, 0);
        let columns = batch.columns().iter();
        let columns = columns.map(|column| placing.array(&column.to_data(), false));
        let mut place = BatchPlace {
            part: 0,
            rows: batch.num_rows() as u64,
            columns: columns.collect::<Result<_, _>>()?,
        };
        // Where the buffers begin depends on how long the head is, not on what is in it.
        let mut head = Head::default();
        place.write(&mut head);
        place.shift(self.bytes + head_length(&head).next_multiple_of(ALIGNMENT));
        let mut head = Head::default();
        place.write(&mut head);
        self.head(&head, placing.at.next_multiple_of(ALIGNMENT))?;
        let mut at = 0;
        for (offset, buffer) in &placing.buffers {
            self.out.write_all(&ZEROS[..(offset - at) as usize])?;
            self.out.write_all(buffer.as_slice())?;
            at = offset + buffer.len() as u64;
        }
        let gap = at.next_multiple_of(ALIGNMENT) - at;
        self.out.write_all(&ZEROS[..gap as usize])?;
        self.bytes += at + gap;
        Ok(())
    }

    /// Tells of a batch whose buffers lie in files of their own.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_place(&mut self, place: &BatchPlace) -> Result<(), TransferError> {
        let mut head = Head::default();
        place.write(&mut head);
        self.head(&head, 0)
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the table.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<W, TransferError> {
        self.out.write_all(&0_u64.to_le_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// A head, filled up, with its length and that of the buffers that follow it.
    fn head(&mut self, head: &Head, buffers: u64) -> Result<(), TransferError> {
        let length = head_length(head);
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&buffers.to_le_bytes())?;
        self.out.write_all(&head.bytes)?;
        let gap = length.next_multiple_of(ALIGNMENT) - length;
        self.out.write_all(&ZEROS[..gap as usize])?;
        self.bytes += length + gap;
        Ok(())
    }
}

/// With the two words before it.
fn head_length(head: &Head) -> u64 {
    16 + head.bytes.len() as u64
}

/// A table as its heads tell it.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The columns.
    pub schema: SchemaRef,
    /// Where the rows are.
    pub batches: Vec<BatchPlace>,
}

impl Layout {
    /// What the heads in these bytes tell.
    ///
    /// # Errors
    /// They are none.
    pub fn read(bytes: &[u8]) -> Result<Self, TransferError> {
        let mut source = Source::new(bytes);
        let mut next = 0;
        let begins = next_head(&mut source, &mut next)?;
        if !begins || source.word()? != MAGIC {
            return Err(malformed("it does not begin like one"));
        }
        let columns = source.word()?;
        let mut fields = Vec::new();
        for _ in 0..columns {
            fields.push(read_field(&mut source, 0)?);
        }
        let mut batches = Vec::new();
        while next_head(&mut source, &mut next)? {
            batches.push(BatchPlace::read(&mut source)?);
        }
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            batches,
        })
    }

    /// The rows, whose arrays refer to these files.
    ///
    /// # Errors
    /// They are not what the heads say.
    pub fn table(&self, files: &[Buffer]) -> Result<Table, TransferError> {
        let batches = self.batches.iter();
        let batches = batches.map(|place| place.batch(&self.schema, files));
        let batches: Vec<RecordBatch> = batches.collect::<Result<_, _>>()?;
        Table::from_batches(Arc::clone(&self.schema), batches)
            .map_err(|error| malformed(&error.to_string()))
    }
}

/// Goes to the next head; false at the end.
fn next_head(source: &mut Source<'_>, next: &mut usize) -> Result<bool, TransferError> {
    let cut_off = || malformed("it is cut off");
    source.at = *next;
    let length = source.word()?;
    if length == 0 {
        return Ok(false);
    }
    let end = length
        .checked_next_multiple_of(ALIGNMENT)
        .and_then(|length| length.checked_add(*next as u64));
    let end = end.zip(Some(source.word()?));
    let end = end.and_then(|(end, buffers)| end.checked_add(buffers));
    *next = end
        .and_then(|end| usize::try_from(end).ok())
        .ok_or_else(cut_off)?;
    Ok(true)
}

/// The table in memory that a process holds open under these descriptors: what lies where in the first,
/// the rows there and in the others. It is read where it is, and stays for as long as anybody refers to
/// it.
///
/// # Errors
/// When it could change meanwhile, or is no table.
pub fn map(process: u32, descriptors: &[i32]) -> Result<Table, TransferError> {
    let path = |descriptor| format!("/proc/{process}/fd/{descriptor}");
    table_in(descriptors.iter().map(path))
}

/// The same, of one file by its path.
///
/// # Errors
/// As of [`map`].
pub fn map_file(path: impl AsRef<Path>) -> Result<Table, TransferError> {
    table_in([path])
}

fn table_in(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Table, TransferError> {
    let mut files = Vec::new();
    for path in paths {
        files.push(mapped::map(&File::open(path)?)?);
    }
    let heads = files.first().ok_or_else(|| malformed("it is nowhere"))?;
    Layout::read(heads)?.table(&files)
}

pub(crate) fn malformed(reason: &str) -> TransferError {
    TransferError::Malformed(reason.to_string())
}
