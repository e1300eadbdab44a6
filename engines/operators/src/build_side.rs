//! The build side of a join as it comes: gathered in memory, reserved before it is held, until it
//! is all there or the reservation is refused. What happens then is left to the caller.

use crate::query_end::QueryEnd;
use bireme_frames::compact_memory_of_views;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

/// Bytes per row that the larger of DataFusion's two kinds of join tables may take: an array of
/// slots of which 15 % are used, and the chains.
const ARRAY_BYTES_PER_ROW: usize = 32;
/// What a hash table takes for each of its slots.
const SLOT_BYTES: usize = 17;
/// What a chain takes for each row.
const CHAIN_BYTES: usize = 4;
/// What a table takes whatever is in it.
const TABLE_BYTES: usize = 1 << 10;

/// A build side, or a part of one, with the memory a join of it takes.
pub(crate) struct Build {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) reservation: MemoryReservation,
}

/// How gathering ended.
pub(crate) enum Gathered {
    /// All is there, with memory for the join.
    Fits(Build),
    /// There is more than memory for it.
    TooLarge(Overflow),
}

/// What was gathered when memory was refused, and what is still to come.
pub(crate) struct Overflow {
    /// Each with the bytes that are reserved for it.
    pub(crate) held: Vec<(RecordBatch, usize)>,
    pub(crate) rest: SendableRecordBatchStream,
    pub(crate) reservation: MemoryReservation,
}

impl Overflow {
    /// What is all on disk.
    pub(crate) fn on_disk(rest: SendableRecordBatchStream, reservation: MemoryReservation) -> Self {
        Self {
            held: Vec::new(),
            rest,
            reservation,
        }
    }
}

/// Memory of a join whose build side takes so much.
pub(crate) fn join_bytes(build_bytes: usize, rows: usize) -> usize {
    // The join copies its build side into one batch before it lets go of the batches.
    build_bytes
        .saturating_mul(2)
        .saturating_add(table_bytes(rows))
}

/// Whether an error is a refused reservation, and not the end of the query.
pub(crate) fn is_refused(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

/// Gathers a build side.
pub(crate) async fn gather(
    mut stream: SendableRecordBatchStream,
    reservation: MemoryReservation,
    end: &QueryEnd,
) -> Result<Gathered> {
    let mut counter = RecordBatchMemoryCounter::new();
    let mut held = Vec::new();
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = compact_memory_of_views(&batch?)?;
        end.check("gather the build side of a join in")?;
        if batch.num_rows() == 0 {
            continue;
        }
        rows += batch.num_rows();
        let bytes = counter.count_batch(&batch);
        match reservation.try_grow(bytes) {
            Ok(()) => held.push((batch, bytes)),
            Err(error) if is_refused(&error) => {
                held.push((batch, 0));
                return Ok(too_large(held, stream, reservation));
            }
            Err(error) => return Err(error),
        }
    }
    let more = join_bytes(counter.memory_usage(), rows) - counter.memory_usage();
    match reservation.try_grow(more) {
        Ok(()) => Ok(Gathered::Fits(Build {
            batches: held.into_iter().map(|(batch, _)| batch).collect(),
            reservation,
        })),
        Err(error) if is_refused(&error) => Ok(too_large(held, stream, reservation)),
        Err(error) => Err(error),
    }
}

/// Batches in memory as a stream.
pub(crate) fn replay(schema: SchemaRef, batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
    let batches = futures::stream::iter(batches.into_iter().map(Ok));
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

fn too_large(
    held: Vec<(RecordBatch, usize)>,
    rest: SendableRecordBatchStream,
    reservation: MemoryReservation,
) -> Gathered {
    Gathered::TooLarge(Overflow {
        held,
        rest,
        reservation,
    })
}

fn table_bytes(rows: usize) -> usize {
    let slots = (rows.saturating_mul(8) / 7).next_power_of_two();
    let hashed = slots.saturating_mul(SLOT_BYTES) + rows.saturating_mul(CHAIN_BYTES);
    let array = rows.saturating_mul(ARRAY_BYTES_PER_ROW);
    hashed.max(array) + rows / 8 + TABLE_BYTES
}
