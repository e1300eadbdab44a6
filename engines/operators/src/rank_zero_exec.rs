//! Runs its input on engine 0 only; elsewhere it is empty. It stands where rows that are on engine
//! 0 enter a part of the plan that runs everywhere: an aggregate without groups, for one, gives a
//! row even for no input.

use crate::pass_through::pass_through_methods;
use bireme_collectives::Exchange;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, EmptyRecordBatchStream, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties,
};
use datafusion_distributed::DistributedTaskContext;
use std::fmt;
use std::sync::Arc;

/// Its input on engine 0, nothing elsewhere.
#[derive(Debug)]
pub struct RankZeroExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl RankZeroExec {
    /// Keeps the input to engine 0.
    pub fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            input.equivalence_properties().clone(),
            Partitioning::UnknownPartitioning(partitions),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            input,
            properties: Arc::new(properties),
        }
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        Self::new(input)
    }
}

impl DisplayAs for RankZeroExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RankZeroExec: on engine 0 only")
    }
}

impl ExecutionPlan for RankZeroExec {
    pass_through_methods!("RankZeroExec");

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rank = match context.session_config().get_extension::<Exchange>() {
            Some(exchange) => exchange.rank(),
            None => DistributedTaskContext::from_ctx(&context).task_index,
        };
        if rank == 0 {
            self.input.execute(partition, context)
        } else {
            Ok(Box::pin(EmptyRecordBatchStream::new(self.schema())))
        }
    }
}
