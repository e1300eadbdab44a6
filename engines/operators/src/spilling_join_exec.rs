//! DataFusion's hash join, and what it lacks: a build side that memory is refused for goes to disk.
//! One that fits is gathered here and handed to DataFusion's join as it is, with its dynamic
//! filters, so that speed is kept.

use crate::build_side::{Gathered, gather, replay};
use crate::handed_exec::HandedExec;
use crate::handed_pool::HandedPool;
use crate::join_job::{JoinJob, released_by};
use crate::query_end::QueryEnd;
use crate::shared_build::{Outcome, SharedBuild};
use crate::spilled_join::{first_parts, join_parts, spill_build, spill_probe};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::limit::LimitStream;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, SpillMetrics,
};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, Distribution, EmptyRecordBatchStream,
    ExecutionPlan, ExecutionPlanProperties, PlanProperties, ReplaceChildrenOptions,
    SendableRecordBatchStream,
};
use futures::TryStreamExt;
use std::fmt;
use std::sync::Arc;

/// The same plan, of the same shape, whose hash joins spill.
///
/// # Errors
/// A join cannot be rebuilt with its own parts.
pub fn with_spilling_joins(
    plan: Arc<dyn ExecutionPlan>,
    end: &QueryEnd,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(join) = node.downcast_ref::<HashJoinExec>() else {
            return Ok(Transformed::no(node));
        };
        let unbounded = join.properties().boundedness.is_unbounded();
        if unbounded || *join.partition_mode() == PartitionMode::Auto {
            return Ok(Transformed::no(node));
        }
        let join = SpillingJoinExec::new(join.builder().build()?, end.clone())?;
        Ok(Transformed::yes(Arc::new(join) as _))
    })
    .data()
}

/// Stands for the join it wraps, in its place and under its name: metrics of tasks are told apart
/// by the shape of the plan.
pub(crate) struct SpillingJoinExec {
    join: Arc<HashJoinExec>,
    /// The same join over inputs that are handed to it. It has the metrics and dynamic filters.
    handed: Arc<HashJoinExec>,
    left: Arc<HandedExec>,
    right: Arc<HandedExec>,
    shared: Arc<SharedBuild>,
    metrics: ExecutionPlanMetricsSet,
    end: QueryEnd,
}

impl SpillingJoinExec {
    fn new(join: HashJoinExec, end: QueryEnd) -> Result<Self> {
        let left = Arc::new(HandedExec::in_place_of(Arc::clone(join.left())));
        let right = Arc::new(HandedExec::in_place_of(Arc::clone(join.right())));
        let children: Vec<Arc<dyn ExecutionPlan>> =
            vec![Arc::clone(&left) as _, Arc::clone(&right) as _];
        let handed = join.builder().with_new_children(children)?.build()?;
        Ok(Self {
            join: Arc::new(join),
            handed: Arc::new(handed),
            left,
            right,
            shared: Arc::default(),
            metrics: ExecutionPlanMetricsSet::new(),
            end,
        })
    }

    fn job(&self, partition: usize, context: &Arc<TaskContext>) -> JoinJob {
        JoinJob {
            join: Arc::clone(&self.handed),
            context: Arc::clone(context),
            metrics: SpillMetrics::new(&self.metrics, partition),
            end: self.end.clone(),
        }
    }

    fn run_partitioned(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let job = self.job(partition, &context);
        let build = self.join.left().execute(partition, Arc::clone(&context))?;
        let probe = self.join.right().execute(partition, Arc::clone(&context))?;
        let (pool, fronted) = HandedPool::in_front_of(&context);
        // Opened at once: its end tells the other partitions not to wait for its dynamic filter.
        let joined = self.handed.execute(partition, fronted)?;
        let reservation = reserve(&context, format!("HashJoin[{partition}]"));
        let (left, right) = (Arc::clone(&self.left), Arc::clone(&self.right));
        let ending = self.ending(partition, &context);
        let work = async move {
            let schema = build.schema();
            match gather(build, reservation, &job.end).await? {
                Gathered::Fits(build) => {
                    pool.hand_over(build.reservation);
                    left.put(partition, replay(schema, build.batches));
                    right.put(partition, released_by(probe, pool));
                    Ok(joined)
                }
                Gathered::TooLarge(overflow) => {
                    drop(joined);
                    let reservation = overflow.reservation.new_empty();
                    let build = spill_build(&job, overflow, first_parts(), 0).await?;
                    let probe = spill_probe(&job, &build, probe, &reservation).await?;
                    ending.of(join_parts(job, &build, probe, reservation))
                }
            }
        };
        Ok(self.stream(work))
    }

