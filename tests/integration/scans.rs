//! Files as tables: every format, by path and by glob, on several engines; and the names a session
//! gives them.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use bireme_tests::{Running, TestCluster, run};

use crate::traffic::{self, CALL, DISTRIBUTED};

/// Rows of each file of [`write_all`].
const FILE_ROWS: u64 = 100;
/// How many files it writes.
const FILES: u64 = 3;
/// What [`summary_of`] gives of all of them.
const ALL: &str = "n,total,highest\n300,44850,v299\n";
/// What it gives of the second alone.
const SECOND: &str = "n,total,highest\n100,14950,v199\n";

fn summary_of(files: &str) -> String {
    format!(
        "SELECT count(*) AS n, sum(number) AS total, max(name) AS highest FROM '{files}' WHERE number >= 0"
    )
}

/// Asks two engines for the summary.
fn summarize(cluster: &TestCluster, files: &str) -> String {
    let finished = cluster.bireme(&["sql", "--format", "csv", &summary_of(files)]);
    traffic::assert_run_by(2, &finished);
    finished.success()
}

/// Writes files `FOLDER/part-0.ENDING` and on, each with the head and a line per row.
fn write_all(folder: &Path, ending: &str, head: &str, line: impl Fn(u64) -> String) {
    fs::create_dir(folder).unwrap();
    for file in 0..FILES {
        let mut text = head.to_string();
        for number in file * FILE_ROWS..(file + 1) * FILE_ROWS {
            writeln!(text, "{}", line(number)).unwrap();
        }
        fs::write(folder.join(format!("part-{file}.{ending}")), text).unwrap();
    }
}

/// The same rows, as a query.
fn rows_of(file: u64) -> String {
    let (first, end) = (file * FILE_ROWS, (file + 1) * FILE_ROWS);
    format!(
        "SELECT value AS number, concat('v', lpad(CAST(value AS VARCHAR), 3, '0')) AS name FROM range({first}, {end})"
    )
}

fn csv_line(number: u64) -> String {
    format!("{number},v{number:03}")
}

/// A glob reads every file, a path one, and a folder as its glob.
fn assert_read(cluster: &TestCluster, folder: &str, ending: &str) {
    assert_eq!(summarize(cluster, &format!("{folder}/*.{ending}")), ALL);
    let second = format!("{folder}/part-1.{ending}");
    assert_eq!(summarize(cluster, &second), SECOND);
    let absolute = cluster.work().join(&second);
    assert_eq!(summarize(cluster, absolute.to_str().unwrap()), SECOND);
    assert_eq!(summarize(cluster, &format!("{folder}/")), ALL);
}

#[test]
fn csv_files_are_tables() {
    let cluster = TestCluster::start_with(2, DISTRIBUTED);
    let folder = cluster.work().join("csv");
    write_all(&folder, "csv", "number,name\n", csv_line);
    assert_read(&cluster, "csv", "csv");
}

#[test]
fn directories_have_wildcards_too() {
    let cluster = TestCluster::start_with(2, DISTRIBUTED);
    let folder = cluster.work().join("deep");
    write_all(&folder, "csv", "number,name\n", csv_line);
    // As other engines write them; what hidden directories hold is nobody's.
    for (file, place) in ["year=2024", "year=2025", ".half-done"].iter().enumerate() {
        fs::create_dir(folder.join(place)).unwrap();
        let (from, to) = (format!("part-{file}.csv"), format!("{place}/x é.csv"));
        fs::rename(folder.join(from), folder.join(to)).unwrap();
    }
    let first_two = "n,total,highest\n200,19900,v199\n";
    for files in [
        "deep/*/*.csv",
        "deep/year=*/x*.csv",
        "de*/year=202[45]/x é.csv",
    ] {
        assert_eq!(summarize(&cluster, files), first_two, "{files}");
    }
    assert_eq!(summarize(&cluster, "*/year=2025/*.csv"), SECOND);
    // The columns are those of all files.
    for (place, columns) in [("a", "7 AS number"), ("b", "8 AS number, 'x' AS more")] {
        fs::create_dir_all(cluster.work().join("wide").join(place)).unwrap();
        cluster.sql(&format!(
            "COPY (SELECT {columns}) TO 'wide/{place}/x.parquet'"
        ));
    }
    let counted = "SELECT count(*) AS n, count(more) AS more FROM 'wide/*/*.parquet'";
    let finished = cluster.bireme(&["sql", "--format", "csv", counted]);
    assert_eq!(finished.success(), "n,more\n2,1\n");
    let missing = cluster.bireme(&["sql", "SELECT 1 FROM 'deep/*/*.parquet'"]);
    assert!(missing.stderr.contains("no file matches"), "{missing}");
}

