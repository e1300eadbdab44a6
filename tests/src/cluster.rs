//! A cluster of processes for one test, in a home of its own.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::processes::{self, Process};
use crate::{EngineStatus, Finished, Running, bireme_binary, engine_status, run, wait_until};

/// No call of a test takes longer, on two cores that are shared.
const CALL_DEADLINE: Duration = Duration::from_secs(120);
/// After `cluster stop` every process is gone by then.
const GONE_DEADLINE: Duration = Duration::from_secs(10);

/// A home and, once started, its cluster. When dropped the cluster is stopped, and the test fails
/// when a process is left.
#[derive(Debug)]
pub struct TestCluster {
    home: TempDir,
    work: TempDir,
}

impl TestCluster {
    /// A home without a cluster.
    ///
    /// # Panics
    ///
    /// When no directory can be made.
    pub fn new() -> Self {
        // Paths of Unix sockets end at 108 bytes, and `TMPDIR` may be long.
        let directory = |prefix| {
            let made = tempfile::Builder::new().prefix(prefix).tempdir_in("/tmp");
            made.unwrap_or_else(|error| panic!("make a directory in /tmp: {error}"))
        };
        Self {
            home: directory("bm-"),
            work: directory("bm-work-"),
        }
    }

    /// A home with a running cluster.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(engines: u32) -> Self {
        let cluster = Self::new();
        cluster.start_engines(engines);
        cluster
    }

    /// A home with a running cluster and these settings, as they stand in `config.toml`.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_with(engines: u32, settings: &str) -> Self {
        let cluster = Self::new();
        let file = cluster.home().join("config.toml");
        let written = std::fs::write(&file, settings);
        written.unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
        cluster.start_engines(engines);
        cluster
    }

    fn start_engines(&self, engines: u32) {
        self.bireme(&["cluster", "start", "--engines", &engines.to_string()])
            .success();
    }

    /// The home's directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A directory for the test's own files; commands run in it.
    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// A `bireme` command that sees this home and no setting from outside.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(bireme_binary());
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"BIREME_") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .env("BIREME_HOME", self.home())
            .current_dir(self.work());
        command
    }

    /// Runs `bireme` to its end.
    ///
    /// # Panics
    ///
    /// When it is not done in two minutes.
    pub fn bireme(&self, arguments: &[&str]) -> Finished {
        run(self.command(arguments), CALL_DEADLINE)
    }

    /// Starts `bireme` and returns while it runs.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start_bireme(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    /// What the controller knows of the engines, by rank.
    ///
    /// # Panics
    ///
    /// When no cluster runs.
    pub fn engine_status(&self) -> Vec<EngineStatus> {
        engine_status::parse(&self.bireme(&["cluster", "status"]).success())
    }

    /// Runs statements and returns the rows as CSV.
    ///
    /// # Panics
    ///
    /// When a statement fails.
    pub fn sql(&self, statements: &str) -> String {
        self.bireme(&["sql", "--format", "csv", statements])
            .success()
    }

    /// Runs statements that must fail and returns the message.
    ///
    /// # Panics
    ///
    /// When they succeed.
    pub fn sql_error(&self, statements: &str) -> String {
        self.bireme(&["sql", "--format", "csv", statements])
            .failure()
    }

    /// All processes that belong to this home now.
    pub fn processes(&self) -> Vec<Process> {
        processes::of_home(self.home())
    }

    /// The engine processes, in the order of their ids.
    pub fn engines(&self) -> Vec<Process> {
        let mut engines = self.processes();
        engines.retain(|process| process.is("engine"));
        engines.sort_by_key(|process| process.id);
        engines
    }

    /// The process of an engine, if it is there.
    pub fn engine(&self, rank: u32) -> Option<Process> {
        let mut engines = self.engines().into_iter();
        engines.find(|engine| engine.rank() == Some(rank))
    }

    /// The controller, if it is there.
    pub fn controller(&self) -> Option<Process> {
        self.process("controller")
    }

    /// The launcher, if it is there.
    pub fn launcher(&self) -> Option<Process> {
        self.process("launcher")
    }

    fn process(&self, subcommand: &str) -> Option<Process> {
        let mut processes = self.processes().into_iter();
        processes.find(|process| process.is(subcommand))
    }
}

impl Default for TestCluster {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The first failure is the one to show; the cluster must go all the same.
            stop_quietly(self);
            return;
        }
        if !self.processes().is_empty() {
            self.bireme(&["cluster", "stop"]).success();
        }
        wait_until("every process of the cluster to end", GONE_DEADLINE, || {
            self.processes().is_empty().then_some(())
        });
    }
}

fn stop_quietly(cluster: &TestCluster) {
    for process in cluster.processes() {
        // The id was read a moment ago from a home that only this test uses.
        let mut kill = std::process::Command::new("kill");
        let _ = kill.args(["-KILL", &process.id.to_string()]).status();
    }
}
