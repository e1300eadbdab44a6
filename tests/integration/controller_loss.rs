//! The controller is killed under a query: the query goes on, and its engines with it.

use std::time::Duration;

use bireme_tests::wait_until;

use crate::traffic::{self, COUNTED, DISTRIBUTED, WIDE_TOTALS, WideRows};

/// Another controller runs, and knows of the query, within this time.
const BACK: Duration = Duration::from_secs(5);

#[test]
fn a_running_query_outlives_the_controller() {
    let cluster = traffic::cluster(2, DISTRIBUTED);
    let totals = cluster.sql(WIDE_TOTALS);
    let counted = cluster.sql(COUNTED);
    let engines = cluster.engines();
    let mut rows = WideRows::start(&cluster);

    let controller = cluster.controller().unwrap();
    controller.signal("KILL");
    wait_until("a new controller", BACK, || {
        cluster.controller().filter(|now| now.id != controller.id)
    });
    wait_until("the new controller to know of the query", BACK, || {
        let engines = cluster.engine_status();
        let knows = engines.iter().any(|engine| engine.queries > 0);
        knows.then_some(())
    });
    assert!(rows.is_running(), "it waits for its reader");

    assert_eq!(rows.read(), totals);
    assert_eq!(cluster.engines(), engines, "no engine was restarted");
    assert_eq!(cluster.sql(COUNTED), counted);
}
