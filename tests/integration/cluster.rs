//! The life of a cluster: start, attach, restart, scale, stop.

use std::time::{Duration, Instant};

use bireme_tests::processes;
use bireme_tests::{TestCluster, wait_until};

const SETTLED: Duration = Duration::from_secs(10);
/// What an idle engine may hold.
const IDLE_ENGINE_BYTES: u64 = 60 << 20;

#[test]
fn start_status_stop() {
    let cluster = TestCluster::start(3);
    assert_eq!(cluster.engines().len(), 3);
    let status = cluster.bireme(&["cluster", "status"]).success();
    for rank in 0..3 {
        assert!(status.contains(&rank.to_string()), "{status}");
    }
    cluster.bireme(&["cluster", "stop"]).success();
    wait_until("all processes to end", SETTLED, || {
        cluster.processes().is_empty().then_some(())
    });
}

#[test]
fn the_first_query_starts_a_cluster() {
    let cluster = TestCluster::new();
    assert_eq!(cluster.sql("SELECT 1 + 1 AS two"), "two\n2\n");
    assert!(!cluster.engines().is_empty());
}

#[test]
fn a_second_query_attaches() {
    let cluster = TestCluster::start(1);
    let before = cluster.engines();
    cluster.sql("SELECT 1");
    assert_eq!(cluster.engines(), before);
}

#[test]
fn restart_replaces_every_engine() {
    let cluster = TestCluster::start(2);
    let before = cluster.engines();
    cluster.bireme(&["cluster", "restart"]).success();
    let after = cluster.engines();
    assert_eq!(after.len(), 2);
    assert!(before.iter().all(|engine| !after.contains(engine)));
    assert_eq!(cluster.sql("SELECT 1 AS one"), "one\n1\n");
}

#[test]
fn scale_changes_the_number_of_engines() {
    let cluster = TestCluster::start(1);
    for engines in [3, 2] {
        cluster
            .bireme(&["cluster", "scale", &engines.to_string()])
            .success();
        wait_until("the engines", SETTLED, || {
            (cluster.engines().len() == engines).then_some(())
        });
        assert_eq!(
            cluster.sql("SELECT count(*) AS n FROM range(100)"),
            "n\n100\n"
        );
    }
}

#[test]
fn an_idle_engine_is_small() {
    let cluster = TestCluster::start(2);
    for engine in cluster.engines() {
        let bytes = engine.resident_bytes().unwrap();
        assert!(
            bytes <= IDLE_ENGINE_BYTES,
            "{} MiB in {:?}",
            bytes >> 20,
            engine.arguments
        );
    }
}

#[test]
fn two_starts_at_once_give_one_cluster() {
    let cluster = TestCluster::new();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| cluster.sql("SELECT 1"));
        }
    });
    let controllers = cluster
        .processes()
        .into_iter()
        .filter(|process| process.is("controller"));
    assert_eq!(controllers.count(), 1);
}

#[test]
fn all_processes_are_in_a_session_of_their_own() {
    let cluster = TestCluster::start(2);
    let launcher = cluster.launcher().unwrap().id;
    let processes = cluster.processes();
    assert_eq!(processes.len(), 4, "{processes:?}");
    for process in processes {
        assert_eq!(process.session(), Some(launcher), "{process:?}");
    }
    assert_ne!(processes::session(std::process::id()), Some(launcher));
}

#[test]
fn running_clusters_are_listed() {
    let clusters = [2, 1].map(TestCluster::start);
    let listed = clusters[0].bireme(&["cluster", "list"]).success();
    for (cluster, engines) in clusters.iter().zip(["2 engines", "1 engine"]) {
        let home = cluster.home().canonicalize().unwrap();
        let home = home.to_str().unwrap();
        let line = listed.lines().find(|line| line.starts_with(home));
        let line = line.unwrap_or_else(|| panic!("no {home} in\n{listed}"));
        let launcher = cluster.launcher().unwrap().id;
        assert!(line.contains(&format!("pid {launcher} ")), "{line}");
        assert!(line.ends_with(engines), "{line}");
    }
    clusters[1].bireme(&["cluster", "stop"]).success();
    let listed = clusters[0].bireme(&["cluster", "list"]).success();
    assert!(listed.contains(clusters[0].home().to_str().unwrap()));
    assert!(!listed.contains(clusters[1].home().to_str().unwrap()));
}

#[test]
fn logs_are_shown_by_process() {
    let cluster = TestCluster::start(2);
    // A process is up before its first words are in its log.
    wait_until("every process to say something", SETTLED, || {
        let all = cluster.bireme(&["cluster", "logs"]).success();
        let names = ["launcher", "controller", "engine-0", "engine-1"];
        let mut names = names.iter();
        let has_all = names.all(|name| all.contains(&format!("==> {name} <==\n")));
        has_all.then_some(())
    });
    let one = cluster.bireme(&["cluster", "logs", "engine-1", "-n", "1"]);
    let one = one.success();
    assert_eq!(one.lines().count(), 2, "{one}");
    assert!(one.starts_with("==> engine-1 <==\n"), "{one}");
    let unknown = cluster.bireme(&["cluster", "logs", "engine-7"]).failure();
    assert!(
        unknown.contains("engine-7") && unknown.contains("engine-1"),
        "{unknown}"
    );
}

#[test]
fn status_shows_every_engine() {
    let cluster = TestCluster::start(3);
    let engines = cluster.engine_status();
    assert_eq!(engines.len(), 3, "{engines:?}");
    for (rank, engine) in (0..).zip(&engines) {
        assert_eq!(engine.rank, rank);
        assert_eq!(engine.pid, cluster.engine(rank).unwrap().id);
        assert!(engine.is_free(), "{engine:?}");
    }
}

#[test]
fn stop_without_a_cluster_is_quick() {
    let cluster = TestCluster::new();
    let started = Instant::now();
    let finished = cluster.bireme(&["cluster", "stop"]);
    assert!(started.elapsed() < SETTLED, "{finished}");
    assert!(cluster.processes().is_empty());
}
