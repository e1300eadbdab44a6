//! What lies where of a table that another process has written: places of buffers in files, and the
//! words that tell them.
//!
//! Words are 8 bytes, little-endian. Text is its length and its bytes, filled up to a whole word. A
//! table is its columns (name, whether it may be null, type) and its batches; a batch is its part, its
//! rows and an array per column; an array is its length, its nulls, its buffers and its children, in
//! the order Arrow gives them for the type; a buffer is its file, where it begins and its length.

use crate::data_types::DEPTH_MAX;
use crate::transfer::{TransferError, malformed};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow_buffer::{ArrowNativeType, Buffer};
use arrow_data::ArrayData;
use arrow_data::transform::MutableArrayData;
use arrow_schema::{ArrowError, DataType, SchemaRef};
use std::sync::Arc;

/// Every buffer begins on this.
pub const ALIGNMENT: u64 = 64;

/// A buffer in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferPlace {
    /// The file, by its index.
    pub file: u64,
    /// Where it begins.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
}

/// An array in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayPlace {
    /// Its values.
    pub length: u64,
    /// Which of them are there; none when all are.
    pub nulls: Option<BufferPlace>,
    /// Its buffers.
    pub buffers: Vec<BufferPlace>,
    /// Its children.
    pub children: Vec<ArrayPlace>,
}

/// Rows in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    /// Which part of the table they are of.
    pub part: u64,
    /// How many they are.
    pub rows: u64,
    /// Their columns.
    pub columns: Vec<ArrayPlace>,
}

/// Gives buffers their places in one file, one behind the other.
#[derive(Debug)]
pub(crate) struct Placing {
    file: u64,
    pub(crate) at: u64,
    /// What is to be written, and where.
    pub(crate) buffers: Vec<(u64, Buffer)>,
}

impl Placing {
    pub(crate) fn new(file: u64, at: u64) -> Self {
        Self {
            file,
            at,
            buffers: Vec::new(),
        }
    }

    /// Places an array. Of one that is a part of a larger one, only that part.
    pub(crate) fn array(
        &mut self,
        data: &ArrayData,
        is_part: bool,
    ) -> Result<ArrayPlace, ArrowError> {
        let (nulls, buffers, children) = pieces(data, is_part)?;
        let nulls = nulls.map(|nulls| self.buffer(nulls));
        let buffers = buffers.into_iter().map(|one| self.buffer(one)).collect();
        // What was a part has been copied, and is whole.
        let children = children.iter().map(|child| self.array(child, false));
        Ok(ArrayPlace {
            length: data.len() as u64,
            nulls,
            buffers,
            children: children.collect::<Result<_, _>>()?,
        })
    }

    fn buffer(&mut self, buffer: Buffer) -> BufferPlace {
        let offset = self.at.next_multiple_of(ALIGNMENT);
        let length = buffer.len() as u64;
        self.at = offset + length;
        self.buffers.push((offset, buffer));
        BufferPlace {
            file: self.file,
            offset,
            length,
        }
    }
}

type Pieces = (Option<Buffer>, Vec<Buffer>, Vec<ArrayData>);

/// The nulls, buffers and children of an array that begins where its buffers do. Nothing is copied of
/// values of one size, nor of an array that is whole.
fn pieces(data: &ArrayData, is_part: bool) -> Result<Pieces, ArrowError> {
    let nulls = || data.nulls().map(|nulls| nulls.inner().sliced());
    let (offset, length) = (data.offset(), data.len());
    if let (Some(width), [values]) = (data.data_type().primitive_width(), data.buffers()) {
        let values = values.slice_with_length(offset * width, length * width);
        return Ok((nulls(), vec![values], Vec::new()));
    }
    let is_text = matches!(data.data_type(), DataType::Utf8 | DataType::Binary);
    if let (true, 0, [ends, values]) = (is_text, offset, data.buffers()) {
        let last = data.buffer::<i32>(0).get(length).copied().unwrap_or(0);
        let ends = match ends.len() {
            // Arrow allows no ends where there are no values.
            0 => ends.clone(),
            _ => ends.slice_with_length(0, (length + 1) * size_of::<i32>()),
        };
        let values = values.slice_with_length(0, last.as_usize());
        return Ok((nulls(), vec![ends, values], Vec::new()));
    }
    let is_sliced = offset != 0 || data.nulls().is_some_and(|nulls| nulls.offset() != 0);
    let data = match is_sliced || is_part {
        true => {
            let mut copy = MutableArrayData::new(vec![data], false, length);
            copy.try_extend(0, 0, length)?;
            copy.freeze()
        }
        false => data.clone(),
    };
    let nulls = data.nulls().map(|nulls| nulls.buffer().clone());
    Ok((nulls, data.buffers().to_vec(), data.child_data().to_vec()))
}

impl BatchPlace {
    /// Moves all that lies in file 0 by so many bytes.
    pub(crate) fn shift(&mut self, bytes: u64) {
        fn shift(array: &mut ArrayPlace, bytes: u64) {
            for buffer in array.nulls.iter_mut().chain(&mut array.buffers) {
                buffer.offset += bytes;
            }
            array.children.iter_mut().for_each(|one| shift(one, bytes));
        }
        self.columns.iter_mut().for_each(|one| shift(one, bytes));
    }

