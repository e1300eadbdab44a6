//! What happens when a process dies.

use std::time::Duration;

use bireme_tests::{TestCluster, wait_until};

/// The launcher notices and starts another within this time.
const BACK: Duration = Duration::from_secs(5);

#[test]
fn a_killed_engine_comes_back() {
    let cluster = TestCluster::start(2);
    let before = cluster.engines();
    before[1].signal("KILL");
    wait_until("a new engine", BACK, || {
        let now = cluster.engines();
        (now.len() == 2 && !now.contains(&before[1])).then_some(())
    });
    assert!(
        cluster.engines().contains(&before[0]),
        "the other engine was left alone"
    );
    assert_eq!(
        cluster.sql("SELECT count(*) AS n FROM range(1000)"),
        "n\n1000\n"
    );
}

#[test]
fn a_killed_controller_comes_back_with_its_sessions() {
    let cluster = TestCluster::start(2);
    let session = |text: &str| {
        cluster
            .bireme(&["sql", "--session", "mine", "--format", "csv", text])
            .success()
    };
    session("CREATE VIEW kept AS SELECT 7 AS seven");
    let engines = cluster.engines();
    let controller = cluster.controller().unwrap();
    controller.signal("KILL");
    wait_until("a new controller", BACK, || {
        cluster.controller().filter(|now| now.id != controller.id)
    });
    assert_eq!(session("SELECT * FROM kept"), "seven\n7\n");
    assert_eq!(cluster.engines(), engines);
}

#[test]
fn killing_the_launcher_ends_everything() {
    let cluster = TestCluster::start(2);
    cluster.launcher().unwrap().signal("KILL");
    wait_until("every process to end", BACK, || {
        cluster.processes().is_empty().then_some(())
    });
}
