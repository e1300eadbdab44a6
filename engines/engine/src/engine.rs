//! The engine itself: what it holds between queries, and how its parts are wired at start.

use crate::channels::PeerChannels;
use crate::control_service::Control;
use crate::error::EngineError;
use crate::fault_from::fault_from;
use crate::flight_service::Rows;
use crate::live_plans::LivePlans;
use crate::membership;
use crate::queries::Queries;
use crate::session_tables::SessionTables;
use crate::spans::SpanRing;
use arrow_flight::flight_service_server::FlightServiceServer;
use async_trait::async_trait;
use bireme_collectives::{Exchange, InProcessCommunicator, SocketCommunicator, SocketOptions};
use bireme_frames::{Budget, SpillDirectory};
use bireme_operators::{
    EngineTopology, QueryOptions, WorkerSessions, configure_session, query_runtime,
};
use bireme_protocol::proto::engine_server::EngineServer;
use bireme_protocol::proto::{QueryEnded, Topology};
use bireme_protocol::{Address, ErrorCode, Fault, QueryId, address};
use bireme_settings::{Home, Settings};
use datafusion::error::Result as QueryResult;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_distributed::{
    ChannelResolver, DistributedExt, Worker, WorkerPlanRewriteEvent,
    WorkerPlanRewriteEventResponse, WorkerQueryContext, WorkerSessionBuilder,
};
use parking_lot::RwLock;
use std::future::Future;
use std::sync::{Arc, Weak};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use url::Url;

/// Ends of queries waiting to be reported.
const ENDED_AHEAD: usize = 1024;
/// Stack of each thread: planning recurses with the depth of a statement. Only what is used is paid.
const STACK_BYTES: usize = 8 << 20;
/// Threads of the control runtime: answers, never queries.
const CONTROL_THREADS: usize = 1;

/// How an engine process is started.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The cluster's directory.
    pub home: Home,
    /// The settings in force.
    pub settings: Settings,
    /// This engine's rank.
    pub rank: u32,
    /// How many engines share this machine's memory and cores.
    pub engines: u32,
}

/// One rank of a cluster.
pub(crate) struct Engine {
    options: EngineOptions,
    address: Address,
    budget: Arc<Budget>,
    spill: SpillDirectory,
    runtime_env: Arc<RuntimeEnv>,
    membership: RwLock<Member>,
    channels: Arc<PeerChannels>,
    live: LivePlans,
    spans: SpanRing,
    queries: Queries,
    ended_tx: mpsc::Sender<QueryEnded>,
    query_runtime: Handle,
}

/// The engines there are, and this one's way to exchange rows with them.
#[derive(Clone)]
struct Member {
    urls: Vec<Url>,
    exchange: Arc<Exchange>,
    /// Whether the controller has told the engines there are.
    is_joined: bool,
}

/// A session that plans one query for all engines.
pub(crate) struct HeadSession {
    pub(crate) context: SessionContext,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) engines: usize,
}

/// Runs an engine until it is told to stop.
///
/// # Errors
/// A directory, socket or runtime cannot be made.
pub fn run(options: EngineOptions, stop: &CancellationToken) -> Result<(), EngineError> {
    let rank = options.rank;
    let failed = |what: &str| {
        let what = what.to_string();
        move |source| EngineError::Start { rank, what, source }
    };
    let control =
        runtime("control", CONTROL_THREADS).map_err(failed("make the control runtime"))?;
    let threads = query_threads(&options);
    let queries = runtime("query", threads).map_err(failed("make the query runtime"))?;
    let (ended_tx, ended_rx) = mpsc::channel(ENDED_AHEAD);
    let refused = |fault: Fault| EngineError::Refused {
        rank,
        fault: Box::new(fault),
    };
    let engine = {
        let _on_queries = queries.enter();
        Engine::new(options, ended_tx, queries.handle().clone()).map_err(refused)?
    };
    let data_server = serve_data(&engine, &queries, stop.clone()).map_err(refused)?;
    control
        .block_on(serve_control(Arc::clone(&engine), ended_rx, stop.clone()))
        .map_err(refused)?;
    data_server.abort();
    // Queries that still run end with their runtime; nothing of theirs outlives the process.
    queries.shutdown_background();
    Ok(())
}

