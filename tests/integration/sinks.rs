//! Files that queries write: all rows are in them on any number of engines, and none counts that is
//! not whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bireme_tests::{Running, SmallDisk, TestCluster, wait_until};

use crate::traffic::{CALL, DISTRIBUTED};

/// What a query that was ended has written is gone within this time.
const GONE: Duration = Duration::from_secs(5);

/// Sums that tell whether every row is there once.
const TOTALS: &str = "count(*) AS n, sum(k) AS k, sum(g) AS g, count(s) AS s";
/// Text that ends a query midway: the last row of a file is none.
const FAILING: &str = "SELECT k, CAST(CASE WHEN k = 59999 THEN 'none' ELSE '1' END AS INT) AS one \
                       FROM 'rows/*.parquet'";
/// Every pair of rows: hours of writing.
const ENDLESS: &str = "SELECT a.k, b.k AS other, b.s FROM 'rows/*.parquet' AS a \
                       JOIN 'rows/*.parquet' AS b ON a.g % 2 = b.g % 2";

/// A cluster with files `rows/*.parquet`: two files of numbers, groups and texts.
fn cluster(engines: u32) -> TestCluster {
    let cluster = TestCluster::start_with(engines, DISTRIBUTED);
    for part in ["a", "b"] {
        let text = "CASE WHEN value % 5 = 0 THEN NULL ELSE 'text number ' || value END";
        cluster.sql(&format!(
            "COPY (SELECT value AS k, value % 4 AS g, {text} AS s FROM range(60000)) \
             TO 'rows/{part}.parquet'"
        ));
    }
    cluster
}

/// All files below a directory, hidden ones too, by their path in it. None if it is not there.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => {
                let folder = PathBuf::from(entry.file_name());
                found.extend(files(&entry.path()).iter().map(|path| folder.join(path)));
            }
            false => found.push(entry.file_name().into()),
        }
    }
    found.sort();
    found
}

/// What is in the working directory beside the files that were there before.
fn left(cluster: &TestCluster) -> Vec<PathBuf> {
    let entries = fs::read_dir(cluster.work()).unwrap();
    let names = entries.map(|entry| PathBuf::from(entry.unwrap().file_name()));
    names.filter(|name| name != Path::new("rows")).collect()
}

/// Starts a statement and returns once it has written some megabytes.
fn writing(cluster: &TestCluster, statement: &str) -> Running {
    let mut client = cluster.start_bireme(&["sql", statement]);
    wait_until("rows to be written", CALL, || {
        assert!(client.is_running(), "it ended too early");
        let sizes = files(cluster.work());
        let sizes = sizes.iter().filter(|path| !path.starts_with("rows"));
        let written = |path: &PathBuf| fs::metadata(cluster.work().join(path)).ok();
        let bytes: u64 = sizes.filter_map(written).map(|file| file.len()).sum();
        (bytes > 2 << 20).then_some(())
    });
    client
}

#[test]
fn every_engine_writes_its_part_of_a_directory() {
    for engines in 1..=3 {
        let cluster = cluster(engines);
        let rows = cluster.sql(&format!("SELECT {TOTALS} FROM 'rows/*.parquet'"));
        for format in ["parquet", "csv", "json", "arrow"] {
            let copy =
                format!("COPY (SELECT * FROM 'rows/*.parquet') TO '{format}/' STORED AS {format}");
            cluster.sql(&copy);
            let written = files(&cluster.work().join(format));
            let suffix = format!(".{format}");
            for (index, file) in written.iter().enumerate() {
                let name = file.to_str().unwrap();
                assert!(
                    name.starts_with("part-") && name.ends_with(&suffix),
                    "{name}"
                );
                assert!(index > 0 || name.starts_with("part-0000-"), "{name}");
            }
            // Of two files each is read, and written, by another engine.
            let last = written.last().unwrap().to_str().unwrap()[5..9].parse::<u32>();
            let begins = if engines > 1 { 4 } else { 0 };
            assert!(last.unwrap() >= begins, "{written:?}");
            let read = format!("SELECT {TOTALS} FROM '{format}/'");
            assert_eq!(cluster.sql(&read), rows, "{format} by {engines} engines");
        }
        let plan =
            cluster.sql("EXPLAIN COPY (SELECT * FROM 'rows/*.parquet') TO 'no/' STORED AS PARQUET");
        assert!(plan.contains("SinkExec"), "{plan}");
        assert_eq!(files(&cluster.work().join("no")), Vec::<PathBuf>::new());
    }
}

