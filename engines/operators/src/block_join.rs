//! Joins a part whose build side neither fits nor can be divided, as when one key is more than
//! memory: as many of its rows as fit are joined with the whole probe side, then the next ones.
//! Where the result depends on whether a probe row matched in any block, that is kept: a bit a row.

use crate::build_side::{Build, is_refused, join_bytes};
use crate::join_job::JoinJob;
use crate::spilled_join::Pair;
use bireme_frames::compact_memory_of_views;
use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions,
    UInt32Array, UInt64Array, new_null_array,
};
use datafusion::arrow::compute::{filter_record_batch, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use datafusion::common::JoinType;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryReservation};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows below which a block is not halved any more.
const ROWS_MIN: usize = 16;
/// How long the smallest block waits for memory, asking so often.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(5);
/// The largest block that is taken although memory is refused, in bytes and as a part of all.
const IN_FLIGHT_BYTES: usize = 64 << 10;
const IN_FLIGHT_PART: usize = 16;
/// The column of the probe rows' numbers.
const NUMBER: &str = "bireme.probe_row";

/// Joins a pair block by block.
pub(crate) fn join_in_blocks(
    job: JoinJob,
    pair: Pair,
    reservation: MemoryReservation,
) -> Result<SendableRecordBatchStream> {
    let schema = job.schema();
    let pass = Pass::of(*job.join.join_type());
    let matched = match pass {
        Pass::Whole => None,
        Pass::Numbered(_) => Some(Matched::new(pair.probe.rows, &reservation)),
    };
    let blocks = Blocks {
        rows: pair.build.read(&job.build_files())?,
        next: None,
        reservation,
    };
    let passes = {
        let (job, matched) = (job.clone(), matched.clone());
        let probe = pair.probe.clone();
        futures::stream::try_unfold(blocks, move |mut blocks| {
            let (job, matched, probe) = (job.clone(), matched.clone(), probe.clone());
            async move {
                let Some(build) = blocks.next_block(&job).await? else {
                    return Ok(None);
                };
                let probe = probe.read(&job.probe_files())?;
                let joined = match (pass, matched) {
                    (Pass::Numbered(kind), Some(matched)) => {
                        numbered_pass(&job, kind, build, probe, matched)?
                    }
                    _ => job.join_in_memory(build, probe)?,
                };
                Ok::<_, DataFusionError>(Some((joined, blocks)))
            }
        })
        .try_flatten()
        .boxed()
    };
    let Some(matched) = matched else {
        return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, passes)));
    };
    let last = async move { last_pass(&job, &pair, &matched) };
    let last = futures::stream::once(last).try_flatten().boxed();
    let all = passes.chain(last);
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, all)))
}

/// What is joined with each block.
#[derive(Clone, Copy)]
enum Pass {
    /// The join itself: each row of its result comes of one block.
    Whole,
    /// A join that tells the numbers of the probe rows it matched.
    Numbered(JoinType),
}

impl Pass {
    fn of(kind: JoinType) -> Self {
        match kind {
            JoinType::Inner
            | JoinType::Left
            | JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::LeftMark => Self::Whole,
            JoinType::Right => Self::Numbered(JoinType::Inner),
            JoinType::Full => Self::Numbered(JoinType::Left),
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                Self::Numbered(JoinType::RightSemi)
            }
        }
    }
}

/// The build side, as many rows at once as fit.
struct Blocks {
    rows: SendableRecordBatchStream,
    /// What did not fit into the last block.
    next: Option<RecordBatch>,
    reservation: MemoryReservation,
}

