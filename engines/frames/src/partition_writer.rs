//! Writes one partition of a segment, batch by batch: in memory, where another process has put the rows
//! or in a copy, or on disk.

use crate::chunk::{Chunk, encoded_column};
use crate::column_bounds::ColumnBounds;
use crate::error::FramesError;
use crate::frame_partition::{FramePartition, PartitionFacts};
use crate::frame_store::FrameStore;
use crate::slab::Offer;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use bireme_protocol::proto::ColumnFacts;
use bireme_shared_memory::EncodedBatch;
use std::collections::HashSet;
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

/// A column on its way in.
enum Incoming {
    /// In memory that can be taken over.
    Offered(Offer),
    /// To be copied.
    Encoded(EncodedBatch),
}

impl PartitionWriter {
    pub(crate) fn new(store: Arc<FrameStore>, partition: Arc<FramePartition>) -> Self {
        Self { store, partition }
    }

    /// How many rows of so many bytes, and at least so many rows, are best pushed together: what is
    /// kept of a column costs a header, and a read when it is on disk.
    pub fn rows_together(&self, row_bytes: usize, at_least: usize) -> usize {
        let fitting = self.store.budget().host_limit() / BATCH_PART / row_bytes.max(1);
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
        let incoming = self.incoming(batch)?;
        let mut columns = Vec::with_capacity(partition.columns.len());
        let mut bounds = Vec::with_capacity(batch.num_columns());
        let (mut homeless, mut pieces) = (Vec::new(), Vec::new());
        let values = batch.columns().iter().zip(&partition.columns);
        for (index, ((values, column), incoming)) in values.zip(incoming).enumerate() {
            let begun = Instant::now();
            let (chunk, rest, bound) = self.keep(values, &column.schema, incoming)?;
            bounds.push(bound);
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

    /// How each column comes; makes room for all of them.
    fn incoming(&self, batch: &RecordBatch) -> Result<Vec<Incoming>, FramesError> {
        let (store, mut bytes) = (&self.store, 0_usize);
        // Columns share slabs, which are taken over whole.
        let mut slabs = HashSet::new();
        let columns = batch.columns().iter().zip(&self.partition.columns);
        let incoming = columns.map(|(values, column)| {
            let offer = store.offers().take(values);
            let suitable = offer.and_then(|offer| Some((offer.missing(store.budget())?, offer)));
            let (missing, incoming) = match suitable {
                Some((missing, offer)) => {
                    let is_new = slabs.insert(Arc::as_ptr(&offer.slab));
                    (if is_new { missing } else { 0 }, Incoming::Offered(offer))
                }
                None => {
                    let encoded = encoded_column(values, &column.schema)?;
                    (encoded.bytes(), Incoming::Encoded(encoded))
                }
            };
            bytes = bytes.saturating_add(missing);
            Ok(incoming)
        });
        let incoming = incoming.collect::<Result<_, _>>()?;
        store.make_room(bytes, self.partition.segment());
        Ok(incoming)
    }

    /// Keeps a column, or gives the bytes back that have to go to disk.
    fn keep(
        &self,
        values: &ArrayRef,
        schema: &SchemaRef,
        incoming: Incoming,
    ) -> Result<(Chunk, Option<Buffer>, ColumnBounds), FramesError> {
        let encoded = match incoming {
            Incoming::Offered(offer) if offer.accept(self.store.budget()) => {
                let chunk = Chunk::take_over(offer, schema)?;
                return Ok((chunk, None, ColumnBounds::unseen(values)));
            }
            Incoming::Offered(_) => encoded_column(values, schema)?,
            Incoming::Encoded(encoded) => encoded,
        };
        let bounds = ColumnBounds::of(values);
        let (chunk, rest) = Chunk::keep(&encoded, self.store.host(), self.partition.index())?;
        Ok((chunk, rest, bounds))
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