#[test]
fn one_file_stays_one_and_keeps_its_order() {
    let cluster = cluster(2);
    let ordered = "SELECT k FROM 'rows/*.parquet' WHERE k >= 59990 ORDER BY k DESC";
    for file in ["sorted.csv", "sorted.json", "sorted.parquet"] {
        let copy = format!("COPY ({ordered}) TO 'deep/in/{file}'");
        cluster.sql(&copy);
        let path = cluster.work().join("deep/in").join(file);
        assert!(path.is_file(), "{file}");
        let read = format!("SELECT * FROM 'deep/in/{file}'");
        assert_eq!(cluster.sql(&read), cluster.sql(ordered), "{file}");
    }
    let gzip = "STORED AS CSV OPTIONS ('format.compression' 'gzip')";
    cluster.sql(&format!("COPY ({ordered}) TO 'sorted.csv.gz' {gzip}"));
    let read = "SELECT * FROM 'sorted.csv.gz'";
    assert_eq!(cluster.sql(read), cluster.sql(ordered));
    let text = fs::read_to_string(cluster.work().join("deep/in/sorted.csv")).unwrap();
    assert!(text.starts_with("k\n59999\n59999\n59998\n"), "{text}");
    // In a directory an order is kept by one file.
    cluster.sql(&format!("COPY ({ordered}) TO 'ordered/' STORED AS CSV"));
    let written = files(&cluster.work().join("ordered"));
    assert_eq!(written.len(), 1, "{written:?}");
    let same = fs::read_to_string(cluster.work().join("ordered").join(&written[0])).unwrap();
    assert_eq!(same, text);
    // No rows make a file all the same, which tells the columns.
    let none = "COPY (SELECT k, s FROM 'rows/*.parquet' WHERE k < 0) TO 'none/' STORED AS PARQUET";
    cluster.sql(none);
    assert_eq!(files(&cluster.work().join("none")).len(), 1);
    assert_eq!(cluster.sql("SELECT count(s) AS n FROM 'none/'"), "n\n0\n");
}

