//! Keeps its input's rows as a segment of a frame, each partition where it is. What comes out is a
//! row per partition: where it is and how much it holds. Which layout that makes is the placer's to
//! say.

use crate::frames::Frames;
use crate::pass_through::only_child;
use bireme_frames::PartitionWriter;
use bireme_protocol::QueryId;
use datafusion::arrow::array::{RecordBatch, UInt64Array};
use datafusion::arrow::compute::BatchCoalescer;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions,
};
use futures::StreamExt;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// The columns of what comes out.
static FACTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let names = ["rank", "partition", "rows", "bytes"];
    let field = |name: &str| Field::new(name, DataType::UInt64, false);
    Arc::new(Schema::new(names.map(field).to_vec()))
});

/// Keeps rows as a segment of a frame.
#[derive(Debug)]
pub struct PersistExec {
    segment: QueryId,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl PersistExec {
    /// Keeps the input's rows under this segment.
    pub fn new(segment: QueryId, input: Arc<dyn ExecutionPlan>) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&FACTS)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            segment,
            input,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The segment that is made.
    pub fn segment(&self) -> QueryId {
        self.segment
    }

    /// The rows that are kept.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }
}

impl DisplayAs for PersistExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PersistExec: partitions={}",
            self.input.output_partitioning().partition_count()
        )
    }
}

impl ExecutionPlan for PersistExec {
    fn name(&self) -> &str {
        "PersistExec"
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
        Ok(Arc::new(Self::new(self.segment, input)))
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
        let frames = Frames::of(&context, "PersistExec")?;
        let schema = self.input.schema();
        let writer = frames
            .store()
            .write(self.segment, partition, Arc::clone(&schema))?;
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let rows_kept = MetricBuilder::new(&self.metrics).output_rows(partition);
        let kept = Kept {
            writer,
            coalescer: BatchCoalescer::new(schema, context.session_config().batch_size())
                .with_biggest_coalesce_batch_size(Some(context.session_config().batch_size() / 2)),
        };
        let rank = u64::from(frames.rank());
        let facts = futures::stream::once(async move {
            let facts = kept.fill(input).await?;
            rows_kept.add(facts.rows as usize);
            let row = [rank, partition as u64, facts.rows, facts.bytes];
            let columns = row.map(|value| Arc::new(UInt64Array::from(vec![value])) as _);
            Ok(RecordBatch::try_new(Arc::clone(&FACTS), columns.to_vec())?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&FACTS),
            facts,
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// A partition that is being filled. Small batches are gathered first: each that is kept costs a
/// header, and a page at least.
struct Kept {
    writer: PartitionWriter,
    coalescer: BatchCoalescer,
}

impl Kept {
    async fn fill(
        mut self,
        mut input: SendableRecordBatchStream,
    ) -> Result<bireme_frames::PartitionFacts> {
        while let Some(batch) = input.next().await {
            self.coalescer.push_batch(batch?)?;
            self.keep_completed()?;
        }
        self.coalescer.finish_buffered_batch()?;
        self.keep_completed()?;
        Ok(self.writer.finish())
    }

    fn keep_completed(&mut self) -> Result<()> {
        while let Some(batch) = self.coalescer.next_completed_batch() {
            self.writer.push(&batch)?;
        }
        Ok(())
    }
}
