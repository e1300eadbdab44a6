//! Frames stay on the engines: through cells, crashes of the controller, losses of engines and
//! scaling, and give way to queries when memory is short.

use std::fs;
use std::time::Duration;

use bireme_tests::{Running, TestCluster, wait_until};

/// A new controller knows all engines and their frames within this time.
const BACK: Duration = Duration::from_secs(5);
/// A frame is made again within this time.
const REBUILT: Duration = Duration::from_secs(30);
const SETTLED: Duration = Duration::from_secs(30);

/// Sums that tell whether every row is there once.
const TOTALS: &str = "SELECT count(*) AS n, sum(k) AS k, sum(g) AS g, count(s) AS s FROM f";

/// A cluster with files `rows/*.parquet`: two files of numbers, groups and texts.
fn cluster(engines: u32, settings: &str) -> TestCluster {
    let cluster = TestCluster::start_with(engines, settings);
    fs::create_dir(cluster.work().join("rows")).unwrap();
    for part in ["a", "b"] {
        write_rows(&cluster, part, 60_000);
    }
    cluster
}

/// Writes a file of so many rows.
fn write_rows(cluster: &TestCluster, part: &str, rows: u32) {
    let path = format!("rows/{part}.parquet");
    let text = "CASE WHEN value % 5 = 0 THEN NULL ELSE 'text number ' || value END";
    cluster.sql(&format!(
        "COPY (SELECT value AS k, value % 97 AS g, {text} AS s FROM range({rows})) TO '{path}' STORED AS PARQUET"
    ));
}

/// Runs statements in the session of the tests; CSV of the queries among them.
fn sql(cluster: &TestCluster, statements: &str) -> String {
    let arguments = ["sql", "--session", "s", "--format", "csv", statements];
    cluster.bireme(&arguments).success()
}

fn sql_error(cluster: &TestCluster, statements: &str) -> String {
    cluster
        .bireme(&["sql", "--session", "s", statements])
        .failure()
}

/// What a statement says of what it did.
fn told(cluster: &TestCluster, statements: &str) -> String {
    let finished = cluster.bireme(&["sql", "--session", "s", statements]);
    let said = finished.stderr.clone();
    finished.success();
    said
}

fn make(cluster: &TestCluster) -> String {
    sql(cluster, "CREATE TABLE f AS SELECT * FROM 'rows/*.parquet'");
    sql(cluster, TOTALS)
}

#[test]
fn a_frame_is_read_from_the_engines_and_never_from_its_files() {
    let cluster = cluster(2, "");
    let totals = make(&cluster);
    assert!(totals.contains("\n120000,"), "{totals}");
    fs::remove_dir_all(cluster.work().join("rows")).unwrap();
    assert_eq!(sql(&cluster, TOTALS), totals);
    let joined = "SELECT count(*) AS n FROM f AS a JOIN f AS b ON a.k = b.k AND a.g = b.g";
    assert_eq!(sql(&cluster, joined), "n\n240000\n");
    sql(&cluster, "INSERT INTO f VALUES (1, 2, NULL)");
    let counted = "SELECT count(*) AS n FROM f";
    assert_eq!(sql(&cluster, counted), "n\n120001\n");
    let grouped = "CREATE TABLE g AS SELECT g, count(*) AS n FROM f GROUP BY g";
    sql(&cluster, grouped);
    assert_eq!(sql(&cluster, "SELECT sum(n) AS n FROM g"), "n\n120001\n");
    sql(&cluster, "DROP TABLE f; DROP TABLE g");
    assert!(sql_error(&cluster, counted).contains("no table or view"));
    wait_until("the engines to be free", SETTLED, || {
        let engines = cluster.engine_status();
        engines
            .iter()
            .all(bireme_tests::EngineStatus::is_free)
            .then_some(())
    });
}