#[test]
fn partitioned_files_lie_in_directories_of_their_values() {
    let cluster = cluster(2);
    let rows =
        "SELECT k, s, CASE WHEN g = 3 THEN NULL ELSE 'a/b=' || g END AS key FROM 'rows/*.parquet'";
    let copy = format!("COPY ({rows}) TO 'by_key' STORED AS PARQUET PARTITIONED BY (key)");
    cluster.sql(&copy);
    let folders: Vec<_> = fs::read_dir(cluster.work().join("by_key"))
        .unwrap()
        .collect();
    assert_eq!(folders.len(), 4);
    let nulls = "SELECT count(*) AS n, sum(k) AS k FROM 'by_key/key=__HIVE_DEFAULT_PARTITION__/'";
    let expected = "SELECT count(*) AS n, sum(k) AS k FROM 'rows/*.parquet' WHERE g = 3";
    assert_eq!(cluster.sql(nulls), cluster.sql(expected));
    let by_number =
        "COPY (SELECT * FROM 'rows/*.parquet') TO 'by_number' STORED AS CSV PARTITIONED BY (g)";
    cluster.sql(by_number);
    let read = format!(
        "CREATE EXTERNAL TABLE t (k BIGINT, s VARCHAR, g BIGINT) STORED AS CSV PARTITIONED BY (g) \
         LOCATION 'by_number/' OPTIONS ('format.has_header' 'true'); \
         SELECT g AS key, {TOTALS} FROM t GROUP BY 1 ORDER BY 1"
    );
    let grouped = format!("SELECT g AS key, {TOTALS} FROM 'rows/*.parquet' GROUP BY 1 ORDER BY 1");
    // An empty text of a CSV file is null.
    assert_eq!(cluster.sql(&read).trim_start(), cluster.sql(&grouped));
    // Of two values that are written alike, all rows come.
    let alike = "COPY (SELECT k, CASE WHEN g = 3 THEN NULL ELSE '__HIVE_DEFAULT_PARTITION__' END AS key \
                 FROM 'rows/*.parquet') TO 'alike' STORED AS PARQUET PARTITIONED BY (key)";
    cluster.sql(alike);
    let read = "SELECT count(*) AS n, sum(k) AS k FROM 'alike/'";
    let expected = "SELECT count(*) AS n, sum(k) AS k FROM 'rows/*.parquet'";
    assert_eq!(cluster.sql(read), cluster.sql(expected));
    // Files are ended before too many are open.
    let many = "COPY (SELECT k % 150 AS m, k FROM 'rows/*.parquet') TO 'many' STORED AS CSV PARTITIONED BY (m)";
    cluster.sql(many);
    let read = "SELECT count(*) AS n, sum(k) AS k FROM 'many/'";
    let expected = "SELECT count(*) AS n, sum(k) AS k FROM 'rows/*.parquet'";
    assert_eq!(cluster.sql(read), cluster.sql(expected));
}

#[test]
fn a_directory_gets_more_files_and_a_file_is_replaced() {
    let cluster = cluster(2);
    let count = |files: &str| cluster.sql(&format!("SELECT count(*) AS n FROM '{files}'"));
    for times in 1..=2 {
        cluster.sql("COPY (SELECT k FROM 'rows/a.parquet') TO 'more/' STORED AS PARQUET");
        cluster.sql("COPY (SELECT k FROM 'rows/a.parquet') TO 'one.parquet'");
        assert_eq!(count("more/"), format!("n\n{}\n", times * 60_000));
        assert_eq!(count("one.parquet"), "n\n60000\n");
    }
}

#[test]
fn a_query_that_fails_leaves_what_was_there() {
    let cluster = cluster(2);
    let keep = "COPY (SELECT k FROM 'rows/a.parquet' LIMIT 7) TO";
    cluster.sql(&format!("{keep} 'kept.csv'; {keep} 'kept/' STORED AS CSV"));
    let before = (files(cluster.work()), left(&cluster).len());
    for target in ["kept.csv", "new.csv", "kept/", "new/deep/"] {
        let said = cluster.sql_error(&format!("COPY ({FAILING}) TO '{target}' STORED AS CSV"));
        assert!(said.contains("none"), "{said}");
        let after = (files(cluster.work()), left(&cluster).len());
        assert_eq!(after, before, "{target}");
    }
    let count = "SELECT count(*) AS n FROM";
    assert_eq!(cluster.sql(&format!("{count} 'kept.csv'")), "n\n7\n");
    assert_eq!(cluster.sql(&format!("{count} 'kept/'")), "n\n7\n");
    let no_place = "COPY (SELECT 1 AS a) TO 'kept.csv/no.csv'";
    let said = cluster.sql_error(no_place);
    assert!(
        said.contains("kept.csv") && said.contains("irectory"),
        "{said}"
    );
    assert_eq!(files(cluster.work()), before.0);
    assert_eq!(
        files(&cluster.home().join("sinks")),
        [PathBuf::from("gate")]
    );
}

