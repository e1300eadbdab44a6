//! Rows that another process has put into shared memory and described (`SharedRows` of the protocol),
//! read in place. Nothing that is said of them is taken on trust: every array is checked as one from a
//! stranger, and memory that could change is refused.

use crate::error::FramesError;
use crate::frame_store::FrameStore;
use crate::slab::{Offer, Slab};
use arrow::array::{
    ArrayData, ArrayRef, BufferSpec, RecordBatch, RecordBatchOptions, layout, make_array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use bireme_protocol::proto::{self, SharedArray, SharedBatch, SharedBuffer};
use bireme_shared_memory::{SharedMemoryError, open_sealed};
use prost::Message;
use std::collections::HashMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

/// A description of more rows than an engine can hold.
const DESCRIPTION_BYTES_MAX: u64 = 256 << 20;
const PARTS_MAX: u32 = 1 << 16;
const BATCH_ROWS_MAX: u64 = 1 << 31;
const DEPTH_MAX: usize = 64;
/// Arrow's arrays are written on this, and its types ask for no more.
const ALIGNMENT: u64 = 64;

/// A table in shared memory.
#[derive(Debug)]
pub struct SharedRows {
    path: String,
    schema: SchemaRef,
    rows: proto::SharedRows,
    bytes: u64,
    modified_ns: i64,
}

impl SharedRows {
    /// Whether a path is one under which rows are handed over.
    pub fn is_path(path: &str) -> bool {
        bireme_shared_memory::is_handed(path)
    }

    /// Reads the description that a process holds open under this path.
    ///
    /// # Errors
    /// There is none, or it could still change.
    pub fn open(path: &str) -> Result<Arc<Self>, FramesError> {
        let memory = |source: SharedMemoryError| malformed(path, source);
        let mut file = std::fs::File::from(open_sealed(path).map_err(memory)?);
        let facts = file.metadata().map_err(|error| malformed(path, error))?;
        if facts.len() > DESCRIPTION_BYTES_MAX {
            let reason = format!("it is described by {} bytes", facts.len());
            return Err(malformed(path, reason));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|error| malformed(path, error))?;
        let rows = proto::SharedRows::decode(bytes.as_slice());
        let rows = rows.map_err(|error| malformed(path, error))?;
        let schema: Schema =
            serde_json::from_str(&rows.schema_json).map_err(|error| malformed(path, error))?;
        if rows.parts > PARTS_MAX {
            return Err(malformed(path, format!("it has {} parts", rows.parts)));
        }
        for batch in &rows.batches {
            if batch.rows > BATCH_ROWS_MAX || batch.part >= rows.parts.max(1) {
                let reason = format!("{} rows of part {}", batch.rows, batch.part);
                return Err(malformed(path, reason));
            }
        }
        Ok(Arc::new(Self {
            path: path.to_string(),
            schema: Arc::new(schema),
            bytes: facts.len(),
            modified_ns: facts
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(facts.mtime_nsec()),
            rows,
        }))
    }

    /// Where it is described.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Bytes of the description, and when it was written: no two are alike in both.
    pub fn version(&self) -> (u64, i64) {
        (self.bytes, self.modified_ns)
    }

    /// Rows and bytes of the parts that are wanted.
    pub fn size(&self, is_wanted: impl Fn(usize) -> bool) -> (u64, u64) {
        let batches = self.rows.batches.iter();
        let wanted = batches.filter(|batch| is_wanted(batch.part as usize));
        wanted.fold((0, 0), |(rows, bytes), batch| {
            (
                rows.saturating_add(batch.rows),
                batch.columns.iter().fold(bytes, add_bytes),
            )
        })
    }

    /// Begins to read these columns, or all, of the parts that are wanted. What comes can be kept by
    /// this store as it is.
    pub fn read(
        self: &Arc<Self>,
        is_wanted: impl Fn(usize) -> bool,
        projection: Option<&[usize]>,
        store: &Arc<FrameStore>,
    ) -> Result<SharedRowsReader, FramesError> {
        let columns = match projection {
            Some(columns) => columns.to_vec(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let schema = self.schema.project(&columns);
        let schema = schema.map_err(|error| malformed(&self.path, error))?;
        let batches = self.rows.batches.iter().enumerate();
        let wanted = batches.filter(|(_, batch)| is_wanted(batch.part as usize));
        Ok(SharedRowsReader {
            rows: Arc::clone(self),
            store: Arc::clone(store),
            columns,
            schema: Arc::new(schema),
            waiting: wanted
                .map(|(index, _)| index)
                .collect::<Vec<_>>()
                .into_iter(),
            slabs: HashMap::new(),
            offered: Vec::new(),
        })
    }
}

fn add_bytes(bytes: u64, array: &SharedArray) -> u64 {
    let own = array.nulls.iter().chain(&array.buffers);
    let bytes = own.fold(bytes, |sum, buffer| sum.saturating_add(buffer.length));
    array.children.iter().fold(bytes, add_bytes)
}

/// Reads batches of a table in shared memory.
#[derive(Debug)]
pub struct SharedRowsReader {
    rows: Arc<SharedRows>,
    store: Arc<FrameStore>,
    columns: Vec<usize>,
    schema: SchemaRef,
    waiting: std::vec::IntoIter<usize>,
    /// By file.
    slabs: HashMap<u32, Arc<Slab>>,
    /// Columns whose memory has been offered to the store.
    offered: Vec<usize>,
}

impl Iterator for SharedRowsReader {
    type Item = Result<RecordBatch, FramesError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = Arc::clone(&self.rows);
        let batch = rows.rows.batches.get(self.waiting.next()?)?;
        Some(self.batch(batch))
    }
}

impl SharedRowsReader {
    fn batch(&mut self, batch: &SharedBatch) -> Result<RecordBatch, FramesError> {
        let mut columns = Vec::with_capacity(self.columns.len());
        let mut offers = Vec::with_capacity(self.columns.len());
        for index in self.columns.clone() {
            let rows = Arc::clone(&self.rows);
            let wrong = |error: &dyn std::fmt::Display| malformed(&rows.path, error);
            let (Some(described), Some(field)) =
                (batch.columns.get(index), rows.schema.fields().get(index))
            else {
                let missing = format!("a batch has no column {index}");
                return Err(malformed(&rows.path, missing));
            };
            let slab = self.slab_of(described)?;
            let memory = match &slab {
                Some(slab) => slab.bytes().map_err(|error| wrong(&error))?,
                None => Buffer::default(),
            };
            let data = array(described, field.data_type(), &memory, 0);
            let column: ArrayRef = make_array(data.map_err(|error| wrong(&error))?);
            columns.push(Arc::clone(&column));
            if let Some(slab) = slab {
                offers.push(Offer {
                    references: memory.strong_count(),
                    column,
                    memory,
                    slab,
                });
            }
        }
        let rows = usize::try_from(batch.rows).unwrap_or(usize::MAX);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.schema);
        let made = RecordBatch::try_new_with_options(schema, columns, &options);
        let made = made.map_err(|error| malformed(&self.rows.path, error))?;
        let open = self.store.offers();
        self.offered
            .extend(offers.into_iter().map(|offer| open.add(offer)));
        Ok(made)
    }

    /// The memory a column lies in: one file.
    fn slab_of(&mut self, column: &SharedArray) -> Result<Option<Arc<Slab>>, FramesError> {
        let Some(file) = file_of(column) else {
            return Ok(None);
        };
        if let Some(slab) = self.slabs.get(&file) {
            return Ok(Some(Arc::clone(slab)));
        }
        let path = self.rows.rows.files.get(file as usize);
        let path = path.ok_or_else(|| {
            malformed(
                &self.rows.path,
                format!(
                    "it refers to file {file}, of {}",
                    self.rows.rows.files.len()
                ),
            )
        })?;
        let slab = Slab::open(path).map_err(|error| malformed(&self.rows.path, error))?;
        self.slabs.insert(file, Arc::clone(&slab));
        Ok(Some(slab))
    }
}

impl Drop for SharedRowsReader {
    fn drop(&mut self) {
        self.store.offers().withdraw(&self.offered);
    }
}

/// The file of the first buffer that has bytes.
fn file_of(array: &SharedArray) -> Option<u32> {
    let own = array.nulls.iter().chain(&array.buffers);
    own.filter(|buffer| buffer.length > 0)
        .map(|buffer| buffer.file)
        .next()
        .or_else(|| array.children.iter().find_map(file_of))
}

/// An array in one file, checked by Arrow; the recursion follows the type.
fn array(
    described: &SharedArray,
    data_type: &DataType,
    memory: &Buffer,
    depth: usize,
) -> Result<ArrayData, ArrowError> {
    let refused = |reason: &str| ArrowError::InvalidArgumentError(reason.to_string());
    if depth > DEPTH_MAX {
        return Err(refused("its types are nested too deep"));
    }
    if let DataType::FixedSizeBinary(size) | DataType::FixedSizeList(_, size) = data_type
        && *size < 0
    {
        return Err(refused("a type has a size below zero"));
    }
    let length = described.length;
    if length > BATCH_ROWS_MAX {
        return Err(refused("an array has more values than a batch may have"));
    }
    let nulls = described.nulls.as_ref();
    let nulls = nulls.map(|nulls| buffer(nulls, memory)).transpose()?;
    let too_short = |nulls: &Buffer| (nulls.len() as u64) < length.div_ceil(8);
    if nulls.as_ref().is_some_and(too_short) {
        return Err(refused("an array has fewer nulls than values"));
    }
    let types = child_types(data_type);
    if types.len() != described.children.len() {
        return Err(refused("an array has other children than its type"));
    }
    let mut data = ArrayData::builder(data_type.clone())
        .len(length as usize)
        .null_bit_buffer(nulls);
    let layout = layout(data_type);
    for (index, one) in described.buffers.iter().enumerate() {
        // Arrow takes whole values for granted.
        if let Some(BufferSpec::FixedWidth { byte_width, .. }) = layout.buffers.get(index)
            && !one.length.is_multiple_of(*byte_width as u64)
        {
            return Err(refused("a buffer ends within a value"));
        }
        data = data.add_buffer(buffer(one, memory)?);
    }
    for (child, data_type) in described.children.iter().zip(types) {
        data = data.add_child_data(array(child, data_type, memory, depth + 1)?);
    }
    data.build()
}

fn buffer(place: &SharedBuffer, memory: &Buffer) -> Result<Buffer, ArrowError> {
    let refused = |reason: &str| ArrowError::InvalidArgumentError(reason.to_string());
    if place.length == 0 {
        return Ok(Buffer::default());
    }
    if !place.offset.is_multiple_of(ALIGNMENT) {
        return Err(refused("a buffer begins at an odd place"));
    }
    let end = place.offset.checked_add(place.length);
    if end.is_none_or(|end| end > memory.len() as u64) {
        return Err(refused("a buffer ends beyond its memory"));
    }
    Ok(memory.slice_with_length(place.offset as usize, place.length as usize))
}

/// The types of the children, in Arrow's order.
fn child_types(data_type: &DataType) -> Vec<&DataType> {
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

fn malformed(path: &str, reason: impl ToString) -> FramesError {
    FramesError::SharedRows {
        path: path.to_string(),
        reason: reason.to_string(),
    }
}
