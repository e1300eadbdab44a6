//! An engine is killed under a query: the query fails soon and says which engine and why, and the
//! next one is answered.

use std::time::{Duration, Instant};

use bireme_tests::{TestCluster, wait_until};

use crate::traffic::{self, CALL, COUNTED, DISTRIBUTED, LONG};

/// A query fails within this time of its engine's end.
const FAILED: Duration = Duration::from_secs(2);
/// The engine is back within this time.
const BACK: Duration = Duration::from_secs(5);

fn counted(cluster: &TestCluster) -> String {
    cluster.sql(COUNTED)
}

fn lose_under_a_query(rank: u32) {
    let cluster = traffic::cluster(2, DISTRIBUTED);
    let expected = counted(&cluster);
    let before = [0, 1].map(|rank| cluster.engine(rank).unwrap().id);
    let client = traffic::start_until(&cluster, &["sql", LONG], traffic::is_on_every_engine);

    let killed = Instant::now();
    cluster.engine(rank).unwrap().signal("KILL");
    let finished = client.finish(CALL);
    let took = killed.elapsed();
    // Nothing is waited for: the answer must be there for whoever asks at once.
    let answer = counted(&cluster);

    let message = finished.failure();
    assert!(took < FAILED, "it failed after {took:?}: {message}");
    assert!(message.contains(&format!("engine {rank}")), "{message}");
    assert!(message.contains("SIGKILL"), "{message}");
    assert_eq!(answer, expected);

    let is_up = || {
        let engines = cluster.engine_status();
        let all = engines.len() == 2 && engines.iter().all(|engine| engine.state == "up");
        all.then_some(engines)
    };
    let after = wait_until("the engine to be back", BACK, is_up);
    for (rank_of_engine, engine) in (0..).zip(&after) {
        assert_eq!(engine.rank, rank_of_engine);
        let is_same = engine.pid == before[usize::try_from(engine.rank).unwrap()];
        assert_eq!(is_same, engine.rank != rank, "{after:?}");
    }
    let finished = cluster.bireme(&["sql", "--format", "csv", COUNTED]);
    traffic::assert_run_by(2, &finished);
    assert_eq!(finished.success(), expected);
}

#[test]
fn an_engine_killed_under_a_query_fails_it_with_its_name() {
    lose_under_a_query(1);
}

/// The head is the engine of the lowest rank among those that head the fewest queries.
#[test]
fn a_head_killed_under_its_query_fails_it_with_its_name() {
    lose_under_a_query(0);
}

#[test]
fn what_a_killed_engine_spilled_is_removed_by_the_next() {
    let cluster = traffic::cluster(2, DISTRIBUTED);
    let left = cluster.home().join("spill/engine-1/spill-left");
    std::fs::write(&left, "of an engine that was killed").unwrap();
    let killed = cluster.engine(1).unwrap();
    killed.signal("KILL");
    wait_until("the engine to be back", BACK, || {
        cluster.engine(1).filter(|engine| engine.id != killed.id)
    });
    wait_until("its directory to be emptied", BACK, || {
        (!left.exists()).then_some(())
    });
}
