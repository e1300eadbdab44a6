//! Starts the sending side of every collective of a plan when the plan is set on an engine, so
//! that no rank waits for another's first poll.

use crate::collective_exec::CollectiveExec;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// Starts the sending side of every collective in the plan. On an error the plan has failed on
/// every engine already.
pub fn start_eagerly(plan: &Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> Result<()> {
    plan.apply(|node| {
        if let Some(collective) = node.downcast_ref::<CollectiveExec>() {
            collective.start(context)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}
