//! One partition of a segment: its batches in order, column by column, its spill file, and who reads
//! it.

use crate::chunk::{Chunk, Held};
use crate::disk_copy::DiskCopy;
use crate::error::FramesError;
use crate::frame_store::FrameStore;
use crate::spill_file::SpillTempFile;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use bireme_protocol::QueryId;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A partition that this engine holds.
#[derive(Debug)]
pub(crate) struct FramePartition {
    segment: QueryId,
    index: usize,
    schema: SchemaRef,
    columns: Vec<Column>,
    batches: RwLock<Vec<Arc<Batch>>>,
    file: Mutex<Option<Arc<SpillTempFile>>>,
    is_complete: AtomicBool,
}

/// What is known of a column of all batches.
#[derive(Debug)]
struct Column {
    /// Of itself alone.
    schema: SchemaRef,
    last_used: AtomicU64,
    readers: AtomicUsize,
}

/// Rows that were pushed together.
#[derive(Debug)]
struct Batch {
    rows: usize,
    columns: Vec<Chunk>,
}

/// What a partition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionFacts {
    /// Its rows.
    pub rows: u64,
    /// Its bytes, wherever they are.
    pub bytes: u64,
    /// Of these, in host memory.
    pub host_bytes: u64,
    /// Bytes on disk, as they are there; what is in memory as well counts in both.
    pub disk_bytes: u64,
}

impl FramePartition {
    pub(crate) fn new(segment: QueryId, index: usize, schema: SchemaRef) -> Self {
        let column = |field: &Arc<_>| Column {
            schema: Arc::new(Schema::new(vec![Arc::clone(field)])),
            last_used: AtomicU64::new(0),
            readers: AtomicUsize::new(0),
        };
        Self {
            segment,
            index,
            columns: schema.fields().iter().map(column).collect(),
            schema,
            batches: RwLock::default(),
            file: Mutex::default(),
            is_complete: AtomicBool::new(false),
        }
    }

    /// Rows and bytes.
    pub(crate) fn facts(&self) -> PartitionFacts {
        let mut facts = PartitionFacts::default();
        for batch in self.batches.read().iter() {
            facts.rows += batch.rows as u64;
            for Held {
                bytes,
                in_memory,
                on_disk,
            } in batch.columns.iter().map(Chunk::held)
            {
                facts.bytes += bytes as u64;
                facts.host_bytes += in_memory as u64;
                facts.disk_bytes += on_disk as u64;
            }
        }
        facts
    }

    pub(crate) fn segment(&self) -> QueryId {
        self.segment
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    /// Its columns: each when it was last used, and whether somebody reads it.
    pub(crate) fn uses(&self) -> impl Iterator<Item = (u64, bool)> {
        self.columns.iter().map(|column| {
            let is_read = column.readers.load(Ordering::Acquire) > 0;
            (column.last_used.load(Ordering::Relaxed), is_read)
        })
    }

    fn batches(&self) -> Vec<Arc<Batch>> {
        self.batches.read().clone()
    }

    /// Appends to the partition's file, one at a time.
    fn write(&self, store: &FrameStore, bytes: &[u8]) -> Result<DiskCopy, FramesError> {
        let mut file = self.file.lock();
        let file = match &mut *file {
            Some(file) => file,
            none => none.insert(store.spill().create()?),
        };
        DiskCopy::write(Arc::clone(file), bytes, store.compression())
    }

    /// Pushes what nobody reads of a column to disk until so many bytes are free. Gives the bytes
    /// that were freed.
    pub(crate) fn demote(
        &self,
        store: &FrameStore,
        column: usize,
        wanted: usize,
    ) -> Result<usize, FramesError> {
        let mut freed = 0;
        for batch in self.batches() {
            if freed >= wanted {
                break;
            }
            let Some(chunk) = batch.columns.get(column) else {
                break;
            };
            let begun = std::time::Instant::now();
            let demoted = chunk.demote(|bytes| self.write(store, bytes))?;
            freed += demoted.freed;
            store.counters().demoted(demoted, begun.elapsed());
        }
        Ok(freed)
    }
}

/// Writes one partition. Dropped before [`PartitionWriter::finish`], it takes back what it wrote.
#[derive(Debug)]
pub struct PartitionWriter {
    store: Arc<FrameStore>,
    partition: Arc<FramePartition>,
}

impl PartitionWriter {
    pub(crate) fn new(store: Arc<FrameStore>, partition: Arc<FramePartition>) -> Self {
        Self { store, partition }
    }