    fn run_collected(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let job = self.job(partition, &context);
        let open = || self.join.left().execute(0, Arc::clone(&context));
        let reservation = || reserve(&context, "HashJoin".to_string());
        let (gathering, pool, fronted) = self.shared.start(&job, &self.left, open, reservation)?;
        let probe = self.join.right().execute(partition, Arc::clone(&context))?;
        let joined = self.handed.execute(partition, fronted)?;
        let (right, shared) = (Arc::clone(&self.right), Arc::clone(&self.shared));
        let partitions = self.join.right().output_partitioning().partition_count();
        let ending = self.ending(partition, &context);
        let work = async move {
            let outcome = gathering.await;
            let outcome = outcome.map_err(DataFusionError::Shared)?;
            let Outcome::Spilled(build) = outcome else {
                right.put(partition, released_by(probe, pool));
                return Ok(joined);
            };
            drop(joined);
            let reservation = reserve(&job.context, format!("HashJoin[{partition}]"));
            let probe = spill_probe(&job, &build, probe, &reservation).await?;
            if !job.gives_build_rows() {
                return ending.of(join_parts(job, &build, probe, reservation));
            }
            match shared.add_probe(probe, partitions) {
                Some(probe) => ending.of(join_parts(job, &build, probe, reservation)),
                None => Ok(Box::pin(EmptyRecordBatchStream::new(job.schema())) as _),
            }
        };
        Ok(self.stream(work))
    }

    fn stream(
        &self,
        work: impl Future<Output = Result<SendableRecordBatchStream>> + Send + 'static,
    ) -> SendableRecordBatchStream {
        let rows = futures::stream::once(work).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows))
    }

    fn ending(&self, partition: usize, context: &Arc<TaskContext>) -> Ending {
        Ending {
            join: Arc::clone(&self.handed),
            metrics: self.metrics.clone(),
            partition,
            context: Arc::clone(context),
        }
    }
}

/// What a join that has spilled owes to the nodes above it: the order of its rows, and its limit.
struct Ending {
    join: Arc<HashJoinExec>,
    metrics: ExecutionPlanMetricsSet,
    partition: usize,
    context: Arc<TaskContext>,
}

impl Ending {
    fn of(self, rows: SendableRecordBatchStream) -> Result<SendableRecordBatchStream> {
        let baseline = BaselineMetrics::new(&self.metrics, self.partition);
        let fetch = self.join.fetch();
        let rows = match self.join.properties().output_ordering() {
            // Not with the limit: the first rows of an order are found in memory or not at all.
            Some(ordering) => SortExec::new(ordering.clone(), Arc::new(HandedExec::of(rows)))
                .execute(0, self.context)?,
            None => rows,
        };
        let rows = match fetch {
            Some(fetch) => {
                let unseen = BaselineMetrics::new(&ExecutionPlanMetricsSet::new(), 0);
                Box::pin(LimitStream::new(rows, 0, Some(fetch), unseen)) as _
            }
            None => rows,
        };
        let schema = rows.schema();
        let rows = rows.inspect_ok(move |batch| {
            baseline.output_rows().add(batch.num_rows());
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

fn reserve(context: &TaskContext, name: String) -> MemoryReservation {
    MemoryConsumer::new(name)
        .with_can_spill(true)
        .register(context.memory_pool())
}

impl fmt::Debug for SpillingJoinExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpillingJoinExec").field(&self.join).finish()
    }
}

impl DisplayAs for SpillingJoinExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.join.fmt_as(format, f)
    }
}

impl ExecutionPlan for SpillingJoinExec {
    fn name(&self) -> &str {
        self.join.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.join.properties()
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.join.input_distribution_requirements().into_per_child()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.join.maintains_input_order()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.join.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.join.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let join = Arc::clone(&self.join) as Arc<dyn ExecutionPlan>;
        let join = join.replace_children(children, options)?;
        with_spilling_joins_at(join, &self.end)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        let join = Arc::clone(&self.join) as Arc<dyn ExecutionPlan>;
        with_spilling_joins_at(join.reset_state()?, &self.end)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        match self.join.partition_mode() {
            PartitionMode::CollectLeft => self.run_collected(partition, context),
            _ => self.run_partitioned(partition, context),
        }
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut metrics = self.handed.metrics().unwrap_or_default();
        for metric in self.metrics.clone_inner().iter() {
            metrics.push(Arc::clone(metric));
        }
        Some(metrics)
    }

    fn fetch(&self) -> Option<usize> {
        self.join.fetch()
    }
}

fn with_spilling_joins_at(
    node: Arc<dyn ExecutionPlan>,
    end: &QueryEnd,
) -> Result<Arc<dyn ExecutionPlan>> {
    match node.downcast_ref::<HashJoinExec>() {
        Some(join) => Ok(Arc::new(SpillingJoinExec::new(
            join.builder().build()?,
            end.clone(),
        )?)),
        None => Ok(node),
    }
}
