//! Writes its input's rows to files, each partition its own, on the engine that has it. What comes
//! out is a row per partition: how much it has written. The files count once the head has moved them
//! to their place.

use crate::file_sink::FileSink;
use crate::pass_through::only_child;
use crate::sink_partition::{PartitionFiles, Written};
use datafusion::arrow::array::{RecordBatch, UInt64Array};
use datafusion::arrow::compute::BatchCoalescer;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, Time,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions,
};
use datafusion_distributed::DistributedTaskContext;
use futures::StreamExt;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// The columns of what comes out.
pub(crate) static WRITTEN: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |name: &str| Field::new(name, DataType::UInt64, false);
    Arc::new(Schema::new(["part", "rows", "files"].map(field).to_vec()))
});

/// Batches that are gathered before they are divided by keys.
const KEYED_BATCHES: usize = 8;

/// Writes rows to files that do not count yet.
#[derive(Debug)]
pub struct SinkExec {
    sink: Arc<FileSink>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SinkExec {
    /// Writes the input's rows.
    pub fn new(sink: Arc<FileSink>, input: Arc<dyn ExecutionPlan>) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&WRITTEN)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            sink,
            input,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// What is written, and where.
    pub fn sink(&self) -> &Arc<FileSink> {
        &self.sink
    }

    /// The rows that are written.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }
}

impl DisplayAs for SinkExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partitions = self.input.output_partitioning().partition_count();
        let format = self.sink.format().name();
        write!(f, "SinkExec: {format}, partitions={partitions}")?;
        match self.sink.keys().as_slice() {
            [] => Ok(()),
            keys => write!(f, ", by=[{}]", keys.join(", ")),
        }
    }
}

impl ExecutionPlan for SinkExec {
    fn name(&self) -> &str {
        "SinkExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = only_child(self.name(), children)?;
        Ok(Arc::new(Self::new(Arc::clone(&self.sink), input)))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let partitions = self.input.output_partitioning().partition_count();
        // On the head alone it is the only task, whatever the head's rank is.
        let task = DistributedTaskContext::from_ctx(&context).task_index;
        let part = task * partitions + partition;
        let bytes = MetricBuilder::new(&self.metrics).counter("bytes_written", partition);
        // Rows of many keys are gathered for longer, so that those of one are some.
        let batch_rows = match self.sink.keys().is_empty() {
            true => context.session_config().batch_size(),
            false => context.session_config().batch_size() * KEYED_BATCHES,
        };
        let writing = Writing {
            files: PartitionFiles::new(Arc::clone(&self.sink), part, context.memory_pool(), bytes)?,
            coalescer: BatchCoalescer::new(Arc::clone(self.sink.rows_schema()), batch_rows)
                .with_biggest_coalesce_batch_size(Some(batch_rows / 2)),
            rows: MetricBuilder::new(&self.metrics).output_rows(partition),
            busy: MetricBuilder::new(&self.metrics).elapsed_compute(partition),
        };
        let input = self.input.execute(partition, context)?;
        let written = futures::stream::once(async move {
            let written = writing.fill(input).await?;
            let row = [part as u64, written.rows, written.files];
            let columns = row.map(|value| Arc::new(UInt64Array::from(vec![value])) as _);
            Ok(RecordBatch::try_new(
                Arc::clone(&WRITTEN),
                columns.to_vec(),
            )?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&WRITTEN),
            written,
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// A partition that is being written. Small batches are gathered first, since each that is written
/// costs a step of every column.
struct Writing {
    files: PartitionFiles,
    coalescer: BatchCoalescer,
    rows: Count,
    busy: Time,
}

impl Writing {
    async fn fill(mut self, mut input: SendableRecordBatchStream) -> Result<Written> {
        while let Some(batch) = input.next().await {
            self.coalescer.push_batch(batch?)?;
            self.write_completed()?;
        }
        // What worked out the rows is not needed any more.
        drop(input);
        self.coalescer.finish_buffered_batch()?;
        self.write_completed()?;
        let _busy = self.busy.timer();
        self.files.finish()
    }

    fn write_completed(&mut self) -> Result<()> {
        let _busy = self.busy.timer();
        while let Some(batch) = self.coalescer.next_completed_batch() {
            self.files.write(&batch)?;
            self.rows.add(batch.num_rows());
        }
        Ok(())
    }
}
