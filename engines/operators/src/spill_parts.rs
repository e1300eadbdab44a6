//! Rows divided by the hash of their join keys into files: a part of one side of a join has all
//! rows whose equals are in the same part of the other side. Rows wait in memory until there are
//! enough for a batch, as long as memory for that is granted.

use crate::build_side::is_refused;
use crate::query_end::QueryEnd;
use arrow::compute::{concat_batches, take_record_batch};
use bireme_frames::compact_views;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::spill_file::SpillFile;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{SendableRecordBatchStream, SpillManager};
use futures::TryStreamExt;
use std::sync::Arc;

/// Bytes of a part that are written at once, rows permitting.
const WRITE_BYTES: usize = 1 << 20;
/// The first of the seeds, one per level. DataFusion's repartitions and join tables have others:
/// rows that share a part of those would share one here.
const FIRST_SEED: u64 = 0x6269_7265_6d65_0001;

/// How one side of a join is divided.
#[derive(Clone)]
pub(crate) struct Division {
    /// The keys of the side.
    pub(crate) keys: Vec<Arc<dyn PhysicalExpr>>,
    /// How many parts.
    pub(crate) parts: usize,
    /// How often its rows have been divided before.
    pub(crate) level: usize,
    /// Where rows with a null among their keys go.
    pub(crate) nulls: Nulls,
    /// Parts whose rows are not needed.
    pub(crate) unneeded: Vec<bool>,
}

/// Where rows with a null among their keys go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// Where their hash says: they equal each other.
    Together,
    /// Anywhere, since they equal nothing; so they are spread.
    Spread,
    /// To a part of their own, after the others.
    Apart,
}

/// Rows on disk. Files are shared by all who join with them.
#[derive(Clone, Default)]
pub(crate) struct SpilledPart {
    files: Vec<Arc<dyn SpillFile>>,
    pub(crate) rows: usize,
    /// Bytes in memory.
    pub(crate) bytes: usize,
    /// The hash of all rows, if they have one.
    hash: Option<u64>,
    hashes_differ: bool,
}

impl SpilledPart {
    /// Whether dividing it once more would do nothing.
    pub(crate) fn is_one_key(&self) -> bool {
        self.hash.is_some() && !self.hashes_differ
    }

    /// The rows of both.
    pub(crate) fn append(&mut self, other: Self) {
        self.hashes_differ |= other.hashes_differ || self.hash != other.hash;
        self.files.extend(other.files);
        self.rows += other.rows;
        self.bytes += other.bytes;
    }

