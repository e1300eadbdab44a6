//! The processes of a test's cluster and what tests ask of them. The launcher is ours, the
//! controller the real one, an engine registers and then does what its script says.

use bireme_controller::{ControllerOptions, Ended, listener_from_stdin};
use bireme_launchers::{
    ClusterCommands, LauncherError, LauncherOptions, ProcessCommand, StartOptions, StartedCluster,
    run_launcher, start_cluster,
};
use bireme_protocol::proto::controller_client::ControllerClient;
use bireme_protocol::proto::launcher_client::LauncherClient;
use bireme_protocol::proto::{
    ClusterStatus, Empty, EngineReport, Heartbeat, Process, Register, engine_report::Report,
};
use bireme_protocol::{Address, build_id};
use bireme_settings::{Home, Settings, environment};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// No condition in these tests takes this long, also on a machine that does ten other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const HOME: &str = "BIREME_LAUNCHER_TEST_HOME";
const ENGINES: &str = "BIREME_LAUNCHER_TEST_ENGINES";
const RANK: &str = "BIREME_LAUNCHER_TEST_RANK";
const SCRIPT: &str = "BIREME_LAUNCHER_TEST_SCRIPT";

/// A home and how to start a cluster in it.
pub(crate) struct TestCluster {
    pub home: Home,
    pub options: StartOptions,
    _directory: TempDir,
}

impl TestCluster {
    pub(crate) fn new(engines: u32, script: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let home = Home::at(directory.path()).unwrap();
        let launcher = this_program("processes::launcher_process")
            .with_environment(HOME, home.root())
            .with_environment(ENGINES, engines.to_string())
            .with_environment(SCRIPT, script);
        let options = StartOptions {
            launcher,
            timeout: PATIENCE,
        };
        Self {
            home,
            options,
            _directory: directory,
        }
    }

    pub(crate) async fn start(&self) -> Result<StartedCluster, LauncherError> {
        start_cluster(&self.home, &self.options).await
    }

    pub(crate) async fn controller(&self) -> ControllerClient<Channel> {
        let address = Address::unix(self.home.controller_socket());
        ControllerClient::new(address.connect().await.unwrap())
    }

    pub(crate) async fn launcher(&self) -> LauncherClient<Channel> {
        let address = Address::unix(self.home.launcher_socket());
        LauncherClient::new(address.connect().await.unwrap())
    }

    pub(crate) async fn processes(&self) -> Vec<Process> {
        let processes = self.launcher().await.processes(Empty {}).await;
        processes.unwrap().into_inner().processes
    }

    pub(crate) async fn pid_of(&self, name: &str) -> u32 {
        let processes = self.processes().await;
        processes.iter().find(|p| p.name == name).unwrap().pid
    }

