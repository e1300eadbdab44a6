//! A scripted engine: it registers, reports, and does with a query what a test tells it.

use crate::harness::within;
use bireme_protocol::proto::controller_client::ControllerClient;
use bireme_protocol::proto::engine_report::Report;
use bireme_protocol::proto::engine_server::{Engine, EngineServer};
use bireme_protocol::proto::{
    CatalogEntry, DescribeReply, DescribeRequest, Empty, EngineCancelRequest, EngineMemory,
    EngineReport, EntryKind, FrameMade, Heartbeat, Hello, HelloReply, QueryEnded, QueryProgress,
    QueryState, ReadSpansReply, ReadSpansRequest, Register, RunningQuery, Span, StartReply,
    StartRequest, Topology, engine_command::Command,
};
use bireme_protocol::{Address, Fault, build_id};
use bireme_settings::Home;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status};

const HEARTBEAT: Duration = Duration::from_millis(20);
const CALLS_MAX: usize = 256;

/// What the controller asked of the engine.
#[expect(clippy::large_enum_variant, reason = "a test has few of them")]
#[derive(Debug)]
pub(crate) enum Call {
    Start(StartRequest),
    Cancel(EngineCancelRequest),
}

/// How the engine answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// `Start` fails so.
    pub start_fault: Option<Fault>,
    /// `Start` answers only when this is released.
    pub start_gate: Option<watch::Receiver<bool>>,
    /// The ranks `Start` says take part.
    pub taking_part: Vec<u32>,
    /// `Describe` fails so.
    pub describe_fault: Option<Fault>,
    /// No heartbeats are sent.
    pub is_silent: bool,
}

struct Shared {
    rank: u32,
    script: Mutex<Script>,
    running: Mutex<Vec<RunningQuery>>,
    segments: Mutex<Vec<String>>,
    calls: mpsc::Sender<Call>,
}

pub(crate) struct FakeEngine {
    shared: Arc<Shared>,
    calls: mpsc::Receiver<Call>,
    ended: mpsc::Sender<QueryEnded>,
    topology: watch::Receiver<Topology>,
    refused: watch::Receiver<Option<Fault>>,
    tasks: JoinSet<()>,
}

impl FakeEngine {
    pub(crate) fn start(home: &Home, rank: u32) -> Self {
        Self::with_hello(home, rank, build_id().to_string(), 1000 + rank)
    }

    pub(crate) fn with_hello(home: &Home, rank: u32, build: String, pid: u32) -> Self {
        let (calls_tx, calls) = mpsc::channel(CALLS_MAX);
        let (ended, ended_rx) = mpsc::channel(CALLS_MAX);
        let (topology_tx, topology) = watch::channel(Topology::default());
        let (refused_tx, refused) = watch::channel(None);
        let shared = Arc::new(Shared {
            rank,
            script: Mutex::default(),
            running: Mutex::default(),
            segments: Mutex::default(),
            calls: calls_tx,
        });
        let address = Address::unix(home.engine_socket(rank));
        let listener = address.listen().unwrap();
        let mut tasks = JoinSet::new();
        let service = EngineServer::new(Service(Arc::clone(&shared)));
        tasks.spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
                .unwrap();
        });
        let member = Member {
            controller: Address::unix(home.controller_socket()),
            register: Register {
                hello: Some(Hello {
                    build_id: build,
                    role: "engine".to_string(),
                    pid,
                }),
                rank,
                address: address.to_string(),
                slot: "cpu".to_string(),
                segments: Vec::new(),
                running: Vec::new(),
            },
            shared: Arc::clone(&shared),
            topology: topology_tx,
            refused: refused_tx,
        };
        tasks.spawn(member.stay(ended_rx));
        Self {
            shared,
            calls,
            ended,
            topology,
            refused,
            tasks,
        }
    }

    pub(crate) fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.shared.script.lock().unwrap());
    }

    pub(crate) async fn next_call(&mut self) -> Call {
        within("a call", self.calls.recv()).await.expect("a call")
    }

    pub(crate) async fn next_start(&mut self) -> StartRequest {
        match self.next_call().await {
            Call::Start(start) => start,
            other => panic!("expected a start: {other:?}"),
        }
    }

    pub(crate) async fn next_cancel(&mut self) -> EngineCancelRequest {
        match self.next_call().await {
            Call::Cancel(cancel) => cancel,
            other => panic!("expected a cancel: {other:?}"),
        }
    }

    pub(crate) fn has_no_call(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }

    /// Reports a query with every heartbeat from now on.
    pub(crate) fn reports(&self, query: &str, head: bool, rows: u64) {
        self.reports_remade(query, head, rows, "");
    }

    /// The same of a query that makes this segment again.
    pub(crate) fn reports_remade(&self, query: &str, head: bool, rows: u64, remakes: &str) {
        let mut running = self.shared.running.lock().unwrap();
        running.retain(|report| report.query_id != query);
        running.push(RunningQuery {
            query_id: query.to_string(),
            head,
            progress: Some(QueryProgress {
                rows_scanned: rows,
                ..QueryProgress::default()
            }),
            remakes: remakes.to_string(),
            moves: false,
        });
    }

    /// Tells these segments as its own whenever it attaches.
    pub(crate) fn holds(&self, segments: &[&str]) {
        *self.shared.segments.lock().unwrap() = segments.iter().map(|id| id.to_string()).collect();
    }

    /// Says, as its head, that a query has ended.
    pub(crate) async fn ends(&self, query: &str, state: QueryState, fault: Option<Fault>) {
        self.ends_with(query, state, fault, None).await;
    }

    /// Says, as its head, that a query has made a part of a frame.
    pub(crate) async fn makes(&self, query: &str, made: FrameMade) {
        self.ends_with(query, QueryState::Succeeded, None, Some(made))
            .await;
    }

    async fn ends_with(
        &self,
        query: &str,
        state: QueryState,
        fault: Option<Fault>,
        made: Option<FrameMade>,
    ) {
        let running = &self.shared.running;
        running
            .lock()
            .unwrap()
            .retain(|report| report.query_id != query);
        let ended = QueryEnded {
            query_id: query.to_string(),
            state: state as i32,
            progress: Some(QueryProgress {
                rows_out: 7,
                ..QueryProgress::default()
            }),
            fault_json: fault.map(|fault| fault.to_json()).unwrap_or_default(),
            made,
        };
        self.ended.send(ended).await.unwrap();
    }

    pub(crate) async fn sees_ranks(&mut self, ranks: &[u32]) {
        let is_so = |topology: &Topology| {
            let seen: Vec<u32> = topology.engines.iter().map(|engine| engine.rank).collect();
            seen == ranks
        };
        let seen = self.topology.wait_for(is_so);
        drop(within("a topology", seen).await.unwrap());
    }

    pub(crate) async fn refused(&mut self) -> Fault {
        let refused = self.refused.wait_for(Option::is_some);
        within("a refusal", refused).await.unwrap().clone().unwrap()
    }

    /// Ends as a killed process does: its connections close.
    pub(crate) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }
}

