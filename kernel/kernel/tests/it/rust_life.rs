//! The Rust host comes when it is needed, ends with its kernel, and its death costs one cell.

use crate::notebook::{DEADLINE, Place, until_printed};
use bireme_jupyter::FrontendMessage;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[tokio::test]
async fn an_interrupt_stops_the_cell_and_keeps_rust() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    notebook.run("print one").await;
    let mut waiting = notebook.start("wait").await;
    until_printed(&mut waiting, "waiting").await;
    let interrupted_at = Instant::now();
    notebook.front_end.interrupt().await.unwrap();
    let (_, end) = waiting.collect().await.unwrap();
    assert!(interrupted_at.elapsed() < Duration::from_millis(500));
    assert_eq!(end.reply.error.unwrap().ename, "Cancelled");
    assert_eq!(notebook.run("codes").await.printed(), "print one|wait\n");
    notebook.close().await;
}

#[tokio::test]
async fn a_cell_that_runs_too_long_is_ended_and_keeps_rust() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    notebook.run("%config rust.timeout 100ms").await;
    let error = notebook.run("wait").await.failure();
    assert_eq!(error.ename, "TimedOut");
    assert!(error.evalue.contains("longer than 100ms"), "{error:?}");
    assert_eq!(notebook.run("codes").await.printed(), "wait\n");
    notebook.close().await;
}

#[tokio::test]
async fn a_cell_that_does_not_stop_takes_rust_with_it() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    let mut stuck = notebook.start("stuck").await;
    until_printed(&mut stuck, "stuck").await;
    notebook.front_end.interrupt().await.unwrap();
    let (_, end) = stuck.collect().await.unwrap();
    let error = end.reply.error.unwrap();
    assert_eq!(error.ename, "Cancelled");
    assert!(
        error.evalue.contains("variables are gone"),
        "{}",
        error.evalue
    );
    assert_eq!(notebook.run("codes").await.printed(), "\n");
    notebook.close().await;
}

#[tokio::test]
async fn a_host_that_dies_fails_its_cell_and_the_next_one_starts_another() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    notebook.run("%param year = 2024").await;
    let error = notebook.run("die").await.failure();
    assert_eq!(error.ename, "HostError");
    assert_eq!(
        notebook.run("codes").await.printed(),
        "let year: i64 = 2024;\n"
    );
    notebook.close().await;
}

#[tokio::test]
async fn a_host_that_ends_between_two_cells_is_replaced_and_the_loss_is_told_once() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    let pid = notebook.run("pid").await.printed();
    let process = PathBuf::from(format!("/proc/{}", pid.trim()));
    notebook.run("leave").await;
    let ended = async {
        while process.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, ended)
        .await
        .expect("the host ends");
    let told = "warning: the Rust host ended between two cells; variables that are lost: known\n";
    assert_eq!(notebook.run("codes").await.printed(), format!("{told}\n"));
    assert_eq!(notebook.run("codes").await.printed(), "codes\n");
    notebook.close().await;
}

#[tokio::test]
async fn parameters_that_a_crash_took_are_told_again() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    notebook.run("%param year = 2024").await;
    assert_eq!(notebook.run("crash").await.failure().ename, "Crashed");
    let told = "let year: i64 = 2024;";
    assert_eq!(
        notebook.run("codes").await.printed(),
        format!("{told}|crash|{told}\n")
    );
    notebook.close().await;
}

#[tokio::test]
async fn a_cell_that_compiles_for_long_says_so_and_ends_with_one_line() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    notebook.run("print one").await;
    let compiled = place.path("compiled");
    let mut compiling = notebook
        .start(&format!("compile {}", compiled.display()))
        .await;
    until_printed(&mut compiling, "compiling").await;
    std::fs::write(&compiled, "").unwrap();
    let (messages, end) = compiling.collect().await.unwrap();
    assert!(end.reply.error.is_none());
    let last = messages.iter().rev().find_map(|message| match message {
        FrontendMessage::UpdateDisplayData(shown) => shown.data.plain_text(),
        _ => None,
    });
    assert!(last.unwrap().starts_with("compiled in "), "{messages:?}");
    notebook.close().await;
}

#[tokio::test]
async fn rust_that_is_turned_off_says_how_to_turn_it_on() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    notebook.run("%config rust.start off").await;
    let error = notebook.run("print one").await.failure();
    assert!(
        error.traceback.join("\n").contains("rust.start auto"),
        "{error:?}"
    );
    notebook.close().await;
}
