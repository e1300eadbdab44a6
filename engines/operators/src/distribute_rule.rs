//! The optimizer rule that makes a plan for one process a plan for all engines: one stage with a
//! task per engine, collectives inside it, and the last merge on the head. It runs before dynamic
//! filters are pushed down, and collectives let no filter through, so that a filter made above a
//! collective never reaches below it. What it cannot place runs whole on the head and says why.

use crate::collective_exec::CollectiveExec;
use crate::commit_exec::CommitExec;
use crate::file_leaf;
use crate::file_sink::FileSink;
use crate::frame_scan_exec::FrameScanExec;
use crate::head_exec::HeadExec;
use crate::keep::Keep;
use crate::placer::{Place, Placed, Placer, Refusal, everywhere, strip_round_robin};
use crate::query_scope_exec::QueryScopeExec;
use crate::requirements::{ensure_sorted, with_children};
use crate::routing::Routing;
use crate::sink_exec::SinkExec;
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

    /// The plan for all engines. Where `sink` is given, each writes the rows it has, and the facts
    /// about that come out.
    fn distribute(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        partitions: usize,
        sink: Option<&Arc<FileSink>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let whole = |reason: String| -> Result<Arc<dyn ExecutionPlan>> {
            let plan = match &self.keep {
                Some(keep) => {
                    keep.on_head(Arc::clone(plan), &self.placement, self.engines, &reason)?
                }
                None => written(Arc::clone(plan), sink),
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
        // What a stage writes or keeps is where it is made; rows of the head's engine are the head's.
        let in_parts = placed.place == Place::Everywhere;
        let (staged, sink) = match (&self.keep, sink) {
            (Some(_), _) => (self.boundary(placed.plan)?, None),
            (None, Some(_)) if in_parts => (self.boundary(written(placed.plan, sink))?, None),
            (None, _) => (self.stage(plan, placed)?, sink),
        };
        let root = with_one_partition(plan, staged)?;
        let scope = Arc::new(QueryScopeExec::new(self.query, nonce, root));
        Ok(written(scope, sink))
    }

    /// The plan whose rows become files, which count when all of them are whole.
    fn write_files(
        &self,
        rows: &Arc<dyn ExecutionPlan>,
        partitions: usize,
        sink: FileSink,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let target = sink.target().clone();
        let sink = Arc::new(sink);
        let facts = match target.is_directory() {
            true => self.distribute(unmerged(rows), partitions, Some(&sink))?,
            // What comes after what in a file only one engine can tell.
            false => {
                let rows = self.distribute(rows, partitions, None)?;
                let rows = with_one_partition(&rows, Arc::clone(&rows))?;
                Arc::new(SinkExec::new(sink, rows))
            }
        };
        let facts = with_one_partition(rows, facts)?;
        Ok(Arc::new(CommitExec::new(target, facts)))
    }

    fn boundary(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(NetworkCoalesceExec::try_new(
            plan,
            self.engines,
            1,
        )?))
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
        self.boundary(plan)
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
            return Ok(Some(self.boundary(input)?));
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

/// The rows, or the facts about the files they become.
fn written(rows: Arc<dyn ExecutionPlan>, sink: Option<&Arc<FileSink>>) -> Arc<dyn ExecutionPlan> {
    match sink {
        Some(sink) => Arc::new(SinkExec::new(Arc::clone(sink), rows)),
        None => rows,
    }
}

/// Rows in no order, before they were brought together for one writer. Rows in an order are left to
/// one.
fn unmerged(rows: &Arc<dyn ExecutionPlan>) -> &Arc<dyn ExecutionPlan> {
    match rows.downcast_ref::<CoalescePartitionsExec>() {
        Some(merge) if merge.fetch().is_none() => merge.input(),
        _ => rows,
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
            let input = self.optimize(Arc::clone(analyze.input()), config)?;
            return with_children(&plan, vec![input]);
        }
        if let Some(exec) = plan.downcast_ref::<DataSinkExec>() {
            if let Some(sink) = FileSink::of(exec, self.query) {
                return self.write_files(exec.input(), partitions, sink);
            }
            // Elsewhere than on this machine DataFusion writes, on the head.
            let input = self.distribute(exec.input(), partitions, None)?;
            return with_children(&plan, vec![input]);
        }
        self.distribute(&plan, partitions, None)
    }

    fn name(&self) -> &str {
        "bireme_distribute"
    }

    fn schema_check(&self) -> bool {
        // A plan that keeps its rows gives facts about them instead.
        self.keep.is_none()
    }
}