    /// Reads its rows.
    pub(crate) fn read(&self, manager: &SpillManager) -> Result<SendableRecordBatchStream> {
        let manager = manager.clone();
        let schema = Arc::clone(manager.schema());
        let files = futures::stream::iter(self.files.clone().into_iter().map(Ok));
        let batches = files
            .and_then(move |file| {
                let opened = manager.read_spill_as_stream_unbuffered(file, None);
                futures::future::ready(opened)
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

/// Divides rows and writes them.
pub(crate) struct PartWriter {
    manager: SpillManager,
    division: Division,
    hash: RandomState,
    hashes: Vec<u64>,
    parts: Vec<Part>,
    reservation: MemoryReservation,
    batch_rows: usize,
    nulls_seen: usize,
    rows_seen: usize,
    end: QueryEnd,
}

#[derive(Default)]
struct Part {
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    waiting_bytes: usize,
    file: Option<OpenFile>,
    written: SpilledPart,
}

/// A side that was divided.
pub(crate) struct Divided {
    pub(crate) parts: Vec<SpilledPart>,
    /// Rows that came, written or not.
    pub(crate) rows_seen: usize,
    /// Of those, rows with a null among their keys.
    pub(crate) nulls_seen: usize,
}

impl PartWriter {
    pub(crate) fn new(
        manager: SpillManager,
        division: Division,
        reservation: MemoryReservation,
        batch_rows: usize,
        end: QueryEnd,
    ) -> Self {
        let files = division.parts + usize::from(division.nulls == Nulls::Apart);
        Self {
            manager,
            hash: RandomState::with_seed(FIRST_SEED + division.level as u64),
            hashes: Vec::new(),
            parts: (0..files).map(|_| Part::default()).collect(),
            division,
            reservation,
            batch_rows,
            nulls_seen: 0,
            rows_seen: 0,
            end,
        }
    }

    /// Divides all rows of a stream.
    pub(crate) async fn push_all(&mut self, mut rows: SendableRecordBatchStream) -> Result<()> {
        while let Some(batch) = rows.try_next().await? {
            self.push(&batch).await?;
        }
        Ok(())
    }

    /// Divides the rows of a batch.
    pub(crate) async fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        self.end.check("divide rows of a join in")?;
        tokio::task::consume_budget().await;
        for (part, indices) in self.divide(batch)?.into_iter().enumerate() {
            if indices.is_empty() || self.division.unneeded.get(part) == Some(&true) {
                continue;
            }
            let rows = take_record_batch(batch, &UInt32Array::from(indices))?;
            let rows = compact_views(&rows)?;
            let bytes = rows.get_array_memory_size();
            let granted = self.reservation.try_grow(bytes);
            let Some(waiting) = self.parts.get_mut(part) else {
                continue;
            };
            waiting.waiting_rows += rows.num_rows();
            waiting.waiting_bytes += bytes;
            waiting.waiting.push(rows);
            match granted {
                Ok(()) => {
                    if waiting.waiting_rows >= self.batch_rows
                        || waiting.waiting_bytes >= WRITE_BYTES
                    {
                        let bytes = waiting.waiting_bytes;
                        waiting.write(&self.manager)?;
                        self.reservation.shrink(bytes.min(self.reservation.size()));
                    }
                }
                Err(error) if is_refused(&error) => self.write_waiting()?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes what waits, and gives all memory back.
    pub(crate) fn finish(mut self) -> Result<Divided> {
        self.write_waiting()?;
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            let mut written = part.written;
            if let Some(mut file) = part.file {
                written.files.extend(file(None)?);
            }
            parts.push(written);
        }
        Ok(Divided {
            parts,
            rows_seen: self.rows_seen,
            nulls_seen: self.nulls_seen,
        })
    }

    fn write_waiting(&mut self) -> Result<()> {
        for part in &mut self.parts {
            part.write(&self.manager)?;
        }
        self.reservation.free();
        Ok(())
    }

    /// The rows of each part.
    fn divide(&mut self, batch: &RecordBatch) -> Result<Vec<Vec<u32>>> {
        let rows = batch.num_rows();
        let keys = self.division.keys.iter();
        let keys: Vec<ArrayRef> = keys
            .map(|key| key.evaluate(batch)?.into_array(rows))
            .collect::<Result<_>>()?;
        self.hashes.clear();
        self.hashes.resize(batch.num_rows(), 0);
        create_hashes(&keys, &self.hash, &mut self.hashes)?;
        let count = self.division.parts;
        let mut divided = vec![Vec::new(); self.parts.len()];
        let has_nulls = keys.iter().any(|key| key.is_nullable());
        for (row, hash) in self.hashes.iter().enumerate() {
            let mut part = usize::try_from(hash % count as u64).unwrap_or(0);
            let mut hash = *hash;
            if has_nulls && is_null(&keys, row) {
                match self.division.nulls {
                    Nulls::Together => {}
                    // Their number stands in for a hash.
                    Nulls::Spread => {
                        part = self.nulls_seen % count;
                        hash = self.nulls_seen as u64;
                    }
                    Nulls::Apart => part = count,
                }
                self.nulls_seen += 1;
            }
            if let (Some(rows), Some(part)) = (divided.get_mut(part), self.parts.get_mut(part)) {
                rows.push(u32::try_from(row).unwrap_or(u32::MAX));
                part.written.note(hash);
            }
        }
        self.rows_seen += batch.num_rows();
        Ok(divided)
    }
}

impl SpilledPart {
    fn note(&mut self, hash: u64) {
        match self.hash {
            None => self.hash = Some(hash),
            Some(first) => self.hashes_differ |= first != hash,
        }
    }
}

impl Part {
    fn write(&mut self, manager: &SpillManager) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let batch = concat_batches(manager.schema(), &self.waiting)?;
        self.waiting.clear();
        (self.waiting_rows, self.waiting_bytes) = (0, 0);
        self.written.rows += batch.num_rows();
        self.written.bytes += batch.get_array_memory_size();
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open_file(manager)?),
        };
        file(Some(&batch))?;
        Ok(())
    }
}

/// A file that is being written: appends a batch, or finishes.
type OpenFile = Box<dyn FnMut(Option<&RecordBatch>) -> Result<Option<Arc<dyn SpillFile>>> + Send>;

// The type of such files has no public name.
fn open_file(manager: &SpillManager) -> Result<OpenFile> {
    let mut file = manager.create_in_progress_file("a join")?;
    Ok(Box::new(move |batch| match batch {
        Some(batch) => {
            file.append_batch(batch)?;
            // Nothing stays in the buffers of files that are open all along.
            file.flush()?;
            Ok(None)
        }
        None => file.finish(),
    }))
}

fn is_null(keys: &[ArrayRef], row: usize) -> bool {
    keys.iter().any(|key| key.is_null(row))
}
