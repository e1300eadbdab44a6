//! The optimizer rule that makes a plan for one process a plan for all engines: one stage with a
//! task per engine, collectives inside it, and the last merge on the head. It runs before dynamic
//! filters are pushed down, and collectives let no filter through, so that a filter made above a
//! collective never reaches below it. What it cannot place runs whole on the head and says why.

use crate::collective_exec::CollectiveExec;
use crate::file_leaf;
use crate::head_exec::HeadExec;
use crate::placer::{Place, Placed, Placer, Refusal, everywhere, strip_round_robin};
use crate::query_scope_exec::QueryScopeExec;
use crate::requirements::{ensure_sorted, with_children};
use crate::routing::Routing;
use bireme_frames::bytes_text;
use bireme_protocol::QueryId;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::analyze::AnalyzeExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_distributed::NetworkCoalesceExec;
use std::sync::Arc;

/// Partitions per engine below which DataFusion's reasoning about several partitions fails.
pub(crate) const PARTITIONS_MIN: usize = 2;

/// Distributes plans over the engines of a cluster.
#[derive(Clone, Debug)]
pub struct DistributeRule {
    engines: usize,
    query: QueryId,
    distribute_above_bytes: u64,
}

impl DistributeRule {
    /// A rule for the plans of one query.
    pub fn new(engines: usize, query: QueryId, distribute_above_bytes: u64) -> Self {
        Self {
            engines,
            query,
            distribute_above_bytes,
        }
    }

    fn distribute(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let whole = |reason: String| -> Result<Arc<dyn ExecutionPlan>> {
            Ok(Arc::new(HeadExec::new(Arc::clone(plan), reason)))
        };
        if let Some(reason) = self.reason_to_stay(plan)? {
            return whole(reason);
        }
        let nonce = rand::random();
        let partitions = partitions.max(PARTITIONS_MIN);
        let mut placer = Placer::new(self.engines, partitions, self.query, nonce);
        let placed = match placer.place(plan) {
            Ok(placed) => placed,
            Err(Refusal::Unsupported(reason)) => return whole(reason),
            Err(Refusal::Failed(error)) => return Err(error),
        };
        let staged = self.stage(plan, placed)?;
        let root = with_one_partition(plan, staged)?;
        Ok(Arc::new(QueryScopeExec::new(self.query, nonce, root)))
    }

    /// Why the query runs whole on the head, if it does.
    fn reason_to_stay(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Option<String>> {
        if self.engines < 2 {
            return Ok(Some("there is one engine".to_string()));
        }
        let (mut files, mut bytes) = (0, 0);
        plan.apply(|node| {
            if let Some(scan) = file_leaf::file_scan(node) {
                files += 1;
                bytes += file_leaf::scanned_bytes(scan);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        if files == 0 {
            return Ok(Some("it scans no files".to_string()));
        }
        if bytes < self.distribute_above_bytes {
            return Ok(Some(format!(
                "it scans {}, less than {}",
                bytes_text(bytes),
                bytes_text(self.distribute_above_bytes)
            )));
        }
        Ok(None)
    }

    /// Puts the boundary between the engines' stage and the head: in place of the topmost gather
    /// if only single-input nodes are above it, else above everything.
    fn stage(
        &self,
        original: &Arc<dyn ExecutionPlan>,
        placed: Placed,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if placed.place == Place::RankZero
            && let Some(staged) = self.replace_gather(&placed.plan)?
        {
            return Ok(staged);
        }
        let plan = strip_round_robin(everywhere(placed));
        let plan = match original.output_ordering() {
            Some(ordering) => ensure_sorted(plan, ordering)?,
            None => plan,
        };
        Ok(Arc::new(NetworkCoalesceExec::try_new(
            plan,
            self.engines,
            1,
        )?))
    }

    fn replace_gather(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(collective) = plan.downcast_ref::<CollectiveExec>() {
            if !matches!(collective.routing(), Routing::Gather) {
                return Ok(None);
            }
            let input = Arc::clone(collective.input());
            let boundary = NetworkCoalesceExec::try_new(input, self.engines, 1)?;
            return Ok(Some(Arc::new(boundary)));
        }
        let children = plan.children();
        let [child] = children.as_slice() else {
            return Ok(None);
        };
        match self.replace_gather(child)? {
            Some(child) => Ok(Some(with_children(plan, vec![child])?)),
            None => Ok(None),
        }
    }
}

/// What datafusion-distributed runs has one partition, in the order the plan had.
fn with_one_partition(
    original: &Arc<dyn ExecutionPlan>,
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if plan.output_partitioning().partition_count() == 1 {
        return Ok(plan);
    }
    match original.output_ordering() {
        Some(ordering) => {
            let plan = ensure_sorted(plan, ordering)?;
            Ok(Arc::new(SortPreservingMergeExec::new(
                ordering.clone(),
                plan,
            )))
        }
        None => Ok(Arc::new(CoalescePartitionsExec::new(plan))),
    }
}

impl PhysicalOptimizerRule for DistributeRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = config.execution.target_partitions;
        if let Some(analyze) = plan.downcast_ref::<AnalyzeExec>() {
            let input = self.distribute(analyze.input(), partitions)?;
            return with_children(&plan, vec![input]);
        }
        self.distribute(&plan, partitions)
    }

    fn name(&self) -> &str {
        "bireme_distribute"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
