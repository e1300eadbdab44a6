//! One join as its spilled parts need it: what is joined how, where to reserve and to spill. It
//! runs DataFusion's own join over streams that it is given.

use crate::build_side::{Build, replay};
use crate::handed_exec::HandedExec;
use crate::handed_pool::HandedPool;
use crate::query_end::QueryEnd;
use crate::spill_parts::{Division, Nulls, PartWriter};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{JoinType, NullEquality};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::{HashJoinExec, HashJoinExecBuilder, PartitionMode};
use datafusion::physical_plan::metrics::SpillMetrics;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, SpillManager};
use futures::TryStreamExt;
use std::sync::Arc;

/// A join of one partition.
#[derive(Clone)]
pub(crate) struct JoinJob {
    pub(crate) join: Arc<HashJoinExec>,
    pub(crate) context: Arc<TaskContext>,
    pub(crate) metrics: SpillMetrics,
    pub(crate) end: QueryEnd,
}

impl JoinJob {
    /// The schema of the join's rows.
    pub(crate) fn schema(&self) -> SchemaRef {
        self.join.schema()
    }

    /// Whether rows of the build side without a match give rows, or rows with one do at the end.
    pub(crate) fn gives_build_rows(&self) -> bool {
        matches!(
            self.join.join_type(),
            JoinType::Left
                | JoinType::LeftSemi
                | JoinType::LeftAnti
                | JoinType::LeftMark
                | JoinType::Full
        )
    }

    /// Whether rows of the probe side without a match give rows.
    pub(crate) fn gives_unmatched_probe_rows(&self) -> bool {
        matches!(
            self.join.join_type(),
            JoinType::Right | JoinType::RightAnti | JoinType::RightMark | JoinType::Full
        )
    }

    /// Writes and reads files of the build side.
    pub(crate) fn build_files(&self) -> SpillManager {
        self.files(self.join.left().schema())
    }

    /// Writes and reads files of the probe side.
    pub(crate) fn probe_files(&self) -> SpillManager {
        self.files(self.join.right().schema())
    }

    fn files(&self, schema: SchemaRef) -> SpillManager {
        let options = self.context.session_config().options();
        SpillManager::new(self.context.runtime_env(), self.metrics.clone(), schema)
            .with_compression_type(options.execution.spill_compression)
    }

    /// Divides the build side.
    pub(crate) fn build_writer(
        &self,
        parts: usize,
        level: usize,
        reservation: &MemoryReservation,
    ) -> PartWriter {
        let nulls = if self.join.null_aware {
            Nulls::Apart
        } else {
            self.nulls()
        };
        let keys = self.join.on().iter().map(|(left, _)| Arc::clone(left));
        let division = division(keys, parts, level, nulls, Vec::new());
        self.writer(self.build_files(), division, reservation)
    }

    /// Divides the probe side.
    pub(crate) fn probe_writer(
        &self,
        parts: usize,
        level: usize,
        unneeded: Vec<bool>,
        reservation: &MemoryReservation,
    ) -> PartWriter {
        let keys = self.join.on().iter().map(|(_, right)| Arc::clone(right));
        let division = division(keys, parts, level, self.nulls(), unneeded);
        self.writer(self.probe_files(), division, reservation)
    }

    fn nulls(&self) -> Nulls {
        match self.join.null_equality() {
            NullEquality::NullEqualsNull => Nulls::Together,
            NullEquality::NullEqualsNothing => Nulls::Spread,
        }
    }

    fn writer(
        &self,
        files: SpillManager,
        division: Division,
        reservation: &MemoryReservation,
    ) -> PartWriter {
        let rows = self.context.session_config().batch_size();
        let reservation = reservation.new_empty();
        PartWriter::new(files, division, reservation, rows, self.end.clone())
    }

    /// Joins a build side in memory with a stream.
    pub(crate) fn join_in_memory(
        &self,
        build: Build,
        probe: SendableRecordBatchStream,
    ) -> Result<SendableRecordBatchStream> {
        self.run(self.join.builder(), build, probe)
    }

    /// Runs a variant of the join over a build side in memory and a stream.
    pub(crate) fn run(
        &self,
        variant: HashJoinExecBuilder,
        build: Build,
        probe: SendableRecordBatchStream,
    ) -> Result<SendableRecordBatchStream> {
        let (pool, context) = HandedPool::in_front_of(&self.context);
        let left = HandedExec::of(replay(self.join.left().schema(), build.batches));
        pool.hand_over(build.reservation);
        let right = HandedExec::of(released_by(probe, pool));
        let join = variant
            .reset_state()
            .with_new_children(vec![Arc::new(left), Arc::new(right)])?
            .with_partition_mode(PartitionMode::Partitioned)
            .with_null_aware(false)
            .with_fetch(None)
            .build()?;
        join.execute(0, context)
    }
}

/// The stream, which gives back what the join's table did not take once the join asks for rows:
/// the table is then complete.
pub(crate) fn released_by(
    rows: SendableRecordBatchStream,
    pool: Arc<HandedPool>,
) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let released = async move {
        pool.release();
        Ok::<_, DataFusionError>(rows)
    };
    Box::pin(RecordBatchStreamAdapter::new(
        schema,
        futures::stream::once(released).try_flatten(),
    ))
}

fn division(
    keys: impl Iterator<Item = Arc<dyn PhysicalExpr>>,
    parts: usize,
    level: usize,
    nulls: Nulls,
    unneeded: Vec<bool>,
) -> Division {
    Division {
        keys: keys.collect(),
        parts,
        level,
        nulls,
        unneeded,
    }
}
