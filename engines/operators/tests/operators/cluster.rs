//! A cluster of engines within this process: real workers, plans as bytes, in-process exchange.

use async_trait::async_trait;
use bireme_collectives::{Exchange, InProcessCommunicator};
use bireme_frames::{Budget, SpillDirectory};
use bireme_operators::{
    EngineTopology, QueryEnd, QueryOptions, SinkJournal, WorkerSessions, configure_session,
    query_runtime, release_ended_tasks,
};
use bireme_protocol::QueryId;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, DistributedExt, ExecuteTaskRequest,
    GetWorkerInfoRequest, GetWorkerInfoResponse, MaybeEncoded, SetPlanRequest, Worker,
    WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use http::HeaderMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

/// Partitions per engine.
pub(crate) const PARTITIONS: usize = 4;
/// Nothing in these tests takes longer, on any machine.
pub(crate) const WITHIN: Duration = Duration::from_secs(120);

pub(crate) struct TestEngine {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) budget: Arc<Budget>,
    runtime: Arc<RuntimeEnv>,
}

pub(crate) struct TestCluster {
    pub(crate) engines: Vec<TestEngine>,
    urls: Vec<Url>,
    channels: Channels,
    journal: Arc<SinkJournal>,
    /// Lets go of ended tasks, as every engine does.
    _releasing: JoinSet<()>,
    _home: TempDir,
}

/// A task as it was set on an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SetTask {
    pub(crate) task: usize,
    pub(crate) rank: usize,
    pub(crate) tasks: usize,
}

#[derive(Clone)]
struct Channels(Arc<Wires>);

struct Wires {
    workers: HashMap<Url, (usize, Worker)>,
    set: Mutex<Vec<SetTask>>,
    /// Whether results may be asked for.
    polls: watch::Sender<bool>,
}

struct Channel {
    rank: usize,
    worker: Worker,
    wires: Arc<Wires>,
}

impl TestCluster {
    pub(crate) fn new(size: usize) -> Self {
        Self::with_memory(size, 4 << 30)
    }

    pub(crate) fn with_memory(size: usize, bytes: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let urls: Vec<_> = (0..size)
            .map(|rank| Url::parse(&format!("engine://{rank}")).unwrap())
            .collect();
        let communicators = InProcessCommunicator::cluster(size).into_iter().enumerate();
        let engines: Vec<_> = communicators
            .map(|(rank, communicator)| {
                let budget = Budget::new(bytes, 4 << 30);
                let path = home.path().join(format!("spill-{rank}"));
                let spill = SpillDirectory::open(path, Arc::clone(&budget)).unwrap();
                let runtime = RuntimeEnvBuilder::new()
                    .with_memory_pool(Arc::clone(&budget) as _)
                    .with_disk_manager_builder(spill.disk_manager())
                    .build_arc()
                    .unwrap();
                TestEngine {
                    exchange: Exchange::start(communicator, spill),
                    budget,
                    runtime,
                }
            })
            .collect();
        let mut releasing = JoinSet::new();
        let ranks = urls.iter().zip(&engines).enumerate();
        let workers = ranks.map(|(rank, (url, engine))| {
            let sessions = WorkerSessions::new(Arc::clone(&engine.exchange));
            let worker = Worker::from_session_builder(sessions)
                .with_runtime_env(Arc::clone(&engine.runtime));
            releasing.spawn(release_ended_tasks(worker.clone()));
            (url.clone(), (rank, worker))
        });
        let wires = Wires {
            workers: workers.collect(),
            set: Mutex::default(),
            polls: watch::Sender::new(true),
        };
        Self {
            engines,
            urls,
            channels: Channels(Arc::new(wires)),
            journal: SinkJournal::open(home.path().join("sinks")).unwrap(),
            _releasing: releasing,
            _home: home,
        }
    }

    /// The tasks that were set since this was last asked, in order.
    pub(crate) fn take_set_tasks(&self) -> Vec<SetTask> {
        let mut tasks = std::mem::take(&mut *self.channels.0.set.lock().unwrap());
        tasks.sort_unstable();
        tasks
    }

    /// Whether heads may ask tasks for results, or wait.
    pub(crate) fn allow_polls(&self, allowed: bool) {
        self.channels.0.polls.send_replace(allowed);
    }