impl Blocks {
    async fn next_block(&mut self, job: &JoinJob) -> Result<Option<Build>> {
        let reservation = self.reservation.new_empty();
        let (mut batches, mut bytes, mut rows) = (Vec::new(), 0, 0);
        loop {
            job.end.check("gather a block of a join in")?;
            let batch = match self.next.take() {
                Some(batch) => batch,
                None => match self.rows.next().await {
                    Some(batch) => batch?,
                    None => break,
                },
            };
            if batch.num_rows() == 0 {
                continue;
            }
            let wanted =
                |batch: &RecordBatch| join_bytes(bytes + bytes_of(batch), rows + batch.num_rows());
            match reservation.try_resize(wanted(&batch)) {
                Ok(()) => {
                    bytes += bytes_of(&batch);
                    rows += batch.num_rows();
                    batches.push(batch);
                }
                Err(error) if !is_refused(&error) => return Err(error),
                Err(_) if !batches.is_empty() => {
                    self.next = Some(batch);
                    break;
                }
                Err(_) if batch.num_rows() > ROWS_MIN => {
                    let (first, second) = halves(&batch)?;
                    self.next = Some(first);
                    self.rows = before(second, &mut self.rows);
                }
                Err(_) => {
                    let rows = batch.num_rows();
                    reserve_at_last(job, &reservation, wanted(&batch), rows).await?;
                    batches.push(batch);
                    break;
                }
            }
        }
        Ok((!batches.is_empty()).then_some(Build {
            batches,
            reservation,
        }))
    }
}

