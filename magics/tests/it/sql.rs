//! What `%%sql` and its kin send and show.

use std::time::Duration;

use bireme_client::Rows;
use bireme_magics::Host;
use bireme_protocol::ErrorCode;
use serde_json::json;

use crate::samples::{answer, rows};
use crate::scripted_host::{Event, ScriptedHost};

pub(crate) async fn transcript(cell: &str) -> String {
    let host =
        ScriptedHost::with_parameters(&[("year", json!(2024)), ("port", json!("Rotterdam's"))]);
    host.run(cell).await.unwrap();
    host.transcript()
}

#[tokio::test]
async fn a_query_is_the_value_of_its_cell() {
    insta::assert_snapshot!(transcript("%%sql\nSELECT * FROM ais").await, @"
    result:
    shape: (3, 2) · 2 engines · 41 ms
    ┌─────┬──────────┐
    │  id ┆ name     │
    │ i64 ┆ str      │
    ╞═════╪══════════╡
    │   0 ┆ vessel 0 │
    │   1 ┆ vessel 1 │
    │   2 ┆ null     │
    └─────┴──────────┘
    read 1_000_000 rows, 512.0 MiB
    ");
}

#[tokio::test]
async fn every_statement_runs_and_every_query_shows() {
    let cell = "%%sql\nCREATE VIEW v AS SELECT 1;\nSELECT 1;\nSET query.timeout = 30s;\nDROP VIEW v;\nSELECT 2";
    insta::assert_snapshot!(transcript(cell).await, @"
    sent: CREATE VIEW v AS SELECT 1
    created view v (2 columns)
    shape: (3, 2) · 2 engines · 41 ms
    ┌─────┬──────────┐
    │  id ┆ name     │
    │ i64 ┆ str      │
    ╞═════╪══════════╡
    │   0 ┆ vessel 0 │
    │   1 ┆ vessel 1 │
    │   2 ┆ null     │
    └─────┴──────────┘
    read 1_000_000 rows, 512.0 MiB
    query.timeout = 30s
    dropped v
    result:
    shape: (3, 2) · 2 engines · 41 ms
    ┌─────┬──────────┐
    │  id ┆ name     │
    │ i64 ┆ str      │
    ╞═════╪══════════╡
    │   0 ┆ vessel 0 │
    │   1 ┆ vessel 1 │
    │   2 ┆ null     │
    └─────┴──────────┘
    read 1_000_000 rows, 512.0 MiB
    ");
}

#[tokio::test]
async fn a_name_defines_a_view_and_lazy_runs_nothing() {
    insta::assert_snapshot!(transcript("%%sql fast\nSELECT * FROM ais WHERE y = $year").await, @"
    sent: CREATE OR REPLACE VIEW fast AS⏎SELECT * FROM ais WHERE y = $year [year=2024]
    result:
    shape: (3, 2) · 2 engines · 41 ms · view fast
    ┌─────┬──────────┐
    │  id ┆ name     │
    │ i64 ┆ str      │
    ╞═════╪══════════╡
    │   0 ┆ vessel 0 │
    │   1 ┆ vessel 1 │
    │   2 ┆ null     │
    └─────┴──────────┘
    read 1_000_000 rows, 512.0 MiB
    ");
    insta::assert_snapshot!(transcript("%%sql fast --lazy\nSELECT 1").await, @"
    sent: CREATE OR REPLACE VIEW fast AS⏎SELECT 1
    created view fast (2 columns)
    ");
    insta::assert_snapshot!(transcript("%sql fast << SELECT 1").await, @"
    sent: CREATE OR REPLACE VIEW fast AS⏎SELECT 1
    result:
    shape: (3, 2) · 2 engines · 41 ms · view fast
    ┌─────┬──────────┐
    │  id ┆ name     │
    │ i64 ┆ str      │
    ╞═════╪══════════╡
    │   0 ┆ vessel 0 │
    │   1 ┆ vessel 1 │
    │   2 ┆ null     │
    └─────┴──────────┘
    read 1_000_000 rows, 512.0 MiB
    ");
}

#[tokio::test]
async fn values_are_bound_and_never_pasted() {
    let host = ScriptedHost::with_parameters(&[
        ("year", json!(2024)),
        ("port", json!("Rotterdam's")),
        ("columns", json!("a, b")),
    ]);
    let cell = "%%sql\nSELECT $year, {{ port }}, {{'x'}}, {{ 2.5 }}, {{!columns}}, 'a {{!port}}', '$year {{z}}'";
    host.run(cell).await.unwrap();
    let (sql, options) = host.submitted().remove(0);
    assert_eq!(
        sql,
        "SELECT $year, $port, $value_3, $value_4, a, b, 'a Rotterdam''s', '$year {{z}}'"
    );
    let values: Vec<_> = options
        .values
        .iter()
        .map(|v| format!("{}={}", v.name, v.json))
        .collect();
    assert_eq!(
        values,
        [
            "year=2024",
            "port=\"Rotterdam's\"",
            "value_3=\"x\"",
            "value_4=2.5"
        ]
    );
}

#[tokio::test]
async fn rust_expressions_are_evaluated_and_bound() {
    let host = ScriptedHost::with_parameters(&[("year", json!(2024))]);
    let cell = "%%sql\nSELECT {{rust_variable}}, {{ rust_variable * 2 + 1 }}, {{year}} \
                WHERE name = {{name.to_uppercase()}} AND t = '{{!rust_variable}}' AND u = {{'it''s'}}";
    host.run(cell).await.unwrap();
    let (sql, options) = host.submitted().remove(0);
    let bound =
        "SELECT $value_1, $value_2, $year WHERE name = $value_4 AND t = '7' AND u = $value_5";
    assert_eq!(sql, bound);
    let values = options.values.iter();
    let values: Vec<_> = values.map(|v| format!("{}={}", v.name, v.json)).collect();
    assert_eq!(
        values,
        [
            "value_1=7",
            "value_2=15",
            "year=2024",
            "value_4=\"O'NEIL\"",
            "value_5=\"it's\""
        ]
    );
}

#[tokio::test]
async fn a_literal_never_takes_the_name_of_a_parameter() {
    let parameters = [
        ("value_1", json!(1)),
        ("value_3", json!(3)),
        ("true", json!(0)),
    ];
    let host = ScriptedHost::with_parameters(&parameters);
    host.run("%%sql\nSELECT {{5}}, $value_1, {{6}}, {{value_3}}, {{true}}, $true")
        .await
        .unwrap();
    let (sql, options) = host.submitted().remove(0);
    assert_eq!(
        sql,
        "SELECT $value_2, $value_1, $value_4, $value_3, $value_5, $true"
    );
    let values: Vec<_> = options
        .values
        .iter()
        .map(|value| format!("{}={}", value.name, value.json))
        .collect();
    assert_eq!(
        values,
        [
            "value_2=5",
            "value_1=1",
            "value_4=6",
            "value_3=3",
            "value_5=true",
            "true=0"
        ]
    );
}

#[tokio::test]
async fn a_statement_gets_the_values_it_uses() {
    let host = ScriptedHost::with_parameters(&[("a", json!(1)), ("b", json!(2))]);
    host.run("%%sql\nSELECT $a;\nSELECT $b").await.unwrap();
    let names: Vec<Vec<String>> = host
        .submitted()
        .into_iter()
        .map(|(_, options)| options.values.into_iter().map(|value| value.name).collect())
        .collect();
    assert_eq!(names, [["a"], ["b"]]);
}

#[tokio::test]
async fn limits_and_previews_reach_the_engines() {
    let host = ScriptedHost::default();
    host.script(answer(&rows(6), 6));
    host.run("%%sql --limit 5 --rows 4 --timeout 30s\nSELECT * FROM ais")
        .await
        .unwrap();
    let (_, options) = host.submitted().remove(0);
    // One row more than the limit tells whether it cuts; it is not shown.
    assert_eq!(options.limit, Some(6));
    assert_eq!(options.timeout, Some(Duration::from_secs(30)));
    assert_eq!(options.rows, Rows::Preview { head: 2, tail: 3 });
    assert!(!options.is_trivial);
    insta::assert_snapshot!(host.transcript(), @"
    result:
    shape: (5, 2) · 2 engines · 41 ms · cut by --limit
    ┌─────┬──────────┐
    │  id ┆ name     │
    │ i64 ┆ str      │
    ╞═════╪══════════╡
    │   0 ┆ vessel 0 │
    │   1 ┆ vessel 1 │
    │   … ┆ …        │
    │   3 ┆ vessel 3 │
    │   4 ┆ vessel 4 │
    └─────┴──────────┘
    read 1_000_000 rows, 512.0 MiB
    ");
}

#[tokio::test]
async fn rows_go_to_a_rust_variable() {
    let host = ScriptedHost::default();
    host.script(answer(&rows(6), 6));
    host.run("%%sql --to vessels --limit 100\nSELECT * FROM ais")
        .await
        .unwrap();
    let (_, options) = host.submitted().remove(0);
    assert_eq!((options.limit, options.rows), (Some(100), Rows::All));
    insta::assert_snapshot!(host.transcript(), @r"
    bound: vessels, 6 rows
    vessels: Table, 6 rows × 2 columns (48 B) in 41 ms
    ");
}

#[tokio::test]
async fn rows_beyond_the_limit_are_not_bound() {
    let host = ScriptedHost::default();
    host.configure("rust.bind_limit", Some("40B"))
        .await
        .unwrap();
    host.script(answer(&rows(6), 6));
    let fault = host.run("%sql --to v SELECT * FROM ais").await.unwrap_err();
    assert_eq!(fault.code, ErrorCode::OutOfMemory);
    insta::assert_snapshot!(fault.message, @"bind the rows to the Rust variable v: 48 B have come, and rust.bind_limit is 40 B");
    assert!(
        host.events()
            .iter()
            .all(|event| !matches!(event, Event::Bound(..)))
    );
}

#[tokio::test]
async fn only_a_query_that_runs_has_rows() {
    let host = ScriptedHost::default();
    let fault = host
        .run("%%sql v --lazy --to rows\nSELECT 1")
        .await
        .unwrap_err();
    insta::assert_snapshot!(fault.message, @"--lazy runs nothing, so there are no rows for --to");
    let fault = host.run("%%sql --to rows\nDROP TABLE v").await.unwrap_err();
    insta::assert_snapshot!(fault.message, @"the variable rows needs a query, and the last statement is none");
}

#[tokio::test]
async fn a_result_that_ends_at_the_limit_is_not_cut() {
    for (cell, given, is_cut) in [
        ("%%sql --limit 5\nSELECT * FROM ais LIMIT 5", 5, false),
        ("%%sql --limit 5\nSELECT * FROM ais", 6, true),
        ("%show ais --limit 5", 5, false),
        ("%show ais --limit 5", 6, true),
    ] {
        let host = ScriptedHost::default();
        host.script(answer(&rows(given), given as u64));
        host.run(cell).await.unwrap();
        let shown = host.transcript();
        assert!(shown.contains("shape: (5, 2)"), "{cell}: {shown}");
        assert!(!shown.contains("│   5 ┆"), "{cell}: {shown}");
        assert_eq!(shown.contains("cut by --limit"), is_cut, "{cell}: {shown}");
    }
    let host = ScriptedHost::default();
    host.script(answer(&rows(2), 2));
    host.run("%%sql --limit 1 --format csv\nSELECT * FROM ais")
        .await
        .unwrap();
    assert_eq!(host.submitted()[0].1.limit, Some(2));
    assert_eq!(host.transcript(), "stdout: id,name\n0,vessel 0");
}

#[tokio::test]
async fn an_explained_statement_keeps_its_timeout() {
    for cell in [
        "%%sql --timeout 5s\nEXPLAIN SELECT 1",
        "%%sql --timeout 5s\nEXPLAIN ANALYZE SELECT 1",
        "%explain --timeout 5s SELECT 1",
    ] {
        let host = ScriptedHost::default();
        host.run(cell).await.unwrap();
        let (_, options) = host.submitted().remove(0);
        assert_eq!(options.timeout, Some(Duration::from_secs(5)), "{cell}");
    }
}

#[tokio::test]
async fn rows_print_as_text() {
    insta::assert_snapshot!(transcript("%%sql --format csv\nSELECT * FROM ais").await, @"
    stdout: id,name
    0,vessel 0
    1,vessel 1
    2,
    ");
    insta::assert_snapshot!(transcript("%%sql --format json\nSELECT * FROM ais").await, @r#"
    stdout: {"id":0,"name":"vessel 0"}
    {"id":1,"name":"vessel 1"}
    {"id":2,"name":null}
    "#);
    let host = ScriptedHost::default();
    host.script(answer(&rows(2), 5_000));
    host.run("%%sql --format csv\nSELECT * FROM ais")
        .await
        .unwrap();
    insta::assert_snapshot!(host.transcript(), @"
    stdout: id,name
    0,vessel 0
    1,vessel 1
    stderr: the first 1_000 of 5_000 rows in 41 ms; `bireme sql` prints them all
    ");
}

#[tokio::test]
async fn plans_are_drawn() {
    insta::assert_snapshot!(transcript("%explain --analyze SELECT 1").await, @"
    plan: 2 stages · 2 engines · 612 ms
    AggregateExec: final, by [name]  [stage 0 · engine 0 · cpu]  26 rows · 1.5 ms (0 %) · shuffled 4.0 KiB
    └─ AggregateExec: partial, by [name]  [stage 1 · engines 0-1 · cpu]  52 rows · 100 ms (9 %)
       └─ DataSourceExec: ais/*.parquet, projection=[id, name]  20.0M rows · 900 ms (89 %) · read 512.0 MiB  ◀ hottest
    ");
    let host = ScriptedHost::default();
    host.run("%explain fast").await.unwrap();
    assert_eq!(host.submitted()[0].0, "SELECT * FROM fast");
}

#[tokio::test]
async fn files_are_tables() {
    let host = ScriptedHost::default();
    host.run("%show 'data/it''s/*.parquet'").await.unwrap();
    host.run("%show ais").await.unwrap();
    let sent: Vec<String> = host.submitted().into_iter().map(|(sql, _)| sql).collect();
    assert_eq!(
        sent,
        ["SELECT * FROM 'data/its/*.parquet'", "SELECT * FROM ais"]
    );
}

#[tokio::test]
async fn line_magics_steer_the_session() {
    insta::assert_snapshot!(transcript("%param days = 7\n%param days\n%param").await, @r#"
    days = 7
    ┌───────────┬───────────────┐
    │ parameter ┆ value         │
    ╞═══════════╪═══════════════╡
    │ year      ┆ 2024          │
    │ port      ┆ "Rotterdam's" │
    │ days      ┆ 7             │
    └───────────┴───────────────┘
    "#);
    insta::assert_snapshot!(transcript("%config display.rows 20\n%config --reset display.rows").await, @"
    display.rows = 20 (was 10)
    display.rows = 10 (was 20)
    ");
    insta::assert_snapshot!(transcript("%config display").await, @"
    ┌─────────────────┬───────┬─────────┬─────────────────┬─────────┬──────────────────────────────────────────────────────────────────────┐
    │ key             ┆ value ┆ default ┆ type            ┆ from    ┆ doc                                                                  │
    ╞═════════════════╪═══════╪═════════╪═════════════════╪═════════╪══════════════════════════════════════════════════════════════════════╡
    │ display.columns ┆ 12    ┆ 12      ┆ integer 2..=100 ┆ default ┆ Most columns a shown table has.                                      │
    │ display.rows    ┆ 10    ┆ 10      ┆ integer 2..=40  ┆ default ┆ Most rows a shown table has: half from the head, half from the tail. │
    └─────────────────┴───────┴─────────┴─────────────────┴─────────┴──────────────────────────────────────────────────────────────────────┘
    ");
    insta::assert_snapshot!(transcript("%engines").await, @"
    1 of 2 engines up
    ┌──────┬───────┬──────┬─────┬────────┬─────────┬──────────┬───────┬──────────┬─────────┬──────────┬────────────────────┐
    │ rank ┆ state ┆ slot ┆ pid ┆ up for ┆ queries ┆ reserved ┆ limit ┆ resident ┆ spilled ┆ restarts ┆ last exit          │
    ╞══════╪═══════╪══════╪═════╪════════╪═════════╪══════════╪═══════╪══════════╪═════════╪══════════╪════════════════════╡
    │    0 ┆ up    ┆ cpu  ┆   0 ┆ 0 ms   ┆       0 ┆      0 B ┆   0 B ┆      0 B ┆     0 B ┆        0 ┆                    │
    │    1 ┆ lost  ┆ cpu  ┆   0 ┆ 0 ms   ┆       0 ┆      0 B ┆   0 B ┆      0 B ┆     0 B ┆        0 ┆ signal 9 (SIGKILL) │
    └──────┴───────┴──────┴─────┴────────┴─────────┴──────────┴───────┴──────────┴─────────┴──────────┴────────────────────┘
    ");
    insta::assert_snapshot!(transcript("%jobs\n%attach 3f2a\n%cancel 3f2a").await, @"
    nothing runs and nothing waits
    query 3f2a0c1d has ended: 3 rows in 1.23 s · read 1_000_000 rows, 512.0 MiB at 435 MB/s · 2 engines
    query 3f2a0000 is cancelled
    ");
    insta::assert_snapshot!(transcript("%clear --wait\n%restart\n%restart --all\n%cluster logs --engine 1").await, @"
    clear(wait=true)
    restart: Kernel
    restart: KernelAndSession
    stdout: the last 40 lines of Engine(1)
    ");
}

#[tokio::test]
async fn a_mixed_cell_runs_in_order() {
    let cell = "%param a = 1\nlet b = a + 1;\n%sql SELECT $a\nb";
    insta::assert_snapshot!(transcript(cell).await, @"
    rust: let b = a + 1;
    result:
    shape: (3, 2) · 2 engines · 41 ms
    ┌─────┬──────────┐
    │  id ┆ name     │
    │ i64 ┆ str      │
    ╞═════╪══════════╡
    │   0 ┆ vessel 0 │
    │   1 ┆ vessel 1 │
    │   2 ┆ null     │
    └─────┴──────────┘
    read 1_000_000 rows, 512.0 MiB
    rust: b
    ");
}

#[tokio::test]
async fn time_is_told_also_of_what_fails() {
    let host = ScriptedHost::default();
    host.run("%time let x = 1;").await.unwrap();
    host.run("%%time\n%%sql\nSELECT bad_a").await.unwrap_err();
    let events = host.events();
    assert_eq!(events[0], Event::Rust("      let x = 1;".into()));
    assert!(matches!(&events[1], Event::Stream(_, text) if text.starts_with("time: ")));
    assert!(matches!(&events[2], Event::Stream(_, text) if text.ends_with("(failed)\n")));
}

#[tokio::test]
async fn a_sink_is_a_copy_whose_format_its_path_tells() {
    for (path, copied) in [
        ("out.parquet", "TO 'out.parquet'"),
        ("data/out.csv", "TO 'data/out.csv'"),
        ("v1.2/out/", "TO 'v1.2/out/' STORED AS PARQUET"),
        ("\"it's\"", "TO 'it''s' STORED AS PARQUET"),
    ] {
        let host = ScriptedHost::with_parameters(&[]);
        let cell = format!("%%sql --sink {path}\nSELECT 1");
        host.run(&cell).await.unwrap();
        let (sql, _) = host.submitted().remove(0);
        assert_eq!(sql, format!("COPY (\nSELECT 1\n) {copied}"));
        assert!(host.transcript().contains("written in"), "{cell}");
    }
}
