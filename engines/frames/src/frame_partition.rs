//! One partition of a segment: its batches in order, column by column, its spill file, and who reads
//! it.

use crate::chunk::{Chunk, Held, Place};
use crate::column_bounds::{BatchBounds, ColumnBounds};
use crate::disk_copy::DiskCopy;
use crate::error::FramesError;
use crate::frame_store::FrameStore;
use crate::spill_file::SpillTempFile;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use bireme_protocol::QueryId;
use bireme_protocol::proto::ColumnFacts;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// What is written to disk in one call, at least, if there is so much.
const WRITTEN_AT_ONCE: usize = 1 << 20;

/// A partition that this engine holds.
#[derive(Debug)]
pub(crate) struct FramePartition {
    segment: QueryId,
    index: usize,
    schema: SchemaRef,
    pub(crate) columns: Vec<Column>,
    batches: RwLock<Vec<Arc<Batch>>>,
    file: Mutex<Option<Arc<SpillTempFile>>>,
    is_complete: AtomicBool,
}

/// What is known of a column of all batches.
#[derive(Debug)]
pub(crate) struct Column {
    /// Of itself alone.
    pub(crate) schema: SchemaRef,
    pub(crate) last_used: AtomicU64,
    readers: AtomicUsize,
    /// Bytes of it in memory.
    pub(crate) in_memory: AtomicUsize,
}

/// How a column is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnUse {
    pub(crate) column: usize,
    pub(crate) last_used: u64,
    pub(crate) is_read: bool,
}

/// Rows that were pushed together.
#[derive(Debug)]
struct Batch {
    rows: usize,
    columns: Vec<Chunk>,
    bounds: Vec<ColumnBounds>,
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
            in_memory: AtomicUsize::new(0),
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

