//! Completion, documentation and completeness, with and without a Rust host.

use crate::notebook::{DEADLINE, Place, until_printed};
use bireme_jupyter::wire::IsCompleteReply;
use serde_json::{Value, json};

#[tokio::test]
async fn everything_completes_while_a_cell_runs() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    let mut waiting = notebook.start("wait").await;
    until_printed(&mut waiting, "waiting").await;
    let magics = notebook.front_end.complete("%par", 4).await.unwrap();
    assert!(
        magics.matches.iter().any(|text| text.contains("param")),
        "{magics:?}"
    );
    let sql = notebook.front_end.complete("%%sql\nSEL", 9).await.unwrap();
    assert!(sql.matches.iter().any(|text| text == "SELECT"), "{sql:?}");
    let rust = notebook.front_end.complete("v.", 2).await.unwrap();
    assert_eq!(rust.matches, ["push"]);
    let complete = notebook.front_end.is_complete("let x = (1,").await.unwrap();
    assert!(matches!(complete, IsCompleteReply::Incomplete { .. }));
    notebook.front_end.interrupt().await.unwrap();
    waiting.collect().await.unwrap();
    notebook.close().await;
}

#[tokio::test]
async fn rust_completes_and_documents_once_it_is_up() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    assert!(
        notebook
            .front_end
            .complete("v.", 2)
            .await
            .unwrap()
            .matches
            .is_empty()
    );
    notebook.run("print one").await;
    let completed = notebook.front_end.complete("é.", 2).await.unwrap();
    assert_eq!(
        (completed.matches.clone(), completed.cursor_start),
        (vec!["push".to_owned()], 2)
    );
    assert_eq!(
        completed.metadata["_jupyter_types_experimental"],
        json!([{"start": 2, "end": 2, "text": "push", "type": "function", "signature": "fn push"}])
    );
    let inspected = notebook.front_end.inspect("v.push", 6).await.unwrap();
    assert_eq!(inspected.data.plain_text(), Some("documentation"));
    let info = notebook.front_end.kernel_info().await.unwrap();
    assert_eq!(
        (
            info.language_info.name.as_str(),
            info.language_info.version.as_str()
        ),
        ("rust", "1.99.0")
    );
    notebook.close().await;
}

/// As the bytes have it: our own types would read a misspelt field back.
#[tokio::test]
async fn front_ends_learn_how_to_colour_cells() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    let asked = notebook
        .front_end
        .shell_request("kernel_info_request", json!({}));
    let info: Value = asked.await.unwrap();
    for (key, expected) in [
        ("name", "rust"),
        ("file_extension", ".rs"),
        ("mimetype", "text/rust"),
        ("pygments_lexer", "rust"),
        ("codemirror_mode", "rust"),
    ] {
        assert_eq!(info["language_info"][key], expected, "{key}: {info}");
    }
    let features = json!(["iopub_welcome", "kernel subshells"]);
    assert_eq!(info["supported_features"], features);
    notebook.close().await;
}

#[tokio::test]
async fn the_first_completion_starts_rust_for_those_that_follow() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    let completed = async {
        loop {
            let found = notebook.front_end.complete("v.", 2).await.unwrap();
            if found.matches == ["push"] {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, completed)
        .await
        .expect("Rust starts");
    notebook.close().await;
}

#[tokio::test]
async fn the_version_of_the_compiler_is_known_without_a_rust_cell() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    let output = std::process::Command::new("rustc").arg("-V").output();
    let line = String::from_utf8(output.unwrap().stdout).unwrap();
    let version = line.split_whitespace().nth(1).unwrap();
    let learned = async {
        loop {
            let info = notebook.front_end.kernel_info().await.unwrap();
            if info.language_info.version == version {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, learned)
        .await
        .expect("the version is told");
    notebook.close().await;
}

#[tokio::test]
async fn completeness_needs_no_compiler() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    let judged = async |code: &str| notebook.front_end.is_complete(code).await.unwrap();
    assert_eq!(judged("%%sql\nSELECT 1;").await, IsCompleteReply::Complete);
    assert_eq!(judged("1 + 1").await, IsCompleteReply::Complete);
    assert_eq!(
        judged("let x = (1,").await,
        IsCompleteReply::Incomplete {
            indent: "    ".into()
        }
    );
    assert_eq!(judged("%nosuch").await, IsCompleteReply::Invalid);
    notebook.close().await;
}
