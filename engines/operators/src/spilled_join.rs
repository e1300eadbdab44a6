//! A join whose build side does not fit: both sides are divided by hash into files, and the parts
//! are joined pair by pair. A part that is still too large is divided once more; where that would
//! not help it is joined block by block.

use crate::block_join::join_in_blocks;
use crate::build_side::{Build, Overflow, is_refused, join_bytes};
use crate::join_job::JoinJob;
use crate::spill_parts::{Divided, SpilledPart};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{EmptyRecordBatchStream, SendableRecordBatchStream};
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use std::sync::Arc;

/// Parts of a side whose size is not known yet.
const PARTS_FIRST: usize = 16;
const PARTS_MIN: usize = 4;
/// Parts are aimed at so much less than what is there for them: hashes do not divide evenly.
const PARTS_MARGIN: usize = 2;
/// How often rows are divided. Sixteen parts at each level make a part of a terabyte small.
const LEVELS_MAX: usize = 6;
/// A part with more than 4/5 of the rows is one that dividing does not make smaller.
const SKEWED: (usize, usize) = (5, 4);

/// A build side on disk.
pub(crate) struct SpilledBuild {
    pub(crate) parts: Vec<SpilledPart>,
    /// Rows that equal nothing, kept apart for a null-aware join.
    null_rows: SpilledPart,
    rows: usize,
    level: usize,
}

/// A part of both sides.
pub(crate) struct Pair {
    pub(crate) build: SpilledPart,
    pub(crate) probe: SpilledPart,
    level: usize,
    is_skewed: bool,
}

/// Divides a build side that is too large, and gives back its memory.
pub(crate) async fn spill_build(
    job: &JoinJob,
    overflow: Overflow,
    parts: usize,
    level: usize,
) -> Result<SpilledBuild> {
    let Overflow {
        held,
        rest,
        reservation,
    } = overflow;
    let mut writer = job.build_writer(parts, level, &reservation);
    for (batch, bytes) in held {
        writer.push(&batch).await?;
        drop(batch);
        reservation.shrink(bytes);
    }
    writer.push_all(rest).await?;
    let Divided {
        mut parts,
        rows_seen,
        ..
    } = writer.finish()?;
    let null_rows = match job.join.null_aware {
        true => parts.pop().unwrap_or_default(),
        false => SpilledPart::default(),
    };
    Ok(SpilledBuild {
        parts,
        null_rows,
        rows: rows_seen,
        level,
    })
}

/// Divides a probe side as its build side is divided.
pub(crate) async fn spill_probe(
    job: &JoinJob,
    build: &SpilledBuild,
    probe: SendableRecordBatchStream,
    reservation: &MemoryReservation,
) -> Result<Divided> {
    let unmatched = job.gives_unmatched_probe_rows();
    let unneeded = build.parts.iter().map(|part| part.rows == 0 && !unmatched);
    let mut writer = job.probe_writer(
        build.parts.len(),
        build.level,
        unneeded.collect(),
        reservation,
    );
    writer.push_all(probe).await?;
    writer.finish()
}

/// How many parts a build side of unknown size is divided into.
pub(crate) fn first_parts() -> usize {
    PARTS_FIRST
}

/// Joins the parts of both sides, one pair after the other.
pub(crate) fn join_parts(
    job: JoinJob,
    build: &SpilledBuild,
    probe: Divided,
    reservation: MemoryReservation,
) -> SendableRecordBatchStream {
    let pairs = pairs_of(&job, build, probe);
    let schema = job.schema();
    let reservation = Arc::new(reservation);
    let joined = futures::stream::iter(pairs.into_iter().map(Ok))
        .and_then(move |pair| join_pair(job.clone(), pair, reservation.new_empty()))
        .try_flatten();
    Box::pin(RecordBatchStreamAdapter::new(schema, joined))
}

fn pairs_of(job: &JoinJob, build: &SpilledBuild, probe: Divided) -> Vec<Pair> {
    let is_null_aware = job.join.null_aware && build.level == 0;
    if is_null_aware && probe.nulls_seen > 0 {
        // Nothing is known not to be among values that are not known.
        return Vec::new();
    }
    let (more, less) = SKEWED;
    let parts = build.parts.iter().cloned().zip(probe.parts);
    let mut pairs: Vec<_> = parts
        .map(|(part, probe)| Pair {
            is_skewed: part.is_one_key() || part.rows.saturating_mul(more) > build.rows * less,
            build: part,
            probe,
            level: build.level,
        })
        .collect();
    if is_null_aware && probe.rows_seen == 0 {
        // An unknown value is not among none.
        pairs.push(Pair {
            build: build.null_rows.clone(),
            probe: SpilledPart::default(),
            level: build.level,
            is_skewed: true,
        });
    }
    pairs
}

fn join_pair(
    job: JoinJob,
    pair: Pair,
    reservation: MemoryReservation,
) -> BoxFuture<'static, Result<SendableRecordBatchStream>> {
    async move {
        let Pair { build, probe, .. } = &pair;
        let is_empty = (build.rows == 0 && !job.gives_unmatched_probe_rows())
            || (probe.rows == 0 && !job.gives_build_rows())
            || (build.rows == 0 && probe.rows == 0);
        if is_empty {
            return Ok(Box::pin(EmptyRecordBatchStream::new(job.schema())) as _);
        }
        match reservation.try_grow(join_bytes(build.bytes, build.rows)) {
            Ok(()) => {
                let batches = build.read(&job.build_files())?.try_collect().await?;
                let build = Build {
                    batches,
                    reservation,
                };
                job.join_in_memory(build, pair.probe.read(&job.probe_files())?)
            }
            Err(error) if !is_refused(&error) => Err(error),
            Err(_) if pair.is_skewed || pair.level + 1 >= LEVELS_MAX => {
                join_in_blocks(job, pair, reservation)
            }
            Err(_) => divide_pair(job, pair, reservation).await,
        }
    }
    .boxed()
}

/// Divides a pair once more.
async fn divide_pair(
    job: JoinJob,
    pair: Pair,
    reservation: MemoryReservation,
) -> Result<SendableRecordBatchStream> {
    let rest = pair.build.read(&job.build_files())?;
    let parts = parts_for(&pair.build, &reservation);
    let overflow = Overflow::on_disk(rest, reservation.new_empty());
    let build = spill_build(&job, overflow, parts, pair.level + 1).await?;
    let probe = pair.probe.read(&job.probe_files())?;
    // Its files go as soon as they are divided.
    drop(pair);
    let probe = spill_probe(&job, &build, probe, &reservation).await?;
    Ok(join_parts(job, &build, probe, reservation))
}

/// How many parts make each of them fit into what is granted now.
fn parts_for(build: &SpilledPart, reservation: &MemoryReservation) -> usize {
    let wanted = join_bytes(build.bytes, build.rows);
    let mut granted = wanted;
    for parts in [2, 4, 8, 16] {
        granted = wanted / parts;
        if reservation.try_grow(granted).is_ok() {
            reservation.free();
            return (parts * PARTS_MARGIN).max(PARTS_MIN);
        }
    }
    (wanted / granted.max(1) * PARTS_MARGIN).min(PARTS_FIRST * PARTS_MARGIN)
}