/// Reserves for the smallest block there is. Other partitions of the join may hold all memory: they
/// have a while to give some back, then a block is taken that is as small as what is in flight
/// between operators anyway.
async fn reserve_at_last(
    job: &JoinJob,
    reservation: &MemoryReservation,
    bytes: usize,
    rows: usize,
) -> Result<()> {
    let deadline = Instant::now() + WAIT_FOR_OTHERS;
    let refused = loop {
        job.end.check("wait for memory of a join in")?;
        match reservation.try_resize(bytes) {
            Ok(()) => return Ok(()),
            Err(error) if !is_refused(&error) => return Err(error),
            Err(error) if Instant::now() >= deadline => break error,
            Err(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
    };
    let in_flight = match job.context.memory_pool().memory_limit() {
        MemoryLimit::Finite(limit) => (limit / IN_FLIGHT_PART).min(IN_FLIGHT_BYTES),
        _ => IN_FLIGHT_BYTES,
    };
    if bytes > in_flight {
        return Err(refused.context(format!("join a block of {rows} rows")));
    }
    reservation.grow(bytes - reservation.size());
    Ok(())
}

/// Both halves of a batch, each with memory of its own.
fn halves(batch: &RecordBatch) -> Result<(RecordBatch, RecordBatch)> {
    let middle = batch.num_rows() / 2;
    let own = |rows: std::ops::Range<usize>| -> Result<RecordBatch> {
        let rows = rows.map(|row| u32::try_from(row).unwrap_or(u32::MAX));
        let taken = take_record_batch(batch, &UInt32Array::from_iter_values(rows))?;
        Ok(compact_memory_of_views(&taken)?)
    };
    Ok((own(0..middle)?, own(middle..batch.num_rows())?))
}

fn before(batch: RecordBatch, rows: &mut SendableRecordBatchStream) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let nothing = datafusion::physical_plan::EmptyRecordBatchStream::new(Arc::clone(&schema));
    let rest = std::mem::replace(rows, Box::pin(nothing));
    let all = futures::stream::once(futures::future::ready(Ok(batch))).chain(rest);
    Box::pin(RecordBatchStreamAdapter::new(schema, all))
}

/// Columns that were read from one file share its bytes.
fn bytes_of(batch: &RecordBatch) -> usize {
    get_record_batch_memory_size(batch)
}

/// Which probe rows have matched so far.
#[derive(Clone)]
struct Matched {
    bits: Arc<Mutex<BooleanBufferBuilder>>,
    _reservation: Arc<MemoryReservation>,
}

impl Matched {
    fn new(rows: usize, reservation: &MemoryReservation) -> Self {
        // It cannot do without, and it is a bit a row.
        let reservation = reservation.new_empty();
        reservation.grow(rows.div_ceil(8));
        let mut bits = BooleanBufferBuilder::new(rows);
        bits.append_n(rows, false);
        Self {
            bits: Arc::new(Mutex::new(bits)),
            _reservation: Arc::new(reservation),
        }
    }

    fn note(&self, numbers: &UInt64Array) {
        let mut bits = self.bits.lock();
        let length = bits.len();
        for number in numbers.iter().flatten() {
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            if number < length {
                bits.set_bit(number, true);
            }
        }
    }

    fn of_rows(&self, first: usize, count: usize) -> BooleanArray {
        let bits = self.bits.lock();
        (first..first + count)
            .map(|row| Some(row < bits.len() && bits.get_bit(row)))
            .collect()
    }
}

/// Joins a block with the numbered probe rows, and notes the numbers.
fn numbered_pass(
    job: &JoinJob,
    kind: JoinType,
    build: Build,
    probe: SendableRecordBatchStream,
    matched: Matched,
) -> Result<SendableRecordBatchStream> {
    let (left, right) = (job.join.left().schema(), job.join.right().schema());
    let (left, right) = (left.fields().len(), right.fields().len());
    let gives_rows = kind != JoinType::RightSemi;
    let projection = if gives_rows {
        let mut columns = output_columns(job, left + right);
        columns.push(left + right);
        columns
    } else {
        vec![right]
    };
    let variant = job
        .join
        .builder()
        .with_type(kind)
        .with_projection(Some(projection));
    let joined = job.run(variant, build, numbered(probe))?;
    let schema = job.schema();
    let of_rows = Arc::clone(&schema);
    let rows = joined.try_filter_map(move |batch| {
        let rows = note_numbers(&matched, &of_rows, &batch, gives_rows);
        futures::future::ready(rows)
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

fn note_numbers(
    matched: &Matched,
    schema: &SchemaRef,
    batch: &RecordBatch,
    gives_rows: bool,
) -> Result<Option<RecordBatch>> {
    let Some((numbers, columns)) = batch.columns().split_last() else {
        return Ok(None);
    };
    matched.note(numbers.as_primitive::<UInt64Type>());
    if !gives_rows {
        return Ok(None);
    }
    with_columns(schema, columns.to_vec(), batch.num_rows()).map(Some)
}

/// The columns of the join's result among those of its sides.
fn output_columns(job: &JoinJob, all: usize) -> Vec<usize> {
    match job.join.projection.as_ref() {
        Some(projection) => projection.to_vec(),
        None => (0..all).collect(),
    }
}

/// The rows with their numbers as last column.
fn numbered(rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let mut fields = rows.schema().fields().to_vec();
    fields.push(Arc::new(Field::new(NUMBER, DataType::UInt64, false)));
    let schema = Arc::new(Schema::new(fields));
    let of_batches = Arc::clone(&schema);
    let mut next: u64 = 0;
    let rows = rows.map(move |batch| {
        let batch = batch?;
        let first = next;
        next += batch.num_rows() as u64;
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(UInt64Array::from_iter_values(first..next)));
        with_columns(&of_batches, columns, batch.num_rows())
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// What the probe rows give by themselves, once it is known which of them have matched.
fn last_pass(job: &JoinJob, pair: &Pair, matched: &Matched) -> Result<SendableRecordBatchStream> {
    let schema = job.schema();
    let (job, matched) = (job.clone(), matched.clone());
    let rows = pair.probe.read(&job.probe_files())?;
    let mut first = 0;
    let rows = rows.map(move |batch| {
        let batch = batch?;
        let bits = matched.of_rows(first, batch.num_rows());
        first += batch.num_rows();
        unmatched_rows(&job, &batch, bits)
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

fn unmatched_rows(
    job: &JoinJob,
    batch: &RecordBatch,
    matched: BooleanArray,
) -> Result<RecordBatch> {
    let kind = *job.join.join_type();
    let kept = match kind {
        JoinType::RightSemi => filter_record_batch(batch, &matched)?,
        JoinType::RightMark => batch.clone(),
        _ => filter_record_batch(batch, &arrow::compute::not(&matched)?)?,
    };
    let schema = job.schema();
    let rows = kept.num_rows();
    let left = match kind {
        JoinType::Right | JoinType::Full => job.join.left().schema().fields().len(),
        _ => 0,
    };
    let right = kept.num_columns();
    let all = left + right + usize::from(kind == JoinType::RightMark);
    let columns = output_columns(job, all).into_iter().zip(schema.fields());
    let columns: Vec<ArrayRef> = columns
        .map(|(column, field)| match column.checked_sub(left) {
            None => new_null_array(field.data_type(), rows),
            Some(column) if column < right => Arc::clone(kept.column(column)),
            Some(_) => Arc::new(matched.clone()),
        })
        .collect();
    with_columns(&schema, columns, rows)
}

fn with_columns(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}
