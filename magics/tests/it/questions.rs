//! `name?` and `?name`: the pages they show, and when Rust is asked instead.

use crate::scripted_host::ScriptedHost;
use crate::sql::transcript;
use bireme_protocol::ErrorCode;

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
    insta::assert_snapshot!(transcript("ais?").await, @"
    [page] view ais · 3 columns
    ┌─────────────┬──────┐
    │ column      ┆ type │
    ╞═════════════╪══════╡
    │ MMSI        ┆ i64  │
    │ SOG         ┆ f64  │
    │ Vessel Type ┆ str  │
    └─────────────┴──────┘

    CREATE VIEW ais AS SELECT 1
    ");
}

#[tokio::test]
async fn a_question_that_is_certain_is_also_about_columns_functions_and_parameters() {
    assert_eq!(
        transcript("?sog").await,
        "[page] column SOG f64 of view ais"
    );
    assert_eq!(
        transcript("?avg").await,
        "[page] aggregate function avg(expression)"
    );
    assert_eq!(transcript("?year").await, "[page] parameter year = 2024");
    assert_eq!(transcript("sog?").await, "");
    assert_eq!(transcript("?rust_variable").await, "");
}

#[tokio::test]
async fn a_question_that_may_be_rust_outlives_a_lost_cluster() {
    let host = ScriptedHost::default();
    host.lose_catalog();
    host.run("ais?").await.unwrap();
    assert_eq!(host.transcript(), "");
    let fault = host.run("?ais").await.unwrap_err();
    assert_eq!(fault.code, ErrorCode::Unavailable);
}
