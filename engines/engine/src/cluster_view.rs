//! The engines there are, as the controller last told, and this one's way to exchange rows with
//! them.

use crate::channels::PeerChannels;
use crate::spans::SpanRing;
use bireme_collectives::{
    Exchange, InProcessCommunicator, Inbox, SocketCommunicator, SocketOptions,
};
use bireme_frames::SpillDirectory;
use bireme_protocol::proto::Topology;
use bireme_protocol::{Address, ErrorCode, Fault};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use url::Url;

/// How long a query waits until this engine knows the others: the controller's word may be behind
/// the query's.
const JOIN_WITHIN: Duration = Duration::from_secs(2);

/// Sizes of the cluster whose exchanges are kept.
const EXCHANGES_MAX: usize = 8;

/// The engines of one moment.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) urls: Vec<Url>,
    pub(crate) exchange: Arc<Exchange>,
    /// By number of engines: a query begun before a resize still runs on its own.
    exchanges: BTreeMap<usize, Arc<Exchange>>,
    /// Whether the controller has told the engines there are.
    is_joined: bool,
    /// The last topology heard of.
    version: u64,
}

impl Member {
    /// Remembers an exchange by its size, and forgets another when there are many.
    fn keep(&mut self, exchange: &Arc<Exchange>) {
        self.exchanges.insert(exchange.size(), Arc::clone(exchange));
        if self.exchanges.len() > EXCHANGES_MAX {
            let mut sizes = self.exchanges.keys().copied();
            let other = sizes.find(|size| *size != exchange.size());
            other.map(|size| self.exchanges.remove(&size));
        }
    }
}

/// What one engine knows of its cluster.
pub(crate) struct ClusterView {
    rank: u32,
    sockets: PathBuf,
    spill: SpillDirectory,
    channels: Arc<PeerChannels>,
    query_runtime: Handle,
    spans: Arc<SpanRing>,
    now: watch::Sender<Member>,
}

impl ClusterView {
    /// An engine that knows no other yet. Its sockets for rows will be in a directory of the
    /// cluster, what does not fit goes to the spill directory.
    ///
    /// # Errors
    /// The address is no URL.
    pub(crate) fn alone(
        rank: u32,
        address: &Address,
        sockets: PathBuf,
        spill: SpillDirectory,
        query_runtime: Handle,
        spans: Arc<SpanRing>,
    ) -> Result<Self, Fault> {
        let alone = InProcessCommunicator::cluster(1).into_iter().next();
        let alone = alone.ok_or_else(|| Fault::internal("make an exchange of one engine"))?;
        let exchange = {
            let _on_queries = query_runtime.enter();
            observed(Exchange::start(alone, spill.clone()), &spans)
        };
        let member = Member {
            urls: vec![peer_url(address)?],
            exchange,
            exchanges: BTreeMap::new(),
            is_joined: false,
            version: 0,
        };
        Ok(Self {
            rank,
            sockets,
            spill,
            channels: Arc::default(),
            query_runtime,
            spans,
            now: watch::Sender::new(member),
        })
    }

    /// Connections to the others.
    pub(crate) fn channels(&self) -> &Arc<PeerChannels> {
        &self.channels
    }

    /// The way to exchange rows with the others.
    pub(crate) fn exchange(&self) -> Arc<Exchange> {
        Arc::clone(&self.now.borrow().exchange)
    }

    /// How many engines there are, if the controller has told.
    pub(crate) fn size(&self) -> Option<usize> {
        let now = self.now.borrow();
        now.is_joined.then(|| now.urls.len())
    }

    /// Every way to exchange rows that a query may still use.
    pub(crate) fn exchanges(&self) -> Vec<Arc<Exchange>> {
        let now = self.now.borrow();
        let earlier = now.exchanges.values().map(Arc::clone);
        let unlisted = !now.exchanges.contains_key(&now.exchange.size());
        let current = unlisted.then(|| Arc::clone(&now.exchange));
        current.into_iter().chain(earlier).collect()
    }

    /// The engines there are, once the controller has told this topology or a later one.
    ///
    /// # Errors
    /// The controller does not tell in time.
    pub(crate) async fn joined(&self, version: u64) -> Result<Member, Fault> {
        let is_known = |member: &Member| member.is_joined && version <= member.version;
        self.wait_for(is_known).await.ok_or_else(|| {
            self.unavailable(format!(
                "plan a query on engine {}: the controller did not tell which engines there are \
                 within {JOIN_WITHIN:?}",
                self.rank
            ))
        })
    }

