//! A controller in this process, or in one of its own that can be killed, with a client.

use bireme_controller::{Clock, ControllerOptions, Ended, run};
use bireme_protocol::proto::controller_client::ControllerClient;
use bireme_protocol::proto::{
    CancelQueryRequest, CancelReply, ClusterStatus, Empty, ExitReport, HistoryRequest,
    OpenSessionRequest, QueryEvent, QueryRecord, QueryRef, QueryState, SubmitRequest,
    WaitEnginesRequest,
};
use bireme_protocol::{Address, Fault, QueryId, build_id};
use bireme_settings::{Home, Settings};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// No condition in these tests takes this long, also on a machine that does ten other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const HOME_VARIABLE: &str = "BIREME_CONTROLLER_TEST_HOME";
/// Session every cluster of these tests has open.
pub(crate) const SESSION: &str = "notebook";

pub(crate) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// A controller with its home.
pub(crate) struct Cluster {
    pub home: Home,
    pub client: ControllerClient<Channel>,
    pub clock: Clock,
    _directory: TempDir,
    told: CancellationToken,
    controller: JoinSet<Ended>,
}

impl Cluster {
    pub(crate) async fn start(engines: u32) -> Self {
        Self::with(engines, |_| {}).await
    }

    pub(crate) async fn with(engines: u32, change: impl FnOnce(&mut ControllerOptions)) -> Self {
        let directory = TempDir::new().unwrap();
        let home = Home::at(directory.path()).unwrap();
        let mut options = ControllerOptions::new(home.clone(), engines, &Settings::default());
        change(&mut options);
        let clock = options.clock.clone();
        let told = CancellationToken::new();
        let mut controller = JoinSet::new();
        let until = told.clone();
        controller.spawn(async move { run(options, until.cancelled()).await.unwrap() });
        let client = connect(&home).await;
        let mut cluster = Self {
            home,
            client,
            clock,
            _directory: directory,
            told,
            controller,
        };
        cluster.open_session(SESSION).await;
        cluster
    }

    pub(crate) async fn ended(mut self) -> Ended {
        let ended = within("the controller's end", self.controller.join_next()).await;
        ended.unwrap().unwrap()
    }

    pub(crate) async fn stop(self) -> Home {
        let home = self.home.clone();
        self.told.cancel();
        assert_eq!(self.ended().await, Ended::Told);
        home
    }

    pub(crate) async fn open_session(&mut self, session: &str) {
        open_session(&mut self.client, session).await;
    }

    pub(crate) async fn wait_engines(&mut self, engines: u32) {
        wait_engines(&mut self.client, engines).await;
    }

    pub(crate) async fn status(&mut self) -> ClusterStatus {
        self.client.status(Empty {}).await.unwrap().into_inner()
    }

    pub(crate) async fn submit(&mut self, sql: &str) -> QueryEvent {
        self.submit_request(request(SESSION, sql)).await.unwrap()
    }

    pub(crate) async fn submit_request(
        &mut self,
        request: SubmitRequest,
    ) -> Result<QueryEvent, Fault> {
        let event = self.client.submit(request).await;
        Ok(event.map_err(Fault::from)?.into_inner())
    }

    pub(crate) async fn cancel(&mut self, query: &str) -> Result<CancelReply, Fault> {
        let request = CancelQueryRequest {
            query_id: query.to_string(),
            reason: "a test".to_string(),
        };
        Ok(self
            .client
            .cancel(request)
            .await
            .map_err(Fault::from)?
            .into_inner())
    }

    /// All events of a query until its last.
    pub(crate) async fn watch(&mut self, query: &str) -> Vec<QueryEvent> {
        watch(&mut self.client, query).await
    }

    pub(crate) async fn end_of(&mut self, query: &str) -> QueryEvent {
        self.watch(query).await.pop().expect("a last event")
    }

