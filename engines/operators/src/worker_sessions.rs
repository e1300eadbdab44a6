//! The sessions of tasks on an engine: codec, exchange, settings and reservations of the query,
//! and the hook that starts the sending sides of a plan when it is set.

use crate::codec::CollectiveCodec;
use crate::collective_exec::CollectiveExec;
use crate::session_options::{apply_settings, query_of, query_runtime};
use crate::start::start_eagerly;
use crate::stop_points::with_stop_points;
use async_trait::async_trait;
use bireme_collectives::Exchange;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion_distributed::{
    DistributedExt, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse, WorkerQueryContext,
    WorkerSessionBuilder,
};
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The `WorkerSessionBuilder` of every engine: for `Worker::from_session_builder`, together with
/// `Worker::with_runtime_env`.
#[derive(Clone, Debug)]
pub struct WorkerSessions {
    exchange: Arc<Exchange>,
}

impl WorkerSessions {
    /// Sessions whose collectives go through this exchange.
    pub fn new(exchange: Arc<Exchange>) -> Self {
        Self { exchange }
    }

    /// The exchange of this engine.
    pub fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }
}

#[async_trait]
impl WorkerSessionBuilder for WorkerSessions {
    async fn build_session_state(
        &self,
        context: WorkerQueryContext,
    ) -> Result<SessionState, DataFusionError> {
        let WorkerQueryContext {
            mut builder,
            headers,
        } = context;
        let runtime = builder.runtime_env().take().unwrap_or_default();
        let runtime = match query_of(&headers) {
            Some(query) => {
                let budget = self.exchange.spill_directory().budget();
                query_runtime(&runtime, budget, query)
            }
            None => runtime,
        };
        let config = builder.config().get_or_insert_default();
        apply_settings(&headers, config)?;
        config.set_extension(Arc::clone(&self.exchange));
        let of_tasks = Arc::clone(&runtime);
        let start = move |event: WorkerPlanRewriteEvent<'_>| start(event, &of_tasks);
        Ok(builder
            .with_runtime_env(runtime)
            .with_distributed_user_codec(CollectiveCodec)
            .with_distributed_worker_plan_rewrite_handler(start)
            .build())
    }
}

/// Starts the plan's collectives. The plan keeps its shape: metrics are told apart by it.
fn start(
    event: WorkerPlanRewriteEvent<'_>,
    runtime: &Arc<RuntimeEnv>,
) -> Result<WorkerPlanRewriteEventResponse> {
    let context = TaskContext::new(
        None,
        String::new(),
        event.session_config.clone(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        Arc::clone(runtime),
    );
    let plan = match ended(&event.plan, event.session_config)? {
        Some(ended) => with_stop_points(event.plan, &ended)?,
        None => event.plan,
    };
    start_eagerly(&plan, &Arc::new(context))?;
    Ok(WorkerPlanRewriteEventResponse::new(plan))
}

/// Tells when the plan has ended, if it takes part in collectives.
fn ended(
    plan: &Arc<dyn ExecutionPlan>,
    config: &SessionConfig,
) -> Result<Option<CancellationToken>> {
    let exchange = config.get_extension::<Exchange>();
    let mut ended = None;
    plan.apply(|node| {
        let (Some(collective), Some(exchange)) = (node.downcast_ref::<CollectiveExec>(), &exchange)
        else {
            return Ok(TreeNodeRecursion::Continue);
        };
        let id = collective.id();
        ended = Some(exchange.ended(id.query, id.plan));
        Ok(TreeNodeRecursion::Stop)
    })?;
    Ok(ended)
}