    /// What is known of the values of each column.
    pub(crate) fn column_facts(&self) -> Vec<ColumnFacts> {
        let mut columns = vec![ColumnBounds::none(); self.columns.len()];
        for batch in self.batches.read().iter() {
            for (column, more) in columns.iter_mut().zip(&batch.bounds) {
                column.add(more);
            }
        }
        columns.iter().map(ColumnBounds::facts).collect()
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

    /// Its columns of which anything is in memory.
    pub(crate) fn resident_columns(&self) -> impl Iterator<Item = ColumnUse> {
        let columns = self.columns.iter().enumerate();
        columns.filter_map(|(index, column)| {
            let is_resident = column.in_memory.load(Ordering::Acquire) > 0;
            is_resident.then(|| ColumnUse {
                column: index,
                last_used: column.last_used.load(Ordering::Relaxed),
                is_read: column.readers.load(Ordering::Acquire) > 0,
            })
        })
    }

    /// Makes a chunk leave memory if it may. Gives the bytes that are free.
    fn leave_memory(&self, column: usize, chunk: &Chunk) -> usize {
        let left = chunk.leave_memory();
        if let Some(column) = self.columns.get(column) {
            column.in_memory.fetch_sub(left.bytes, Ordering::AcqRel);
        }
        left.freed
    }

    /// Adds rows, by column.
    pub(crate) fn add(&self, rows: usize, columns: Vec<Chunk>, bounds: Vec<ColumnBounds>) {
        let batch = Batch {
            rows,
            columns,
            bounds,
        };
        self.batches.write().push(Arc::new(batch));
    }

    /// All rows are there: it can be read from now on.
    pub(crate) fn complete(&self) {
        self.is_complete.store(true, Ordering::Release);
    }

    fn batches(&self) -> Vec<Arc<Batch>> {
        self.batches.read().clone()
    }

    /// Appends to the partition's file, one at a time, and tells the chunks where. Gives the bytes
    /// that are on disk now.
    pub(crate) fn write(
        &self,
        store: &FrameStore,
        chunks: &[&Chunk],
        pieces: &[Buffer],
    ) -> Result<usize, FramesError> {
        let mut file = self.file.lock();
        let file = match &mut *file {
            Some(file) => file,
            none => none.insert(store.spill().create()?),
        };
        let copies = DiskCopy::write_all(file, pieces, store.compression())?;
        let mut written = 0;
        for (chunk, copy) in chunks.iter().zip(copies) {
            written += copy.stored();
            chunk.set_copy(copy);
        }
        Ok(written)
    }

    /// Makes what nobody reads of a column, and is on disk already, leave memory until so many bytes
    /// are free. Gives the bytes that were freed.
    pub(crate) fn drop_clean(&self, store: &FrameStore, column: usize, wanted: usize) -> usize {
        let mut freed = 0;
        for batch in self.batches.read().iter() {
            if freed >= wanted {
                break;
            }
            let chunk = batch.columns.get(column);
            freed += chunk.map_or(0, |chunk| self.leave_memory(column, chunk));
        }
        store.counters().dropped(freed);
        freed
    }

    /// Writes what nobody reads of a column, and is in memory alone, to disk until so many bytes are
    /// free. Adds the bytes that were freed, also when it fails.
    pub(crate) fn demote(
        &self,
        store: &FrameStore,
        column: usize,
        wanted: usize,
        freed: &mut usize,
    ) -> Result<(), FramesError> {
        let batches = self.batches();
        let Some(schema) = self.columns.get(column).map(|column| &column.schema) else {
            return Ok(());
        };
        let chunks = batches.iter().filter_map(|batch| batch.columns.get(column));
        let mut unwritten = chunks.filter_map(|chunk| {
            let bytes = chunk.without_copy(schema).transpose()?;
            Some(bytes.map(|bytes| (chunk, bytes)))
        });
        while *freed < wanted {
            let most = (wanted - *freed).min(WRITTEN_AT_ONCE);
            let (mut together, mut pieces, mut bytes) = (Vec::new(), Vec::new(), 0);
            while bytes < most
                && let Some(next) = unwritten.next()
            {
                let (chunk, piece) = next?;
                bytes += piece.len();
                together.push(chunk);
                pieces.push(piece);
            }
            if together.is_empty() {
                break;
            }
            let begun = Instant::now();
            let written = self.write(store, &together, &pieces)?;
            store.counters().copied_down(written, begun.elapsed());
            // They count as read while we hold them.
            drop(pieces);
            let left = together
                .iter()
                .map(|chunk| self.leave_memory(column, chunk));
            *freed += left.sum::<usize>();
        }
        Ok(())
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

    /// What is known of the values in the batches.
    pub fn bounds(&self) -> BatchBounds<'_> {
        let batches = self.batches.iter().map(|batch| {
            let columns = self.columns.iter();
            let bounds = columns.filter_map(|column| batch.bounds.get(*column));
            (batch.rows, bounds.collect())
        });
        BatchBounds::new(&self.schema, batches)
    }

    /// Bytes of a batch.
    pub fn bytes_of(&self, index: usize) -> usize {
        let Some(batch) = self.batches.get(index) else {
            return 0;
        };
        self.chunks(batch).map(Chunk::bytes).sum()
    }

    /// Bytes of the largest of these batches of which a part is on disk alone.
    pub fn largest_on_disk(&self, batches: &[usize]) -> usize {
        let is_away = |index: &&usize| {
            let batch = self.batches.get(**index);
            let mut chunks = batch.into_iter().flat_map(|batch| self.chunks(batch));
            chunks.any(|chunk| !chunk.is_resident())
        };
        let away = batches.iter().filter(is_away);
        away.map(|index| self.bytes_of(*index)).max().unwrap_or(0)
    }

    /// A batch, if all of it is in memory.
    ///
    /// # Errors
    /// It is not what it was: a defect.
    pub fn resident(&self, index: usize) -> Result<Option<RecordBatch>, FramesError> {
        let Some(batch) = self.batches.get(index) else {
            return Ok(None);
        };
        let columns: Option<Vec<ArrayRef>> = self.chunks(batch).map(Chunk::resident).collect();
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
        let chunks = self.columns.iter().filter_map(|index| {
            let column = self.partition.columns.get(*index)?;
            Some((batch.columns.get(*index)?, column))
        });
        let places: Result<Vec<_>, FramesError> = chunks
            .map(|(chunk, column)| Ok((chunk, column, chunk.place()?)))
            .collect();
        let places = places?;
        let copies: Vec<(DiskCopy, usize)> = places
            .iter()
            .filter_map(|(chunk, _, place)| match place {
                Place::Disk(copy) => Some((copy.clone(), chunk.bytes())),
                Place::Memory(_) => None,
            })
            .collect();
        let begun = Instant::now();
        let mut read = DiskCopy::read_all(&copies)?.into_iter();
        if !copies.is_empty() {
            let stored = copies.iter().map(|(copy, _)| copy.stored()).sum();
            self.store.counters().restored(stored, begun.elapsed());
        }
        let (host, spread) = (self.store.host(), self.partition.index);
        let mut columns = Vec::with_capacity(places.len());
        for (chunk, column, place) in places {
            match place {
                Place::Memory(values) => columns.push(values),
                Place::Disk(_) => {
                    let encoded = read.next().unwrap_or_default();
                    let restored = chunk.restore(encoded, &column.schema, host, spread)?;
                    let (values, kept) = restored;
                    column.in_memory.fetch_add(kept, Ordering::AcqRel);
                    columns.push(values);
                }
            }
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

    /// What is read of a batch.
    fn chunks<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = &'a Chunk> {
        let columns = self.columns.iter();
        columns.filter_map(|column| batch.columns.get(*column))
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