    /// The end of a query that comes because time passes; for a clock that stands.
    pub(crate) async fn end_while_time_passes(&mut self, query: &str) -> QueryEvent {
        let clock = self.clock.clone();
        let end = self.end_of(query);
        tokio::pin!(end);
        loop {
            tokio::select! {
                event = &mut end => return event,
                () = tokio::time::sleep(Duration::from_millis(5)) => {
                    clock.advance(Duration::from_millis(20));
                }
            }
        }
    }

    pub(crate) async fn history(&mut self) -> Vec<QueryRecord> {
        history(&mut self.client).await
    }

    pub(crate) async fn report_exit(&mut self, rank: u32, pid: u32, how: &str) {
        let report = ExitReport {
            rank,
            pid,
            how: how.to_string(),
            given_up: false,
        };
        self.client.report_exit(report).await.unwrap();
    }
}

/// A controller in a process of its own.
pub(crate) struct ControllerProcess {
    pub client: ControllerClient<Channel>,
    child: Child,
}

impl ControllerProcess {
    /// Runs this test binary's `controller_process` on a home.
    pub(crate) async fn start(home: &Home) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["harness::controller_process", "--exact", "--ignored"])
            .env(HOME_VARIABLE, home.root())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let client = connect(home).await;
        Self { client, child }
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
#[ignore = "a process that other tests start"]
fn controller_process() {
    let Some(root) = bireme_settings::environment(HOME_VARIABLE) else {
        return;
    };
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).unwrap();
    let home = Home::at(std::path::Path::new(&root)).unwrap();
    let options = ControllerOptions::new(home, 2, &Settings::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime
        .block_on(run(options, std::future::pending()))
        .unwrap();
}

/// Connects once somebody listens.
pub(crate) async fn connect(home: &Home) -> ControllerClient<Channel> {
    let address = Address::unix(home.controller_socket());
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(channel) = address.connect().await {
            let mut client = ControllerClient::new(channel);
            if client.hello(build_id::hello("test")).await.is_ok() {
                return client;
            }
        }
        assert!(
            Instant::now() < deadline,
            "no controller within {PATIENCE:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn open_session(client: &mut ControllerClient<Channel>, session: &str) {
    let request = OpenSessionRequest {
        session: session.to_string(),
        client: "test".to_string(),
        ..OpenSessionRequest::default()
    };
    client.open_session(request).await.unwrap();
}

pub(crate) async fn wait_engines(client: &mut ControllerClient<Channel>, engines: u32) {
    let request = WaitEnginesRequest {
        engines,
        timeout_ms: u64::try_from(PATIENCE.as_millis()).unwrap(),
    };
    client.wait_engines(request).await.unwrap();
}

pub(crate) async fn watch(client: &mut ControllerClient<Channel>, query: &str) -> Vec<QueryEvent> {
    let query_id = query.to_string();
    let events = client.watch(QueryRef { query_id }).await.unwrap();
    let mut events = events.into_inner();
    let mut seen = Vec::new();
    while let Some(event) = within("an event", events.message()).await.unwrap() {
        seen.push(event);
    }
    let is_last = |event: &QueryEvent| event.state() as i32 > QueryState::Running as i32;
    let last = seen.iter().filter(|event| is_last(event)).count();
    assert_eq!(last, 1, "a query ends once: {seen:?}");
    assert!(
        seen.last().is_some_and(is_last),
        "nothing after the end: {seen:?}"
    );
    seen
}

pub(crate) async fn history(client: &mut ControllerClient<Channel>) -> Vec<QueryRecord> {
    let history = client.history(HistoryRequest::default()).await.unwrap();
    history.into_inner().queries
}

pub(crate) fn request(session: &str, sql: &str) -> SubmitRequest {
    SubmitRequest {
        session: session.to_string(),
        sql: sql.to_string(),
        ..SubmitRequest::default()
    }
}

pub(crate) fn with_id(id: QueryId, sql: &str) -> SubmitRequest {
    SubmitRequest {
        query_id: id.to_string(),
        ..request(SESSION, sql)
    }
}

pub(crate) fn fault_of(event: &QueryEvent) -> Fault {
    Fault::from_json(&event.fault_json)
}
