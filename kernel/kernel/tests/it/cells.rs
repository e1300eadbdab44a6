//! What cells ask for reaches who does it, in order, and every failure is told once.

use crate::notebook::Place;

#[tokio::test]
async fn magics_and_rust_of_one_cell_run_in_order() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    let ran = notebook
        .run("%param year = 2024\nprint one;\n%param year\nvalue two")
        .await;
    assert_eq!(ran.printed(), "one\n");
    assert_eq!(ran.shown(), ["year = 2024", "two"]);
    assert!(ran.end.reply.error.is_none());
    notebook.close().await;
}

#[tokio::test]
async fn rust_is_told_each_parameter_once_and_again_after_a_restart() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    notebook.run("%param year = 2024").await;
    let told = "let year: i64 = 2024;";
    assert_eq!(notebook.run("codes").await.printed(), format!("{told}\n"));
    assert_eq!(
        notebook.run("codes").await.printed(),
        format!("{told}|codes\n")
    );
    notebook.run("%restart").await;
    assert_eq!(notebook.run("codes").await.printed(), format!("{told}\n"));
    notebook.close().await;
}

#[tokio::test]
async fn a_restart_that_a_failed_cell_asked_for_does_not_come_later() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    notebook.run("print one").await;
    notebook.run("%restart\nfail boom").await.failure();
    notebook.run("print two").await;
    assert_eq!(
        notebook.run("codes").await.printed(),
        "print one|fail boom|print two\n"
    );
    notebook.close().await;
}

#[tokio::test]
async fn a_mistyped_magic_is_shown_with_its_place_and_nothing_runs() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    let ran = notebook.run("print one;\n%parm x = 1").await;
    assert_eq!(ran.printed(), "");
    let error = ran.failure();
    assert_eq!(error.ename, "InvalidArgument");
    let traceback = error.traceback.join("\n");
    assert!(traceback.contains("cell:2:1"), "{traceback}");
    assert!(traceback.contains("did you mean %param?"), "{traceback}");
    notebook.close().await;
}

#[tokio::test]
async fn sql_without_a_cluster_that_starts_says_what_failed() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    let error = notebook.run("%%sql\nSELECT 1").await.failure();
    assert_eq!(error.ename, "Unavailable");
    assert!(
        error.traceback.join("\n").contains("no-such-program"),
        "{error:?}"
    );
    notebook.close().await;
}

#[tokio::test]
async fn a_failure_of_rust_is_told_whole_also_through_a_magic() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    for cell in ["fail boom", "%%time\nfail boom"] {
        let ran = notebook.run(cell).await;
        let error = ran.failure();
        assert_eq!(
            (error.ename.as_str(), error.evalue.as_str()),
            ("Panic", "boom"),
            "{cell}"
        );
        assert_eq!(error.traceback, ["Panic: boom"]);
    }
    notebook.close().await;
}

#[tokio::test]
async fn help_on_a_name_of_rust_is_what_the_compiler_knows() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    notebook.run("print one").await;
    // No cluster is needed for what Rust knows: a variable, or a name such as any type's.
    for question in ["?known", "?Vec"] {
        let ran = notebook.run(question).await;
        let page = &ran.end.reply.payload[0]["data"]["text/plain"];
        assert_eq!(page, "documentation", "{question}");
    }
    notebook.close().await;
}

#[tokio::test]
async fn help_goes_to_the_pager() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    let ran = notebook.run("%%sql?").await;
    assert_eq!(ran.end.reply.payload.len(), 1);
    assert_eq!(ran.end.reply.payload[0]["source"], "page");
    let error = notebook.run("?nothing_has_this_name").await.failure();
    assert_eq!(
        error.ename, "Unavailable",
        "asking about a table needs a cluster"
    );
    notebook.close().await;
}

#[tokio::test]
async fn what_no_session_can_set_is_refused_before_there_is_a_cluster() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    for (statement, expected) in [
        ("SET query.timeuot = '1s'", "there is no such setting"),
        ("SET query.timeout = 'soon'", "is not duration"),
        ("SET query.max_concurrent = 2", "the same for all sessions"),
    ] {
        let error = notebook.run(&format!("%%sql\n{statement}")).await.failure();
        assert_eq!(error.ename, "InvalidArgument", "{statement}");
        assert!(error.evalue.contains(expected), "{}", error.evalue);
    }
    notebook.close().await;
}

#[tokio::test]
async fn settings_of_the_session_are_set_and_taken_back() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    let ran = notebook.run("%config display.rows 20").await;
    assert_eq!(ran.shown(), ["display.rows = 20 (was 10)"]);
    let ran = notebook.run("%config --reset display.rows").await;
    assert_eq!(ran.shown(), ["display.rows = 10 (was 20)"]);
    notebook.close().await;
}