fn runtime(name: &str, threads: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(format!("bireme-{name}"))
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
}

fn query_threads(options: &EngineOptions) -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let engines = usize::try_from(options.engines).unwrap_or(1).max(1);
    match usize::try_from(options.settings.integer("engine.threads")) {
        Ok(0) | Err(_) => (cores / engines).max(1),
        Ok(threads) => threads,
    }
}

fn serve_data(
    engine: &Arc<Engine>,
    queries: &Runtime,
    stop: CancellationToken,
) -> Result<tokio::task::JoinHandle<()>, Fault> {
    let sessions = EngineSessions {
        engine: Arc::downgrade(engine),
    };
    let worker = Worker::from_session_builder(sessions)
        .with_runtime_env(Arc::clone(&engine.runtime_env))
        .with_version(bireme_protocol::build_id());
    let _on_queries = queries.enter();
    let listener = engine.address.data_plane().listen()?;
    let server = Server::builder()
        .add_service(worker.into_worker_server())
        .add_service(FlightServiceServer::new(Rows::new(Arc::clone(engine))));
    let incoming = UnixListenerStream::new(listener);
    Ok(queries.spawn(async move {
        let served = server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the data plane ended");
        }
    }))
}

async fn serve_control(
    engine: Arc<Engine>,
    ended: mpsc::Receiver<QueryEnded>,
    stop: CancellationToken,
) -> Result<(), Fault> {
    let listener = engine.address.listen()?;
    let service = EngineServer::new(Control::new(Arc::clone(&engine)))
        .max_decoding_message_size(address::MESSAGE_BYTES_MAX);
    let server = Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(
            UnixListenerStream::new(listener),
            stop.clone().cancelled_owned(),
        );
    let (served, ()) = tokio::join!(
        async {
            let served = server.await;
            stop.cancel();
            served
        },
        membership::keep(engine, ended, stop.clone()),
    );
    served.map_err(|error| Fault::internal("serve the control plane").with_sources(&error))
}

