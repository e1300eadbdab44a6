//! The engine itself: what it holds between queries, and how its parts are wired at start. Serving it
//! is left to [`crate::service`].

use crate::cluster_view::ClusterView;
use crate::ends::Ends;
use crate::fault_from::fault_from;
use crate::head_query::HeadQuery;
use crate::live_plans::LivePlans;
use crate::queries::Queries;
use crate::remote_frames::Peers;
use crate::session_config::session_config;
use crate::session_tables::SessionTables;
use crate::spans::SpanRing;
use crate::timed_spill::TimedSpill;
use bireme_collectives::Exchange;
use bireme_frames::{Budget, Compression, FrameStore, SpillDirectory, deal};
use bireme_operators::{
    EngineTopology, Frames, Keep, QueryEnd, QueryOptions, SinkJournal, configure_session,
    query_runtime,
};
use bireme_protocol::proto::Topology;
use bireme_protocol::{Address, ErrorCode, Fault, QueryId};
use bireme_settings::{Home, Settings};
use datafusion::error::Result as QueryResult;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::cache::cache_manager::CacheManagerConfig;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionContext;
use datafusion_distributed::{ChannelResolver, DistributedExt};
use std::future::Future;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

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
    frames: Arc<FrameStore>,
    journal: Arc<SinkJournal>,
    runtime_env: Arc<RuntimeEnv>,
    cluster: ClusterView,
    live: LivePlans,
    spans: Arc<SpanRing>,
    queries: Queries,
    ends: Ends,
    /// Queries that nobody fetches, and what is tidied up meanwhile.
    unattended: TaskTracker,
    query_runtime: Handle,
}

/// What a query needs of its session beyond the settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeadNeeds {
    /// The topology it was admitted under.
    pub(crate) topology: u64,
    /// Partitions per engine, if not as the settings say.
    pub(crate) partitions: Option<usize>,
    /// The frame it makes.
    pub(crate) keep: Option<Keep>,
}

/// A session that plans one query for all engines.
pub(crate) struct HeadSession {
    pub(crate) context: SessionContext,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) engines: usize,
    /// Partitions per engine.
    pub(crate) partitions: usize,
}

