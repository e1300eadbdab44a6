//! Where each part of a plan runs. Bottom-up, every node is placed on all engines, each with a
//! part of the rows, or on engine 0 alone, and collectives are put in wherever a node needs more
//! than its inputs then give. Anything not known to be right in parts is refused; the caller then
//! runs the whole query on the head.

use crate::collective_exec::CollectiveExec;
use crate::frame_scan_exec::FrameScanExec;
use crate::rank_zero_exec::RankZeroExec;
use crate::requirements::{ensure_sorted, restore_order, with_children};
use crate::routing::Routing;
use bireme_collectives::OperationId;
use bireme_frames::Placement;
use bireme_protocol::QueryId;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::physical_expr::{Distribution, LexOrdering, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::sync::Arc;

/// Where a part of a plan runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On every engine, each with a part of the rows. It has at least two partitions on each, so
    /// that DataFusion's reasoning about several partitions holds for it.
    Everywhere,
    /// All rows are on engine 0, in the partitions they would have in one process.
    RankZero,
}

/// A placed part of a plan.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) place: Place,
}

/// Why a plan is not placed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is not known to be right in parts.
    Unsupported(String),
    /// DataFusion failed.
    Failed(DataFusionError),
}

impl From<DataFusionError> for Refusal {
    fn from(error: DataFusionError) -> Self {
        Self::Failed(error)
    }
}

pub(crate) type Result<T> = std::result::Result<T, Refusal>;

/// Refuses with a reason users read in the plan.
pub(crate) fn unsupported<T>(reason: impl Into<String>) -> Result<T> {
    Err(Refusal::Unsupported(reason.into()))
}

/// Places the nodes of one plan.
#[derive(Debug)]
pub(crate) struct Placer {
    pub(crate) engines: usize,
    pub(crate) partitions: usize,
    pub(crate) placement: Placement,
    pub(crate) query: QueryId,
    pub(crate) plan: u64,
    next: u32,
}

impl Placer {
    pub(crate) fn new(engines: usize, placement: Placement, query: QueryId, plan: u64) -> Self {
        Self {
            engines,
            partitions: placement.partitions(),
            placement,
            query,
            plan,
            next: 0,
        }
    }

    /// Places a node and all below it.
    pub(crate) fn place(&mut self, node: &Arc<dyn ExecutionPlan>) -> Result<Placed> {
        let mut children = Vec::with_capacity(node.children().len());
        for child in node.children() {
            children.push(self.place(child)?);
        }
        let placed = self.place_node(node, children)?;
        // The one place where a single partition carried a meaning that no requirement declares.
        let alone = node.output_partitioning().partition_count() == 1;
        match node.fetch() {
            Some(fetch) if alone && placed.place == Place::Everywhere => {
                let limited = LocalLimitExec::new(placed.plan, fetch);
                self.gather(node, Arc::new(limited), Some(fetch))
            }
            _ => Ok(placed),
        }
    }

    fn collective(&mut self, routing: Routing, input: Arc<dyn ExecutionPlan>) -> CollectiveExec {
        let id = OperationId {
            query: self.query,
            plan: self.plan,
            index: self.next,
        };
        self.next += 1;
        CollectiveExec::new(id, routing, self.engines, input)
    }

    /// Rows by hash on all engines.
    pub(crate) fn shuffle(&mut self, input: Placed, keys: Vec<Arc<dyn PhysicalExpr>>) -> Placed {
        let input = strip_round_robin(everywhere(input));
        let placement = self.placement.clone();
        let routing = Routing::Shuffle { keys, placement };
        Placed {
            plan: Arc::new(self.collective(routing, input)),
            place: Place::Everywhere,
        }
    }

    /// Rows that are on engine 0, in equal parts on all engines.
    pub(crate) fn spread(&mut self, input: Placed) -> Placed {
        let input = strip_round_robin(everywhere(ungathered(input)));
        let partitions = self.partitions;
        Placed {
            plan: Arc::new(self.collective(Routing::Spread { partitions }, input)),
            place: Place::Everywhere,
        }
    }

    /// All rows on every engine, in one partition.
    pub(crate) fn broadcast(&mut self, input: Placed) -> Arc<dyn ExecutionPlan> {
        if is_replicated(&input.plan) {
            return input.plan;
        }
        let input = strip_round_robin(everywhere(ungathered(input)));
        Arc::new(self.collective(Routing::Broadcast, input))
    }

    /// All rows on engine 0, a partition per partition of each engine.
    pub(crate) fn gather_partitions(
        &mut self,
        input: Arc<dyn ExecutionPlan>,
    ) -> Arc<dyn ExecutionPlan> {
        let input = strip_round_robin(input);
        Arc::new(self.collective(Routing::Gather, input))
    }

