//! The optimizer rule for the joins that [`crate::WindowRewrite`] makes: the values of the groups are
//! collected, on every engine, and the rows stay where they are.
//!
//! There are no more groups than rows, and most often few; DataFusion, which has no statistics of
//! either side, would send all rows to the engine of their group.

use crate::window_rewrite::is_key;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use std::sync::Arc;

/// The rule of DataFusion that chooses sides, after which ours has the last word.
pub(crate) const AFTER: &str = "join_selection";

/// Makes the groups the build side, collected on every engine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WindowJoinRule;

impl PhysicalOptimizerRule for WindowJoinRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else {
                return Ok(Transformed::no(node));
            };
            let collect = PartitionMode::CollectLeft;
            if join.on().iter().any(|(_, right)| is_group_key(right)) {
                return Ok(Transformed::yes(join.swap_inputs(collect)?));
            }
            if join.on().iter().any(|(left, _)| is_group_key(left)) {
                let join = join.builder().with_partition_mode(collect);
                return Ok(Transformed::yes(join.build_exec()?));
            }
            Ok(Transformed::no(node))
        })
        .data()
    }

    fn name(&self) -> &str {
        "WindowJoinRule"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn is_group_key(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<Column>()
        .is_some_and(|column| is_key(column.name()))
}