    pub(crate) fn write(&self, head: &mut Head) {
        head.word(self.part);
        head.word(self.rows);
        head.word(self.columns.len() as u64);
        self.columns.iter().for_each(|column| column.write(head));
    }

    pub(crate) fn read(source: &mut Source<'_>) -> Result<Self, TransferError> {
        let (part, rows, count) = (source.word()?, source.word()?, source.word()?);
        let columns = (0..count).map(|_| ArrayPlace::read(source, 0));
        Ok(Self {
            part,
            rows,
            columns: columns.collect::<Result<_, _>>()?,
        })
    }

    /// The rows, whose arrays refer to these files.
    ///
    /// # Errors
    /// They are no rows of these columns.
    pub(crate) fn batch(
        &self,
        schema: &SchemaRef,
        files: &[Buffer],
    ) -> Result<RecordBatch, TransferError> {
        if self.columns.len() != schema.fields().len() {
            return Err(malformed("it has other columns than it says"));
        }
        let columns = schema.fields().iter().zip(&self.columns);
        let columns: Result<Vec<ArrayRef>, TransferError> = columns
            .map(|(field, place)| Ok(make_array(place.data(field.data_type(), files)?)))
            .collect();
        let rows = number(self.rows)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(schema);
        Ok(RecordBatch::try_new_with_options(
            schema, columns?, &options,
        )?)
    }
}

impl ArrayPlace {
    fn write(&self, head: &mut Head) {
        head.word(self.length);
        head.word(u64::from(self.nulls.is_some()));
        head.word(self.buffers.len() as u64);
        for buffer in self.nulls.iter().chain(&self.buffers) {
            head.word(buffer.file);
            head.word(buffer.offset);
            head.word(buffer.length);
        }
        head.word(self.children.len() as u64);
        self.children.iter().for_each(|child| child.write(head));
    }

    fn read(source: &mut Source<'_>, depth: usize) -> Result<Self, TransferError> {
        if depth > DEPTH_MAX {
            return Err(malformed("its types are nested too deep"));
        }
        let length = source.word()?;
        let has_nulls = source.word()? != 0;
        let count = source.word()?;
        let nulls = has_nulls.then(|| source.buffer()).transpose()?;
        let buffers = (0..count).map(|_| source.buffer());
        let buffers = buffers.collect::<Result<_, _>>()?;
        let count = source.word()?;
        let children = (0..count).map(|_| Self::read(source, depth + 1));
        Ok(Self {
            length,
            nulls,
            buffers,
            children: children.collect::<Result<_, _>>()?,
        })
    }

    /// The array, checked as Arrow checks what it does not know.
    fn data(&self, data_type: &DataType, files: &[Buffer]) -> Result<ArrayData, TransferError> {
        let length = number(self.length)?;
        let nulls = self.nulls.map(|nulls| nulls.buffer(files)).transpose()?;
        // Arrow checks the rest.
        if nulls
            .as_ref()
            .is_some_and(|nulls| nulls.len() < length.div_ceil(8))
        {
            return Err(malformed("it is cut off"));
        }
        let types = children(data_type);
        if types.len() != self.children.len() {
            return Err(malformed("an array has other children than its type"));
        }
        let mut data = ArrayData::builder(data_type.clone())
            .len(length)
            .null_bit_buffer(nulls);
        for buffer in &self.buffers {
            data = data.add_buffer(buffer.buffer(files)?);
        }
        for (child, data_type) in self.children.iter().zip(types) {
            data = data.add_child_data(child.data(data_type, files)?);
        }
        Ok(data.build()?)
    }
}

impl BufferPlace {
    fn buffer(self, files: &[Buffer]) -> Result<Buffer, TransferError> {
        let file = files.get(number(self.file)?);
        let file = file.ok_or_else(|| malformed("it refers to a file that is not there"))?;
        let (offset, length) = (number(self.offset)?, number(self.length)?);
        // There may be no file so long.
        if length == 0 {
            return Ok(Buffer::default());
        }
        if !self.offset.is_multiple_of(ALIGNMENT) {
            return Err(malformed("a buffer begins at an odd place"));
        }
        match offset.checked_add(length) {
            Some(end) if end <= file.len() => Ok(file.slice_with_length(offset, length)),
            _ => Err(malformed("it is cut off")),
        }
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

fn number(word: u64) -> Result<usize, TransferError> {
    usize::try_from(word).map_err(|_| malformed("it is cut off"))
}

/// Words that are being written.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) bytes: Vec<u8>,
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
}

/// Words that are being read.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    bytes: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Source<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn word(&mut self) -> Result<u64, TransferError> {
        let mut word = [0; 8];
        word.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(word))
    }

    pub(crate) fn text(&mut self) -> Result<String, TransferError> {
        let length = number(self.word()?)?;
        let bytes = self.take(length)?.to_vec();
        self.at = self.at.next_multiple_of(8);
        String::from_utf8(bytes).map_err(|_| malformed("a name is no text"))
    }

    fn buffer(&mut self) -> Result<BufferPlace, TransferError> {
        Ok(BufferPlace {
            file: self.word()?,
            offset: self.word()?,
            length: self.word()?,
        })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], TransferError> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| malformed("it is cut off"))?;
        self.at += length;
        Ok(taken)
    }
}