    pub(crate) async fn until_status(&self, what: &str, is_so: impl Fn(&ClusterStatus) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut controller = self.controller().await;
        loop {
            match controller.status(Empty {}).await {
                Ok(status) if is_so(status.get_ref()) => return,
                status => assert!(Instant::now() < deadline, "{what}: {status:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Nothing but logs and the database is left.
    pub(crate) fn has_nothing_left(&self) {
        let left: Vec<_> = std::fs::read_dir(self.home.sockets())
            .unwrap()
            .flatten()
            .collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(!self.home.lock_file().exists());
    }
}

impl Drop for TestCluster {
    /// A failed test leaves no processes either.
    fn drop(&mut self) {
        if let Ok(Some(pid)) = bireme_launchers::ClusterLock::holder(&self.home) {
            kill_9(pid);
        }
    }
}

pub(crate) fn kill_9(pid: u32) {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
}

/// Whether a process is no more, or only waits to be reaped by somebody else.
pub(crate) fn is_gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    matches!(state, None | Some(Some('Z' | 'X')))
}

pub(crate) fn until_gone(pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    while !is_gone(pid) {
        assert!(Instant::now() < deadline, "process {pid} lives");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn this_program(role: &str) -> ProcessCommand {
    let program = std::env::current_exe().unwrap();
    // With several threads the harness writes nothing before the test's own output.
    let arguments = [
        role,
        "--exact",
        "--ignored",
        "--nocapture",
        "--test-threads=2",
    ];
    // A backtrace would fill the few lines of its log that an error carries.
    ProcessCommand::new(program, arguments).with_environment("RUST_BACKTRACE", "0")
}

fn home_of_process() -> Option<Home> {
    let root = environment(HOME)?;
    Some(Home::at(Path::new(&root)).unwrap())
}

#[test]
#[ignore = "a process that other tests start"]
fn launcher_process() {
    let Some(home) = home_of_process() else {
        return;
    };
    let engines = environment(ENGINES).unwrap().parse().unwrap();
    let commands = ClusterCommands::new(
        |engines| {
            this_program("processes::controller_process")
                .with_environment(ENGINES, engines.to_string())
        },
        |rank, _| {
            this_program("processes::engine_process").with_environment(RANK, rank.to_string())
        },
    );
    let options = LauncherOptions {
        home,
        engines,
        commands,
    };
    run_launcher(options).unwrap();
}

#[test]
#[ignore = "a process that other tests start"]
fn controller_process() {
    let Some(home) = home_of_process() else {
        return;
    };
    let script = environment(SCRIPT).unwrap();
    assert_ne!(script, "controller crashes", "no luck today");
    let engines = environment(ENGINES).unwrap().parse().unwrap();
    let mut options = ControllerOptions::new(home, engines, &Settings::default());
    options.listener = Some(listener_from_stdin().unwrap());
    if script == "idle" {
        options.idle_timeout = Duration::from_millis(50);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ended = runtime.block_on(bireme_controller::run(options, std::future::pending()));
    assert_eq!(ended.unwrap(), Ended::Idle);
}

#[test]
#[ignore = "a process that other tests start"]
#[expect(
    clippy::zombie_processes,
    reason = "what an engine leaves behind is what is tested"
)]
fn engine_process() {
    let Some(home) = home_of_process() else {
        return;
    };
    let rank: u32 = environment(RANK).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        match environment(SCRIPT).unwrap().as_str() {
            "crashes" => panic!("there is no device {rank}"),
            "ignores SIGTERM" => {
                let term = tokio::signal::unix::SignalKind::terminate();
                let _ignored = tokio::signal::unix::signal(term).unwrap();
                serve(&home, rank).await;
            }
            "leaves a child" => {
                let sleep = std::process::Command::new("sleep")
                    .arg("1000")
                    .spawn()
                    .unwrap();
                std::fs::write(home.root().join("child"), sleep.id().to_string()).unwrap();
                serve(&home, rank).await;
            }
            _ => serve(&home, rank).await,
        }
    });
}

async fn serve(home: &Home, rank: u32) {
    loop {
        attach(home, rank).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn attach(home: &Home, rank: u32) {
    let controller = Address::unix(home.controller_socket());
    let Ok(channel) = controller.connect().await else {
        return;
    };
    let (reports, stream) = mpsc::channel(8);
    let register = Report::Register(Register {
        hello: Some(build_id::hello("engine")),
        rank,
        address: Address::unix(home.engine_socket(rank)).to_string(),
        slot: "cpu".to_string(),
        segments: Vec::new(),
        running: Vec::new(),
    });
    let send = async |report| {
        reports
            .send(EngineReport {
                report: Some(report),
            })
            .await
    };
    send(register).await.unwrap();
    let mut client = ControllerClient::new(channel);
    let Ok(commands) = client.attach(ReceiverStream::new(stream)).await else {
        return;
    };
    let mut commands = commands.into_inner();
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            command = commands.message() => match command {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            },
            _ = beat.tick() => {
                if send(Report::Heartbeat(Heartbeat::default())).await.is_err() {
                    return;
                }
            }
        }
    }
}
