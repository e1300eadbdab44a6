//! Keeps its input's rows as a segment of a frame, each partition where it is. What comes out is a
//! row per partition: where it is and how much it holds. Which layout that makes is the placer's to
//! say.

use crate::codec::failed;
use crate::frames::Frames;
use crate::pass_through::only_child;
use crate::wide_batches::{row_bytes_of_scan, with_batches_of};
use bireme_frames::{PartitionWriter, row_bytes};
use bireme_protocol::QueryId;
use bireme_protocol::proto::PartitionFacts;
use datafusion::arrow::array::{AsArray, BinaryArray, RecordBatch};
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
use prost::Message;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// What comes out: [`PartitionFacts`] in the encoding they travel in.
static FACTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let facts = Field::new("facts", DataType::Binary, false);
    Arc::new(Schema::new(vec![facts]))
});

/// The facts about partitions in what a plan that keeps rows gives.
///
/// # Errors
/// They are not what [`PersistExec`] gives.
pub fn read_facts(batch: &RecordBatch) -> Result<Vec<PartitionFacts>> {
    let wrong = |reason: String| failed("decode", "facts about partitions", reason);
    let column = batch.columns().first();
    let facts = column.and_then(|column| column.as_binary_opt::<i32>());
    let facts = facts.ok_or_else(|| wrong("they are no bytes".to_string()))?;
    let read = |bytes| PartitionFacts::decode(bytes).map_err(|error| wrong(error.to_string()));
    facts.iter().flatten().map(read).collect()
}

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
        let batch_size = context.session_config().batch_size();
        // What comes in batches as large as it is kept need not be gathered.
        let row = row_bytes_of_scan(&self.input);
        let context = match row {
            Some(row) => with_batches_of(writer.rows_together(row, batch_size), &context),
            None => context,
        };
        let input = self.input.execute(partition, context)?;
        let rows_kept = MetricBuilder::new(&self.metrics).output_rows(partition);
        let kept = Kept {
            writer,
            schema,
            batch_size,
            is_guessed: row.is_some(),
        };
        let rank = frames.rank();
        let facts = futures::stream::once(async move {
            let facts = PartitionFacts {
                rank,
                partition: partition as u32,
                ..kept.fill(input).await?
            };
            rows_kept.add(facts.rows as usize);
            let encoded = facts.encode_to_vec();
            let column = BinaryArray::from_iter_values([encoded]);
            Ok(RecordBatch::try_new(
                Arc::clone(&FACTS),
                vec![Arc::new(column)],
            )?)
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

/// A partition that is being filled.
struct Kept {
    writer: PartitionWriter,
    schema: SchemaRef,
    batch_size: usize,
    /// Whether the scan was asked for batches by a guess at what they hold.
    is_guessed: bool,
}

impl Kept {
    async fn fill(self, mut input: SendableRecordBatchStream) -> Result<PartitionFacts> {
        let mut begun = None;
        while let Some(batch) = input.next().await.transpose()? {
            if batch.num_rows() == 0 {
                continue;
            }
            let (most, gathered) = begun.get_or_insert_with(|| self.gather(&batch));
            // Memory that can be taken over comes in batches that have to stay as they are.
            let most = if self.is_guessed { *most } else { usize::MAX };
            for piece in pieces(&batch, most) {
                gathered.push_batch(piece)?;
                self.keep_completed(gathered)?;
            }
        }
        if let Some((_, gathered)) = &mut begun {
            gathered.finish_buffered_batch()?;
            self.keep_completed(gathered)?;
        }
        let columns = self.writer.column_facts();
        let kept = self.writer.finish();
        Ok(PartitionFacts {
            rows: kept.rows,
            bytes: kept.bytes,
            columns,
            ..PartitionFacts::default()
        })
    }

    /// Gathers batches like this one to so many rows; those that are large already pass as they are.
    fn gather(&self, like: &RecordBatch) -> (usize, BatchCoalescer) {
        let row = row_bytes(like) / like.num_rows().max(1);
        let rows = self.writer.rows_together(row, self.batch_size);
        let gathered = BatchCoalescer::new(Arc::clone(&self.schema), rows);
        (
            rows,
            gathered.with_biggest_coalesce_batch_size(Some(rows / 2)),
        )
    }

    fn keep_completed(&self, gathered: &mut BatchCoalescer) -> Result<()> {
        while let Some(batch) = gathered.next_completed_batch() {
            self.writer.push(&batch)?;
        }
        Ok(())
    }
}

/// A batch in equal pieces of at most so many rows: a row may be larger than was guessed for its scan.
fn pieces(batch: &RecordBatch, most: usize) -> impl Iterator<Item = RecordBatch> + '_ {
    let rows = batch.num_rows();
    let each = rows.div_ceil(rows.div_ceil(most.max(1)).max(1)).max(1);
    let first_of_each = (0..rows).step_by(each);
    first_of_each.map(move |first| match each == rows {
        true => batch.clone(),
        false => batch.slice(first, each.min(rows - first)),
    })
}
