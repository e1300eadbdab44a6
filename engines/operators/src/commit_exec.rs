//! Moves what has been written to its place, on the head, once every engine has written all of its
//! part. When one fails, or the query is ended, nothing is moved and what was written is removed.

use crate::pass_through::only_child;
use crate::sink_journal::SinkJournal;
use crate::sink_staging::Staging;
use crate::sink_target::SinkTarget;
use datafusion::arrow::array::{AsArray, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::StreamExt;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// What a COPY gives, as DataFusion names it.
static COUNTED: LazyLock<SchemaRef> = LazyLock::new(|| {
    let count = Field::new("count", DataType::UInt64, false);
    Arc::new(Schema::new(vec![count]))
});

/// Makes files count.
#[derive(Debug)]
pub struct CommitExec {
    target: SinkTarget,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl CommitExec {
    /// Moves what the input tells of.
    pub fn new(target: SinkTarget, input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&COUNTED)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            target,
            input,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for CommitExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.target.is_directory() {
            true => "files in",
            false => "file",
        };
        write!(f, "CommitExec: {what} {}", self.target.path().display())
    }
}

impl ExecutionPlan for CommitExec {
    fn name(&self) -> &str {
        "CommitExec"
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
        Ok(Arc::new(Self::new(self.target.clone(), input)))
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
        let journal = SinkJournal::of(&context, "CommitExec")?;
        // Before anything is written: engines make no directory for their files.
        let staging = Staging::begin(&self.target, &journal)?;
        let committing = Committing {
            written: self.input.execute(partition, context)?,
            staging,
        };
        let counted = futures::stream::once(async move {
            let count = committing.run().await?;
            let column = Arc::new(UInt64Array::from(vec![count]));
            Ok(RecordBatch::try_new(Arc::clone(&COUNTED), vec![column])?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&COUNTED),
            counted,
        )))
    }
}

/// A commit under way. Who writes is dropped before what is written.
struct Committing {
    written: SendableRecordBatchStream,
    staging: Staging,
}

/// What all partitions have written.
#[derive(Default)]
struct Total {
    rows: u64,
    files: u64,
    /// Rows of the first partition: it makes a file even if it has none.
    first_rows: u64,
}

impl Committing {
    async fn run(mut self) -> Result<u64> {
        let total = self.total().await;
        let Self {
            written,
            mut staging,
        } = self;
        drop(written);
        // The answer waits until the files are where they belong, or gone.
        let ended = tokio::task::spawn_blocking(move || {
            let counted = total.and_then(|total| {
                let is_first_empty = total.first_rows == 0 && total.rows > 0;
                let is_wanted = |name: &str| !is_first_empty || !SinkTarget::is_of_first(name);
                staging.commit(total.files, is_wanted)?;
                Ok(total.rows)
            });
            staging.discard();
            counted
        });
        let ended = ended.await;
        ended.map_err(|error| DataFusionError::External(Box::new(error)))?
    }

    async fn total(&mut self) -> Result<Total> {
        let mut total = Total::default();
        while let Some(batch) = self.written.next().await {
            let batch = batch?;
            let column = |index: usize| batch.column(index).as_primitive::<UInt64Type>();
            for row in 0..batch.num_rows() {
                let rows = column(1).value(row);
                total.rows += rows;
                total.files += column(2).value(row);
                if column(0).value(row) == 0 {
                    total.first_rows = rows;
                }
            }
        }
        Ok(total)
    }
}
