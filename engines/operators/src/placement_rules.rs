//! Where each kind of node runs. Kinds that are not listed are refused: being right in parts must
//! be known, not hoped.

use crate::file_leaf;
use crate::frame_scan_exec::FrameScanExec;
use crate::placer::{Place, Placed, Placer, Result, everywhere, or_failed, unsupported};
use crate::requirements::{restore_order, with_children};
use crate::shared_rows_exec::SharedRowsExec;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::{LexOrdering, Partitioning, PhysicalExpr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::async_func::AsyncFuncExec;
use datafusion::physical_plan::buffer::BufferExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::memory::LazyMemoryExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::partial_sort::PartialSortExec;
use datafusion::physical_plan::sorts::partitioned_topk::PartitionedTopKExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::sync::Arc;

impl Placer {
    /// Places a node whose children are placed.
    pub(crate) fn place_node(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        children: Vec<Placed>,
    ) -> Result<Placed> {
        if children.is_empty() {
            return self.place_leaf(node);
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            return self.place_hash_join(node, join, children);
        }
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            return self.place_nested_loop_join(node, join, children);
        }
        if let Some(join) = node.downcast_ref::<SortMergeJoinExec>() {
            return self.place_sort_merge_join(node, join, children);
        }
        if node.is::<CrossJoinExec>() {
            let (left, right) = crate::join_placement::pair(children)?;
            return self.place_collected(node, left, right);
        }
        if node.is::<UnionExec>() {
            return place_union(node, children);
        }
        if node.is::<InterleaveExec>() {
            return self.place_interleave(node, children);
        }
        if let Some(repartition) = node.downcast_ref::<RepartitionExec>() {
            return self.place_repartition(node, repartition, only(children)?);
        }
        if let Some(sort) = node.downcast_ref::<SortExec>() {
            return self.place_sort(node, sort, only(children)?);
        }
        if let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>() {
            let ordering = merge.expr().clone();
            return self.place_merge(node, &ordering, merge.fetch(), only(children)?);
        }
        if let Some(coalesce) = node.downcast_ref::<CoalescePartitionsExec>() {
            return self.place_coalesce(node, coalesce, only(children)?);
        }
        if let Some(limit) = node.downcast_ref::<GlobalLimitExec>() {
            return self.place_limit(node, limit, only(children)?);
        }
        if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
            return self.place_aggregate(node, aggregate, only(children)?);
        }
        if is_local(node) {
            return self.place_by_requirements(node, children);
        }
        unsupported(format!("{} is not known to run in parts", node.name()))
    }

    fn place_leaf(&mut self, node: &Arc<dyn ExecutionPlan>) -> Result<Placed> {
        let rank_zero = || Placed {
            plan: Arc::clone(node),
            place: Place::RankZero,
        };
        if node.is::<EmptyExec>() || node.is::<PlaceholderRowExec>() {
            return Ok(rank_zero());
        }
        // `range` and `generate_series`, which travel with their one column only.
        if node.is::<LazyMemoryExec>() && node.schema().fields().len() == 1 {
            return Ok(rank_zero());
        }
        if let Some(scan) = node.downcast_ref::<FrameScanExec>() {
            // Of rows that every engine has, one engine's are all.
            return Ok(match scan.frame().is_replicated() {
                true => rank_zero(),
                false => Placed {
                    plan: Arc::clone(node),
                    place: Place::Everywhere,
                },
            });
        }
        if node.is::<SharedRowsExec>() {
            return Ok(Placed {
                plan: Arc::clone(node),
                place: Place::Everywhere,
            });
        }
        if let Some(source) = node.downcast_ref::<DataSourceExec>() {
            if source.data_source().is::<MemorySourceConfig>() {
                return Ok(rank_zero());
            }
            return match file_leaf::pad(node, self.partitions) {
                Ok(plan) => Ok(Placed {
                    plan,
                    place: Place::Everywhere,
                }),
                Err(reason) => unsupported(reason),
            };
        }
        unsupported(format!("{} is not known to be read in parts", node.name()))
    }

    fn place_repartition(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        repartition: &RepartitionExec,
        child: Placed,
    ) -> Result<Placed> {
        match repartition.partitioning() {
            Partitioning::Hash(..) if self.groups_lie_together(&child) => Ok(child),
            Partitioning::Hash(keys, _) => Ok(self.shuffle(child, keys.clone())),
            Partitioning::RoundRobinBatch(_) => Ok(Placed {
                plan: with_children(node, vec![child.plan])?,
                place: child.place,
            }),
            other => unsupported(format!("repartitioning by {other}")),
        }
    }

    /// Whether parts of a group never lie in two partitions, for what the rows lie by is in all keys of
    /// the group. DataFusion does not look into grouping sets for it.
    fn groups_lie_together(&self, child: &Placed) -> bool {
        let aggregate = child.plan.downcast_ref::<AggregateExec>();
        let Some(aggregate) = aggregate.filter(|one| *one.mode() == AggregateMode::Partial) else {
            return false;
        };
        let Partitioning::Hash(by, count) = aggregate.input().output_partitioning() else {
            return false;
        };
        let groups = aggregate.group_expr();
        let is_in_all = |key: &Arc<dyn PhysicalExpr>| {
            let at = groups.expr().iter().position(|(expr, _)| expr == key);
            at.is_some_and(|at| groups.groups().iter().all(|is_absent| !is_absent[at]))
        };
        let is_all = by.len() == groups.expr().len();
        child.place == Place::Everywhere
            && *count == self.partitions
            && !by.is_empty()
            && (is_all || groups.has_grouping_set())
            && by.iter().all(is_in_all)
    }

    fn place_sort(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        sort: &SortExec,
        child: Placed,
    ) -> Result<Placed> {
        if child.place == Place::RankZero || sort.preserve_partitioning() {
            return Ok(Placed {
                plan: with_children(node, vec![child.plan])?,
                place: child.place,
            });
        }
        let ordering: LexOrdering = sort.expr().clone();
        let parts = SortExec::new(ordering.clone(), child.plan)
            .with_fetch(sort.fetch())
            .with_preserve_partitioning(true);
        Ok(Placed {
            plan: self.gather_sorted(&ordering, Arc::new(parts), sort.fetch())?,
            place: Place::RankZero,
        })
    }

    fn place_merge(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        ordering: &LexOrdering,
        fetch: Option<usize>,
        child: Placed,
    ) -> Result<Placed> {
        let plan = match child.place {
            Place::RankZero => {
                let children = restore_order(node, vec![child.plan])?;
                with_children(node, children)?
            }
            Place::Everywhere => self.gather_sorted(ordering, child.plan, fetch)?,
        };
        Ok(Placed {
            plan,
            place: Place::RankZero,
        })
    }

    fn place_coalesce(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        coalesce: &CoalescePartitionsExec,
        child: Placed,
    ) -> Result<Placed> {
        let input = match (child.place, coalesce.fetch()) {
            (Place::RankZero, _) => child.plan,
            (Place::Everywhere, None) => self.gather_partitions(child.plan),
            (Place::Everywhere, Some(fetch)) => {
                let limited = LocalLimitExec::new(child.plan, fetch);
                self.gather_partitions(Arc::new(limited))
            }
        };
        Ok(Placed {
            plan: with_children(node, vec![input])?,
            place: Place::RankZero,
        })
    }

    fn place_limit(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        limit: &GlobalLimitExec,
        child: Placed,
    ) -> Result<Placed> {
        let input = match (child.place, limit.fetch()) {
            (Place::RankZero, _) => child.plan,
            (Place::Everywhere, None) => self.gather(limit.input(), child.plan, None)?.plan,
            (Place::Everywhere, Some(fetch)) => {
                let first = limit.skip().saturating_add(fetch);
                let limited = Arc::new(LocalLimitExec::new(child.plan, first));
                self.gather(limit.input(), limited, Some(first))?.plan
            }
        };
        Ok(Placed {
            plan: with_children(node, vec![input])?,
            place: Place::RankZero,
        })
    }

    /// Partition i of every input becomes partition i: the inputs must be hashed alike.
    fn place_interleave(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        children: Vec<Placed>,
    ) -> Result<Placed> {
        let layouts: Vec<_> = children
            .iter()
            .map(|child| (child.place, child.plan.output_partitioning().clone()))
            .collect();
        let hashed = |(place, layout): &(Place, Partitioning)| {
            *place == Place::Everywhere
                && matches!(layout, Partitioning::Hash(_, count) if *count == self.partitions)
        };
        if !layouts.iter().all(hashed) || layouts.windows(2).any(|two| two[0] != two[1]) {
            return unsupported("a union by partition of inputs that are not hashed alike");
        }
        let plans = children.into_iter().map(|child| child.plan).collect();
        Ok(Placed {
            plan: with_children(node, plans)?,
            place: Place::Everywhere,
        })
    }

    /// An aggregate of one partition over rows in parts needs no gather where it has groups: rows
    /// of a group meet by hash.
    fn place_aggregate(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        aggregate: &AggregateExec,
        child: Placed,
    ) -> Result<Placed> {
        let groups = aggregate.group_expr();
        let in_parts = child.place == Place::Everywhere
            && *aggregate.mode() == AggregateMode::Single
            && groups.is_single()
            && !groups.is_empty()
            && aggregate.limit_options().is_none();
        if !in_parts {
            return self.place_by_requirements(node, vec![child]);
        }
        let spread = or_failed(AggregateExec::try_new(
            AggregateMode::SinglePartitioned,
            groups.clone(),
            aggregate.aggr_expr().to_vec(),
            aggregate.filter_expr().to_vec(),
            Arc::clone(aggregate.input()),
            aggregate.input_schema(),
        ))?;
        let spread: Arc<dyn ExecutionPlan> = Arc::new(spread);
        self.place_by_requirements(&spread, vec![child])
    }
}

