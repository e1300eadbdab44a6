//! One partition of a segment: its batches in order, its spill file, and who reads it.

use crate::chunk::{Chunk, Demoted, DiskCopy};
use crate::error::FramesError;
use crate::frame_store::FrameStore;
use crate::spill_file::SpillTempFile;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
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
    chunks: RwLock<Vec<Arc<Chunk>>>,
    file: Mutex<Option<Arc<SpillTempFile>>>,
    pub(crate) last_used: AtomicU64,
    readers: AtomicUsize,
    is_complete: AtomicBool,
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
    /// Bytes on disk; what is in memory as well counts in both.
    pub disk_bytes: u64,
}

impl FramePartition {
    pub(crate) fn new(segment: QueryId, index: usize, schema: SchemaRef) -> Self {
        Self {
            segment,
            index,
            schema,
            chunks: RwLock::default(),
            file: Mutex::default(),
            last_used: AtomicU64::new(0),
            readers: AtomicUsize::new(0),
            is_complete: AtomicBool::new(false),
        }
    }

    /// Rows and bytes.
    pub(crate) fn facts(&self) -> PartitionFacts {
        let mut facts = PartitionFacts::default();
        for chunk in self.chunks.read().iter() {
            let (host, disk) = chunk.held();
            facts.rows += chunk.rows() as u64;
            facts.bytes += chunk.bytes() as u64;
            facts.host_bytes += host as u64;
            facts.disk_bytes += disk as u64;
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

    pub(crate) fn is_read(&self) -> bool {
        self.readers.load(Ordering::Acquire) > 0
    }

    fn chunks(&self) -> Vec<Arc<Chunk>> {
        self.chunks.read().clone()
    }

    /// Appends to the partition's file, one at a time.
    fn write(&self, store: &FrameStore, bytes: &[u8]) -> Result<DiskCopy, FramesError> {
        let mut file = self.file.lock();
        let file = match &mut *file {
            Some(file) => file,
            none => none.insert(store.spill().create()?),
        };
        DiskCopy::write(Arc::clone(file), bytes)
    }

    /// Pushes batches that nobody reads to disk until so many bytes are free. Gives the bytes that
    /// were freed.
    pub(crate) fn demote(&self, store: &FrameStore, wanted: usize) -> Result<usize, FramesError> {
        let mut freed = 0;
        for chunk in self.chunks() {
            if freed >= wanted {
                break;
            }
            let begun = std::time::Instant::now();
            let demoted = chunk.demote(|bytes| self.write(store, bytes))?;
            if let Demoted::Freed { bytes, written } = demoted {
                freed += bytes;
                store.counters().demoted(bytes, written, begun.elapsed());
            }
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
    /// There is room neither in memory nor on disk.
    pub fn push(&self, batch: &RecordBatch) -> Result<(), FramesError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let partition = &self.partition;
        self.store.make_room(batch, partition.segment);
        let write = |bytes: &[u8]| partition.write(&self.store, bytes);
        let chunk = Chunk::keep(batch, self.store.host(), partition.index, write)?;
        self.store.counters().kept(&chunk);
        self.store.touch(partition);
        partition.chunks.write().push(Arc::new(chunk));
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

/// Reads one partition, as it was when the reading began.
#[derive(Debug)]
pub struct PartitionReader {
    store: Arc<FrameStore>,
    partition: Arc<FramePartition>,
    chunks: Vec<Arc<Chunk>>,
}

impl PartitionReader {
    pub(crate) fn new(store: Arc<FrameStore>, partition: Arc<FramePartition>) -> Self {
        partition.readers.fetch_add(1, Ordering::AcqRel);
        store.touch(&partition);
        let chunks = partition.chunks();
        Self {
            store,
            partition,
            chunks,
        }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.partition.schema
    }

    /// How many batches there are.
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Bytes of a batch.
    pub fn bytes_of(&self, index: usize) -> usize {
        self.chunks.get(index).map_or(0, |chunk| chunk.bytes())
    }

    /// A batch, if it is in memory.
    ///
    /// # Errors
    /// It is not what it was: a defect.
    pub fn resident(&self, index: usize) -> Result<Option<RecordBatch>, FramesError> {
        match self.chunks.get(index) {
            Some(chunk) => chunk.resident(&self.partition.schema),
            None => Ok(None),
        }
    }

    /// A batch, from disk if need be: it blocks. It stays in memory if there is room to spare.
    ///
    /// # Errors
    /// The disk does not give back what was written.
    pub fn restore(&self, index: usize) -> Result<RecordBatch, FramesError> {
        let Some(chunk) = self.chunks.get(index) else {
            return Err(FramesError::NotHeld {
                segment: self.partition.segment.to_string(),
                partition: self.partition.index,
            });
        };
        let begun = std::time::Instant::now();
        let host = self.store.host();
        let schema = &self.partition.schema;
        let (batch, read) = chunk.restore(schema, host, self.partition.index)?;
        if read > 0 {
            self.store.counters().restored(read, begun.elapsed());
        }
        Ok(batch)
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        self.partition.readers.fetch_sub(1, Ordering::AcqRel);
        self.store.touch(&self.partition);
    }
}
