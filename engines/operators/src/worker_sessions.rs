//! The sessions of tasks on an engine: codec, exchange, settings and reservations of the query,
//! and the hook that starts the sending sides of a plan when it is set.

use crate::codec::CollectiveCodec;
use crate::collective_exec::CollectiveExec;
use crate::float_extremes;
use crate::frames::Frames;
use crate::query_end::QueryEnd;
use crate::runnable::runnable;
use crate::session_options::{apply_settings, query_of, query_runtime};
use crate::start::start_eagerly;
use async_trait::async_trait;
use bireme_collectives::{Exchange, PlanEnd};
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

/// The `WorkerSessionBuilder` of every engine: for `Worker::from_session_builder`, together with
/// `Worker::with_runtime_env`. A [`QueryEnd`] among the extensions of a session's configuration
/// tells when the query of the session has ended.
#[derive(Clone, Debug)]
pub struct WorkerSessions {
    exchange: Arc<Exchange>,
    frames: Option<Arc<Frames>>,
}

impl WorkerSessions {
    /// Sessions whose collectives go through this exchange.
    pub fn new(exchange: Arc<Exchange>) -> Self {
        Self {
            exchange,
            frames: None,
        }
    }

    /// With the frames this engine can reach.
    pub fn with_frames(mut self, frames: Arc<Frames>) -> Self {
        self.frames = Some(frames);
        self
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
        let config = builder.config().get_or_insert_default();
        apply_settings(&headers, config)?;
        let end = config.get_extension::<QueryEnd>().unwrap_or_default();
        let runtime = match query_of(&headers) {
            Some(query) => {
                let budget = self.exchange.spill_directory().budget();
                query_runtime(&runtime, budget, query, &end, config.target_partitions())
            }
            None => runtime,
        };
        config.set_extension(Arc::clone(&self.exchange));
        if let Some(frames) = &self.frames {
            config.set_extension(Arc::clone(frames));
        }
        float_extremes::register(&mut builder);
        let of_tasks = Arc::clone(&runtime);
        let start = move |event: WorkerPlanRewriteEvent<'_>| start(event, &of_tasks, &end);
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
    end: &QueryEnd,
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
    if let Some(plan) = end_of(&event.plan, event.session_config)? {
        end.comes_with(plan);
    }
    let plan = runnable(event.plan, end)?;
    start_eagerly(&plan, &Arc::new(context))?;
    Ok(WorkerPlanRewriteEventResponse::new(plan))
}

/// Tells when the plan has ended, if it takes part in collectives.
fn end_of(plan: &Arc<dyn ExecutionPlan>, config: &SessionConfig) -> Result<Option<PlanEnd>> {
    let exchange = config.get_extension::<Exchange>();
    let mut end = None;
    plan.apply(|node| {
        let (Some(collective), Some(exchange)) = (node.downcast_ref::<CollectiveExec>(), &exchange)
        else {
            return Ok(TreeNodeRecursion::Continue);
        };
        let id = collective.id();
        end = Some(exchange.end_of(id.query, id.plan));
        Ok(TreeNodeRecursion::Stop)
    })?;
    Ok(end)
}
