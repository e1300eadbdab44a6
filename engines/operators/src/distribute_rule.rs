//! The optimizer rule that makes a plan for one process a plan for all engines: one stage with a
//! task per engine, collectives inside it, and the last merge on the head. It runs before dynamic
//! filters are pushed down, and collectives let no filter through, so that a filter made above a
//! collective never reaches below it. What it cannot place runs whole on the head and says why.

use crate::collective_exec::CollectiveExec;
use crate::file_leaf;
use crate::frame_scan_exec::FrameScanExec;
use crate::head_exec::HeadExec;
use crate::keep::Keep;
use crate::placer::{Place, Placed, Placer, Refusal, everywhere, strip_round_robin};
use crate::query_scope_exec::QueryScopeExec;
use crate::requirements::{ensure_sorted, with_children};
use crate::routing::Routing;
use bireme_frames::{Placement, bytes_text};
use bireme_protocol::QueryId;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::datasource::sink::DataSinkExec;
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
    placement: Placement,
    distribute_above_bytes: u64,
    keep: Option<Keep>,
}

impl DistributeRule {
    /// A rule for the plans of one query, which may keep what comes out as a frame.
    pub fn new(
        engines: usize,
        query: QueryId,
        placement: Placement,
        distribute_above_bytes: u64,
        keep: Option<Keep>,
    ) -> Self {
        Self {
            engines,
            query,
            placement,
            distribute_above_bytes,
            keep,
        }
    }

    fn distribute(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let whole = |reason: String| -> Result<Arc<dyn ExecutionPlan>> {
            let plan = match &self.keep {
                Some(keep) => {
                    keep.on_head(Arc::clone(plan), &self.placement, self.engines, &reason)?
                }
                None => Arc::clone(plan),
            };
            Ok(Arc::new(HeadExec::new(plan, reason)))
        };
        if let Some(keep) = &self.keep {
            keep.sources.note(plan)?;
        }
        if let Some(reason) = self.reason_to_stay(plan)? {
            return whole(reason);
        }
        let nonce = rand::random();
        let partitions = partitions.max(PARTITIONS_MIN);
        let placement = self.placement.with_partitions(partitions)?;
        let mut placer = Placer::new(self.engines, placement, self.query, nonce);
        let placed = placer.place(plan).and_then(|placed| match &self.keep {
            Some(keep) => keep.in_parts(placed, &mut placer),
            None => Ok(placed),
        });
        let placed = match placed {
            Ok(placed) => placed,
            Err(Refusal::Unsupported(reason)) => return whole(reason),
            Err(Refusal::Failed(error)) => return Err(error),
        };
        let staged = match &self.keep {
            Some(_) => Arc::new(NetworkCoalesceExec::try_new(placed.plan, self.engines, 1)?) as _,
            None => self.stage(plan, placed)?,
        };
        let root = with_one_partition(plan, staged)?;
        Ok(Arc::new(QueryScopeExec::new(self.query, nonce, root)))
    }

    /// Why the query runs whole on the head, if it does.
    fn reason_to_stay(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Option<String>> {
        if self.engines < 2 {
            return Ok(Some("there is one engine".to_string()));
        }
        let (mut files, mut bytes, mut frames) = (0, 0, 0);
        plan.apply(|node| {
            if let Some(scan) = file_leaf::file_scan(node) {
                files += 1;
                bytes += file_leaf::scanned_bytes(scan);
            }
            // Of rows that every engine has, the head's own are all.
            if let Some(scan) = node.downcast_ref::<FrameScanExec>() {
                frames += usize::from(!scan.frame().is_replicated());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        // A frame is read where it lies, and made where it shall lie.
        if frames > 0 || self.keep.is_some() {
            return Ok(None);
        }
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
    // What a plan that keeps its rows gives are facts about partitions, in no order.
    let ordering = original
        .output_ordering()
        .filter(|_| plan.schema() == original.schema());
    match ordering {
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
        // Files are written by the head; what goes into them is worked out by all engines.
        if let Some(sink) = plan.downcast_ref::<DataSinkExec>() {
            let input = self.distribute(sink.input(), partitions)?;
            return with_children(&plan, vec![input]);
        }
        self.distribute(&plan, partitions)
    }

    fn name(&self) -> &str {
        "bireme_distribute"
    }

    fn schema_check(&self) -> bool {
        // A plan that keeps its rows gives facts about them instead.
        self.keep.is_none()
    }
}
