//! Where an error says it is. In every cell the expected place stands between « and »; the scripted
//! engines know no name that begins with `bad_`.

use bireme_magics::display::error;
use bireme_protocol::{Fault, Position};
use serde_json::json;

use crate::scripted_host::ScriptedHost;

/// The cell with marks, a part of the message, a part of the hint.
const CELLS: &[(&str, &str, &str)] = &[
    // Names of magics.
    (
        "«%%sqll»\nSELECT 1",
        "there is no magic %%sqll",
        "did you mean %%sql?",
    ),
    (
        "«%engine»",
        "there is no magic %engine",
        "did you mean %engines?",
    ),
    (
        "let x = 1;\n  «%hsow» v",
        "no magic %hsow",
        "did you mean %show?",
    ),
    (
        "«%frobnicate»",
        "no magic %frobnicate",
        "%help lists the magics",
    ),
    ("«%%»\nSELECT 1", "the name of a magic is missing", "%%sql"),
    ("«%%engines»", "only %engines", ""),
    (
        "let x = 1;\n«%%sql»\nSELECT 1",
        "not at the start of its cell",
        "move what stands above",
    ),
    ("«%%show»\nv", "only %show", ""),
    ("%help «sqk»", "there is no magic sqk", "did you mean %sql?"),
    // Flags and arguments.
    (
        "%%sql «--lmit» 5\nSELECT 1",
        "no flag --lmit",
        "did you mean --limit?",
    ),
    (
        "%%sql v «--lazzy»\nSELECT 1",
        "no flag --lazzy",
        "did you mean --lazy?",
    ),
    (
        "%%sql «--frobnicate»\nSELECT 1",
        "no flag --frobnicate",
        "%%sql takes --lazy",
    ),
    ("%%sql «-n» 5\nSELECT 1", "no flag -n", ""),
    ("%engines «--all»", "no flag --all", "takes no flags"),
    ("%%sql «--limit»\nSELECT 1", "--limit needs a value: N", ""),
    (
        "%%sql «--limit» --lazy\nSELECT 1",
        "--limit needs a value",
        "",
    ),
    (
        "%%sql --limit «five»\nSELECT 1",
        "\"five\" is not a whole number",
        "",
    ),
    (
        "%%sql --limit «0»\nSELECT 1",
        "\"0\" is not a whole number from 1",
        "leave it out",
    ),
    (
        "%%sql --limit=«-5»\nSELECT 1",
        "\"-5\" is not a whole number",
        "",
    ),
    ("%%sql --limit 5 «--limit» 6\nSELECT 1", "given twice", ""),
    (
        "%%sql --format «cvs»\nSELECT 1",
        "\"cvs\" is none of table, csv, json",
        "did you mean csv?",
    ),
    ("%%sql --timeout «soon»\nSELECT 1", "not a duration", ""),
    ("%%sql v «--lazy»=yes\nSELECT 1", "takes no value", ""),
    ("%%sql v «--sink»\nSELECT 1", "--sink needs a value", ""),
    (
        "%%sql --sink out.parquet «--limit» 5\nSELECT 1",
        "--sink writes all rows",
        "leave one of the two out",
    ),
    (
        "%%sql v «--persist» --sink out.parquet\nSELECT 1",
        "--sink writes the rows to files, --persist keeps them",
        "leave one of the two out",
    ),
    (
        "%%sql «--device» gpu\nSELECT 1",
        "--device is not built yet",
        "",
    ),
    (
        "%%sql SELECT «1»",
        "does not take \"1\" here",
        "the SQL starts on the next line",
    ),
    ("%%sql «1st»\nSELECT 1", "is not a name", ""),
    ("%%sql «'abc»\nSELECT 1", "the quote ' is not closed", ""),
    ("%show «»", "%show needs NAME", ""),
    (
        "%cluster «log»",
        "none of status, logs",
        "did you mean logs?",
    ),
    ("%cancel «xyz»", "not a query id", ""),
    ("%cancel «dead»", "no query has this id", ""),
    ("%attach «dead»", "no query has this id", ""),
    (
        "%%sql «--lazy»\nSELECT 1",
        "--lazy needs the NAME",
        "NAME --lazy",
    ),
    ("«%%sql»\n  \n", "has no statement", "%%sql? shows examples"),
    ("«%%time»\n\n", "no code to time", ""),
    // Settings and parameters.
    (
        "%config «query.timout» 5s",
        "no setting \"query.timout\"",
        "did you mean query.timeout?",
    ),
    ("%config query.timeout = «soon»", "is not duration", ""),
    (
        "%config «query.max_concurrent» 8",
        "belongs to the cluster",
        "config.toml",
    ),
    ("%param «1st» = 2", "is not a name", ""),
    ("%param days = «[1, 2]»", "not a list", ""),
    (
        "%param «yaer»",
        "no parameter \"yaer\"",
        "did you mean year?",
    ),
    // Values.
    (
        "%%sql\nSELECT *\n  FROM t WHERE y = «$yaer»",
        "no parameter \"yaer\"",
        "did you mean $year?",
    ),
    (
        "%%sql\nSELECT «{{ speed }}»",
        "no parameter \"speed\"",
        "set it with %param speed = value",
    ),
    (
        "%%sql\nSELECT «{{ no_such.thing() }}»",
        "evaluate no_such.thing(): cannot find it",
        "",
    ),
    ("%%sql\nSELECT «{{}}»", "braces are empty", ""),
    (
        "%%sql\nSELECT '«{{year}}»'",
        "stands in quotes",
        "{{!year}}",
    ),
    ("%%sql\nSELECT «$1»", "bound by name", "%param name"),
    // SQL, found by the engines.
    (
        "%%sql\nSELECT «bad_speed» FROM ais",
        "no table or column",
        "did you mean speed?",
    ),
    (
        "%%sql\nSELECT 1;\n\n  SELECT a,\n    «bad_b» FROM t",
        "\"bad_b\"",
        "",
    ),
    ("%%sql v\nSELECT «bad_a»", "\"bad_a\"", ""),
    // In the line that we write above the query stands the name.
    ("%%sql «bad_v»\nSELECT 1", "\"bad_v\"", ""),
    ("%%sql --lazy «bad_v»\nSELECT\n  1", "\"bad_v\"", ""),
    ("%sql «bad_v» << SELECT 1", "\"bad_v\"", ""),
    ("%%sql v --lazy\n\nSELECT x,\n  «bad_a»", "\"bad_a\"", ""),
    ("%sql SELECT 1; SELECT «bad_a»", "\"bad_a\"", ""),
    (
        "let x = 1;\n   %sql --limit 5 SELECT «bad_a»",
        "\"bad_a\"",
        "",
    ),
    ("%%sql\nSELECT {{year}} + $year, «bad_a»", "\"bad_a\"", ""),
    (
        "%%sql\nSELECT '日本', {{'a long literal'}}, «bad_a»",
        "\"bad_a\"",
        "",
    ),
    (
        "%%sql\nSELECT * FROM {{!port}} JOIN «bad_t»",
        "\"bad_t\"",
        "",
    ),
    ("%%sql\nCREATE VIEW v AS\nSELECT «bad_a»", "\"bad_a\"", ""),
    ("%%sql\nEXPLAIN ANALYZE SELECT «bad_a»", "\"bad_a\"", ""),
    ("%explain SELECT «bad_a»", "\"bad_a\"", ""),
    ("%explain  «bad_view»", "\"bad_view\"", ""),
    ("%show «bad_view» --limit 5", "\"bad_view\"", ""),
    ("%%time\n%%sql\nSELECT «bad_a»", "\"bad_a\"", ""),
    ("%time %sql SELECT «bad_a»", "\"bad_a\"", ""),
    // SQL, refused before it is sent.
    (
        "%%sql\n«UPDATE» t SET a = 1",
        "UPDATE is not something Bireme runs",
        "it runs SELECT",
    ),
    (
        "%%sql v\nSELECT 1;\n«DROP» VIEW w",
        "the last statement is none",
        "",
    ),
    ("%%sql\n  «DROP» VIEW bad_v", "no such view or table", ""),
    (
        "%%sql\nSELECT 1;\n«SET» nosuch.key = 5",
        "no setting \"nosuch.key\"",
        "",
    ),
    ("%%explain\nSELECT 1;\nSELECT 2", "", ""),
];

