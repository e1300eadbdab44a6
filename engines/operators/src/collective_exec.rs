//! The plan node of a collective. Its group is the tasks of its stage; with one task it is a local
//! repartition. Its sending side is started when the plan is set, not at the first poll; `execute`
//! starts it too, for plans nobody set up.

use crate::error::OperatorsError;
use crate::feed;
use crate::pass_through::only_child;
use crate::routing::Routing;
use bireme_collectives::{Exchange, Operation, OperationId, OperationSpec, Receiver};
use bireme_frames::Placement;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, Gauge, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, EmptyRecordBatchStream, ExecutionPlan,
    ExecutionPlanProperties, PlanProperties, ReplaceChildrenOptions,
};
use datafusion_distributed::DistributedTaskContext;
use futures::{Stream, StreamExt};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Rows of each received batch whose placement is checked in debug builds.
const CHECKED_ROWS: usize = 16;

/// A collective: every task of the stage sends its input's rows to the others.
#[derive(Debug)]
pub struct CollectiveExec {
    id: OperationId,
    routing: Routing,
    engines: usize,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl CollectiveExec {
    /// A collective of so many engines over what each has of the input.
    pub fn new(
        id: OperationId,
        routing: Routing,
        engines: usize,
        input: Arc<dyn ExecutionPlan>,
    ) -> Self {
        let properties = properties(&routing, engines, &input);
        Self {
            id,
            routing,
            engines,
            input,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The operation it is.
    pub fn id(&self) -> OperationId {
        self.id
    }

    /// Where rows go.
    pub fn routing(&self) -> &Routing {
        &self.routing
    }

    /// How many engines take part.
    pub fn engines(&self) -> usize {
        self.engines
    }

    /// What each engine sends.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// Starts the sending side on this engine, once.
    pub fn start(&self, context: &Arc<TaskContext>) -> Result<Operation> {
        let operation = self.open(context)?;
        if operation.start() {
            feed::start(
                &operation,
                &self.routing,
                &self.input,
                &self.metrics,
                context,
            )?;
        }
        Ok(operation)
    }

    fn open(&self, context: &Arc<TaskContext>) -> Result<Operation> {
        let exchange = context.session_config().get_extension::<Exchange>();
        let exchange = exchange.ok_or_else(|| OperatorsError::NoExchange {
            node: self.routing.node_name(),
            query: self.id.query.short(),
        })?;
        let task = DistributedTaskContext::from_ctx(context);
        let placed = task.task_index == exchange.rank() && task.task_count == exchange.size();
        if !placed || self.engines != exchange.size() {
            return Err(OperatorsError::Misrouted {
                node: self.routing.node_name(),
                query: self.id.query.short(),
                task: task.task_index,
                tasks: task.task_count,
                rank: exchange.rank(),
                engines: exchange.size(),
            }
            .into());
        }
        let inputs = self.input.output_partitioning().partition_count();
        let spec = OperationSpec {
            schema: self.schema(),
            partitions: self.routing.partitions_by_rank(self.engines, inputs),
        };
        Ok(exchange.open(self.id, spec)?)
    }

    /// What debug builds check of the rows that arrive in a partition.
    fn check(&self, operation: &Operation, partition: usize) -> Result<Option<Check>> {
        match &self.routing {
            Routing::Shuffle { keys, placement } if cfg!(debug_assertions) => Ok(Some(Check {
                placement: placement.clone(),
                keys: keys.clone(),
                rank: operation.rank(),
                partition,
            })),
            _ => Ok(None),
        }
    }
}

fn properties(routing: &Routing, engines: usize, input: &Arc<dyn ExecutionPlan>) -> PlanProperties {
    let inputs = input.output_partitioning().partition_count();
    let mut equivalences: EquivalenceProperties = input.equivalence_properties().clone();
    // A gather keeps each partition as it is; the others mix the rows of all.
    if !matches!(routing, Routing::Gather) {
        equivalences.clear_orderings();
        equivalences.clear_per_partition_constants();
    }
    PlanProperties::new(
        equivalences,
        routing.output_partitioning(engines, inputs),
        EmissionType::Incremental,
        Boundedness::Bounded,
    )
}

impl DisplayAs for CollectiveExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}, engines={}",
            self.routing.node_name(),
            self.routing,
            self.engines
        )
    }
}

impl ExecutionPlan for CollectiveExec {
    fn name(&self) -> &str {
        self.routing.node_name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![matches!(self.routing, Routing::Gather)]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match &self.routing {
            Routing::Shuffle { keys, .. } => {
                datafusion::physical_plan::apply_expression_roots(keys, f)
            }
            _ => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = only_child(self.name(), children)?;
        let routing = self.routing.clone();
        Ok(Arc::new(Self::new(self.id, routing, self.engines, input)))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let operation = self.start(&context)?;
        if matches!(self.routing, Routing::Gather) && operation.rank() != 0 {
            return Ok(Box::pin(EmptyRecordBatchStream::new(self.schema())));
        }
        let receiver = operation.receive(partition)?;
        let check = self.check(&operation, partition)?;
        let spilled = MetricBuilder::new(&self.metrics).gauge("spilled_bytes", partition);
        Ok(Box::pin(CollectiveStream {
            schema: self.schema(),
            receiver,
            check,
            spilled,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// What debug builds check of the rows of a partition.
struct Check {
    placement: Placement,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    rank: usize,
    partition: usize,
}

impl Check {
    fn check(&self, batch: &RecordBatch) -> Result<()> {
        let start = (batch.num_rows().saturating_sub(CHECKED_ROWS)) / 2;
        let sample = batch.slice(start, batch.num_rows().min(CHECKED_ROWS));
        let columns: Result<Vec<_>> = self
            .keys
            .iter()
            .map(|key| key.evaluate(&sample)?.into_array(sample.num_rows()))
            .collect();
        let names: Vec<_> = self.keys.iter().map(ToString::to_string).collect();
        let checked = self.placement.check(
            &columns?,
            &names.join(", "),
            self.rank,
            self.partition,
            CHECKED_ROWS,
        );
        Ok(checked?)
    }
}

struct CollectiveStream {
    schema: SchemaRef,
    receiver: Receiver,
    check: Option<Check>,
    spilled: Gauge,
    metrics: BaselineMetrics,
}

impl Stream for CollectiveStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.receiver.poll_next_unpin(context);
        let next = next.map(|next| {
            next.map(|batch| {
                let batch = batch?;
                if let Some(check) = &self.check {
                    check.check(&batch)?;
                }
                Ok(batch)
            })
        });
        if matches!(next, Poll::Ready(None)) {
            self.spilled.set(self.receiver.bytes_spilled() as usize);
        }
        self.metrics.record_poll(next)
    }
}

impl RecordBatchStream for CollectiveStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
