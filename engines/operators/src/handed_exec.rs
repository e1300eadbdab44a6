//! A stream as a plan node: what a join reads when somebody else has opened its input, or has read
//! a part of it already.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    ReplaceChildrenOptions, SendableRecordBatchStream,
};
use futures::TryStreamExt;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

type Slot = Arc<Mutex<Option<SendableRecordBatchStream>>>;

/// Gives the stream that was put in before the first poll.
pub(crate) struct HandedExec {
    /// The plan it stands for, so that what looks for expressions below a join finds them.
    stands_for: Option<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
    slots: Vec<Slot>,
}

impl HandedExec {
    /// In the place of a plan whose streams others open.
    pub(crate) fn in_place_of(plan: Arc<dyn ExecutionPlan>) -> Self {
        let partitions = plan.output_partitioning().partition_count();
        Self {
            properties: Arc::clone(plan.properties()),
            stands_for: Some(plan),
            slots: (0..partitions).map(|_| Slot::default()).collect(),
        }
    }

    /// A plan of this one stream.
    pub(crate) fn of(stream: SendableRecordBatchStream) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(stream.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            stands_for: None,
            properties: Arc::new(properties),
            slots: vec![Arc::new(Mutex::new(Some(stream)))],
        }
    }

    /// Puts the stream of a partition in.
    pub(crate) fn put(&self, partition: usize, stream: SendableRecordBatchStream) {
        if let Some(slot) = self.slots.get(partition) {
            *slot.lock() = Some(stream);
        }
    }
}

impl fmt::Debug for HandedExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandedExec({} partitions)", self.slots.len())
    }
}

impl DisplayAs for HandedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandedExec")
    }
}

impl ExecutionPlan for HandedExec {
    fn name(&self) -> &str {
        "HandedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.stands_for.iter().collect()
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

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let nothing = move || {
            DataFusionError::Internal(format!(
                "read partition {partition} of a join's input: nobody has handed it over"
            ))
        };
        let slot = self.slots.get(partition).ok_or_else(nothing)?;
        let slot = Arc::clone(slot);
        let opened = async move { slot.lock().take().ok_or_else(nothing) };
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            futures::stream::once(opened).try_flatten(),
        )))
    }
}