    /// The way tasks of a query of so many engines exchange rows, once there were so many.
    ///
    /// # Errors
    /// There are not so many in time.
    pub(crate) async fn exchange_of_size(&self, size: usize) -> Result<Arc<Exchange>, Fault> {
        let member = self.wait_for(|member| member.exchanges.contains_key(&size));
        let exchange = member
            .await
            .and_then(|member| member.exchanges.get(&size).map(Arc::clone));
        exchange.ok_or_else(|| {
            let known = self.now.borrow().urls.len();
            self.unavailable(format!(
                "run a task of a query of {size} engines on engine {}: it knew {known} engines \
                 for {JOIN_WITHIN:?}",
                self.rank
            ))
        })
    }

    async fn wait_for(&self, is_right: impl FnMut(&Member) -> bool) -> Option<Member> {
        let mut now = self.now.subscribe();
        let member = tokio::time::timeout(JOIN_WITHIN, now.wait_for(is_right)).await;
        Some(member.ok()?.ok()?.clone())
    }

    fn unavailable(&self, message: String) -> Fault {
        Fault::new(ErrorCode::Unavailable, message)
            .on_engine(self.rank)
            .with_hint("run it again; `bireme cluster status` shows the engines")
    }

    /// Takes the engines there are now.
    pub(crate) fn set(&self, topology: &Topology) {
        let mut engines = topology.engines.clone();
        engines.sort_by_key(|engine| engine.rank);
        let urls: Result<Vec<Url>, Fault> = engines
            .iter()
            .map(|engine| peer_url(&engine.address.parse()?))
            .collect();
        let ranks = engines.iter().map(|engine| engine.rank);
        let is_whole = ranks.eq(0..topology.wanted);
        let holds_self = engines.iter().any(|engine| engine.rank == self.rank);
        match urls {
            Ok(urls) if is_whole && holds_self => self.join(urls, topology.version),
            // The last whole topology stays: who is missing comes back under its rank, and what runs
            // on an engine that leaves may end.
            Ok(_) => self.lose(&topology.lost),
            Err(fault) => tracing::error!(%fault, "a topology cannot be read"),
        }
        self.now
            .send_modify(|member| member.version = topology.version);
    }

    fn join(&self, urls: Vec<Url>, version: u64) {
        self.channels.clear();
        self.now.send_if_modified(|member| {
            if !member.is_joined || member.urls.len() != urls.len() {
                let size = urls.len();
                let known = member.exchanges.get(&size).map(Arc::clone);
                match known.map_or_else(|| self.new_exchange(size), Ok) {
                    Ok(exchange) => {
                        member.keep(&exchange);
                        member.exchange = exchange;
                        member.is_joined = true;
                    }
                    Err(fault) => {
                        tracing::error!(%fault, "the exchange of a new topology cannot be made");
                        return false;
                    }
                }
            }
            tracing::info!(engines = urls.len(), "topology");
            member.urls = urls;
            member.version = version;
            true
        });
    }

    fn new_exchange(&self, size: usize) -> Result<Arc<Exchange>, Fault> {
        let _on_queries = self.query_runtime.enter();
        let communicator = SocketCommunicator::start(SocketOptions {
            // One directory per size: an exchange that ends takes its socket along, not its
            // successor's.
            directory: self.sockets.join(format!("exchange-{size}")),
            rank: usize::try_from(self.rank).unwrap_or(0),
            size,
            share_memory: true,
        })
        .map_err(|error| Fault::new(ErrorCode::Unavailable, error.to_string()))?;
        let exchange = Exchange::start(communicator, self.spill.clone());
        Ok(observed(exchange, &self.spans))
    }

    /// Fails what waits for rows of engines that are gone, with their names.
    fn lose(&self, ranks: &[u32]) {
        let member = self.now.borrow().clone();
        for &rank in ranks.iter().filter(|rank| **rank != self.rank) {
            tracing::debug!(rank, "an engine is lost");
            let message = format!("engine {rank} ended or went silent");
            let fault = Fault::new(ErrorCode::EngineLost, message)
                .with_cause("the controller counts it out")
                .on_engine(rank);
            let peer = usize::try_from(rank).unwrap_or(usize::MAX);
            if member.is_joined && peer < member.urls.len() {
                member.exchange.lost(peer, fault);
            }
        }
    }
}

