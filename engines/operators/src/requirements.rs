//! What a node requires of its inputs, checked anew once collectives stand below it: an order
//! that a collective has mixed up is sorted again.

use datafusion::common::JoinType;
use datafusion::error::Result;
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions,
};
use std::sync::Arc;

/// The node with these children.
pub(crate) fn with_children(
    node: &Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(node).replace_children(children, options)
}

/// The children, sorted within their partitions where the node needs an order they do not have.
pub(crate) fn restore_order(
    node: &Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
    let required = node.required_input_ordering();
    let pairs = children.into_iter().zip(required);
    pairs
        .map(|(child, required)| {
            let Some(required) = required else {
                return Ok(child);
            };
            let (alternatives, soft) = required.into_alternatives();
            if soft {
                return Ok(child);
            }
            for alternative in &alternatives {
                let given = alternative.clone();
                if child
                    .equivalence_properties()
                    .ordering_satisfy_requirement(given)?
                {
                    return Ok(child);
                }
            }
            match alternatives.into_iter().next() {
                None => Ok(child),
                Some(first) => Ok(sorted(child, LexOrdering::from(first))),
            }
        })
        .collect()
}

/// Sorted within each partition.
pub(crate) fn sorted(
    child: Arc<dyn ExecutionPlan>,
    ordering: LexOrdering,
) -> Arc<dyn ExecutionPlan> {
    Arc::new(SortExec::new(ordering, child).with_preserve_partitioning(true))
}

/// Sorted within each partition unless it is already.
pub(crate) fn ensure_sorted(
    child: Arc<dyn ExecutionPlan>,
    ordering: &LexOrdering,
) -> Result<Arc<dyn ExecutionPlan>> {
    let given = ordering.clone();
    if child.equivalence_properties().ordering_satisfy(given)? {
        Ok(child)
    } else {
        Ok(sorted(child, ordering.clone()))
    }
}

/// Whether a join whose left side is collected never gives a row because of the left side alone,
/// so that every engine may hold the whole left side.
pub(crate) fn left_may_be_everywhere(join_type: JoinType) -> bool {
    matches!(
        join_type,
        JoinType::Inner
            | JoinType::Right
            | JoinType::RightSemi
            | JoinType::RightAnti
            | JoinType::RightMark
    )
}
