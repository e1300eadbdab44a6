//! The cluster is scaled while queries run: those under way end where they began, and every answer
//! stays right.

use std::time::Duration;

use bireme_tests::wait_until;

use crate::traffic::{self, CALL, COUNTED, DISTRIBUTED, WIDE_TOTALS, WideRows};

const SETTLED: Duration = Duration::from_secs(10);

#[test]
fn answers_stay_right_while_the_cluster_is_scaled() {
    let cluster = traffic::cluster(2, DISTRIBUTED);
    let expected = cluster.sql(COUNTED);
    let scale = || {
        for engines in [4, 1, 3, 2] {
            let wanted = engines.to_string();
            cluster.bireme(&["cluster", "scale", &wanted]).success();
            wait_until("the engines", SETTLED, || {
                (cluster.engines().len() == engines).then_some(())
            });
        }
    };
    std::thread::scope(|scope| {
        let scaling = scope.spawn(scale);
        let mut answered = 0;
        while !scaling.is_finished() {
            assert_eq!(cluster.sql(COUNTED), expected, "after {answered} answers");
            answered += 1;
        }
        scaling.join().unwrap();
        assert!(answered > 0);
    });
    let finished = cluster.bireme(&["sql", "--format", "csv", COUNTED]);
    traffic::assert_run_by(2, &finished);
    assert_eq!(finished.success(), expected);
}

#[test]
fn a_query_under_way_ends_before_its_engine_does() {
    let cluster = traffic::cluster(2, DISTRIBUTED);
    let totals = cluster.sql(WIDE_TOTALS);
    let leaving = cluster.engine(1).unwrap();
    let mut rows = WideRows::start(&cluster);
    let mut scaling = cluster.start_bireme(&["cluster", "scale", "1"]);
    wait_until("the engine to leave", SETTLED, || {
        let engines = cluster.engine_status();
        let leaves = engines.iter().any(|engine| engine.state == "leaving");
        leaves.then_some(())
    });
    assert!(scaling.is_running(), "it waits for the query");
    assert!(rows.is_running(), "it waits for its reader");
    assert_eq!(cluster.engine(1), Some(leaving));

    assert_eq!(rows.read(), totals);
    scaling.finish(CALL).success();
    wait_until("the engine to end", SETTLED, || {
        (cluster.engines().len() == 1).then_some(())
    });
}