#[test]
fn gzipped_csv_files_are_tables() {
    let cluster = TestCluster::start_with(2, DISTRIBUTED);
    let folder = cluster.work().join("gz");
    write_all(&folder, "csv", "number,name\n", csv_line);
    for file in 0..FILES {
        let path = folder.join(format!("part-{file}.csv"));
        // Puts the compressed file in its place.
        let status = Command::new("gzip").arg(&path).status();
        assert!(status.unwrap().success());
    }
    assert_read(&cluster, "gz", "csv.gz");
}

#[test]
fn json_lines_are_tables() {
    let cluster = TestCluster::start_with(2, DISTRIBUTED);
    for (folder, ending) in [("json", "json"), ("jsonl", "jsonl")] {
        write_all(&cluster.work().join(folder), ending, "", |number| {
            format!("{{\"number\":{number},\"name\":\"v{number:03}\"}}")
        });
        assert_read(&cluster, folder, ending);
    }
}

/// Writes files `FORMAT/part-0.FORMAT` and on as `bireme sql` prints rows.
fn print_all(cluster: &TestCluster, format: &str) {
    let folder = cluster.work().join(format);
    fs::create_dir(&folder).unwrap();
    for file in 0..FILES {
        let command = cluster.command(&["sql", "--format", format, &rows_of(file)]);
        let path = folder.join(format!("part-{file}.{format}"));
        Running::start_into(command, &path).finish(CALL).success();
    }
}

#[test]
fn parquet_files_are_tables() {
    let cluster = TestCluster::start_with(2, DISTRIBUTED);
    print_all(&cluster, "parquet");
    assert_read(&cluster, "parquet", "parquet");
}

#[test]
fn arrow_ipc_streams_are_tables() {
    let cluster = TestCluster::start_with(2, DISTRIBUTED);
    print_all(&cluster, "arrow");
    assert_read(&cluster, "arrow", "arrow");
}

#[test]
fn arrow_ipc_files_are_tables() {
    let cluster = TestCluster::start_with(2, DISTRIBUTED);
    fs::create_dir(cluster.work().join("ipc")).unwrap();
    for file in 0..FILES {
        let rows = rows_of(file);
        cluster.sql(&format!(
            "COPY ({rows}) TO 'ipc/part-{file}.arrow' STORED AS ARROW"
        ));
        let written = fs::read(cluster.work().join(format!("ipc/part-{file}.arrow"))).unwrap();
        assert!(written.starts_with(b"ARROW1"), "an IPC file, no stream");
    }
    assert_read(&cluster, "ipc", "arrow");
}

#[test]
fn every_row_of_parquet_files_is_read_once() {
    let cluster = traffic::cluster(3, DISTRIBUTED);
    let query =
        "SELECT count(*) AS n, count(DISTINCT \"Timestamp\") > 1 AS several FROM 'ais/*.parquet'";
    assert_eq!(cluster.sql(query), "n,several\n300000,true\n");
    let by_file = "SELECT count(*) AS n FROM 'ais/ais-0001.parquet'";
    let first: u64 = cluster
        .sql(by_file)
        .trim_start_matches("n\n")
        .trim()
        .parse()
        .unwrap();
    assert!((1..=300_000).contains(&first), "{first}");
}

#[test]
fn files_that_come_change_and_go_are_seen() {
    let cluster = TestCluster::start_with(2, DISTRIBUTED);
    let folder = cluster.work().join("csv");
    write_all(&folder, "csv", "number,name\n", csv_line);
    assert_eq!(summarize(&cluster, "csv/*.csv"), ALL);
    fs::write(folder.join("part-3.csv"), "number,name\n1000,x\n").unwrap();
    assert_eq!(
        summarize(&cluster, "csv/*.csv"),
        "n,total,highest\n301,45850,x\n"
    );
    fs::write(folder.join("part-3.csv"), "number,name\n1,x\n2,y\n").unwrap();
    assert_eq!(
        summarize(&cluster, "csv/*.csv"),
        "n,total,highest\n302,44853,y\n"
    );
    for file in [0, 2, 3] {
        fs::remove_file(folder.join(format!("part-{file}.csv"))).unwrap();
    }
    assert_eq!(summarize(&cluster, "csv/*.csv"), SECOND);
}

/// Runs statements in a named session and in a folder. Returns the rows, without the blank line
/// that stands above those of a later statement, and what was said.
fn in_session(cluster: &TestCluster, folder: &Path, statements: &str) -> (String, String) {
    let arguments = ["sql", "--session", "kept", "--format", "csv", statements];
    let mut command = cluster.command(&arguments);
    command.current_dir(folder);
    let finished = run(command, CALL);
    let said = finished.stderr.clone();
    (finished.success().trim_start().to_string(), said)
}