fn marked(cell: &str) -> (String, Option<Position>) {
    let Some((before, rest)) = cell.split_once('«') else {
        return (cell.to_string(), None);
    };
    let (inside, after) = rest.split_once('»').unwrap();
    let column = before.rsplit('\n').next().unwrap().chars().count() as u32 + 1;
    let line = before.matches('\n').count() as u32 + 1;
    let position = Position {
        line,
        column,
        length: (inside.chars().count() as u32).max(1),
    };
    (format!("{before}{inside}{after}"), Some(position))
}

async fn fault(cell: &str) -> Fault {
    let host = ScriptedHost::with_parameters(&[("year", json!(2024)), ("port", json!("ais"))]);
    host.run(cell).await.expect_err(cell)
}

#[tokio::test]
async fn errors_point_at_what_is_wrong() {
    for (cell, message, hint) in CELLS {
        let (cell, expected) = marked(cell);
        let fault = fault(&cell).await;
        assert!(
            fault.message.contains(message),
            "{cell:?}: {}",
            fault.message
        );
        let found = fault.hint.clone().unwrap_or_default();
        assert!(found.contains(hint), "{cell:?}: {found:?}");
        if let Some(expected) = expected {
            assert_eq!(
                fault.position,
                Some(expected),
                "{cell:?}: {}",
                fault.message
            );
            let carets = "^".repeat(expected.length as usize);
            assert!(
                error::plain(&fault, &cell, "cell").contains(&carets),
                "{cell:?}"
            );
        }
    }
}