#[test]
fn frames_laid_out_alike_join_and_group_without_an_exchange() {
    let cluster = cluster(3, "");
    let make = |name: &str| {
        format!("CREATE TABLE {name} PARTITION BY k AS SELECT k, g FROM 'rows/*.parquet'")
    };
    sql(&cluster, &format!("{}; {}", make("f"), make("h")));
    let joined = "SELECT f.k, count(*) AS n, sum(h.g) AS g FROM f JOIN h ON f.k = h.k GROUP BY f.k";
    let plan = sql(&cluster, &format!("EXPLAIN {joined}"));
    assert!(
        plan.contains("FrameScanExec") && plan.contains("engines 0-2"),
        "{plan}"
    );
    assert!(!plan.contains("Collective"), "{plan}");
    // Distinct values of several columns too, which are grouping sets.
    let distinct = "SELECT k, count(*) AS n, count(DISTINCT 'text ' || g) AS s, count(DISTINCT g) AS g FROM f GROUP BY k";
    let plan = sql(&cluster, &format!("EXPLAIN {distinct}"));
    assert!(
        plan.contains("NULL as g") && !plan.contains("Collective"),
        "{plan}"
    );
    let summed = format!("SELECT sum(n) AS n, sum(s) AS s, sum(g) AS g FROM ({distinct})");
    // Of these sets one lacks the key, and its groups are shuffled.
    let rollup = "SELECT count(*) AS groups, sum(n) AS n FROM (SELECT k, g, count(*) AS n FROM f GROUP BY ROLLUP (k, g))";
    for from_frame in [summed.as_str(), rollup] {
        let from_files = from_frame.replace("FROM f ", "FROM 'rows/*.parquet' ");
        assert_eq!(sql(&cluster, from_frame), sql(&cluster, &from_files));
    }
    let summed = format!("SELECT count(*) AS keys, sum(n) AS n FROM ({joined})");
    let finished = cluster.bireme(&["sql", "--session", "s", "--format", "csv", &summed]);
    // What a query has sent between engines is told beside its rows.
    assert!(!finished.stderr.contains("shuffled"), "{finished}");
    assert_eq!(finished.success(), "keys,n\n60000,240000\n");
}

#[test]
fn of_a_frame_and_a_file_only_the_rows_of_the_file_move() {
    let cluster = TestCluster::start_with(2, "");
    // Both sides are too large for a copy on every engine.
    let rows = "SELECT value AS k, value % 97 AS g FROM range(2000000)";
    sql(
        &cluster,
        &format!(
            "CREATE TABLE f PARTITION BY k AS {rows}; COPY ({rows}) TO 'large/' STORED AS PARQUET"
        ),
    );
    let mixed = "SELECT sum(f.g) AS f, sum(r.g) AS r FROM f JOIN 'large/' AS r ON f.k = r.k + 1";
    let plan = sql(&cluster, &format!("EXPLAIN {mixed}"));
    let lines: Vec<&str> = plan.lines().collect();
    let moved: Vec<usize> = (0..lines.len())
        .filter(|line| lines[*line].contains("Collective"))
        .collect();
    assert_eq!(moved.len(), 1, "{plan}");
    assert!(lines[moved[0]].contains("CollectiveShuffleExec"), "{plan}");
    assert!(lines[moved[0] + 1].contains("DataSourceExec"), "{plan}");
    let sum = |last: u64| (0..=last).map(|k| k % 97).sum::<u64>();
    let expected = format!("f,r\n{},{}\n", sum(1_999_999), sum(1_999_998));
    assert_eq!(sql(&cluster, mixed), expected);
}

