//! A query ends when its user is done with it: the prompt is back, and nothing of it stays on any
//! engine.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bireme_tests::processes::Process;
use bireme_tests::{Running, TestCluster, wait_until};

use crate::traffic::{self, CALL, DISTRIBUTED, LONG};

/// The prompt is back within this time.
const PROMPT: Duration = Duration::from_millis(500);
/// Memory and files are free on every engine within this time.
const FREED: Duration = Duration::from_secs(2);
/// A client finds its cluster, opens a session and has its statement planned within this time.
const SUBMITTED: Duration = Duration::from_millis(500);
/// As a shell reports a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// So little memory that what [`SORTED`] sorts goes to disk, and an end to that.
const LITTLE_MEMORY: &str = "[memory]\nhost_limit = \"400MB\"\ndisk_limit = \"8GB\"\n";
/// The pairs of the long query, in an order.
const SORTED: &str = "
    SELECT a.\"MMSI\", a.\"Timestamp\" AS earlier, b.\"Timestamp\" AS later
    FROM 'ais/*.parquet' AS a JOIN 'ais/*.parquet' AS b ON a.\"VesselType\" = b.\"VesselType\"
    ORDER BY earlier, later";

/// Files that hold what did not fit in memory.
fn spill_files(cluster: &TestCluster) -> Vec<PathBuf> {
    let entries = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    entries(cluster.home().join("spill"))
        .flat_map(|engine| entries(engine.path()))
        .map(|file| file.path())
        .collect()
}

/// Waits until no engine holds anything of a query that was ended at `ended`.
fn wait_until_freed(cluster: &TestCluster, ended: Instant) {
    let left = FREED.saturating_sub(ended.elapsed());
    wait_until("the query's memory and files to be freed", left, || {
        let engines = cluster.engine_status();
        let is_free = engines.iter().all(|engine| engine.is_free());
        (is_free && spill_files(cluster).is_empty()).then_some(())
    });
}

fn assert_answers(cluster: &TestCluster) {
    let finished = cluster.bireme(&["sql", "--format", "csv", traffic::COUNTED]);
    traffic::assert_run_by(2, &finished);
    finished.success();
}

/// Interrupts a query: the prompt is back at once, the engines are free, and they answer.
fn assert_interrupted(cluster: &TestCluster, client: Running, engines: &[Process]) {
    let asked = Instant::now();
    client.interrupt();
    let finished = client.finish(CALL);
    let took = asked.elapsed();
    assert_eq!(finished.status, Some(INTERRUPTED), "{finished}");
    assert!(took < PROMPT, "the prompt was back after {took:?}");
    wait_until_freed(cluster, asked);
    assert_eq!(cluster.engines(), engines, "no engine was restarted");
    assert_answers(cluster);
}

#[test]
fn an_interrupt_gives_the_prompt_back_and_frees_every_engine() {
    let cluster = traffic::cluster(2, DISTRIBUTED);
    let engines = cluster.engines();
    let client = traffic::start_until(&cluster, &["sql", LONG], traffic::is_on_every_engine);
    assert_interrupted(&cluster, client, &engines);
}

#[test]
fn an_interrupt_removes_what_was_spilled() {
    let settings = format!("{DISTRIBUTED}{LITTLE_MEMORY}");
    let cluster = traffic::cluster(2, &settings);
    let engines = cluster.engines();
    let arguments = ["sql", "--format", "csv", SORTED];
    let client = traffic::start_until(&cluster, &arguments, |engines| {
        let has_spilled = engines.iter().any(|engine| engine.spilled > 0);
        has_spilled && !spill_files(&cluster).is_empty()
    });
    assert_interrupted(&cluster, client, &engines);
}

#[test]
fn a_timeout_ends_the_query_and_says_so() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let cluster = traffic::cluster(2, DISTRIBUTED);
    let engines = cluster.engines();
    let started = Instant::now();
    let finished = cluster.bireme(&["sql", "--timeout", "1s", LONG]);
    let (took, ended) = (started.elapsed(), Instant::now());
    let message = finished.failure();
    assert!(message.contains("TimedOut"), "{message}");
    assert!(message.contains("--timeout"), "{message}");
    assert!(took >= TIMEOUT, "it was given up after {took:?}");
    assert!(
        took < SUBMITTED + TIMEOUT + PROMPT,
        "the prompt was back after {took:?}"
    );
    wait_until_freed(&cluster, ended);
    assert_eq!(cluster.engines(), engines, "no engine was restarted");
    assert_answers(&cluster);
}

#[test]
fn a_client_that_dies_leaves_nothing_behind() {
    let cluster = traffic::cluster(2, DISTRIBUTED);
    let engines = cluster.engines();
    let client = traffic::start_until(&cluster, &["sql", LONG], traffic::is_on_every_engine);
    let killed = Instant::now();
    client.kill();
    client.finish(CALL);
    wait_until_freed(&cluster, killed);
    assert_eq!(cluster.engines(), engines, "no engine was restarted");
    assert_answers(&cluster);
}