async fn drawn(cell: &str) -> String {
    error::plain(&fault(cell).await, cell, "cell")
}

#[tokio::test]
async fn an_error_shows_its_line_and_its_help() {
    insta::assert_snapshot!(drawn("%%sql\nSELECT avg(bad_speed)\nFROM ais").await, @r#"
    SqlPlanError: no table or column "bad_speed"
      --> cell:2:12
      |
    2 | SELECT avg(bad_speed)
      |            ^^^^^^^^^
      help: did you mean speed?
    "#);
    insta::assert_snapshot!(drawn("%%sql --lmit 5\nSELECT 1").await, @"
    InvalidArgument: %%sql has no flag --lmit
      --> cell:1:7
      |
    1 | %%sql --lmit 5
      |       ^^^^^^
      help: did you mean --limit?
    ");
    insta::assert_snapshot!(drawn("let x = 1;\n%conifg").await, @"
    InvalidArgument: there is no magic %conifg
      --> cell:2:1
      |
    2 | %conifg
      | ^^^^^^^
      help: did you mean %config?
    ");
}

#[test]
fn wide_and_long_lines_keep_their_carets_in_place() {
    let at = |line, column, length| Position {
        line,
        column,
        length,
    };
    let fault = Fault::new(bireme_protocol::ErrorCode::SqlPlanError, "no column \"x\"");
    let wide = "SELECT '日本語', x";
    insta::assert_snapshot!(error::plain(&fault.clone().at(at(1, 15, 1)), wide, "cell"), @r#"
    SqlPlanError: no column "x"
      --> cell:1:15
      |
    1 | SELECT '日本語', x
      |                  ^
    "#);
    let long = format!("SELECT {}x, {}", "a, ".repeat(80), "b, ".repeat(80));
    insta::assert_snapshot!(error::plain(&fault.clone().at(at(1, 248, 1)), &long, "cell"), @r#"
    SqlPlanError: no column "x"
      --> cell:1:248
      |
    1 | …a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, x, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, …
      |                                                              ^
    "#);
    let beyond = error::plain(&fault.at(at(9, 9, 9)), wide, "cell");
    assert!(beyond.ends_with("--> cell:9:9"), "{beyond}");
}

#[test]
fn an_error_message_is_whole_and_coloured() {
    let fault = Fault::new(
        bireme_protocol::ErrorCode::OutOfMemory,
        "reserve 2.0 GiB for a hash join",
    )
    .with_cause("0.4 GiB free of 8 GiB on engine 1")
    .with_hint("set memory.host_limit higher")
    .on_engine(1)
    .of_query("3f2a0c1d");
    let rendered = error::render(&fault, "");
    assert_eq!(rendered.ename, "OutOfMemory");
    assert_eq!(rendered.evalue, "reserve 2.0 GiB for a hash join");
    assert!(rendered.traceback[0].starts_with("\u{1b}[1;31mOutOfMemory\u{1b}[0m: reserve"));
    insta::assert_snapshot!(error::plain(&fault, "", "cell"), @"
    OutOfMemory: reserve 2.0 GiB for a hash join
      because: 0.4 GiB free of 8 GiB on engine 1
      help: set memory.host_limit higher
      on engine 1, query 3f2a0c1d
    ");
}