#[test]
fn what_a_frame_knows_of_its_columns_saves_reading_them() {
    let cluster = cluster(2, "");
    make(&cluster);
    let wanted = |from: &str| {
        format!(
            "SELECT count(*) AS n, sum(g) AS g FROM {from} WHERE k BETWEEN 100 AND 199 AND g > 1"
        )
    };
    let in_files = sql(&cluster, &wanted("'rows/*.parquet'"));
    assert_eq!(sql(&cluster, &wanted("f")), in_files);
    let plan = sql(&cluster, &format!("EXPLAIN ANALYZE {}", wanted("f")));
    let scan = plan
        .lines()
        .find(|line| line.contains("FrameScanExec"))
        .unwrap();
    assert!(scan.contains("batches where k"), "{plan}");
    let rows_read = |query: &str| {
        let arguments = ["sql", "--session", "s", query];
        let said = cluster.bireme(&arguments).to_string();
        let (_, said) = said.split_once("read ").unwrap();
        let digits = said.chars().take_while(|c| *c != ' ' && *c != ',');
        let digits: String = digits.filter(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap()
    };
    let of_all = rows_read("SELECT sum(g) FROM f WHERE g >= 0");
    let of_few = rows_read(&wanted("f"));
    assert_eq!(of_all, 120_000);
    assert!(of_few < 80_000, "{of_few} of {of_all} rows were read");
    let extremes = "SELECT min(k) AS low, max(k) AS high, count(s) AS s FROM f";
    assert_eq!(sql(&cluster, extremes), "low,high,s\n0,59999,96000\n");
    // They are known before anything runs.
    let plan = sql(&cluster, &format!("EXPLAIN {extremes}"));
    assert!(!plan.contains("FrameScanExec"), "{plan}");
    sql(&cluster, "INSERT INTO f VALUES (-7, 0, NULL)");
    assert_eq!(sql(&cluster, extremes), "low,high,s\n-7,59999,96000\n");
    // Also where rows have moved.
    cluster.bireme(&["cluster", "scale", "3"]).success();
    assert_eq!(sql(&cluster, extremes), "low,high,s\n-7,59999,96000\n");
    assert_eq!(sql(&cluster, &wanted("f")), in_files);
}

#[test]
fn what_is_no_frame_takes_no_rows() {
    let cluster = cluster(1, "");
    sql(&cluster, "CREATE VIEW v AS SELECT 1 AS a");
    let refused = sql_error(&cluster, "INSERT INTO v VALUES (2)");
    assert!(refused.contains("it is a view"), "{refused}");
    let refused = sql_error(&cluster, "INSERT INTO nothing VALUES (2)");
    assert!(refused.contains("nothing"), "{refused}");
    sql(
        &cluster,
        "CREATE TABLE IF NOT EXISTS t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, NULL)",
    );
    assert_eq!(
        sql(&cluster, "SELECT a, b FROM t ORDER BY a"),
        "a,b\n1,x\n2,\n"
    );
    sql(&cluster, "CREATE TABLE IF NOT EXISTS t AS SELECT 7 AS z");
    assert_eq!(sql(&cluster, "SELECT count(*) AS n FROM t"), "n\n2\n");
}

#[test]
fn frames_outlive_the_controller() {
    let cluster = cluster(2, "");
    let totals = make(&cluster);
    let engines = cluster.engines();
    fs::remove_dir_all(cluster.work().join("rows")).unwrap();
    let controller = cluster.controller().unwrap();
    controller.signal("KILL");
    wait_until("a new controller", BACK, || {
        cluster.controller().filter(|now| now.id != controller.id)
    });
    assert_eq!(sql(&cluster, TOTALS), totals);
    assert_eq!(cluster.engines(), engines, "no engine was restarted");
}

#[test]
fn a_lost_engines_part_is_made_again() {
    let cluster = cluster(2, "");
    let totals = make(&cluster);
    sql(
        &cluster,
        "CREATE TABLE g AS SELECT g, count(*) AS n FROM f GROUP BY g",
    );
    cluster.engine(1).unwrap().signal("KILL");
    wait_until("the frames to be whole again", REBUILT, || {
        let statement = format!("{TOTALS}; SELECT sum(n) AS n FROM g");
        let arguments = ["sql", "--session", "s", "--format", "csv", &statement];
        let finished = cluster.bireme(&arguments);
        let is_whole = finished.status == Some(0);
        // Between two results is an empty line.
        is_whole.then(|| assert_eq!(finished.success(), format!("{totals}\nn\n120000\n")))
    });
}

#[test]
fn a_lost_frame_whose_files_have_changed_says_so() {
    let cluster = cluster(2, "");
    make(&cluster);
    write_rows(&cluster, "b", 10);
    cluster.engine(0).unwrap().signal("KILL");
    let reason = wait_until("the frame to be given up", REBUILT, || {
        let said = sql_error(&cluster, TOTALS);
        said.contains("could not be made again").then_some(said)
    });
    assert!(reason.contains("b.parquet is not what it was"), "{reason}");
    // The cell that makes it can be run again.
    let totals = make(&cluster);
    assert!(totals.contains("\n60010,"), "{totals}");
}

#[test]
fn rows_that_were_added_come_back_too_and_queries_wait_for_them() {
    let cluster = cluster(2, "");
    sql(&cluster, "CREATE TABLE f AS SELECT * FROM 'rows/a.parquet'");
    sql(&cluster, "CREATE TABLE b AS SELECT k, g, s FROM f");
    sql(&cluster, "INSERT INTO f SELECT * FROM 'rows/b.parquet'");
    sql(
        &cluster,
        "INSERT INTO f SELECT k + 1000000, g, s FROM f WHERE k < 100",
    );
    let totals = sql(&cluster, TOTALS);
    assert!(totals.contains("\n120200,"), "{totals}");
    let before = cluster.engine(1).unwrap();
    before.signal("KILL");
    wait_until("the engine to be back", REBUILT, || {
        let engine = cluster.engine(1)?;
        (engine.id != before.id).then_some(())
    });
    assert_eq!(sql(&cluster, TOTALS), totals);
    // What was made of the frame has none of the rows that came later.
    let made = "SELECT count(*) AS n, sum(k) AS k FROM b";
    assert_eq!(sql(&cluster, made), "n,k\n60000,1799970000\n");
}

#[test]
fn what_depends_on_the_time_is_not_silently_made_again() {
    let cluster = cluster(2, "");
    sql(
        &cluster,
        "CREATE TABLE f AS SELECT k, g, s, now() AS at FROM 'rows/*.parquet'",
    );
    cluster.engine(0).unwrap().signal("KILL");
    let reason = wait_until("the frame to be given up", REBUILT, || {
        let said = cluster.bireme(&["sql", "--session", "s", TOTALS]).stderr;
        said.contains("could not be made again").then_some(said)
    });
    assert!(reason.contains("other rows each time"), "{reason}");
}

#[test]
fn scaling_moves_frames() {
    let cluster = cluster(2, "");
    make(&cluster);
    sql(
        &cluster,
        "CREATE TABLE keyed PARTITION BY k AS SELECT k, g FROM f; \
         CREATE TABLE other PARTITION BY k AS SELECT k, g + 1 AS g FROM f; \
         CREATE TABLE copies WITH (replicate = true) AS SELECT DISTINCT g FROM f; \
         INSERT INTO copies SELECT g + 97 FROM copies; \
         CREATE TABLE words AS SELECT k, arrow_cast(s, 'Dictionary(Int32, Utf8)') AS s FROM f",
    );
    let joined =
        "SELECT count(*) AS n, sum(a.g + b.g) AS g FROM keyed AS a JOIN other AS b ON a.k = b.k";
    let queries = [
        TOTALS,
        joined,
        "SELECT count(*) AS n, sum(g) AS g FROM copies",
        "SELECT count(*) AS n, sum(f.k) AS k FROM f JOIN copies ON f.g = copies.g",
        "SELECT count(*) AS n, count(DISTINCT s) AS s, max(s) AS m FROM words",
    ];
    let answers = || queries.map(|query| sql(&cluster, query));
    let before = answers();
    // Nothing but the frames themselves knows the rows any more.
    fs::remove_dir_all(cluster.work().join("rows")).unwrap();
    for engines in ["3", "1", "2"] {
        cluster.bireme(&["cluster", "scale", engines]).success();
        assert_eq!(answers(), before, "on {engines} engines");
        wait_until("rows to lie where their keys belong", REBUILT, || {
            let plan = sql(&cluster, &format!("EXPLAIN {joined}"));
            (!plan.contains("Collective")).then_some(())
        });
        assert_eq!(answers(), before, "on {engines} engines");
    }
}

#[test]
fn a_frame_larger_than_memory_goes_to_disk_and_comes_back() {
    // Two engines of 20 MB each hold a frame of 70 MB and sort beside it.
    let settings = "[memory]\nhost_limit = \"40MB\"\n";
    let cluster = cluster(2, settings);
    let rows = "SELECT value AS k, value % 97 AS g, 'a text that is long enough ' || value AS s FROM range(1000000)";
    sql(
        &cluster,
        &format!("COPY ({rows}) TO 'rows/a.parquet' STORED AS PARQUET"),
    );
    let totals = make(&cluster);
    wait_until("the frame to be on disk in part", SETTLED, || {
        let engines = cluster.engine_status();
        let spilled: u64 = engines.iter().map(|engine| engine.spilled).sum();
        // On disk it is compressed.
        (spilled > 1 << 20).then_some(())
    });
    assert_eq!(sql(&cluster, TOTALS), totals);
    let sorted = "SELECT s FROM f ORDER BY s DESC NULLS LAST LIMIT 1";
    assert_eq!(sql(&cluster, sorted), "s\ntext number 9999\n");
    sql(&cluster, "CREATE TABLE f AS SELECT 1 AS k");
    wait_until("the disk to be free", SETTLED, || {
        let engines = cluster.engine_status();
        engines
            .iter()
            .all(|engine| engine.spilled == 0)
            .then_some(())
    });
}

#[test]
fn a_session_that_is_opened_again_keeps_its_frames() {
    let cluster = cluster(2, "");
    let make = "CREATE TABLE f AS SELECT k, g, s FROM 'rows/*.parquet' WHERE k > 5";
    assert!(told(&cluster, make).contains("frame f: "));
    // Another `bireme sql` of this session is what another kernel of it is.
    let again = told(&cluster, make);
    assert!(again.contains("is there already"), "{again}");
    write_rows(&cluster, "b", 10);
    let anew = told(&cluster, make);
    assert!(anew.contains("frame f: "), "{anew}");
    let random = "CREATE TABLE r AS SELECT random() AS x FROM range(3)";
    told(&cluster, random);
    assert!(told(&cluster, random).contains("frame r: "));
}

/// Rows that can be made again, and such that cannot.
const SAME: &str = "value";
const OTHERS_EACH_TIME: &str = "random()";

/// More rows than move in a moment, in `f`, with one more column.
fn make_large(cluster: &TestCluster, more: &str) -> String {
    let rows = format!(
        "SELECT value AS k, value % 97 AS g, 'text number ' || value AS s, {more} AS m \
         FROM range(2000000)"
    );
    sql(cluster, &format!("CREATE TABLE f AS {rows}"));
    sql(cluster, TOTALS)
}

/// The same rows are there once whatever was disturbed is over, and scaling works.
fn assert_whole(cluster: &TestCluster, totals: &str) {
    wait_until("every row to be there once", REBUILT, || {
        let arguments = ["sql", "--session", "s", "--format", "csv", TOTALS];
        let finished = cluster.bireme(&arguments);
        let has_answered = finished.status == Some(0);
        has_answered.then(|| assert_eq!(finished.success(), totals))
    });
    for engines in ["1", "2"] {
        cluster.bireme(&["cluster", "scale", engines]).success();
        assert_eq!(sql(cluster, TOTALS), totals, "on {engines} engines");
    }
}

/// Begins to scale to one engine, and disturbs it while rows move.
fn scale_disturbed(more: &str, disturb: impl FnOnce(&TestCluster, Running)) {
    let cluster = TestCluster::start_with(2, "");
    let totals = make_large(&cluster, more);
    let scaling = cluster.start_bireme(&["cluster", "scale", "1"]);
    wait_until("the rows to be on their way", SETTLED, || {
        let status = cluster.bireme(&["cluster", "status"]).success();
        status.contains("queries: 1 running").then_some(())
    });
    disturb(&cluster, scaling);
    assert_whole(&cluster, &totals);
}

#[test]
fn no_row_is_lost_when_who_scales_goes_away() {
    scale_disturbed(OTHERS_EACH_TIME, |_, scaling| {
        scaling.kill();
        scaling.finish(SETTLED);
    });
}

#[test]
fn no_row_is_lost_when_the_controller_ends_while_rows_move() {
    scale_disturbed(OTHERS_EACH_TIME, |cluster, scaling| {
        cluster.controller().unwrap().signal("KILL");
        scaling.finish(SETTLED);
    });
}

#[test]
fn no_row_is_lost_when_an_engine_ends_while_rows_move() {
    scale_disturbed(SAME, |cluster, scaling| {
        cluster.engine(0).unwrap().signal("KILL");
        scaling.finish(SETTLED);
    });
}
