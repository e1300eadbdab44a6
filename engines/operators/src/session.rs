//! How the engine process sets up the session of a head: the one that plans a query and runs its
//! last stage.

use crate::codec::CollectiveCodec;
use crate::distinct_rule::{self, DistinctRule};
use crate::distribute_rule::{DistributeRule, PARTITIONS_MIN};
use crate::file_leaf;
use crate::filter_rule::FilterRule;
use crate::float_extremes;
use crate::keep::Keep;
use crate::scalar_subquery_rule::ScalarSubqueryRule;
use crate::session_options;
use crate::window_join_rule::{self, WindowJoinRule};
use crate::window_rewrite::WindowRewrite;
use crate::yield_rule::YieldRule;
use bireme_collectives::Exchange;
use bireme_frames::Placement;
use bireme_protocol::QueryId;
use datafusion::config::ConfigNonZeroUsize;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion_distributed::{
    DistributedExt, RouteTasksEvent, SessionStateBuilderExt, WorkerResolver,
};
use std::sync::Arc;
use url::Url;

/// The engines of a cluster, as one of them sees it. `urls[i]` is rank i.
#[derive(Clone, Debug)]
pub struct EngineTopology {
    /// The address of every engine, by rank.
    pub urls: Vec<Url>,
    /// The rank of this engine.
    pub rank: usize,
    /// The rank of each bucket that hashes of rows fall into.
    pub owners: Arc<[u16]>,
}

/// What the head says about one query.
#[derive(Clone, Debug)]
pub struct QueryOptions {
    /// The query.
    pub query: QueryId,
    /// Partitions per engine (`target_partitions`), at least 2.
    pub partitions: usize,
    /// A query that scans fewer bytes than this runs whole on the head.
    pub distribute_above_bytes: u64,
    /// What comes out is kept as a frame, in place of being sent.
    pub keep: Option<Keep>,
}

impl EngineTopology {
    /// Where shuffles of queries with so many partitions per engine put rows.
    ///
    /// # Errors
    /// The owner table is none.
    pub fn placement(&self, partitions: usize) -> Result<Placement> {
        let partitions = partitions.max(PARTITIONS_MIN);
        Ok(Placement::owned(Arc::clone(&self.owners), partitions)?)
    }
}

impl WorkerResolver for EngineTopology {
    fn get_urls(&self) -> Result<Vec<Url>> {
        Ok(self.urls.clone())
    }
}

/// Makes a session plan queries for all engines: one stage, one task per engine.
///
/// Call it last: settings of the builder's config are passed on to the engines as they are now,
/// and the query planner in the builder, if there is one, is wrapped. The caller adds what is its
/// own before: the runtime environment (whose pool is the engine's budget), tables, and
/// `with_distributed_channel_resolver`.
pub fn configure_session(
    mut builder: SessionStateBuilder,
    topology: EngineTopology,
    exchange: Arc<Exchange>,
    options: QueryOptions,
) -> Result<SessionStateBuilder> {
    let engines = topology.urls.len();
    if engines != exchange.size() || topology.rank != exchange.rank() {
        return Err(DataFusionError::Configuration(format!(
            "set up a session on engine {} of {engines}: its exchange is engine {} of {}",
            topology.rank,
            exchange.rank(),
            exchange.size()
        )));
    }
    let config = builder.config().get_or_insert_default();
    config.options_mut().execution.target_partitions = options.partitions.max(PARTITIONS_MIN);
    // Collectives are by hash over all engines; a layout by files would not fit them.
    config.options_mut().optimizer.preserve_file_partitions = 0;
    // A local shuffle of DataFusion 55 that spills may wait for ever with two files that are written in turn
    // (apache/datafusion#24883): each of its files has one batch.
    config.options_mut().execution.max_spill_file_size_bytes = ConfigNonZeroUsize::try_new(1)?;
    config.set_extension(exchange);
    let headers = session_options::to_headers(options.query, config)?;
    let rule = DistributeRule::new(
        engines,
        options.query,
        topology.placement(options.partitions)?,
        options.distribute_above_bytes,
        options.keep,
    );
    float_extremes::register(&mut builder);
    let rules = with_rule(&mut builder, rule);
    let logical = with_our_rewrites(&mut builder);
    let (urls, head) = (topology.urls.clone(), topology.rank);
    let route = move |event: RouteTasksEvent<'_>| file_leaf::route_tasks(&urls, head, &event);
    builder
        .with_optimizer_rules(logical)
        .with_physical_optimizer_rules(rules)
        .with_distributed_planner()
        .with_distributed_worker_resolver(topology)
        .with_distributed_user_codec(CollectiveCodec)
        .with_distributed_desired_task_count_handler(file_leaf::desired_task_count)
        .with_distributed_scale_up_leaf_node_handler(file_leaf::scale_up)
        .with_distributed_route_tasks_handler(route)
        .with_distributed_children_isolator_unions(false)?
        .with_distributed_passthrough_headers(headers)
}

/// DataFusion's rules with ours right before dynamic filters are pushed down: those below a
/// collective are made below it and stay there. Conditions are put in order when all are known; joins give way last.
fn with_rule(
    builder: &mut SessionStateBuilder,
    rule: DistributeRule,
) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = match builder.physical_optimizers().take() {
        Some(optimizer) => optimizer.rules,
        None => PhysicalOptimizer::new().rules,
    };
    let before = rules
        .iter()
        .position(|rule| rule.name() == "FilterPushdown(Post)");
    rules.insert(before.unwrap_or(rules.len()), Arc::new(rule));
    if let Some(sides) = rules
        .iter()
        .position(|rule| rule.name() == window_join_rule::AFTER)
    {
        rules.insert(sides + 1, Arc::new(WindowJoinRule));
    }
    rules.push(Arc::new(FilterRule));
    rules.push(Arc::new(YieldRule));
    rules
}

/// DataFusion's rules after ours, so that what it reads twice is narrowed twice.
fn with_our_rewrites(
    builder: &mut SessionStateBuilder,
) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = match builder.optimizer().take() {
        Some(optimizer) => optimizer.rules,
        None => Optimizer::new().rules,
    };
    if let Some(distinct) = rules
        .iter()
        .position(|rule| rule.name() == distinct_rule::BEFORE)
    {
        rules.insert(distinct, Arc::new(DistinctRule));
    }
    rules.insert(0, Arc::new(ScalarSubqueryRule));
    rules.insert(1, Arc::new(WindowRewrite));
    rules
}