impl Engine {
    fn new(
        options: EngineOptions,
        ended_tx: mpsc::Sender<QueryEnded>,
        query_runtime: Handle,
    ) -> Result<Arc<Self>, Fault> {
        let settings = &options.settings;
        let engines = u64::from(options.engines.max(1));
        let host_limit = settings.bytes("memory.host_limit") / engines;
        let budget = Budget::new(
            usize::try_from(host_limit).unwrap_or(usize::MAX),
            settings.bytes("memory.disk_limit"),
        );
        let spill_root = match settings.get("memory.spill_dir") {
            "" => options.home.spill(),
            directory => directory.into(),
        };
        let spill = SpillDirectory::open(
            spill_root.join(format!("engine-{}", options.rank)),
            Arc::clone(&budget),
        )
        .map_err(|error| Fault::new(ErrorCode::Unavailable, error.to_string()))?;
        let runtime_env = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::clone(&budget) as _)
            .with_disk_manager_builder(spill.disk_manager())
            .build_arc()
            .map_err(|error| Fault::internal(format!("make a query environment: {error}")))?;
        let address = Address::unix(options.home.engine_socket(options.rank));
        let alone = Member {
            urls: vec![peer_url(&address)?],
            exchange: exchange_alone(&spill)?,
            is_joined: false,
        };
        Ok(Arc::new(Self {
            options,
            address,
            budget,
            spill,
            runtime_env,
            membership: RwLock::new(alone),
            channels: Arc::default(),
            live: LivePlans::default(),
            spans: SpanRing::default(),
            queries: Queries::default(),
            ended_tx,
            query_runtime,
        }))
    }

    /// This engine's rank.
    pub(crate) fn rank(&self) -> u32 {
        self.options.rank
    }

    /// The cluster's directory.
    pub(crate) fn home(&self) -> &Home {
        &self.options.home
    }

    /// The settings the engine was started with.
    pub(crate) fn settings(&self) -> &Settings {
        &self.options.settings
    }

    /// Where its control plane listens.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// What all its operators and frames draw on.
    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Plans under way.
    pub(crate) fn live(&self) -> &LivePlans {
        &self.live
    }

    /// The timeline.
    pub(crate) fn spans(&self) -> &SpanRing {
        &self.spans
    }

    /// The queries it is the head of.
    pub(crate) fn queries(&self) -> &Queries {
        &self.queries
    }

    /// Its way to exchange rows with the others.
    pub(crate) fn exchange(&self) -> Arc<Exchange> {
        Arc::clone(&self.membership.read().exchange)
    }

    /// Runs a future on the query runtime, so that control threads stay free.
    pub(crate) async fn on_queries<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let task = tokio_util::task::AbortOnDropHandle::new(self.query_runtime.spawn(work));
        match task.await {
            Ok(done) => done,
            Err(error) => {
                Err(Fault::internal(format!("plan a query: {error}")).on_engine(self.rank()))
            }
        }
    }

    /// Ends whatever part of a query runs here.
    pub(crate) fn cancel(&self, id: QueryId, fault: Fault) {
        self.queries.cancel(id, &fault);
        self.exchange().abort_query(id, fault);
    }

    /// Reports the end of a query to the controller.
    pub(crate) async fn report_end(&self, ended: QueryEnded) {
        if self.ended_tx.send(ended).await.is_err() {
            tracing::debug!("a query ended after the engine");
        }
    }

    /// Reports the end of a query from where nothing can be awaited.
    pub(crate) fn report_end_now(&self, ended: QueryEnded) {
        if let Err(error) = self.ended_tx.try_send(ended) {
            // The controller learns it from the next heartbeat, which no longer lists the query.
            tracing::warn!(%error, "the end of a query is not reported at once");
        }
    }

    /// Takes the engines there are now.
    pub(crate) fn set_topology(&self, topology: &Topology) {
        let mut engines = topology.engines.clone();
        engines.sort_by_key(|engine| engine.rank);
        let urls: Result<Vec<Url>, Fault> = engines
            .iter()
            .map(|engine| peer_url(&engine.address.parse()?))
            .collect();
        let is_whole = engines
            .iter()
            .enumerate()
            .all(|(index, engine)| usize::try_from(engine.rank) == Ok(index));
        let holds_self = engines.iter().any(|engine| engine.rank == self.rank());
        match urls {
            Ok(urls) if is_whole && holds_self => self.join(urls),
            // An engine is missing or this one is leaving: the last whole topology stays, and
            // queries that need the missing engine fail with its name.
            Ok(_) => tracing::debug!(
                version = topology.version,
                "an incomplete topology is ignored"
            ),
            Err(fault) => tracing::error!(%fault, "a topology cannot be read"),
        }
    }

    fn join(&self, urls: Vec<Url>) {
        let mut member = self.membership.write();
        self.channels.clear();
        if !member.is_joined || member.urls.len() != urls.len() {
            let _on_queries = self.query_runtime.enter();
            match exchange(&self.options, urls.len(), &self.spill) {
                Ok(exchange) => {
                    member.exchange = exchange;
                    member.is_joined = true;
                }
                Err(fault) => {
                    tracing::error!(%fault, "the exchange of a new topology cannot be made");
                    return;
                }
            }
        }
        tracing::info!(engines = urls.len(), "topology");
        member.urls = urls;
    }

    /// Makes a session that plans one query for all engines.
    ///
    /// # Errors
    /// The session's tables cannot be installed.
    pub(crate) fn head_session(
        &self,
        query: QueryId,
        settings: &Settings,
        tables: &Arc<SessionTables>,
    ) -> Result<HeadSession, Fault> {
        let member = self.membership.read().clone();
        let engines = member.urls.len();
        let partitions = usize::try_from(settings.integer("query.partitions")).unwrap_or(4);
        let topology = EngineTopology {
            urls: member.urls,
            rank: usize::try_from(self.rank()).unwrap_or(0),
        };
        let options = QueryOptions {
            query,
            partitions,
            distribute_above_bytes: settings.bytes("query.distribute_above"),
        };
        let runtime_env = query_runtime(&self.runtime_env, &self.budget, query);
        let builder = SessionStateBuilder::new()
            .with_default_features()
            .with_config(session_config(settings, partitions))
            .with_runtime_env(runtime_env);
        let channels: Arc<dyn ChannelResolver + Send + Sync> = Arc::clone(&self.channels) as _;
        let builder = builder.with_distributed_channel_resolver(channels);
        let builder = configure_session(builder, topology, Arc::clone(&member.exchange), options)
            .map_err(|error| fault_from(&error))?;
        let context = SessionContext::new_with_state(builder.build());
        tables
            .install(&context.state_ref())
            .map_err(|error| Fault::internal(format!("install a session's tables: {error}")))?;
        Ok(HeadSession {
            context,
            exchange: member.exchange,
            engines,
        })
    }
}

