//! Sessions of the tasks that other heads run on this engine: the exchange is the one of the
//! moment, and live progress follows their plans.

use crate::engine::Engine;
use async_trait::async_trait;
use bireme_operators::{QueryEnd, WorkerSessions, query_of};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion_distributed::{
    DistributedExt, DistributedTaskContext, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse,
    WorkerQueryContext, WorkerSessionBuilder,
};
use std::sync::{Arc, Weak};

/// Makes a session per task.
pub(crate) struct TaskSessions {
    engine: Weak<Engine>,
}

impl TaskSessions {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        Self {
            engine: Arc::downgrade(engine),
        }
    }
}

#[async_trait]
impl WorkerSessionBuilder for TaskSessions {
    async fn build_session_state(&self, mut context: WorkerQueryContext) -> Result<SessionState> {
        let ending = || DataFusionError::Execution("the engine is shutting down".to_string());
        let engine = self.engine.upgrade().ok_or_else(ending)?;
        // An engine that was just started, or a cluster that was just scaled: the head may know
        // more engines, or fewer, than this one does yet.
        let exchange = match tasks(&mut context) {
            1 => engine.exchange(),
            tasks => {
                let exchange = engine.cluster().exchange_of_size(tasks).await;
                exchange.map_err(|fault| DataFusionError::External(Box::new(fault)))?
            }
        };
        let query = query_of(&context.headers);
        if let Some(query) = query {
            let end = QueryEnd::default();
            *context.builder.runtime_env() = Some(engine.runtime_env(query, &end)?);
            let config = context.builder.config().get_or_insert_default();
            config.set_extension(Arc::new(end));
        }
        let frames = engine.all_frames();
        let sessions = WorkerSessions::new(exchange).with_frames(frames);
        let state = sessions.build_session_state(context).await?;
        let Some(query) = query else {
            return Ok(state);
        };
        let follower = Arc::downgrade(&engine);
        let follow = move |event: WorkerPlanRewriteEvent<'_>| {
            if let Some(engine) = follower.upgrade() {
                engine.live().follow(query, &event.plan, false);
            }
            Ok(WorkerPlanRewriteEventResponse::new(event.plan))
        };
        Ok(SessionStateBuilder::new_from_existing(state)
            .with_distributed_worker_plan_rewrite_handler(follow)
            .build())
    }
}

/// How many tasks the stage has: one, on the head, or one on every engine.
fn tasks(context: &mut WorkerQueryContext) -> usize {
    let config = context.builder.config().as_ref();
    let task = config.and_then(|config| config.get_extension::<DistributedTaskContext>());
    task.map_or(1, |task| task.task_count)
}
