//! Tables on their way between processes of one build on one machine: a head that says what lies
//! where, then the buffers of the arrays, each on a multiple of 64 bytes, so that reading copies them
//! once and as a whole. Arrow's own IPC is not used, because cells link neither it nor flatbuffers.
//!
//! The head is words of 8 bytes, little-endian. Text is its length and its bytes, filled up to a
//! whole word. A table is its columns (name, whether it may be null, type) and its batches; a batch is its rows and an array per column; an array is its length, its nulls, its
//! buffers and its children, in the order Arrow gives them for the type.

use crate::data_types::{DEPTH_MAX, read_field, write_field};
use crate::table::Table;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_data::ArrayData;
use arrow_data::transform::MutableArrayData;
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

const MAGIC: u64 = u64::from_le_bytes(*b"biremeT1");
const ALIGNMENT: usize = 64;

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
        writer.block(&head, &[])?;
        Ok(writer)
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), TransferError> {
        let mut head = Head::default();
        let mut buffers = Vec::new();
        head.word(batch.num_rows() as u64);
        for column in batch.columns() {
            head.array(&column.to_data(), &mut buffers)?;
        }
        self.block(&head, &buffers)
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

    /// A head with its length before it, then the buffers.
    fn block(&mut self, head: &Head, buffers: &[Buffer]) -> Result<(), TransferError> {
        const ZEROS: [u8; ALIGNMENT] = [0; ALIGNMENT];
        let length = 8 + head.bytes.len();
        self.out.write_all(&(length as u64).to_le_bytes())?;
        self.out.write_all(&head.bytes)?;
        let mut at = length;
        let fill = |out: &mut W, at: usize| {
            let gap = at.next_multiple_of(ALIGNMENT) - at;
            out.write_all(&ZEROS[..gap]).map(|()| at + gap)
        };
        at = fill(&mut self.out, at)?;
        for buffer in buffers {
            self.out.write_all(buffer.as_slice())?;
            at = fill(&mut self.out, at + buffer.len())?;
        }
        self.bytes += at as u64;
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Head {
    bytes: Vec<u8>,
}

impl Head {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn word(&mut self, word: u64) {
        self.bytes.extend_from_slice(&word.to_le_bytes());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
        let filled = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(filled, 0);
    }

    fn array(&mut self, data: &ArrayData, buffers: &mut Vec<Buffer>) -> Result<(), ArrowError> {
        let data = whole(data)?;
        self.word(data.len() as u64);
        let nulls = data.nulls().map(|nulls| nulls.buffer().clone());
        self.word(u64::from(nulls.is_some()));
        self.word(data.buffers().len() as u64);
        for buffer in nulls.iter().chain(data.buffers()) {
            self.word(buffer.len() as u64);
            buffers.push(buffer.clone());
        }
        for child in data.child_data() {
            self.array(child, buffers)?;
        }
        Ok(())
    }
}

/// The same array, beginning where its buffers do.
fn whole(data: &ArrayData) -> Result<ArrayData, ArrowError> {
    let is_sliced = data.offset() != 0 || data.nulls().is_some_and(|nulls| nulls.offset() != 0);
    if !is_sliced {
        return Ok(data.clone());
    }
    let mut copy = MutableArrayData::new(vec![data], false, data.len());
    copy.try_extend(0, 0, data.len())?;
    Ok(copy.freeze())
}

/// Reads the table in a file.
///
/// # Errors
/// When it cannot be read, or is no table.
pub fn read(path: impl AsRef<Path>) -> Result<Table, TransferError> {
    let mut file = std::fs::File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    // Arrow's buffers end the process when there is no memory.
    if Vec::<u8>::new().try_reserve_exact(length).is_err() {
        let text = format!("there is no memory for {length} bytes (see rust.memory_limit)");
        return Err(io::Error::new(io::ErrorKind::OutOfMemory, text).into());
    }
    let mut bytes = MutableBuffer::from_len_zeroed(length);
    io::Read::read_exact(&mut file, bytes.as_slice_mut())?;
    table_in(bytes.into())
}

/// The table in these bytes, which its arrays refer to.
///
/// # Errors
/// When it is no table.
pub fn table_in(bytes: Buffer) -> Result<Table, TransferError> {
    Source::new(bytes).table()
}

pub(crate) struct Source {
    bytes: Buffer,
    at: usize,
    /// Where the next buffer begins.
    buffer_at: usize,
}

impl Source {
    pub(crate) fn new(bytes: Buffer) -> Self {
        Self {
            bytes,
            at: 0,
            buffer_at: 0,
        }
    }

    fn table(&mut self) -> Result<Table, TransferError> {
        if !self.next_block()? || self.word()? != MAGIC {
            return Err(malformed("it does not begin like one"));
        }
        let columns = self.word()?;
        let mut fields = Vec::new();
        for _ in 0..columns {
            fields.push(read_field(self, 0)?);
        }
        let schema = Arc::new(Schema::new(fields));
        let mut batches = Vec::new();
        while self.next_block()? {
            batches.push(self.batch(&schema)?);
        }
        Table::from_batches(schema, batches).map_err(|error| malformed(&error.to_string()))
    }

    /// Goes to the next head; false at the end.
    fn next_block(&mut self) -> Result<bool, TransferError> {
        self.at = self.buffer_at;
        let length = self.word()?;
        let length = usize::try_from(length).map_err(|_| malformed("it is cut off"))?;
        let end = (self.at - 8).checked_add(length.next_multiple_of(ALIGNMENT));
        self.buffer_at = end.ok_or_else(|| malformed("it is cut off"))?;
        Ok(length > 0)
    }

    fn batch(&mut self, schema: &SchemaRef) -> Result<RecordBatch, TransferError> {
        let rows = usize::try_from(self.word()?).map_err(|_| malformed("it is cut off"))?;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            columns.push(make_array(self.array(field.data_type(), 0)?));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(schema);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }

    fn array(&mut self, data_type: &DataType, depth: usize) -> Result<ArrayData, TransferError> {
        if depth > DEPTH_MAX {
            return Err(malformed("its types are nested too deep"));
        }
        let length = usize::try_from(self.word()?).map_err(|_| malformed("it is cut off"))?;
        let has_nulls = self.word()? != 0;
        let count = self.word()?;
        let nulls = has_nulls.then(|| self.buffer()).transpose()?;
        // Arrow checks the rest.
        if nulls
            .as_ref()
            .is_some_and(|nulls| nulls.len() < length.div_ceil(8))
        {
            return Err(malformed("it is cut off"));
        }
        let mut data = ArrayData::builder(data_type.clone())
            .len(length)
            .null_bit_buffer(nulls);
        for _ in 0..count {
            data = data.add_buffer(self.buffer()?);
        }
        for child in children(data_type) {
            data = data.add_child_data(self.array(child, depth + 1)?);
        }
        Ok(data.build()?)
    }

    fn buffer(&mut self) -> Result<Buffer, TransferError> {
        let length = usize::try_from(self.word()?).map_err(|_| malformed("it is cut off"))?;
        let end = self.buffer_at.checked_add(length);
        if end.is_none_or(|end| end > self.bytes.len()) {
            return Err(malformed("it is cut off"));
        }
        let buffer = self.bytes.slice_with_length(self.buffer_at, length);
        self.buffer_at += length.next_multiple_of(ALIGNMENT);
        Ok(buffer)
    }

    pub(crate) fn word(&mut self) -> Result<u64, TransferError> {
        let bytes = self.take(8)?;
        let mut word = [0; 8];
        word.copy_from_slice(&bytes);
        Ok(u64::from_le_bytes(word))
    }

    pub(crate) fn text(&mut self) -> Result<String, TransferError> {
        let length = usize::try_from(self.word()?).map_err(|_| malformed("it is cut off"))?;
        let bytes = self.take(length)?;
        self.at = self.at.next_multiple_of(8);
        String::from_utf8(bytes).map_err(|_| malformed("a name is no text"))
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, TransferError> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.as_slice().get(self.at..end));
        let taken = taken.ok_or_else(|| malformed("it is cut off"))?;
        self.at += length;
        Ok(taken.to_vec())
    }
}

/// The types of the children, in Arrow's order.
fn children(data_type: &DataType) -> Vec<&DataType> {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => vec![field.data_type()],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field.data_type()).collect(),
        DataType::Dictionary(_, values) => vec![values],
        DataType::RunEndEncoded(ends, values) => vec![ends.data_type(), values.data_type()],
        _ => Vec::new(),
    }
}

pub(crate) fn malformed(reason: &str) -> TransferError {
    TransferError::Malformed(reason.to_string())
}
