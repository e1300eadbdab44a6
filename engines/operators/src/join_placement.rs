//! Where joins run. A side that is collected goes to every engine, unless the join gives rows
//! because of that side alone: then both sides are shuffled, or the sides are swapped, or both are
//! gathered. A join that must see all rows in one place never pulls the scans below it there: its
//! inputs are gathered.

use crate::co_partitioning::{is_hashed_on, side_keys};
use crate::placer::{Place, Placed, Placer, Result, or_failed, ungathered, unsupported};
use crate::requirements::{left_may_be_everywhere, restore_order, with_children};
use datafusion::common::{JoinSide, JoinType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{
    HashJoinExec, JoinOnRef, NestedLoopJoinExec, PartitionMode, SortMergeJoinExec,
};
use std::sync::Arc;

/// The two sides of a join.
pub(crate) fn pair(children: Vec<Placed>) -> Result<(Placed, Placed)> {
    let mut children = children.into_iter();
    match (children.next(), children.next(), children.next()) {
        (Some(left), Some(right), None) => Ok((left, right)),
        _ => unsupported("a join without two sides"),
    }
}

impl Placer {
    pub(crate) fn place_hash_join(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        join: &HashJoinExec,
        children: Vec<Placed>,
    ) -> Result<Placed> {
        let (left, right) = pair(children)?;
        match join.partition_mode() {
            PartitionMode::Auto => unsupported("a hash join without a mode"),
            PartitionMode::Partitioned if join.null_aware => {
                unsupported("a null-aware join over partitions")
            }
            PartitionMode::Partitioned => self.place_partitioned(node, join.on(), left, right),
            PartitionMode::CollectLeft if join.null_aware => {
                // Whether a null was seen is known to one process only.
                let right = self.gathered(join.right(), right)?;
                self.place_collected(node, left, right)
            }
            PartitionMode::CollectLeft if self.is_co_partitioned(join, &left, &right) => {
                self.place_in_parts(join, left, right)
            }
            PartitionMode::CollectLeft
                if left_may_be_everywhere(*join.join_type()) || right.place == Place::RankZero =>
            {
                self.place_collected(node, left, right)
            }
            PartitionMode::CollectLeft => {
                // Rows of the left side without a match must be found once, not once per engine.
                self.place_in_parts(join, left, right)
            }
        }
    }

    /// A join of a collected left side as one of equally hashed sides.
    fn place_in_parts(
        &mut self,
        join: &HashJoinExec,
        left: Placed,
        right: Placed,
    ) -> Result<Placed> {
        let builder = join
            .builder()
            .with_partition_mode(PartitionMode::Partitioned);
        let partitioned: Arc<dyn ExecutionPlan> =
            Arc::new(or_failed(builder.recompute_properties().build())?);
        self.place_partitioned(&partitioned, join.on(), ungathered(left), right)
    }

    /// Whether frames hold both sides by the join's keys already: then nothing is collected.
    fn is_co_partitioned(&self, join: &HashJoinExec, left: &Placed, right: &Placed) -> bool {
        let left = ungathered(left.clone());
        let is_ready = |side: &Placed, keys: &[_]| {
            side.place == Place::Everywhere && is_hashed_on(&side.plan, keys, self.partitions)
        };
        is_ready(&left, &side_keys(join.on(), JoinSide::Left))
            && is_ready(right, &side_keys(join.on(), JoinSide::Right))
    }

    pub(crate) fn place_sort_merge_join(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        join: &SortMergeJoinExec,
        children: Vec<Placed>,
    ) -> Result<Placed> {
        let (left, right) = pair(children)?;
        self.place_partitioned(node, join.on(), left, right)
    }

    pub(crate) fn place_nested_loop_join(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        join: &NestedLoopJoinExec,
        children: Vec<Placed>,
    ) -> Result<Placed> {
        let (left, right) = pair(children)?;
        let join_type = *join.join_type();
        if left_may_be_everywhere(join_type) || right.place == Place::RankZero {
            return self.place_collected(node, left, right);
        }
        let left = ungathered(left);
        if join_type == JoinType::Full || left.place == Place::RankZero {
            let right = self.gathered(join.right(), right)?;
            return self.place_collected(node, left, right);
        }
        // The side that gives rows by itself stays in parts; the other goes to every engine.
        let everywhere = self.broadcast(right);
        let swapped = with_children(node, vec![left.plan, everywhere])?;
        let Some(swapped) = swapped.downcast_ref::<NestedLoopJoinExec>() else {
            return unsupported("a nested loop join that became another node");
        };
        Ok(Placed {
            plan: or_failed(swapped.swap_inputs())?,
            place: Place::Everywhere,
        })
    }

    /// A join whose left side is collected in one partition: next to the right side, wherever
    /// that is.
    pub(crate) fn place_collected(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        left: Placed,
        right: Placed,
    ) -> Result<Placed> {
        let place = right.place;
        let left = match (place, left.place) {
            (Place::Everywhere, _) => self.broadcast(left),
            (Place::RankZero, Place::RankZero) => left.plan,
            (Place::RankZero, Place::Everywhere) => {
                let original = Arc::clone(node.children()[0]);
                self.gather(&original, left.plan, None)?.plan
            }
        };
        Ok(Placed {
            plan: with_children(node, vec![left, right.plan])?,
            place,
        })
    }

    /// A join of equally hashed sides.
    fn place_partitioned(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        on: JoinOnRef<'_>,
        left: Placed,
        right: Placed,
    ) -> Result<Placed> {
        if left.place == Place::RankZero && right.place == Place::RankZero {
            return unsupported("a join by hash of rows that are on one engine");
        }
        let left_keys = side_keys(on, JoinSide::Left);
        let right_keys = side_keys(on, JoinSide::Right);
        let is_ready = |side: &Placed, keys: &[_]| {
            side.place == Place::Everywhere && is_hashed_on(&side.plan, keys, self.partitions)
        };
        let (left_ready, right_ready) =
            (is_ready(&left, &left_keys), is_ready(&right, &right_keys));
        let left = if left_ready {
            left
        } else {
            self.shuffle(left, left_keys)
        };
        let right = if right_ready {
            right
        } else {
            self.shuffle(right, right_keys)
        };
        let children = restore_order(node, vec![left.plan, right.plan])?;
        Ok(Placed {
            plan: with_children(node, children)?,
            place: Place::Everywhere,
        })
    }

    fn gathered(&mut self, original: &Arc<dyn ExecutionPlan>, placed: Placed) -> Result<Placed> {
        match placed.place {
            Place::RankZero => Ok(placed),
            Place::Everywhere => self.gather(original, placed.plan, None),
        }
    }
}