    /// Keeps a batch: in memory, if need be by pushing colder frames to disk, else on disk. It
    /// blocks while it writes to disk.
    ///
    /// # Errors
    /// There is room neither in memory nor on disk, or the batch has other columns.
    pub fn push(&self, batch: &RecordBatch) -> Result<(), FramesError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let partition = &self.partition;
        self.store.make_room(batch, partition.segment);
        let mut columns = Vec::with_capacity(partition.columns.len());
        for (values, column) in batch.columns().iter().zip(&partition.columns) {
            let alone = RecordBatch::try_new(Arc::clone(&column.schema), vec![Arc::clone(values)]);
            let alone = alone.map_err(|source| codec_error("keep", batch.num_rows(), 1, source))?;
            let write = |bytes: &[u8]| partition.write(&self.store, bytes);
            let chunk = Chunk::keep(&alone, self.store.host(), partition.index, write)?;
            self.store.counters().kept(chunk.held());
            column.last_used.store(self.store.now(), Ordering::Relaxed);
            columns.push(chunk);
        }
        partition.batches.write().push(Arc::new(Batch {
            rows: batch.num_rows(),
            columns,
        }));
        Ok(())
    }

    /// Makes the partition readable.
    pub fn finish(self) -> PartitionFacts {
        self.partition.is_complete.store(true, Ordering::Release);
        self.partition.facts()
    }
}

impl Drop for PartitionWriter {
    fn drop(&mut self) {
        if !self.partition.is_complete() {
            self.store.withdraw(&self.partition);
        }
    }
}

/// Reads columns of one partition, as it was when the reading began.
#[derive(Debug)]
pub struct PartitionReader {
    store: Arc<FrameStore>,
    partition: Arc<FramePartition>,
    /// Those that are read, and their schema.
    columns: Vec<usize>,
    schema: SchemaRef,
    batches: Vec<Arc<Batch>>,
}

impl PartitionReader {
    pub(crate) fn new(
        store: Arc<FrameStore>,
        partition: Arc<FramePartition>,
        columns: Option<&[usize]>,
    ) -> Result<Self, FramesError> {
        let columns = match columns {
            Some(columns) => columns.to_vec(),
            None => (0..partition.columns.len()).collect(),
        };
        let schema = partition.schema.project(&columns);
        let schema = schema.map_err(|source| codec_error("read", 0, columns.len(), source))?;
        let batches = partition.batches();
        let reader = Self {
            store,
            partition,
            columns,
            schema: Arc::new(schema),
            batches,
        };
        for column in reader.used() {
            column.readers.fetch_add(1, Ordering::AcqRel);
        }
        reader.touch();
        Ok(reader)
    }

    /// The columns that are read.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many batches there are.
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Bytes of a batch.
    pub fn bytes_of(&self, index: usize) -> usize {
        let Some(batch) = self.batches.get(index) else {
            return 0;
        };
        let chunks = self.columns.iter().filter_map(|c| batch.columns.get(*c));
        chunks.map(Chunk::bytes).sum()
    }

    /// A batch, if all of it is in memory.
    ///
    /// # Errors
    /// It is not what it was: a defect.
    pub fn resident(&self, index: usize) -> Result<Option<RecordBatch>, FramesError> {
        let Some(batch) = self.batches.get(index) else {
            return Ok(None);
        };
        let chunks = self.columns.iter().filter_map(|c| batch.columns.get(*c));
        let columns: Option<Vec<ArrayRef>> = chunks.map(Chunk::resident).collect();
        columns
            .map(|columns| self.with_columns(columns, batch.rows))
            .transpose()
    }

    /// A batch, from disk if need be: it blocks. It stays in memory if there is room to spare.
    ///
    /// # Errors
    /// The disk does not give back what was written.
    pub fn restore(&self, index: usize) -> Result<RecordBatch, FramesError> {
        let Some(batch) = self.batches.get(index) else {
            return Err(FramesError::NotHeld {
                segment: self.partition.segment.to_string(),
                partition: self.partition.index,
            });
        };
        let (host, spread) = (self.store.host(), self.partition.index);
        let mut columns = Vec::with_capacity(self.columns.len());
        for index in &self.columns {
            let (Some(chunk), Some(column)) = (
                batch.columns.get(*index),
                self.partition.columns.get(*index),
            ) else {
                continue;
            };
            let begun = std::time::Instant::now();
            let (values, read) = chunk.restore(&column.schema, host, spread)?;
            if read > 0 {
                self.store.counters().restored(read, begun.elapsed());
            }
            columns.push(values);
        }
        self.with_columns(columns, batch.rows)
    }

    fn with_columns(
        &self,
        columns: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<RecordBatch, FramesError> {
        let count = columns.len();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|source| codec_error("decode", rows, count, source))
    }

    fn used(&self) -> impl Iterator<Item = &Column> {
        let columns = self.columns.iter();
        columns.filter_map(|index| self.partition.columns.get(*index))
    }

    fn touch(&self) {
        let now = self.store.now();
        for column in self.used() {
            column.last_used.store(now, Ordering::Relaxed);
        }
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        for column in self.used() {
            column.readers.fetch_sub(1, Ordering::AcqRel);
        }
        self.touch();
    }
}

fn codec_error(
    action: &'static str,
    rows: usize,
    columns: usize,
    source: ArrowError,
) -> FramesError {
    FramesError::Codec {
        action,
        rows,
        columns,
        source: Box::new(source),
    }
}
