//! The sessions of tasks on an engine: codec, exchange, settings and reservations of the query,
//! and the hook that starts the sending sides of a plan when it is set.

use crate::codec::CollectiveCodec;
use crate::session_options::{apply_settings, query_of, query_runtime};
use crate::start::start_eagerly;
use async_trait::async_trait;
use bireme_collectives::Exchange;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, TaskContext};
use datafusion_distributed::{
    DistributedExt, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse, WorkerQueryContext,
    WorkerSessionBuilder,
};
use std::collections::HashMap;
use std::sync::Arc;

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

/// Starts the plan's collectives; the plan itself stays as it is.
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
    start_eagerly(&event.plan, &Arc::new(context))?;
    Ok(WorkerPlanRewriteEventResponse::new(event.plan))
}
