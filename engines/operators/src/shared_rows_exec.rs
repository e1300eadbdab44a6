//! Reads rows that another process has put into shared memory. Each task reads its own parts of them;
//! part i of as many parts as there are partitions on all engines is partition i of these, in order.

use crate::codec::failed;
use crate::frames::Frames;
use bireme_frames::SharedRows;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use prost::Message;
use std::fmt;
use std::sync::Arc;

/// A scan of rows in shared memory.
#[derive(Clone, Debug)]
pub struct SharedRowsExec {
    rows: Arc<SharedRows>,
    projection: Option<Vec<usize>>,
    partitions: usize,
    /// Which of how many tasks this is.
    task: usize,
    tasks: usize,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// As it travels. The rows are described in the memory itself.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SharedRowsProto {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(bool, tag = "2")]
    all_columns: bool,
    #[prost(uint64, repeated, tag = "3")]
    columns: Vec<u64>,
    #[prost(uint32, tag = "4")]
    partitions: u32,
    #[prost(uint32, tag = "5")]
    task: u32,
    #[prost(uint32, tag = "6")]
    tasks: u32,
}

impl SharedRowsExec {
    /// A scan of these columns, or of all, in so many partitions.
    ///
    /// # Errors
    /// There is no such column.
    pub fn new(
        rows: Arc<SharedRows>,
        projection: Option<Vec<usize>>,
        partitions: usize,
    ) -> Result<Self> {
        let schema = match &projection {
            Some(columns) => Arc::new(rows.schema().project(columns)?),
            None => Arc::clone(rows.schema()),
        };
        let partitions = partitions.max(1);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            rows,
            projection,
            partitions,
            task: 0,
            tasks: 1,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// What is read.
    pub(crate) fn rows(&self) -> &SharedRows {
        &self.rows
    }

    /// The same scan of the parts of one task.
    pub(crate) fn of_task(&self, task: usize, tasks: usize) -> Self {
        Self {
            task,
            tasks: tasks.max(1),
            metrics: ExecutionPlanMetricsSet::new(),
            ..self.clone()
        }
    }

    /// Whether a part is read by a partition, or by any.
    fn is_read(&self, part: usize, partition: Option<usize>) -> bool {
        let place = part % (self.partitions * self.tasks);
        let is_own = place / self.partitions == self.task;
        is_own && partition.is_none_or(|partition| place % self.partitions == partition)
    }

    pub(crate) fn to_proto(&self) -> SharedRowsProto {
        let columns = self.projection.as_deref().unwrap_or_default().iter();
        SharedRowsProto {
            path: self.rows.path().to_string(),
            all_columns: self.projection.is_none(),
            columns: columns.map(|column| *column as u64).collect(),
            partitions: self.partitions as u32,
            task: self.task as u32,
            tasks: self.tasks as u32,
        }
    }

    pub(crate) fn from_proto(proto: &SharedRowsProto) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = SharedRows::open(&proto.path)
            .map_err(|error| failed("decode", "a scan of shared memory", error))?;
        let columns = proto.columns.iter().map(|column| *column as usize);
        let projection = (!proto.all_columns).then(|| columns.collect());
        let scan = Self::new(rows, projection, proto.partitions as usize)?;
        Ok(Arc::new(
            scan.of_task(proto.task as usize, proto.tasks as usize),
        ))
    }
}

impl DisplayAs for SharedRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SharedRowsExec: {}, partitions={}",
            self.rows.path(),
            self.partitions
        )
    }
}

impl ExecutionPlan for SharedRowsExec {
    fn name(&self) -> &str {
        "SharedRowsExec"
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
        let frames = Frames::of(&context, "SharedRowsExec")?;
        let read = MetricBuilder::new(&self.metrics).counter("bytes_scanned", partition);
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let is_wanted = |part| self.is_read(part, Some(partition));
        read.add(self.rows.size(is_wanted).1 as usize);
        let batches = self
            .rows
            .read(is_wanted, self.projection.as_deref(), frames.store())?;
        let batches = batches.map(move |batch| {
            let batch = batch?;
            metrics.record_output(batch.num_rows());
            Ok(batch)
        });
        let schema = Arc::clone(self.properties.equivalence_properties().schema());
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            schema,
            futures::stream::iter(batches),
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let (rows, bytes) = self.rows.size(|part| self.is_read(part, args.partition()));
        let columns = self.properties.equivalence_properties().schema();
        let mut statistics = Statistics::new_unknown(columns);
        statistics.num_rows = Precision::Exact(rows as usize);
        statistics.total_byte_size = Precision::Inexact(bytes as usize);
        Ok(Arc::new(statistics))
    }
}
