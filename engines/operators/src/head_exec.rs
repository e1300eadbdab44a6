//! Marks a plan that runs whole on the head engine, and says why. It passes rows through.

use crate::pass_through::pass_through_methods;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use std::fmt;
use std::sync::Arc;

/// A plan that runs whole on the head engine.
#[derive(Debug)]
pub struct HeadExec {
    input: Arc<dyn ExecutionPlan>,
    reason: Arc<str>,
}

impl HeadExec {
    /// Marks a plan with the reason why no other engine takes part.
    pub fn new(input: Arc<dyn ExecutionPlan>, reason: impl Into<Arc<str>>) -> Self {
        Self {
            input,
            reason: reason.into(),
        }
    }

    /// Why no other engine takes part.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        Self::new(input, Arc::clone(&self.reason))
    }
}

impl DisplayAs for HeadExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeadExec: {}", self.reason)
    }
}

impl ExecutionPlan for HeadExec {
    pass_through_methods!("HeadExec");

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
