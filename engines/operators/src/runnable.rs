//! A plan as an engine runs it. It keeps its shape: metrics are told apart by it.

use crate::query_end::QueryEnd;
use crate::spilling_join_exec::with_spilling_joins;
use crate::stand_in_exec::StandInExec;
use crate::stop_points::with_stop_points;
use bireme_frames::compact_memory_of_views;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use std::sync::Arc;

/// The same plan, which stops with an error soon after its query has ended, whose hash joins spill and whose sorts
/// hold little more than their rows.
///
/// # Errors
/// A node cannot be rebuilt with its own parts.
pub fn runnable(plan: Arc<dyn ExecutionPlan>, end: &QueryEnd) -> Result<Arc<dyn ExecutionPlan>> {
    // Last, since others look for what stands below a sort.
    with_compact_sorts(with_spilling_joins(with_stop_points(plan, end)?, end)?)
}

/// A sort reserves all that its batches hold, twice, before it spills.
fn with_compact_sorts(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let sort = node.downcast_ref::<SortExec>();
        // One with a limit keeps few rows.
        let Some(sort) = sort.filter(|sort| sort.fetch().is_none()) else {
            return Ok(Transformed::no(node));
        };
        let compact = StandInExec::new(Arc::clone(sort.input()), |batch| {
            Ok(compact_memory_of_views(&batch?)?)
        });
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
        let sort = Arc::clone(&node).replace_children(vec![Arc::new(compact)], options)?;
        Ok(Transformed::yes(sort))
    })
    .data()
}
