//! No record batch passes through the controller: its process moves next to nothing while rows flow
//! from the engines to a client.

use std::io;

use bireme_tests::TestCluster;

use crate::traffic::{self, CALL, DISTRIBUTED, WIDE};

/// As text, 213 MB.
const ROWS: &str = "800_000";
/// What the client receives at least.
const STREAMED: u64 = 200_000_000;
/// What the controller may move meanwhile: heartbeats, progress, its database.
const CONTROL_MAX: u64 = 1_000_000;

#[test]
fn rows_do_not_pass_through_the_controller() {
    let cluster = TestCluster::start_with(2, DISTRIBUTED);
    traffic::make(&cluster, ROWS);
    let controller = cluster.controller().unwrap();
    let moved_by_controller = || controller.moved_bytes().unwrap();
    let engines = cluster.engines();
    let moved_by_engines = || -> u64 {
        let moved = engines.iter().map(|engine| engine.moved_bytes());
        moved.map(Option::unwrap).sum()
    };
    let before = (moved_by_controller(), moved_by_engines());

    let mut client = cluster.start_bireme(&["sql", "--format", "csv", WIDE]);
    let mut rows = client.take_output();
    let reader = std::thread::spawn(move || io::copy(&mut rows, &mut io::sink()));
    let finished = client.finish(CALL);
    let received = reader.join().unwrap().unwrap();

    let by_controller = moved_by_controller() - before.0;
    let by_engines = moved_by_engines() - before.1;
    traffic::assert_run_by(2, &finished);
    finished.success();
    assert!(received >= STREAMED, "the client received {received} bytes");
    // The measure sees rows where they do pass.
    assert!(
        by_engines >= STREAMED,
        "the engines moved {by_engines} bytes"
    );
    assert!(
        by_controller < CONTROL_MAX,
        "the controller moved {by_controller} bytes"
    );
}
