//! Plan nodes and rules that make a query one stage on every engine: the collective shuffle and
//! its kin, the rule that puts them in place of DataFusion's repartitions, their codec, and the
//! session set-up for heads and workers. Moving the rows is left to bireme-collectives.

mod co_partitioning;
mod codec;
mod collective_exec;
mod distribute_rule;
mod error;
mod feed;
mod file_leaf;
mod file_split;
mod framed_scan_exec;
mod head_exec;
mod join_placement;
mod pass_through;
mod placement_rules;
mod placer;
mod query_end;
mod query_scope_exec;
mod rank_zero_exec;
mod requirements;
mod routing;
mod scalar_subquery_rule;
mod session;
mod session_options;
mod start;
mod stop_exec;
mod stop_points;
mod stoppable_pool;
mod task_release;
mod window_join_rule;
mod window_rewrite;
mod worker_sessions;
mod yield_rule;

pub use codec::CollectiveCodec;
pub use collective_exec::CollectiveExec;
pub use distribute_rule::DistributeRule;
pub use error::OperatorsError;
pub use feed::SIDE_LABEL;
pub use head_exec::HeadExec;
pub use query_end::QueryEnd;
pub use query_scope_exec::QueryScopeExec;
pub use rank_zero_exec::RankZeroExec;
pub use routing::Routing;
pub use scalar_subquery_rule::ScalarSubqueryRule;
pub use session::{EngineTopology, QueryOptions, configure_session};
pub use session_options::{query_of, query_runtime};
pub use start::start_eagerly;
pub use stop_points::with_stop_points;
pub use task_release::release_ended_tasks;
pub use window_rewrite::WindowRewrite;
pub use worker_sessions::WorkerSessions;
