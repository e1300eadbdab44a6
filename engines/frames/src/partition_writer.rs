//! Writes one partition of a segment, batch by batch: in memory, where another process has put the rows
//! or in a copy, or on disk.

use crate::batch_codec::{column_bytes, row_bytes};
use crate::chunk::Chunk;
use crate::column_bounds::ColumnBounds;
use crate::error::FramesError;
use crate::frame_partition::{FramePartition, PartitionFacts, codec_error};
use crate::frame_store::FrameStore;
use crate::slab::Offer;
use arrow::array::RecordBatch;
use bireme_protocol::proto::ColumnFacts;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Batches of a partition are no larger than this part of the budget: readers hold several of each
/// partition while they read from disk.
const BATCH_PART: usize = 512;
/// Nor are they larger than so many times what a batch has at least.
const BATCHES_TOGETHER_MAX: usize = 4;

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

    /// How many rows like these, and at least so many, are best pushed together: what is kept of a
    /// column costs a header, and a read when it is on disk.
    pub fn rows_together(&self, like: &RecordBatch, at_least: usize) -> usize {
        let row = (row_bytes(like) / like.num_rows().max(1)).max(1);
        let fitting = self.store.budget().host_limit() / BATCH_PART / row;
        fitting.clamp(at_least, at_least.saturating_mul(BATCHES_TOGETHER_MAX))
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
        let offers = self.offers(batch);
        let mut columns = Vec::with_capacity(partition.columns.len());
        let mut bounds = Vec::with_capacity(batch.num_columns());
        let (mut homeless, mut pieces) = (Vec::new(), Vec::new());
        let values = batch.columns().iter().zip(&partition.columns);
        for (index, ((values, column), offer)) in values.zip(offers).enumerate() {
            let alone = RecordBatch::try_new(Arc::clone(&column.schema), vec![Arc::clone(values)]);
            let alone = alone.map_err(|source| codec_error("keep", batch.num_rows(), 1, source))?;
            let begun = Instant::now();
            let (chunk, rest) = match offer.filter(|offer| offer.accept(self.store.budget())) {
                Some(offer) => {
                    bounds.push(ColumnBounds::unseen(values));
                    (Chunk::take_over(offer, &column.schema)?, None)
                }
                None => {
                    bounds.push(ColumnBounds::of(values));
                    Chunk::keep(&alone, self.store.host(), partition.index())?
                }
            };
            match rest {
                Some(piece) => {
                    homeless.push(index);
                    pieces.push(piece);
                }
                None => {
                    column.in_memory.fetch_add(chunk.bytes(), Ordering::AcqRel);
                    self.store.counters().kept(chunk.bytes(), begun.elapsed());
                }
            }
            column.last_used.store(self.store.now(), Ordering::Relaxed);
            columns.push(chunk);
        }
        if !homeless.is_empty() {
            let begun = Instant::now();
            let chunks: Vec<&Chunk> = homeless.iter().filter_map(|i| columns.get(*i)).collect();
            let written = partition.write(&self.store, &chunks, &pieces)?;
            let counters = self.store.counters();
            counters.kept_on_disk(written, begun.elapsed());
        }
        partition.add(batch.num_rows(), columns, bounds);
        Ok(())
    }

    /// Which columns need not be copied; makes room for all of them.
    fn offers(&self, batch: &RecordBatch) -> Vec<Option<Offer>> {
        let (store, mut bytes) = (&self.store, 0_usize);
        let columns = batch.columns().iter().map(|column| {
            let offer = store.offers().take(column);
            let missing = offer.as_ref().and_then(|one| one.missing(store.budget()));
            let missing = missing.unwrap_or_else(|| column_bytes(column));
            bytes = bytes.saturating_add(missing);
            offer
        });
        let offers = columns.collect();
        store.make_room(bytes, self.partition.segment());
        offers
    }

    /// What is known of the values of each column so far.
    pub fn column_facts(&self) -> Vec<ColumnFacts> {
        self.partition.column_facts()
    }

    /// Makes the partition readable.
    pub fn finish(self) -> PartitionFacts {
        self.partition.complete();
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
