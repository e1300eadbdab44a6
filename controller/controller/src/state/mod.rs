//! All the controller knows, owned by the event loop. Each part answers questions about itself;
//! what to do when something happens is in `handlers/`.

pub(crate) mod admission;
pub(crate) mod engine_loss;
pub(crate) mod engine_registry;
pub(crate) mod frames;
pub(crate) mod liveness;
pub(crate) mod progress;
pub(crate) mod query_table;
pub(crate) mod sessions;
pub(crate) mod waiting;

use crate::clock::Moment;
use crate::options::ControllerOptions;
use admission::Admission;
use bireme_protocol::process::now_ms;
use engine_loss::Losses;
use engine_registry::EngineRegistry;
use frames::Segments;
use liveness::Liveness;
use query_table::QueryTable;
use sessions::{Session, Sessions};
use std::time::Duration;
use waiting::Waiting;

/// Everything there is.
pub(crate) struct State {
    pub(crate) cluster_id: String,
    pub(crate) started_at_ms: i64,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) idle_timeout: Duration,
    /// How long frames stay without anybody; zero = for ever.
    pub(crate) keep_frames: Duration,
    /// When this controller began.
    pub(crate) began: Moment,
    /// When a session last asked for something.
    pub(crate) touched: Moment,
    pub(crate) engines: EngineRegistry,
    pub(crate) liveness: Liveness,
    pub(crate) losses: Losses,
    pub(crate) sessions: Sessions,
    pub(crate) segments: Segments,
    /// The version of the segments and the engines wanted when it was last looked which to make
    /// again.
    pub(crate) settled: Option<(u64, u32)>,
    pub(crate) queries: QueryTable,
    pub(crate) admission: Admission,
    pub(crate) waiting: Waiting,
    /// Since when no engine could take part in a query.
    pub(crate) no_member_since: Option<Moment>,
    /// Since when some engine was missing, or the latest of them came and others are awaited.
    pub(crate) missing_since: Option<Moment>,
}

impl State {
    pub(crate) fn new(
        options: &ControllerOptions,
        cluster_id: String,
        sessions: Vec<Session>,
        now: Moment,
    ) -> Self {
        Self {
            cluster_id,
            started_at_ms: now_ms(),
            heartbeat_interval: options.heartbeat_interval,
            idle_timeout: options.idle_timeout,
            keep_frames: options.keep_frames,
            began: now,
            touched: now,
            engines: EngineRegistry::new(options.engines_wanted),
            liveness: Liveness::new(options.heartbeat_interval, options.lost_after),
            losses: Losses::default(),
            sessions: Sessions::new(sessions),
            segments: Segments::default(),
            settled: None,
            queries: QueryTable::default(),
            no_member_since: Some(now),
            missing_since: Some(now),
            admission: Admission::new(options.max_concurrent, options.queue_max),
            waiting: Waiting::default(),
        }
    }
}