/// The engine's side of its membership.
struct Member {
    controller: Address,
    register: Register,
    shared: Arc<Shared>,
    topology: watch::Sender<Topology>,
    refused: watch::Sender<Option<Fault>>,
}

impl Member {
    /// Stays attached, also over restarts of the controller.
    async fn stay(self, mut ended: mpsc::Receiver<QueryEnded>) {
        loop {
            self.attach(&mut ended).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn attach(&self, ended: &mut mpsc::Receiver<QueryEnded>) {
        let Ok(channel) = self.controller.connect().await else {
            return;
        };
        let (reports, stream) = mpsc::channel(CALLS_MAX);
        let register = Report::Register(Register {
            segments: self.shared.segments.lock().unwrap().clone(),
            running: self.shared.running.lock().unwrap().clone(),
            ..self.register.clone()
        });
        reports.send(report(register)).await.unwrap();
        let mut client = ControllerClient::new(channel);
        let mut commands = match client.attach(ReceiverStream::new(stream)).await {
            Ok(commands) => commands.into_inner(),
            Err(status) => {
                self.refused.send_replace(Some(status.into()));
                return;
            }
        };
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            let message = tokio::select! {
                command = commands.message() => match command {
                    Ok(Some(command)) => {
                        if let Some(Command::Topology(topology)) = command.command {
                            self.topology.send_replace(topology);
                        }
                        continue;
                    }
                    Ok(None) | Err(_) => return,
                },
                Some(ended) = ended.recv() => Report::QueryEnded(ended),
                _ = heartbeat.tick() => {
                    if self.shared.script.lock().unwrap().is_silent {
                        continue;
                    }
                    Report::Heartbeat(Heartbeat {
                        resident_bytes: 1,
                        running: self.shared.running.lock().unwrap().clone(),
                        ..Heartbeat::default()
                    })
                }
            };
            if reports.send(report(message)).await.is_err() {
                return;
            }
        }
    }
}

fn report(report: Report) -> EngineReport {
    EngineReport {
        report: Some(report),
    }
}

struct Service(Arc<Shared>);

#[tonic::async_trait]
impl Engine for Service {
    async fn hello(&self, _: Request<Hello>) -> Result<Response<HelloReply>, Status> {
        Ok(Response::new(HelloReply::default()))
    }

    async fn describe(
        &self,
        request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeReply>, Status> {
        if let Some(fault) = self.0.script.lock().unwrap().describe_fault.clone() {
            return Err(fault.into());
        }
        // `CREATE VIEW name AS ...`
        let request = request.into_inner();
        let name = request.sql.split_whitespace().nth(2).unwrap_or_default();
        let entry = CatalogEntry {
            name: name.to_string(),
            kind: EntryKind::View as i32,
            sql: request.sql.clone(),
            schema_json: "{}".to_string(),
            ..CatalogEntry::default()
        };
        Ok(Response::new(DescribeReply { entry: Some(entry) }))
    }

    async fn read_memory(&self, _: Request<Empty>) -> Result<Response<EngineMemory>, Status> {
        Ok(Response::new(EngineMemory::default()))
    }

    async fn start(&self, request: Request<StartRequest>) -> Result<Response<StartReply>, Status> {
        // A test that sees the call may change the script for the next one.
        let script = self.0.script.lock().unwrap().clone();
        self.0
            .calls
            .try_send(Call::Start(request.into_inner()))
            .unwrap();
        if let Some(mut gate) = script.start_gate {
            drop(gate.wait_for(|is_open| *is_open).await);
        }
        match script.start_fault {
            Some(fault) => Err(fault.into()),
            None => Ok(Response::new(StartReply {
                engines: script.taking_part,
            })),
        }
    }

    async fn cancel_query(
        &self,
        request: Request<EngineCancelRequest>,
    ) -> Result<Response<Empty>, Status> {
        self.0
            .calls
            .try_send(Call::Cancel(request.into_inner()))
            .unwrap();
        Ok(Response::new(Empty {}))
    }

    async fn read_spans(
        &self,
        request: Request<ReadSpansRequest>,
    ) -> Result<Response<ReadSpansReply>, Status> {
        let span = Span {
            query_id: request.into_inner().query_id,
            kind: "scan".to_string(),
            rows: u64::from(self.0.rank),
            ..Span::default()
        };
        Ok(Response::new(ReadSpansReply { spans: vec![span] }))
    }
}