impl Engine {
    /// An engine that knows no other yet and serves nobody.
    ///
    /// # Errors
    /// Its spill directory cannot be used.
    pub(crate) fn new(options: EngineOptions, query_runtime: Handle) -> Result<Arc<Self>, Fault> {
        let settings = &options.settings;
        let engines = usize::try_from(options.engines).unwrap_or(1);
        let budget = Budget::new(
            host_share(settings, engines),
            settings.bytes("memory.disk_limit"),
        );
        let spill = SpillDirectory::open(spill_path(&options), Arc::clone(&budget))
            .map_err(|error| Fault::new(ErrorCode::Unavailable, error.to_string()))?;
        let compression = match settings.get("memory.spill_compression") {
            "none" => Compression::None,
            _ => Compression::Lz4,
        };
        let frames = FrameStore::new(Arc::clone(&budget), spill.clone(), compression)
            .map_err(|error| Fault::new(ErrorCode::Unavailable, error.to_string()))?;
        let journal = SinkJournal::open(options.home.sinks())
            .map_err(|error| Fault::new(ErrorCode::Unavailable, fault_from(&error).message))?;
        let runtime_env = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::clone(&budget) as _)
            .with_disk_manager_builder(spill.disk_manager())
            // A folder is listed anew by every query: its files may have changed.
            .with_cache_manager(CacheManagerConfig::default().with_list_files_cache_limit(0))
            .build_arc()
            .map_err(|error| Fault::internal(format!("make a query environment: {error}")))?;
        let address = Address::unix(options.home.engine_socket(options.rank));
        let spans: Arc<SpanRing> = Arc::default();
        let cluster = ClusterView::alone(
            options.rank,
            &address,
            options.home.sockets(),
            spill.clone(),
            query_runtime.clone(),
            Arc::clone(&spans),
        )?;
        Ok(Arc::new(Self {
            options,
            address,
            budget,
            spill,
            frames,
            journal,
            runtime_env,
            cluster,
            live: LivePlans::default(),
            spans,
            queries: Queries::default(),
            ends: Ends::default(),
            unattended: TaskTracker::new(),
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

    /// The partitions of frames it holds.
    pub(crate) fn frames(&self) -> &Arc<FrameStore> {
        &self.frames
    }

    /// Where it spills.
    pub(crate) fn spill(&self) -> &SpillDirectory {
        &self.spill
    }

    /// The frames that its queries can reach.
    pub(crate) fn all_frames(&self) -> Arc<Frames> {
        let store = Arc::clone(&self.frames);
        let peers = Peers::new(self.home().clone());
        Arc::new(Frames::new(store, self.rank(), Arc::new(peers)))
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

    /// How the latest of them ended.
    pub(crate) fn ends(&self) -> &Ends {
        &self.ends
    }

    /// The engines there are.
    pub(crate) fn cluster(&self) -> &ClusterView {
        &self.cluster
    }

    /// Takes the engines there are now, and this one's share of the memory for all.
    pub(crate) fn set_topology(&self, topology: &Topology) {
        self.cluster.set(topology);
        if let Some(engines) = self.cluster.size() {
            let share = host_share(&self.options.settings, engines);
            self.budget.set_host_limit(share);
        }
    }

    /// Its way to exchange rows with the others.
    pub(crate) fn exchange(&self) -> Arc<Exchange> {
        self.cluster.exchange()
    }

    /// What all queries share of what they run in.
    pub(crate) fn shared_runtime_env(&self) -> Arc<RuntimeEnv> {
        Arc::clone(&self.runtime_env)
    }

    /// What the operators of a query run in: the engine's own, with their spilling on the timeline
    /// and refused once the query has ended.
    ///
    /// # Errors
    /// The query library refuses the spill directory.
    pub(crate) fn runtime_env(
        &self,
        query: QueryId,
        end: &QueryEnd,
    ) -> QueryResult<Arc<RuntimeEnv>> {
        let spill = TimedSpill::new(
            query,
            end.clone(),
            self.spill.clone(),
            Arc::clone(&self.spans),
        );
        let disk = DiskManagerBuilder::default().with_temp_file_factory(Arc::new(spill));
        let mut runtime_env = RuntimeEnv::clone(&self.runtime_env);
        runtime_env.disk_manager = Arc::new(disk.build()?);
        Ok(Arc::new(runtime_env))
    }

    /// The runtime of queries.
    pub(crate) fn query_runtime(&self) -> &Handle {
        &self.query_runtime
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

    /// What nobody waits for.
    pub(crate) fn unattended(&self) -> &TaskTracker {
        &self.unattended
    }

    /// Runs a query whose rows nobody fetches; how it ends is told as always.
    pub(crate) fn run_unattended(&self, query: HeadQuery) {
        let run = async move {
            let (rows_tx, mut rows_rx) = mpsc::channel(1);
            let nobody = async { while rows_rx.recv().await.is_some() {} };
            let (ended, ()) = tokio::join!(query.run(rows_tx), nobody);
            if let Err(fault) = ended {
                tracing::debug!(%fault, "a query that nobody fetches failed");
            }
        };
        self.unattended.spawn_on(run, &self.query_runtime);
    }

    /// Ends whatever part of a query runs here.
    pub(crate) fn cancel(&self, id: QueryId, fault: Fault) {
        self.queries.cancel(id, &fault);
        for exchange in self.cluster.exchanges() {
            exchange.abort_query(id, fault.clone());
        }
    }

    /// Makes a session that plans one query for all engines.
    ///
    /// # Errors
    /// The controller does not tell which engines there are, or the session's tables cannot be
    /// installed.
    pub(crate) async fn head_session(
        &self,
        query: QueryId,
        end: &QueryEnd,
        settings: &Settings,
        tables: &Arc<SessionTables>,
        needs: HeadNeeds,
    ) -> Result<HeadSession, Fault> {
        let member = self.cluster.joined(needs.topology).await?;
        let engines = member.urls.len();
        let partitions = usize::try_from(settings.integer("query.partitions")).unwrap_or(4);
        let partitions = needs.partitions.unwrap_or(partitions);
        let frames = self.all_frames();
        let topology = EngineTopology {
            urls: member.urls,
            rank: usize::try_from(self.rank()).unwrap_or(0),
            owners: deal(u16::try_from(engines).unwrap_or(u16::MAX)),
        };
        let placement = topology
            .placement(partitions)
            .map_err(|error| fault_from(&error))?;
        let options = QueryOptions {
            query,
            partitions,
            distribute_above_bytes: settings.bytes("query.distribute_above"),
            keep: needs.keep,
        };
        let runtime_env = self
            .runtime_env(query, end)
            .map_err(|error| fault_from(&error))?;
        let runtime_env = query_runtime(&runtime_env, &self.budget, query, end, partitions);
        let builder = SessionStateBuilder::new()
            .with_default_features()
            .with_config(
                session_config(settings, partitions, self.budget.host_limit())
                    .with_extension(frames)
                    .with_extension(Arc::clone(&self.journal)),
            )
            .with_runtime_env(runtime_env);
        let channels: Arc<dyn ChannelResolver + Send + Sync> =
            Arc::clone(self.cluster.channels()) as _;
        let builder = builder.with_distributed_channel_resolver(channels);
        let builder = configure_session(builder, topology, Arc::clone(&member.exchange), options)
            .map_err(|error| fault_from(&error))?;
        let context = SessionContext::new_with_state(builder.build());
        let partitions = placement.partitions();
        tables
            .install(&context.state_ref(), placement)
            .map_err(|error| Fault::internal(format!("install a session's tables: {error}")))?;
        Ok(HeadSession {
            context,
            exchange: member.exchange,
            engines,
            partitions,
        })
    }
}

/// One engine's part of the memory all engines of this machine may use.
fn host_share(settings: &Settings, engines: usize) -> usize {
    let all = usize::try_from(settings.bytes("memory.host_limit")).unwrap_or(usize::MAX);
    all / engines.max(1)
}

/// Where this engine spills. Clusters that share `memory.spill_dir` each have a folder in it.
fn spill_path(options: &EngineOptions) -> PathBuf {
    let root = match options.settings.get("memory.spill_dir") {
        "" => options.home.spill(),
        shared => Path::new(shared).join(folder_of(options.home.root())),
    };
    root.join(format!("engine-{}", options.rank))
}

/// The same for the same home at every start, so that what a killed engine left is found.
fn folder_of(home: &Path) -> String {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(home);
    format!("cluster-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_engine::{TestEngine, directory};
    use bireme_protocol::proto::EngineAddress;
    use bireme_settings::Source;

    #[tokio::test]
    async fn engines_that_come_take_their_share_of_the_memory() {
        let test = TestEngine::new("memory-share");
        let engine = |rank: u32| EngineAddress {
            rank,
            address: Address::unix(test.engine.home().engine_socket(rank)).to_string(),
        };
        let all = test.engine.budget().host_limit();
        for engines in [4, 2, 1] {
            test.engine.set_topology(&Topology {
                version: 1,
                engines: (0..engines).map(engine).collect(),
                wanted: engines,
                lost: Vec::new(),
            });
            let share = test.engine.budget().host_limit();
            assert_eq!(share, all / engines as usize);
        }
    }

    #[test]
    fn clusters_that_share_a_spill_directory_have_folders_of_their_own() {
        let path = |name: &str| {
            let directory = directory(name);
            let mut settings = Settings::default();
            settings
                .set("memory.spill_dir", "/scratch", Source::File)
                .unwrap();
            let path = spill_path(&EngineOptions {
                home: Home::at(&directory).unwrap(),
                settings,
                rank: 3,
                engines: 4,
            });
            std::fs::remove_dir_all(directory).unwrap();
            path
        };
        let one = path("spills-one");
        assert!(one.starts_with("/scratch") && one.ends_with("engine-3"));
        assert_ne!(one, path("spills-other"));
        assert_eq!(one, path("spills-one"));
    }
}
