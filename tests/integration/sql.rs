//! `bireme sql`: statements, formats, sources and errors.

use std::fs;

use bireme_tests::TestCluster;

/// The query of the first notebook.
const FAST: &str = "
    SELECT \"MMSI\", \"VesselType\", \"Status\", max(SOG) AS fastest, count(*) AS reports
    FROM (
        SELECT *, avg(SOG) OVER (PARTITION BY \"VesselType\", \"Status\") AS cohort
        FROM 'ais/*.parquet'
        WHERE SOG IS NOT NULL AND \"VesselType\" IS NOT NULL AND \"Status\" IS NOT NULL
    )
    WHERE SOG > 10 * cohort
    GROUP BY \"MMSI\", \"VesselType\", \"Status\"
    ORDER BY \"MMSI\", \"VesselType\", \"Status\"";

#[test]
fn answers_do_not_depend_on_the_number_of_engines() {
    let answers: Vec<String> = [1, 2, 3]
        .map(|engines| {
            let cluster = TestCluster::start(engines);
            let make = ["datagen", "ais", "--rows", "200000", "--out", "ais"];
            cluster.bireme(&make).success();
            cluster.sql(FAST)
        })
        .into();
    assert!(answers[0].lines().count() > 2, "{}", answers[0]);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[test]
fn every_statement_runs_and_every_query_is_printed() {
    let cluster = TestCluster::start(1);
    let printed = cluster.sql(
        "CREATE VIEW v AS SELECT 2 AS a UNION ALL SELECT 1; SELECT sum(a) AS s FROM v; SELECT a FROM v ORDER BY a",
    );
    assert!(printed.contains("s\n3\n"), "{printed}");
    assert!(printed.ends_with("a\n1\n2\n"), "{printed}");
}

#[test]
fn statements_come_from_a_file() {
    let cluster = TestCluster::start(1);
    fs::write(
        cluster.work().join("query.sql"),
        "SELECT 'a;b' AS text; -- the end\n",
    )
    .unwrap();
    let printed = cluster
        .bireme(&["sql", "--format", "csv", "-f", "query.sql"])
        .success();
    assert_eq!(printed, "text\na;b\n");
}

#[test]
fn json_lines_keep_types() {
    let cluster = TestCluster::start(1);
    let printed = cluster.bireme(&[
        "sql",
        "--format",
        "json",
        "SELECT 1 AS n, 'x' AS t, NULL AS z",
    ]);
    let row: serde_json::Value = serde_json::from_str(printed.success().trim()).unwrap();
    let row = if row.is_array() { row[0].clone() } else { row };
    assert_eq!((row["n"].as_i64(), row["t"].as_str()), (Some(1), Some("x")));
}

#[test]
fn files_are_tables() {
    let cluster = TestCluster::start(2);
    fs::write(cluster.work().join("points.csv"), "x,y\n1,a\n2,b\n").unwrap();
    fs::write(cluster.work().join("points.json"), "{\"x\":1}\n{\"x\":5}\n").unwrap();
    assert_eq!(
        cluster.sql("SELECT sum(x) AS s FROM 'points.csv'"),
        "s\n3\n"
    );
    assert_eq!(
        cluster.sql("SELECT sum(x) AS s FROM 'points.json'"),
        "s\n6\n"
    );
    let missing = cluster.sql_error("SELECT * FROM 'nothing/*.parquet'");
    assert!(missing.contains("nothing/*.parquet"), "{missing}");
}

#[test]
fn a_store_elsewhere_is_refused_and_its_secrets_are_not_told() {
    let cluster = TestCluster::start(1);
    let url = "s3://me:secret@bucket/rows.parquet";
    for statement in [
        format!("SELECT * FROM '{url}'"),
        format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{url}'"),
        format!("COPY (SELECT 1) TO '{url}'"),
    ] {
        let said = cluster.sql_error(&statement);
        assert!(
            said.contains("InvalidArgument: open s3://bucket/rows.parquet: "),
            "{said}"
        );
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn a_misspelt_name_gets_a_hint() {
    let cluster = TestCluster::start(1);
    let message =
        cluster.sql_error("CREATE VIEW vessels AS SELECT 1 AS speed; SELECT sped FROM vessels");
    assert!(
        message.contains("sped") && message.contains("speed"),
        "{message}"
    );
    let message =
        cluster.sql_error("CREATE VIEW vessels AS SELECT 1 AS speed; SELECT * FROM vesels");
    assert!(
        message.contains("vesels") && message.contains("vessels"),
        "{message}"
    );
}

#[test]
fn a_named_session_lasts() {
    let cluster = TestCluster::start(1);
    let session = |text: &str| {
        cluster
            .bireme(&["sql", "--session", "mine", "--format", "csv", text])
            .success()
    };
    session("CREATE VIEW kept AS SELECT 7 AS seven");
    assert_eq!(session("SELECT * FROM kept"), "seven\n7\n");
    assert!(cluster.sql_error("SELECT * FROM kept").contains("kept"));
}

#[test]
fn a_query_with_names_of_its_own_is_a_view_a_frame_and_a_file() {
    let cluster = TestCluster::start(2);
    let printed = cluster.sql(
        "CREATE VIEW v AS WITH a AS (SELECT 2 AS n) SELECT n FROM a; \
         CREATE TABLE f AS WITH a AS (SELECT n FROM v) SELECT n + 1 AS n FROM a; \
         COPY (WITH a AS (SELECT n FROM f) SELECT n FROM a) TO 'with.csv'; \
         WITH a AS (SELECT n FROM f) SELECT n FROM a UNION ALL SELECT n FROM 'with.csv' \
         UNION ALL SELECT n FROM v ORDER BY n",
    );
    assert!(printed.ends_with("n\n2\n3\n3\n"), "{printed}");
}
