//! The build side that all partitions of a join share: gathered once, by whoever asks first. If it
//! was spilled, and its own rows are part of the result, the partition whose probe side ends last
//! joins the rows of all: only then is it known which build rows have no match.

use crate::build_side::{Gathered, gather, replay};
use crate::handed_exec::HandedExec;
use crate::handed_pool::HandedPool;
use crate::join_job::JoinJob;
use crate::spill_parts::{Divided, SpilledPart};
use crate::spilled_join::{SpilledBuild, first_parts, spill_build};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use std::sync::Arc;

/// How gathering it ended.
#[derive(Clone)]
pub(crate) enum Outcome {
    /// The join has it.
    Handed,
    /// It is on disk.
    Spilled(Arc<SpilledBuild>),
}

type Gathering = Shared<BoxFuture<'static, std::result::Result<Outcome, Arc<DataFusionError>>>>;

/// A build side of several partitions.
#[derive(Default)]
pub(crate) struct SharedBuild {
    started: Mutex<Option<Started>>,
    probes: Mutex<Probes>,
}

#[derive(Clone)]
struct Started {
    gathering: Gathering,
    pool: Arc<HandedPool>,
    context: Arc<TaskContext>,
}

#[derive(Default)]
struct Probes {
    ended: usize,
    divided: Option<Divided>,
}

impl SharedBuild {
    /// Begins gathering, if no partition has. The pool and the context are those of the join.
    pub(crate) fn start(
        &self,
        job: &JoinJob,
        left: &Arc<HandedExec>,
        open: impl FnOnce() -> Result<SendableRecordBatchStream>,
        reservation: impl FnOnce() -> MemoryReservation,
    ) -> Result<(Gathering, Arc<HandedPool>, Arc<TaskContext>)> {
        let mut started = self.started.lock();
        let started = match &mut *started {
            Some(started) => started,
            none => {
                let (pool, context) = HandedPool::in_front_of(&job.context);
                let build = open()?;
                let work = gather_shared(
                    job.clone(),
                    Arc::clone(left),
                    Arc::clone(&pool),
                    build,
                    reservation(),
                );
                none.insert(Started {
                    gathering: work.map(|done| done.map_err(Arc::new)).boxed().shared(),
                    pool,
                    context,
                })
            }
        };
        let Started {
            gathering,
            pool,
            context,
        } = started.clone();
        Ok((gathering, pool, context))
    }

    /// Adds the probe rows of a partition. The last of so many partitions gets those of all.
    pub(crate) fn add_probe(&self, divided: Divided, partitions: usize) -> Option<Divided> {
        let mut probes = self.probes.lock();
        probes.ended += 1;
        match &mut probes.divided {
            Some(all) => all.append(divided),
            none => *none = Some(divided),
        }
        if probes.ended < partitions {
            return None;
        }
        probes.divided.take()
    }
}

impl Divided {
    fn append(&mut self, other: Self) {
        self.rows_seen += other.rows_seen;
        self.nulls_seen += other.nulls_seen;
        for (part, other) in self.parts.iter_mut().zip(other.parts) {
            SpilledPart::append(part, other);
        }
    }
}

async fn gather_shared(
    job: JoinJob,
    left: Arc<HandedExec>,
    pool: Arc<HandedPool>,
    build: SendableRecordBatchStream,
    reservation: MemoryReservation,
) -> Result<Outcome> {
    let schema = build.schema();
    match gather(build, reservation, &job.end).await? {
        Gathered::Fits(build) => {
            pool.hand_over(build.reservation);
            left.put(0, replay(schema, build.batches));
            Ok(Outcome::Handed)
        }
        Gathered::TooLarge(overflow) => {
            let spilled = spill_build(&job, overflow, first_parts(), 0).await?;
            Ok(Outcome::Spilled(Arc::new(spilled)))
        }
    }
}
