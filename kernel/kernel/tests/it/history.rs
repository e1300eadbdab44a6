//! Earlier cells are found, also those of an earlier kernel.

use crate::notebook::{Notebook, Place};
use serde_json::{Value, json};

async fn history(notebook: &Notebook, request: Value) -> Value {
    let mut reply: Value = notebook
        .front_end
        .shell_request("history_request", request)
        .await
        .unwrap();
    reply["history"].take()
}

#[tokio::test]
async fn history_outlives_the_kernel() {
    let place = Place::new();
    let first = place.open("a.ipynb").await;
    first.run("value 1").await;
    first.run("print two").await;
    first.close().await;
    let second = place.open("a.ipynb").await;
    second.run("print two").await;

    let tail = history(&second, json!({"hist_access_type": "tail", "n": 3})).await;
    assert_eq!(
        tail,
        json!([[1, 1, "value 1"], [1, 2, "print two"], [2, 1, "print two"]])
    );
    let with_output =
        json!({"hist_access_type": "range", "session": -1, "start": 1, "stop": 2, "output": true});
    assert_eq!(
        history(&second, with_output).await,
        json!([[1, 1, ["value 1", "1"]]])
    );
    let search = json!({"hist_access_type": "search", "pattern": "*two*", "unique": true});
    assert_eq!(history(&second, search).await, json!([[2, 1, "print two"]]));
    second.close().await;
}

#[tokio::test]
async fn a_kernel_that_a_signal_ends_keeps_its_last_cell() {
    let place = Place::new();
    let first = place.open("a.ipynb").await;
    first.run("value 1").await;
    first.stop().await;
    let second = place.open("a.ipynb").await;
    let tail = history(&second, json!({"hist_access_type": "tail", "n": 1})).await;
    assert_eq!(tail, json!([[1, 1, "value 1"]]));
    second.close().await;
}

#[tokio::test]
async fn cells_that_are_not_stored_are_not_found() {
    let place = Place::new();
    let notebook = place.open("a.ipynb").await;
    let mut request = bireme_jupyter::wire::ExecuteRequest::new("print one");
    request.store_history = false;
    notebook
        .front_end
        .execute(request)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(
        history(&notebook, json!({"hist_access_type": "tail"})).await,
        json!([])
    );
    notebook.close().await;
}