/// Nodes that work on each partition by itself and declare all they need of their input.
fn is_local(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.is::<FilterExec>()
        || node.is::<PartialSortExec>()
        || node.is::<ProjectionExec>()
        || node.is::<LocalLimitExec>()
        || node.is::<CooperativeExec>()
        || node.is::<BufferExec>()
        || node.is::<UnnestExec>()
        || node.is::<AsyncFuncExec>()
        || node.is::<WindowAggExec>()
        || node.is::<BoundedWindowAggExec>()
        || node.is::<PartitionedTopKExec>()
}

fn place_union(node: &Arc<dyn ExecutionPlan>, children: Vec<Placed>) -> Result<Placed> {
    let all_on_zero = children.iter().all(|child| child.place == Place::RankZero);
    let (place, plans): (_, Vec<_>) = if all_on_zero {
        let plans = children.into_iter().map(|child| child.plan);
        (Place::RankZero, plans.collect())
    } else {
        (
            Place::Everywhere,
            children.into_iter().map(everywhere).collect(),
        )
    };
    Ok(Placed {
        plan: with_children(node, plans)?,
        place,
    })
}

fn only(children: Vec<Placed>) -> Result<Placed> {
    let mut children = children.into_iter();
    match (children.next(), children.next()) {
        (Some(child), None) => Ok(child),
        _ => unsupported("a node with an unexpected number of inputs"),
    }
}