/// The same exchange, whose spilling is on the timeline.
fn observed(exchange: Arc<Exchange>, spans: &Arc<SpanRing>) -> Arc<Exchange> {
    let spans = Arc::clone(spans);
    exchange.on_spill(move |moved| spans.push_spill(&moved));
    exchange
}

fn peer_url(address: &Address) -> Result<Url, Fault> {
    let data = address.data_plane();
    Url::parse(&data.to_string())
        .map_err(|error| Fault::internal(format!("read {data} as a URL: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_engine::directory;
    use bireme_frames::Budget;
    use bireme_protocol::QueryId;
    use bireme_protocol::proto::EngineAddress;
    use std::path::Path;

    /// Rank 0, alone.
    fn view(home: &Path) -> ClusterView {
        let spill = SpillDirectory::open(home.join("spill"), Budget::new(0, 0)).unwrap();
        let address = Address::unix(home.join("engine-0.sock"));
        let spans = Arc::default();
        ClusterView::alone(
            0,
            &address,
            home.join("run"),
            spill,
            Handle::current(),
            spans,
        )
        .unwrap()
    }

    fn topology(home: &Path, ranks: &[u32], wanted: u32) -> Topology {
        let engine = |rank: &u32| EngineAddress {
            rank: *rank,
            address: Address::unix(home.join(format!("engine-{rank}.sock"))).to_string(),
        };
        Topology {
            version: 1,
            engines: ranks.iter().map(engine).collect(),
            wanted,
            lost: (0..wanted).filter(|rank| !ranks.contains(rank)).collect(),
        }
    }

    #[tokio::test]
    async fn a_task_waits_until_its_engine_has_joined() {
        let home = directory("waits-to-join");
        let view = view(&home);
        let refused = view.exchange_of_size(2).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unavailable);
        assert!(refused.message.contains("of 2 engines"), "{refused}");
        let (exchange, ()) = tokio::join!(view.exchange_of_size(2), async {
            view.set(&topology(&home, &[0], 1));
            tokio::task::yield_now().await;
            view.set(&topology(&home, &[0, 1], 2));
        });
        assert_eq!(exchange.unwrap().size(), 2);
        assert_eq!(view.joined(1).await.ok().unwrap().urls.len(), 2);
        let refused = view.joined(2).await.err().unwrap();
        assert!(refused.message.contains("did not tell"), "{refused}");
        std::fs::remove_dir_all(home).unwrap();
    }

    #[tokio::test]
    async fn a_query_begun_before_a_resize_finds_its_exchange() {
        let home = directory("resized");
        let view = view(&home);
        view.set(&topology(&home, &[0, 1, 2], 3));
        let before = view.exchange();
        view.set(&topology(&home, &[0], 1));
        assert!(Arc::ptr_eq(
            &view.exchange_of_size(3).await.unwrap(),
            &before
        ));
        view.set(&topology(&home, &[0, 1, 2], 3));
        assert!(Arc::ptr_eq(&view.exchange(), &before));
        std::fs::remove_dir_all(home).unwrap();
    }

    #[tokio::test]
    async fn a_missing_engine_fails_what_waits_for_it() {
        let home = directory("missing");
        let view = view(&home);
        view.set(&topology(&home, &[0, 1, 2], 3));
        let (exchange, query) = (view.exchange(), QueryId::random());
        let _plan = exchange.guard(query, 1);
        view.set(&topology(&home, &[0, 1], 2));
        assert_eq!(
            exchange.fault(query),
            None,
            "an engine that leaves may finish"
        );
        view.set(&topology(&home, &[0, 1, 2], 3));
        let exchange = view.exchange();
        let _plan = exchange.guard(query, 2);
        view.set(&topology(&home, &[0, 2], 3));
        let fault = exchange.fault(query).unwrap();
        assert_eq!((fault.code, fault.engine), (ErrorCode::EngineLost, Some(1)));
        assert!(fault.to_string().contains("counts it out"), "{fault}");
        std::fs::remove_dir_all(home).unwrap();
    }
}