fn session_config(settings: &Settings, partitions: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema("bireme", "public")
        .with_target_partitions(partitions);
    let options = config.options_mut();
    // Names are spelled as the user wrote them; `names` matches them without regard to case.
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.collect_spans = true;
    options.execution.parquet.pushdown_filters = settings.boolean("query.pushdown_filters");
    config
}

fn exchange(
    options: &EngineOptions,
    size: usize,
    spill: &SpillDirectory,
) -> Result<Arc<Exchange>, Fault> {
    let communicator = SocketCommunicator::start(SocketOptions {
        // One directory per size: an exchange that ends takes its socket along, not its successor's.
        directory: options.home.sockets().join(format!("exchange-{size}")),
        rank: usize::try_from(options.rank).unwrap_or(0),
        size,
    })
    .map_err(|error| Fault::new(ErrorCode::Unavailable, error.to_string()))?;
    Ok(Exchange::start(communicator, spill.clone()))
}

/// The exchange of an engine that knows no other yet.
fn exchange_alone(spill: &SpillDirectory) -> Result<Arc<Exchange>, Fault> {
    let alone = InProcessCommunicator::cluster(1).into_iter().next();
    let alone = alone.ok_or_else(|| Fault::internal("make an exchange of one engine"))?;
    Ok(Exchange::start(alone, spill.clone()))
}

fn peer_url(address: &Address) -> Result<Url, Fault> {
    let data = address.data_plane();
    Url::parse(&data.to_string())
        .map_err(|error| Fault::internal(format!("read {data} as a URL: {error}")))
}

/// Sessions of the tasks other heads run here: the exchange is the one of the moment.
struct EngineSessions {
    engine: Weak<Engine>,
}

#[async_trait]
impl WorkerSessionBuilder for EngineSessions {
    async fn build_session_state(&self, context: WorkerQueryContext) -> QueryResult<SessionState> {
        let engine = self.engine.upgrade().ok_or_else(|| {
            datafusion::error::DataFusionError::Execution("the engine is shutting down".to_string())
        })?;
        let query = bireme_operators::query_of(&context.headers);
        let sessions = WorkerSessions::new(engine.exchange());
        let state = sessions.build_session_state(context).await?;
        let Some(query) = query else {
            return Ok(state);
        };
        let follower = Arc::downgrade(&engine);
        let follow = move |event: WorkerPlanRewriteEvent<'_>| {
            if let Some(engine) = follower.upgrade() {
                engine.live.follow(query, &event.plan, false);
            }
            Ok(WorkerPlanRewriteEventResponse::new(event.plan))
        };
        Ok(SessionStateBuilder::new_from_existing(state)
            .with_distributed_worker_plan_rewrite_handler(follow)
            .build())
    }
}
