//! The life of a cluster: start, attach, restart, scale, stop.

use std::time::{Duration, Instant};

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
fn stop_without_a_cluster_is_quick() {
    let cluster = TestCluster::new();
    let started = Instant::now();
    let finished = cluster.bireme(&["cluster", "stop"]);
    assert!(started.elapsed() < SETTLED, "{finished}");
    assert!(cluster.processes().is_empty());
}