    /// A session on the head for one query, with changed settings.
    pub(crate) fn session(
        &self,
        head: usize,
        settings: &[(&str, &str)],
    ) -> (SessionContext, QueryId) {
        self.session_above(head, 0, settings)
    }

    pub(crate) fn session_above(
        &self,
        head: usize,
        distribute_above_bytes: u64,
        settings: &[(&str, &str)],
    ) -> (SessionContext, QueryId) {
        let query = QueryId::random();
        let engine = &self.engines[head];
        let builder = SessionStateBuilder::new()
            .with_default_features()
            .with_config(config(settings).with_extension(Arc::clone(&self.journal)))
            .with_runtime_env(query_runtime(
                &engine.runtime,
                &engine.budget,
                query,
                &QueryEnd::default(),
                PARTITIONS,
            ))
            .with_distributed_channel_resolver(self.channels.clone());
        let topology = EngineTopology {
            urls: self.urls.clone(),
            rank: head,
            owners: bireme_frames::deal(self.engines.len() as u16),
        };
        let options = QueryOptions {
            query,
            partitions: PARTITIONS,
            distribute_above_bytes,
            keep: None,
        };
        let exchange = Arc::clone(&engine.exchange);
        let builder = configure_session(builder, topology, exchange, options).unwrap();
        (SessionContext::new_with_state(builder.build()), query)
    }

    /// Waits until no engine holds memory, disk or open plans. A request for rows that comes when its query
    /// has ended waits ten seconds for a plan, and keeps what asks.
    pub(crate) async fn wait_until_free(&self) {
        let begun = Instant::now();
        loop {
            let held: Vec<_> = self
                .engines
                .iter()
                .map(|engine| {
                    (
                        engine.budget.host_used(),
                        engine.budget.disk_used(),
                        engine.exchange.open_plans(),
                    )
                })
                .collect();
            if held.iter().all(|held| *held == (0, 0, 0)) {
                return;
            }
            let snapshot = self.engines[0].budget.snapshot();
            assert!(
                begun.elapsed() < WITHIN / 4,
                "still held: {held:?} {snapshot:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < WITHIN / 4, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// DataFusion in one process, with the same settings.
pub(crate) fn single(settings: &[(&str, &str)]) -> SessionContext {
    SessionContext::new_with_config(config(settings).with_target_partitions(PARTITIONS))
}

fn config(settings: &[(&str, &str)]) -> SessionConfig {
    let mut config = SessionConfig::new();
    for (key, value) in settings {
        config.options_mut().set(key, value).unwrap();
    }
    config
}

/// Fails the test rather than hang.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(WITHIN, work).await.expect("in time")
}

#[async_trait]
impl ChannelResolver for Channels {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let (rank, worker) = self.0.workers[url].clone();
        let wires = Arc::clone(&self.0);
        Ok(Box::new(Channel {
            rank,
            worker,
            wires,
        }))
    }
}

#[async_trait]
impl WorkerChannel for Channel {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        mut request: SetPlanRequest,
        to_worker: BoxStream<'static, CoordinatorToWorkerMsg>,
        _: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        self.wires.set.lock().unwrap().push(SetTask {
            task: request.task_key.task_number,
            rank: self.rank,
            tasks: request.task_count,
        });
        // Engines are processes: a plan that several of them share would hide faults.
        request.plan = MaybeEncoded::Encoded(request.plan.encode(context)?);
        let to_worker = to_worker.map(Ok).boxed();
        self.worker
            .coordinator_channel(headers, request, to_worker)
            .await
    }

    async fn execute_task(
        &mut self,
        _: HeaderMap,
        request: ExecuteTaskRequest,
        _: ExecutionPlanMetricsSet,
        _: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let mut polls = self.wires.polls.subscribe();
        let allowed = async { polls.wait_for(|allowed| *allowed).await.map(|_| ()) };
        in_time(allowed).await.unwrap();
        let (streams, _) = self.worker.execute_task(request).await?;
        Ok(streams.into_iter().map(StreamExt::boxed).collect())
    }

    async fn get_worker_info(&mut self, _: GetWorkerInfoRequest) -> Result<GetWorkerInfoResponse> {
        Ok(GetWorkerInfoResponse {
            version: self.worker.version().to_string(),
        })
    }
}