#[test]
fn files_that_were_moved_go_back_when_another_cannot_be() {
    let cluster = cluster(2);
    let copy =
        "COPY (SELECT k, g FROM 'rows/*.parquet') TO 'by_g' STORED AS CSV PARTITIONED BY (g)";
    cluster.sql(copy);
    let before = files(&cluster.work().join("by_g"));
    // Files go to their place in the order of their names: a file is where the last folder should be.
    let last = cluster.work().join("by_g/g=3");
    fs::rename(&last, cluster.work().join("by_g/aside")).unwrap();
    fs::write(&last, "no folder").unwrap();
    let there = files(&cluster.work().join("by_g"));
    assert_eq!(there.len() - 1, before.len(), "{there:?}");
    let said = cluster.sql_error(copy);
    assert!(said.contains("g=3"), "{said}");
    assert_eq!(files(&cluster.work().join("by_g")), there);
    assert_eq!(fs::read_to_string(&last).unwrap(), "no folder");
    // Folders that were made for values go too.
    let fresh = copy
        .replace("g FROM", "g % 3 AS g FROM")
        .replace("by_g", "fresh");
    fs::create_dir(cluster.work().join("fresh")).unwrap();
    fs::write(cluster.work().join("fresh/g=2"), "no folder").unwrap();
    let said = cluster.sql_error(&fresh);
    assert!(said.contains("g=2"), "{said}");
    let entries = fs::read_dir(cluster.work().join("fresh")).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["g=2"]);
}

#[test]
fn an_interrupt_leaves_no_file() {
    let cluster = cluster(2);
    for target in ["pairs/", "pairs.csv"] {
        let copy = format!("COPY ({ENDLESS}) TO '{target}' STORED AS CSV");
        let client = writing(&cluster, &copy);
        client.interrupt();
        client.finish(CALL);
        wait_until("what was written to be gone", GONE, || {
            left(&cluster).is_empty().then_some(())
        });
    }
    let notes = cluster.home().join("sinks");
    // What is written of a move goes after what was moved.
    wait_until("the notes to be gone", GONE, || {
        (files(&notes) == [PathBuf::from("gate")]).then_some(())
    });
}

#[test]
fn a_killed_engine_leaves_no_file() {
    let cluster = cluster(2);
    // The head is the engine of the lowest rank.
    for rank in [1, 0] {
        let copy = format!("COPY ({ENDLESS}) TO 'pairs/' STORED AS CSV");
        let client = writing(&cluster, &copy);
        let visible = format!("{}/pairs/*.csv", cluster.work().display());
        let before = cluster.engine(rank).unwrap();
        before.signal("KILL");
        let said = client.finish(CALL).failure();
        assert!(said.contains(&format!("engine {rank}")), "{said}");
        assert!(
            !cluster
                .sql_error(&format!("SELECT * FROM '{visible}'"))
                .is_empty()
        );
        wait_until("what was written to be gone", GONE, || {
            left(&cluster).is_empty().then_some(())
        });
        wait_until("the engine to be back", GONE, || {
            let engines = cluster.engine_status();
            let all = engines.len() == 2 && engines.iter().all(|engine| engine.state == "up");
            all.then_some(())
        });
    }
}

#[test]
fn a_full_disk_is_told_and_left_as_it_was() {
    let cluster = cluster(2);
    let Some(disk) = SmallDisk::mount(1) else {
        return;
    };
    let path = disk.path().display();
    for target in [format!("{path}/rows/"), format!("{path}/one.csv")] {
        let copy = format!("COPY (SELECT * FROM 'rows/*.parquet') TO '{target}' STORED AS CSV");
        let said = cluster.sql_error(&copy);
        assert!(
            said.contains("DiskFull") && said.contains(&target),
            "{said}"
        );
        assert_eq!(files(disk.path()), Vec::<PathBuf>::new(), "{target}");
    }
    cluster.sql(&format!(
        "COPY (SELECT k FROM 'rows/a.parquet' WHERE k < 5) TO '{path}/one.csv'"
    ));
}
