//! Whether the two sides of a join have equal keys in equal partitions of equal engines. Both
//! must be hashed on exactly the join's keys in the join's order; anything else is shuffled anew,
//! which is always right.

use datafusion::common::JoinSide;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::joins::JoinOnRef;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::sync::Arc;

/// The keys of one side, in the order of the join.
pub(crate) fn side_keys(on: JoinOnRef<'_>, side: JoinSide) -> Vec<Arc<dyn PhysicalExpr>> {
    on.iter()
        .map(|(left, right)| match side {
            JoinSide::Right => Arc::clone(right),
            _ => Arc::clone(left),
        })
        .collect()
}

/// Whether the rows of a plan that runs on every engine lie by the hash of these keys, in so many
/// partitions on each.
pub(crate) fn is_hashed_on(
    plan: &Arc<dyn ExecutionPlan>,
    keys: &[Arc<dyn PhysicalExpr>],
    partitions: usize,
) -> bool {
    let Partitioning::Hash(hashed, count) = plan.output_partitioning() else {
        return false;
    };
    if *count != partitions || hashed.len() != keys.len() {
        return false;
    }
    let group = plan.equivalence_properties().eq_group();
    hashed.iter().zip(keys).all(|(hashed, key)| {
        hashed == key
            || group.normalize_expr(Arc::clone(hashed)) == group.normalize_expr(Arc::clone(key))
    })
}