    /// All rows on engine 0 in one partition, in the order `like` had, if it had one.
    pub(crate) fn gather(
        &mut self,
        like: &Arc<dyn ExecutionPlan>,
        input: Arc<dyn ExecutionPlan>,
        fetch: Option<usize>,
    ) -> Result<Placed> {
        let ordering = like.output_ordering().cloned();
        let plan = match ordering {
            Some(ordering) => self.gather_sorted(&ordering, input, fetch)?,
            None => {
                let gathered = self.gather_partitions(input);
                Arc::new(CoalescePartitionsExec::new(gathered).with_fetch(fetch)) as _
            }
        };
        Ok(Placed {
            plan,
            place: Place::RankZero,
        })
    }

    /// All rows on engine 0 in one partition, merged in this order.
    pub(crate) fn gather_sorted(
        &mut self,
        ordering: &LexOrdering,
        input: Arc<dyn ExecutionPlan>,
        fetch: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = ensure_sorted(strip_round_robin(input), ordering)?;
        let gathered = self.gather_partitions(input);
        let merge = SortPreservingMergeExec::new(ordering.clone(), gathered).with_fetch(fetch);
        Ok(Arc::new(merge))
    }

    /// Places a node by what it declares of its inputs, as most nodes are.
    pub(crate) fn place_by_requirements(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        children: Vec<Placed>,
    ) -> Result<Placed> {
        let required = node.input_distribution_requirements().into_per_child();
        let originals: Vec<_> = node.children().into_iter().map(Arc::clone).collect();
        let mut placed = Vec::with_capacity(children.len());
        for ((child, required), original) in children.into_iter().zip(required).zip(&originals) {
            placed.push(self.satisfy(child, required, original)?);
        }
        let zero = placed.iter().any(|child| child.place == Place::RankZero);
        let parts = placed.iter().any(|child| child.place == Place::Everywhere);
        if zero && parts {
            return unsupported(format!("{} has inputs in different places", node.name()));
        }
        let place = if zero {
            Place::RankZero
        } else {
            Place::Everywhere
        };
        let children = placed.into_iter().map(|child| child.plan).collect();
        let children = restore_order(node, children)?;
        Ok(Placed {
            plan: with_children(node, children)?,
            place,
        })
    }

    #[expect(deprecated, reason = "nodes may still declare the older name")]
    fn satisfy(
        &mut self,
        child: Placed,
        required: Distribution,
        original: &Arc<dyn ExecutionPlan>,
    ) -> Result<Placed> {
        if child.place == Place::RankZero {
            return Ok(child);
        }
        match required {
            Distribution::UnspecifiedDistribution => Ok(child),
            Distribution::SinglePartition => self.gather(original, child.plan, None),
            Distribution::KeyPartitioned(keys) | Distribution::HashPartitioned(keys) => {
                let required = Distribution::KeyPartitioned(keys.clone());
                let satisfied = child.plan.output_partitioning().satisfaction(
                    &required,
                    child.plan.equivalence_properties(),
                    true,
                );
                if satisfied.is_satisfied() {
                    Ok(child)
                } else {
                    Ok(self.shuffle(child, keys))
                }
            }
        }
    }
}

/// The plan as one that runs on every engine: rows on engine 0 are a part like another.
pub(crate) fn everywhere(placed: Placed) -> Arc<dyn ExecutionPlan> {
    match placed.place {
        Place::Everywhere => placed.plan,
        Place::RankZero => Arc::new(RankZeroExec::new(placed.plan)),
    }
}

/// The part below a gather that only brought rows together, as it was before. A gather with a
/// limit or an order stays.
pub(crate) fn ungathered(placed: Placed) -> Placed {
    let below = placed
        .plan
        .downcast_ref::<CoalescePartitionsExec>()
        .filter(|coalesce| coalesce.fetch().is_none())
        .and_then(|coalesce| coalesce.input().downcast_ref::<CollectiveExec>())
        .filter(|collective| matches!(collective.routing(), Routing::Gather))
        .map(|collective| Arc::clone(collective.input()));
    match below {
        Some(plan) => Placed {
            plan,
            place: Place::Everywhere,
        },
        None => placed,
    }
}

/// A round-robin repartition feeds nothing faster when its rows leave the engine right away. At
/// the head of a stage datafusion-distributed would take it for its own and drop it.
pub(crate) fn strip_round_robin(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let input = plan
        .downcast_ref::<RepartitionExec>()
        .filter(|_| plan.output_ordering().is_none())
        .map(|repartition| Arc::clone(repartition.input()));
    input.map_or(plan, strip_round_robin)
}

/// Whether every engine can compute all of these rows by itself: all that is read lies on each.
fn is_replicated(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let children = plan.children();
    match plan.downcast_ref::<FrameScanExec>() {
        Some(scan) => scan.frame().is_replicated(),
        None if plan.is::<CollectiveExec>() || plan.is::<RankZeroExec>() => false,
        None => !children.is_empty() && children.into_iter().all(is_replicated),
    }
}

/// Whether the refusal is DataFusion's own failure, which planning reports.
pub(crate) fn or_failed<T>(result: PlanResult<T>) -> Result<T> {
    result.map_err(Refusal::Failed)
}
