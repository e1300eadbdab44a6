//! Start and end: answers at once, exits for every reason, loses nothing on the way out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bireme_jupyter::wire::{ExecuteRequest, Parent};
use bireme_jupyter::{Channel, ExitReason, ServeOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::kernel::TestKernel;

#[tokio::test]
async fn kernel_info_is_answered_at_once_on_shell_and_control() {
    for is_ipc in [true, false] {
        let kernel = TestKernel::start_with(is_ipc, ServeOptions::default()).await;
        let begun = Instant::now();
        let mut client = kernel.client().await.started().await;
        let id = client
            .send(Channel::Shell, "kernel_info_request", json!({}))
            .await;
        let reply = client.reply(Channel::Shell, "kernel_info_reply", &id).await;
        assert!(
            begun.elapsed() < Duration::from_millis(100),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(reply["language_info"]["name"], "echo");
        assert_eq!(
            reply["supported_features"],
            json!(["iopub_welcome", "kernel subshells"])
        );
        let id = client
            .send(Channel::Control, "kernel_info_request", json!({}))
            .await;
        client
            .reply(Channel::Control, "kernel_info_reply", &id)
            .await;
    }
}

#[tokio::test]
async fn a_shutdown_loses_no_reply() {
    const REPLIES: usize = 100;
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let mut expected = Vec::new();
    for _ in 0..REPLIES {
        let code = format!("page {}", "x".repeat(100_000));
        expected.push(client.execute(&code).await);
    }
    // When the last cell has its number, all replies are being sent.
    loop {
        let message = client.raw.receive(Channel::IoPub).await.unwrap();
        let is_last = message.parent_header.msg_id == expected[REPLIES - 1];
        if is_last && message.content["execution_state"] == "idle" {
            break;
        }
    }
    let id = client
        .send(
            Channel::Control,
            "shutdown_request",
            json!({"restart": true}),
        )
        .await;
    let reply = client.reply(Channel::Control, "shutdown_reply", &id).await;
    assert_eq!(reply, json!({"status": "ok", "restart": true}));
    client.status("busy", &id).await;
    client.status("idle", &id).await;
    let reading = async {
        for id in &expected {
            client.replied("ok", id).await;
        }
    };
    let (reason, ()) = tokio::join!(kernel.ended(), reading);
    assert_eq!(reason, ExitReason::Shutdown { restart: true });
}

#[tokio::test]
async fn a_shutdown_ends_the_running_cell_and_tells_it() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let running = client.execute("print last words\nsleep 60000").await;
    client.begin(&running).await;
    client.stream("stdout", "last words\n", &running).await;
    client
        .send(Channel::Control, "shutdown_request", json!({}))
        .await;
    let echo = Arc::clone(&kernel.echo);
    assert_eq!(
        kernel.ended().await,
        ExitReason::Shutdown { restart: false }
    );
    assert_eq!(echo.shutdowns.load(Ordering::Relaxed), 1);
    assert_eq!(
        client.replied("error", &running).await["ename"],
        "Cancelled"
    );
}

#[tokio::test]
async fn the_kernel_ends_with_its_parent() {
    let mut parent = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let options = ServeOptions {
        parent_pid: Some(parent.id()),
        ..ServeOptions::default()
    };
    let kernel = TestKernel::start_with(true, options).await;
    let mut client = kernel.client().await.started().await;
    client.nothing_left().await;
    parent.kill().unwrap();
    parent.wait().unwrap();
    let echo = Arc::clone(&kernel.echo);
    assert_eq!(kernel.ended().await, ExitReason::ParentDied);
    assert_eq!(echo.shutdowns.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_kernel_ends_when_it_is_stopped_from_inside() {
    let stop = CancellationToken::new();
    let options = ServeOptions {
        stop: stop.clone(),
        ..ServeOptions::default()
    };
    let kernel = TestKernel::start_with(true, options).await;
    kernel.client().await.started().await.nothing_left().await;
    stop.cancel();
    let echo = Arc::clone(&kernel.echo);
    assert_eq!(kernel.ended().await, ExitReason::Stopped);
    assert_eq!(echo.shutdowns.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_client_that_comes_back_under_its_name_replaces_its_old_connection() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let id = client.execute("sleep 100\npage here").await;
    client.begin(&id).await;
    client
        .raw
        .reconnect(&kernel.connection, Channel::Shell)
        .await
        .unwrap();
    let reply = client.replied("ok", &id).await;
    assert_eq!(reply["payload"][0]["data"]["text/plain"], "here");
    let cell = ExecuteRequest::new("sleep 0");
    client
        .raw
        .send(Channel::Shell, "execute_request", &Parent::none(), cell)
        .await
        .unwrap();
}