const TABLE: &str = "CREATE EXTERNAL TABLE points STORED AS CSV LOCATION 'points.csv' OPTIONS ('format.has_header' 'true')";
const VIEW: &str = "CREATE VIEW doubled AS SELECT 2 * x AS y FROM 'points.csv'";
/// The sums of both, the smaller first.
const BOTH: &str = "SELECT sum(x) AS s FROM points UNION ALL SELECT sum(y) FROM doubled ORDER BY s";

#[test]
fn names_are_listed_and_described() {
    let cluster = TestCluster::start_with(2, DISTRIBUTED);
    fs::write(cluster.work().join("points.csv"), "x,name\n1,a\n2,b\n").unwrap();
    let (tables, _) = in_session(
        &cluster,
        cluster.work(),
        &format!("{TABLE}; {VIEW}; SHOW TABLES"),
    );
    let kind_of = |name: &str| {
        let mut rows = tables.lines().map(|row| row.split(',').collect::<Vec<_>>());
        let row = rows.find(|row| row.contains(&name));
        row.and_then(|row| row.last().copied())
    };
    assert_eq!(kind_of("points"), Some("BASE TABLE"), "{tables}");
    assert_eq!(kind_of("doubled"), Some("VIEW"), "{tables}");
    let describe = |name: &str| in_session(&cluster, cluster.work(), &format!("DESCRIBE {name}")).0;
    let points = describe("points");
    assert!(points.contains("x,Int64,"), "{points}");
    assert!(points.contains("name,Utf8"), "{points}");
    let doubled = describe("doubled");
    assert!(doubled.contains("y,Int64,"), "{doubled}");
    in_session(
        &cluster,
        cluster.work(),
        "DROP TABLE points; DROP VIEW doubled",
    );
    let (tables, _) = in_session(&cluster, cluster.work(), "SHOW TABLES");
    assert!(
        !tables.contains("points") && !tables.contains("doubled"),
        "{tables}"
    );
}

#[test]
fn a_relative_path_is_that_of_where_the_name_was_defined() {
    let cluster = TestCluster::start_with(2, DISTRIBUTED);
    let folders = ["here", "there"].map(|name| cluster.work().join(name));
    for (folder, number) in folders.iter().zip([1, 100]) {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("points.csv"), format!("x\n{number}\n")).unwrap();
    }
    let [here, there] = &folders;
    in_session(&cluster, here, &format!("{TABLE}; {VIEW}"));
    for folder in [here, there, &cluster.work().to_path_buf()] {
        let (rows, _) = in_session(&cluster, folder, BOTH);
        assert_eq!(rows, "s\n1\n2\n", "in {}", folder.display());
    }
    // A path in the statement itself is that of where it runs.
    let (rows, _) = in_session(&cluster, there, "SELECT x FROM 'points.csv'");
    assert_eq!(rows, "x\n100\n");
}

#[test]
fn a_defining_statement_that_is_run_again_replaces() {
    let cluster = TestCluster::start_with(2, DISTRIBUTED);
    let define = || {
        let statements = format!("{TABLE}; {VIEW}; {BOTH}");
        in_session(&cluster, cluster.work(), &statements)
    };
    let file = cluster.work().join("points.csv");
    fs::write(&file, "x\n1\n2\n").unwrap();
    let (rows, said) = define();
    assert_eq!(rows, "s\n3\n6\n");
    assert!(
        said.contains("points: defined") && said.contains("doubled: defined"),
        "{said}"
    );

    // Other columns and other rows under the same names.
    fs::write(&file, "x,name\n5,a\n").unwrap();
    let (rows, said) = define();
    assert_eq!(rows, "s\n5\n10\n");
    assert!(
        said.contains("points: replaced") && said.contains("doubled: replaced"),
        "{said}"
    );

    cluster.bireme(&["cluster", "restart"]).success();
    let (rows, _) = in_session(&cluster, cluster.work(), BOTH);
    assert_eq!(rows, "s\n5\n10\n");
    let (rows, said) = define();
    assert_eq!(rows, "s\n5\n10\n");
    assert!(
        said.contains("points: replaced") && said.contains("doubled: replaced"),
        "{said}"
    );

    // A table may take the name of a view.
    let other = "CREATE EXTERNAL TABLE doubled STORED AS CSV LOCATION 'points.csv' OPTIONS ('format.has_header' 'true')";
    let (rows, _) = in_session(
        &cluster,
        cluster.work(),
        &format!("{other}; SELECT x FROM doubled"),
    );
    assert_eq!(rows, "x\n5\n");
}
