//! Reads a frame. A task of a distributed plan reads what its own engine holds; a plan that runs
//! whole on the head reads the partitions of all engines. What is in memory is read in place, what
//! is on disk is read ahead.

use crate::batch_filter::BatchFilter;
use crate::frames::{Frames, RemotePart};
use crate::resident_frame::{Part, ResidentFrame};
use bireme_frames::{PartitionReader, Placement};
use bireme_protocol::QueryId;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use std::fmt;
use std::sync::Arc;

/// Batches that are read from disk before they are asked for.
const READ_AHEAD: usize = 3;
/// Rows of each batch whose placement is checked in debug builds.
const CHECKED_ROWS: usize = 16;

/// Whose partitions are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of the engine the scan runs on.
    OwnEngine,
    /// Those of all engines.
    AllEngines,
}

/// A scan of a frame.
#[derive(Clone, Debug)]
pub struct FrameScanExec {
    frame: Arc<ResidentFrame>,
    projection: Option<Vec<usize>>,
    scope: Scope,
    /// Says which batches need not be read.
    filter: Option<BatchFilter>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl FrameScanExec {
    /// A scan of these columns, or of all.
    ///
    /// # Errors
    /// There is no such column.
    pub fn new(
        frame: Arc<ResidentFrame>,
        projection: Option<Vec<usize>>,
        scope: Scope,
    ) -> Result<Self> {
        let schema = match &projection {
            Some(columns) => Arc::new(frame.schema().project(columns)?),
            None => Arc::clone(frame.schema()),
        };
        let partitioning = match frame.hash_keys(&schema) {
            Some(keys) => Partitioning::Hash(keys, frame.partitions()),
            None => Partitioning::UnknownPartitioning(frame.partitions()),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            partitioning,
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            frame,
            projection,
            scope,
            filter: None,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The same scan, which leaves out batches that hold no row that meets these conditions.
    pub(crate) fn filtered(
        &self,
        conditions: impl IntoIterator<Item = Arc<dyn PhysicalExpr>>,
    ) -> Self {
        let schema = self.properties.equivalence_properties().schema();
        Self {
            filter: BatchFilter::new(conditions, schema),
            metrics: ExecutionPlanMetricsSet::new(),
            ..self.clone()
        }
    }

    /// What rows have to meet to be wanted, as far as the scan heeds it.
    pub(crate) fn condition(&self) -> Option<&Arc<dyn PhysicalExpr>> {
        self.filter.as_ref().map(BatchFilter::condition)
    }

    /// What is read.
    pub fn frame(&self) -> &Arc<ResidentFrame> {
        &self.frame
    }

    /// The columns that are read, if not all.
    pub fn projection(&self) -> Option<&[usize]> {
        self.projection.as_deref()
    }

    /// Whose partitions are read.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The same scan of the partitions of its own engine.
    pub(crate) fn of_own_engine(&self) -> Self {
        Self {
            scope: Scope::OwnEngine,
            metrics: ExecutionPlanMetricsSet::new(),
            ..self.clone()
        }
    }

    fn read_part(
        &self,
        part: Part,
        frames: &Frames,
        read: &Count,
        reservation: MemoryReservation,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let Part {
            rank,
            segment,
            partition,
            ..
        } = part;
        if rank != frames.rank() {
            let part = RemotePart {
                segment,
                partition,
                columns: self.projection.clone(),
            };
            let schema = Arc::clone(self.properties.equivalence_properties().schema());
            return Ok(frames.remote().fetch(rank, part, schema)?.boxed());
        }
        let reader = frames
            .store()
            .read(segment, partition, self.projection.as_deref())?;
        let batches = match &self.filter {
            Some(filter) => filter.batches(&reader)?,
            None => (0..reader.len()).collect(),
        };
        let check = self.check(rank, segment, partition);
        let checked = local(reader, batches, read.clone(), reservation).and_then(move |batch| {
            let outcome = check.as_ref().map_or(Ok(()), |check| check.check(&batch));
            futures::future::ready(outcome.map(|()| batch))
        });
        Ok(checked.boxed())
    }

    /// What debug builds check of rows that are placed by hash.
    fn check(&self, rank: u32, segment: QueryId, partition: usize) -> Option<Check> {
        let placed_by = self.frame.placed_by(segment);
        let (columns, placement) = placed_by.filter(|_| cfg!(debug_assertions))?;
        let position = |column: &usize| match &self.projection {
            Some(read) => read.iter().position(|one| one == column),
            None => Some(*column),
        };
        let columns: Option<Vec<usize>> = columns.iter().map(position).collect();
        Some(Check {
            columns: columns?,
            placement: placement.clone(),
            rank: rank as usize,
            partition,
        })
    }
}

/// Batches of a partition of this engine.
fn local(
    reader: PartitionReader,
    batches: Vec<usize>,
    read: Count,
    reservation: MemoryReservation,
) -> impl futures::Stream<Item = Result<RecordBatch>> + Send {
    let reader = Arc::new(reader);
    let begun = async move {
        let ahead = reserve_reads(&reservation, reader.largest_on_disk(&batches));
        stream::iter(batches)
            .map(move |index| {
                // It is given back when the last of them has been read.
                let _reserved = &reservation;
                batch(Arc::clone(&reader), index, read.clone())
            })
            .buffered(ahead)
    };
    stream::once(begun).flatten()
}

/// Reserves memory for batches that are read ahead from disk, and says for how many. Where there is
/// none, one is read after the other.
fn reserve_reads(reservation: &MemoryReservation, largest: usize) -> usize {
    match reservation.try_grow(largest * READ_AHEAD) {
        Ok(()) => READ_AHEAD,
        Err(_) => {
            reservation.grow(largest);
            1
        }
    }
}

async fn batch(reader: Arc<PartitionReader>, index: usize, read: Count) -> Result<RecordBatch> {
    read.add(reader.bytes_of(index));
    if let Some(batch) = reader.resident(index)? {
        return Ok(batch);
    }
    let restored = tokio::task::spawn_blocking(move || reader.restore(index)).await;
    let restored = restored.map_err(|error| DataFusionError::External(Box::new(error)))?;
    Ok(restored?)
}

impl DisplayAs for FrameScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameScanExec: {}", self.frame)?;
        if self.projection.is_some() {
            let schema = self.properties.equivalence_properties().schema();
            let names: Vec<_> = schema
                .fields()
                .iter()
                .map(|field| field.name().as_str())
                .collect();
            write!(f, ", columns=[{}]", names.join(", "))?;
        }
        if let Some(filter) = &self.filter {
            write!(f, ", batches where {filter}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for FrameScanExec {
    fn name(&self) -> &str {
        "FrameScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let frames = Frames::of(&context, "FrameScanExec")?;
        let read = MetricBuilder::new(&self.metrics).counter("bytes_scanned", partition);
        let parts = self.frame.parts(partition, self.scope, frames.rank());
        let streams: Result<Vec<_>> = parts
            .into_iter()
            .map(|part| {
                let consumer = MemoryConsumer::new(format!("FrameScan[{partition}]"));
                let reservation = consumer.register(context.memory_pool());
                self.read_part(part, &frames, &read, reservation)
            })
            .collect();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let rows = stream::iter(streams?).flatten().map_ok(move |batch| {
            metrics.record_output(batch.num_rows());
            batch
        });
        let schema = Arc::clone(self.properties.equivalence_properties().schema());
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    /// Conditions stay where they are, since a batch that is read may have rows that do not meet
    /// them. Those that change while a query runs are not heeded: a scan may feed other engines, which
    /// go by others.
    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        pushed: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let above = pushed.parent_filters.iter();
        let scan = self.filtered(above.map(|one| Arc::clone(&one.filter)));
        let unmet = FilterPushdownPropagation::all_unsupported(pushed);
        Ok(match phase {
            FilterPushdownPhase::Pre if scan.filter.is_some() => {
                unmet.with_updated_node(Arc::new(scan))
            }
            FilterPushdownPhase::Pre | FilterPushdownPhase::Post => unmet,
        })
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let facts = self.frame.facts(args.partition());
        let columns = self.properties.equivalence_properties().schema();
        let share =
            columns.fields().len() as f64 / self.frame.schema().fields().len().max(1) as f64;
        let mut statistics = Statistics::new_unknown(columns);
        statistics.num_rows = Precision::Exact(facts.rows as usize);
        statistics.total_byte_size = match self.projection {
            Some(_) => Precision::Inexact((facts.bytes as f64 * share) as usize),
            None => Precision::Exact(facts.bytes as usize),
        };
        if args.partition().is_none() && self.scope == Scope::AllEngines {
            let known = self.frame.column_statistics();
            let column = |column: &usize| known.get(*column).cloned();
            statistics.column_statistics = match &self.projection {
                Some(read) => read.iter().filter_map(column).collect(),
                None => known.to_vec(),
            };
        }
        if self.filter.is_some() {
            statistics = statistics.to_inexact();
        }
        Ok(Arc::new(statistics))
    }
}

/// What debug builds check of the rows of a partition.
struct Check {
    columns: Vec<usize>,
    placement: Placement,
    rank: usize,
    partition: usize,
}

impl Check {
    fn check(&self, batch: &RecordBatch) -> Result<()> {
        let columns: Vec<_> = self
            .columns
            .iter()
            .map(|column| Arc::clone(batch.column(*column)))
            .collect();
        let schema: SchemaRef = batch.schema();
        let names: Vec<_> = self
            .columns
            .iter()
            .map(|column| schema.field(*column).name().as_str())
            .collect();
        let keys = names.join(", ");
        let checked =
            self.placement
                .check(&columns, &keys, self.rank, self.partition, CHECKED_ROWS);
        Ok(checked?)
    }
}
