//! What `%%sql` and its kin send and show.

use bireme_client::Rows;
use serde_json::json;

use crate::scripted_host::{Event, ScriptedHost, answer, rows};

async fn transcript(cell: &str) -> String {
    let host =
        ScriptedHost::with_parameters(&[("year", json!(2024)), ("port", json!("Rotterdam's"))]);
    host.run(cell).await.unwrap();
    host.transcript()
}

#[tokio::test]
async fn a_query_is_the_value_of_its_cell() {
    insta::assert_snapshot!(transcript("%%sql\nSELECT * FROM ais").await, @"");
}

#[tokio::test]
async fn every_statement_runs_and_every_query_shows() {
    let cell = "%%sql\nCREATE VIEW v AS SELECT 1;\nSELECT 1;\nSET query.timeout = 30s;\nDROP VIEW v;\nSELECT 2";
    insta::assert_snapshot!(transcript(cell).await, @"");
}

#[tokio::test]
async fn a_name_defines_a_view_and_lazy_runs_nothing() {
    insta::assert_snapshot!(transcript("%%sql fast\nSELECT * FROM ais WHERE y = $year").await, @"");
    insta::assert_snapshot!(transcript("%%sql fast --lazy\nSELECT 1").await, @"");
    insta::assert_snapshot!(transcript("%sql fast << SELECT 1").await, @"");
}

#[tokio::test]
async fn values_are_bound_and_never_pasted() {
    let host =
        ScriptedHost::with_parameters(&[("year", json!(2024)), ("port", json!("Rotterdam's"))]);
    let cell = "%%sql\nSELECT $year, {{ port }}, {{'x'}}, {{ 2.5 }}, {{!port}}, 'a {{!port}}', '$year {{z}}'";
    host.run(cell).await.unwrap();
    let (sql, options) = host.submitted().remove(0);
    assert_eq!(
        sql,
        "SELECT $year, $port, $value_3, $value_4, Rotterdam's, 'a Rotterdam''s', '$year {{z}}'"
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
    host.script(answer(&rows(5), 5));
    host.run("%%sql --limit 5 --rows 4 --timeout 30s\nSELECT * FROM ais")
        .await
        .unwrap();
    let (_, options) = host.submitted().remove(0);
    assert_eq!(options.limit, Some(5));
    assert_eq!(options.timeout, Some(std::time::Duration::from_secs(30)));
    assert_eq!(options.rows, Rows::Preview { head: 2, tail: 2 });
    assert!(!options.is_trivial);
    insta::assert_snapshot!(host.transcript(), @"");
}

#[tokio::test]
async fn rows_print_as_text() {
    insta::assert_snapshot!(transcript("%%sql --format csv\nSELECT * FROM ais").await, @"");
    insta::assert_snapshot!(transcript("%%sql --format json\nSELECT * FROM ais").await, @"");
    let host = ScriptedHost::default();
    host.script(answer(&rows(2), 5_000));
    host.run("%%sql --format csv\nSELECT * FROM ais")
        .await
        .unwrap();
    insta::assert_snapshot!(host.transcript(), @"");
}

#[tokio::test]
async fn plans_are_drawn() {
    insta::assert_snapshot!(transcript("%explain --analyze SELECT 1").await, @"");
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
async fn a_terminal_gets_a_table_that_fits() {
    let host = ScriptedHost::on_a_terminal();
    host.run("%sql SELECT 1").await.unwrap();
    let Some(Event::Result(bundle)) = host.events().pop() else {
        panic!("no result")
    };
    assert!(bundle.plain.lines().all(|line| line.chars().count() <= 80));
}

#[tokio::test]
async fn line_magics_steer_the_session() {
    insta::assert_snapshot!(transcript("%param days = 7\n%param days\n%param").await, @"");
    insta::assert_snapshot!(transcript("%config display.rows 20\n%config --reset display.rows").await, @"");
    insta::assert_snapshot!(transcript("%config display").await, @"");
    insta::assert_snapshot!(transcript("%engines").await, @"");
    insta::assert_snapshot!(transcript("%jobs\n%cancel 3f2a").await, @"");
    insta::assert_snapshot!(transcript("%clear --wait\n%restart\n%restart --all\n%cluster logs --engine 1").await, @"");
}

#[tokio::test]
async fn a_mixed_cell_runs_in_order() {
    let cell = "%param a = 1\nlet b = a + 1;\n%sql SELECT $a\nb";
    insta::assert_snapshot!(transcript(cell).await, @"");
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
async fn questions_are_answered_unless_rust_knows_the_name() {
    assert!(transcript("%sql?").await.starts_with("[page] %%sql, %sql"));
    assert!(transcript("sql?").await.starts_with("[page] %%sql, %sql"));
    assert!(
        transcript("?time")
            .await
            .starts_with("[page] %%time, %time")
    );
    assert_eq!(transcript("rust_variable?").await, "");
    assert_eq!(transcript("nothing_known?").await, "");
    insta::assert_snapshot!(transcript("ais?").await, @"");
}
