//! Cells: numbers, outputs and their order, failures, aborting, interrupts, concurrency.

use std::time::Instant;

use bireme_jupyter::Channel;
use bireme_jupyter::wire::ExecuteRequest;
use serde_json::json;

use crate::kernel::{PROMPT, TestKernel};

#[tokio::test]
async fn cells_are_numbered_from_one_and_silent_ones_are_not() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    assert_eq!(client.quiet_cell("sleep 0").await, 1);
    let silent = ExecuteRequest {
        silent: true,
        ..ExecuteRequest::new("value")
    };
    let id = client.send(Channel::Shell, "execute_request", silent).await;
    client.status("busy", &id).await;
    client.status("idle", &id).await;
    client.replied("ok", &id).await;
    let unstored = ExecuteRequest {
        store_history: false,
        ..ExecuteRequest::new("sleep 0")
    };
    let id = client
        .send(Channel::Shell, "execute_request", unstored)
        .await;
    assert_eq!(client.begin(&id).await, 2);
    client.status("idle", &id).await;
    client.replied("ok", &id).await;
    assert_eq!(client.quiet_cell("sleep 0").await, 2);
    client.nothing_left().await;
}

#[tokio::test]
async fn a_request_with_nothing_in_it_is_answered() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let id = client
        .send(Channel::Shell, "execute_request", json!({"code": null}))
        .await;
    client.status("busy", &id).await;
    client.status("idle", &id).await;
    let reply = client.replied("ok", &id).await;
    assert_eq!(reply["user_expressions"], json!({}));
    assert_eq!(reply["payload"], json!([]));
    for request in ["complete", "inspect", "is_complete", "history", "comm_info"] {
        let id = client
            .send(Channel::Shell, &format!("{request}_request"), json!({}))
            .await;
        client.status("busy", &id).await;
        client.status("idle", &id).await;
        client
            .reply(Channel::Shell, &format!("{request}_reply"), &id)
            .await;
    }
    client.nothing_left().await;
}

#[tokio::test]
async fn outputs_keep_their_order() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let id = client
        .execute("print a\ndisplay b\nprint c\nupdate d\neprint e\nclear\nvalue")
        .await;
    client.begin(&id).await;
    client.stream("stdout", "a\n", &id).await;
    let shown = client.iopub("display_data", &id).await;
    assert_eq!(shown["data"]["text/plain"], "b");
    assert_eq!(shown["transient"], json!({"display_id": "echo"}));
    client.stream("stdout", "c\n", &id).await;
    assert_eq!(
        client.iopub("update_display_data", &id).await["data"]["text/html"],
        "<b>d</b>"
    );
    client.stream("stderr", "e\n", &id).await;
    assert_eq!(
        client.iopub("clear_output", &id).await,
        json!({"wait": false})
    );
    let result = client.iopub("execute_result", &id).await;
    assert_eq!(result["data"], json!({"text/plain": "value"}));
    assert_eq!(
        (&result["metadata"], &result["transient"]),
        (&json!({}), &json!({}))
    );
    client.status("idle", &id).await;
    client.replied("ok", &id).await;
    client.nothing_left().await;
}

#[tokio::test]
async fn a_failure_is_told_once_and_aborts_the_cells_behind_it() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let failing = client.execute("sleep 50\nfail because").await;
    let queued = client.execute("print never").await;
    client.begin(&failing).await;
    let error = client.iopub("error", &failing).await;
    assert_eq!(error["ename"], "EchoError");
    assert_eq!(error["evalue"], "because");
    client.status("idle", &failing).await;
    let reply = client.replied("error", &failing).await;
    for field in ["ename", "evalue", "traceback"] {
        assert_eq!(reply[field], error[field], "{field}");
    }
    client.status("busy", &queued).await;
    client.status("idle", &queued).await;
    client.replied("aborted", &queued).await;
    // Whoever knows of the failure is not aborted.
    assert_eq!(client.quiet_cell("sleep 0").await, 2);
    client.nothing_left().await;
}

#[tokio::test]
async fn a_failure_without_stop_on_error_aborts_nothing() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let going_on = ExecuteRequest {
        stop_on_error: false,
        ..ExecuteRequest::new("fail a")
    };
    let failing = client
        .send(Channel::Shell, "execute_request", going_on)
        .await;
    let queued = client.execute("sleep 0").await;
    client.begin(&failing).await;
    client.iopub("error", &failing).await;
    client.status("idle", &failing).await;
    client.replied("error", &failing).await;
    assert_eq!(client.begin(&queued).await, 2);
    client.status("idle", &queued).await;
    client.replied("ok", &queued).await;
    client.nothing_left().await;
}

#[tokio::test]
async fn a_handler_that_panics_fails_its_cell_only() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let id = client.execute("panic").await;
    client.begin(&id).await;
    assert_eq!(client.iopub("error", &id).await["ename"], "KernelPanic");
    client.status("idle", &id).await;
    client.replied("error", &id).await;
    client.quiet_cell("sleep 0").await;
    client.nothing_left().await;
}

#[tokio::test]
async fn an_interrupt_ends_the_cell_and_aborts_the_queue() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let running = client.execute("sleep 60000").await;
    client.begin(&running).await;
    let queued = client.execute("print never").await;
    // The fence: the shell has been read up to the queued cell.
    let fence = client
        .send(Channel::Shell, "kernel_info_request", json!({}))
        .await;
    client.status("busy", &fence).await;
    client.status("idle", &fence).await;
    client.status("busy", &running).await;
    client
        .reply(Channel::Shell, "kernel_info_reply", &fence)
        .await;

    let asked = Instant::now();
    let interrupt = client
        .send(Channel::Control, "interrupt_request", json!({}))
        .await;
    let reply = client
        .reply(Channel::Control, "interrupt_reply", &interrupt)
        .await;
    assert_eq!(reply, json!({"status": "ok"}));
    let aborted = client.replied("aborted", &queued).await;
    assert_eq!(aborted["execution_count"], 1);
    let interrupted = client.replied("error", &running).await;
    assert_eq!(interrupted["ename"], "Cancelled");
    assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
    // Three requests are told of on iopub at once; each has its idle.
    let mut idle = Vec::new();
    while idle.len() < 3 {
        let message = client.raw.receive(Channel::IoPub).await.unwrap();
        if message.content["execution_state"] == "idle" {
            idle.push(message.parent_header.msg_id);
        }
    }
    for id in [&interrupt, &queued, &running] {
        assert!(idle.contains(id));
    }
    client.quiet_cell("sleep 0").await;
    client.nothing_left().await;
}

#[tokio::test]
async fn a_cell_that_ignores_its_interrupt_is_dropped() {
    let options = bireme_jupyter::ServeOptions {
        interrupt_grace: std::time::Duration::from_millis(50),
        ..Default::default()
    };
    let kernel = TestKernel::start_with(true, options).await;
    let mut client = kernel.client().await.started().await;
    let running = client.execute("stubborn 60000").await;
    client.begin(&running).await;
    client
        .send(Channel::Control, "interrupt_request", json!({}))
        .await;
    assert_eq!(
        client.replied("error", &running).await["ename"],
        "Cancelled"
    );
}

#[tokio::test]
async fn completion_is_answered_while_a_cell_runs_and_the_kernel_still_looks_busy() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let running = client.execute("sleep 60000").await;
    client.begin(&running).await;
    let content = json!({"code": "pri", "cursor_pos": 3});
    let id = client
        .send(Channel::Shell, "complete_request", content)
        .await;
    let reply = client.reply(Channel::Shell, "complete_reply", &id).await;
    assert_eq!(reply["matches"], json!(["print"]));
    assert_eq!(
        (&reply["cursor_start"], &reply["cursor_end"]),
        (&json!(0), &json!(3))
    );
    client.status("busy", &id).await;
    client.status("idle", &id).await;
    client.status("busy", &running).await;
}

#[tokio::test]
async fn subshells_run_beside_the_main_shell() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let running = client.execute("sleep 60000").await;
    client.begin(&running).await;

    let (create, subshell) = client.subshell().await;
    client.status("busy", &create).await;
    client.status("idle", &create).await;
    client.status("busy", &running).await;

    let cell = ExecuteRequest::new("print beside");
    let id = client
        .raw
        .send_to_subshell(&subshell, "execute_request", cell)
        .await
        .unwrap();
    assert_eq!(client.begin(&id).await, 2);
    client.stream("stdout", "beside\n", &id).await;
    client.status("idle", &id).await;
    client.status("busy", &running).await;
    client.replied("ok", &id).await;

    let list = client
        .send(Channel::Control, "list_subshell_request", json!({}))
        .await;
    let reply = client
        .reply(Channel::Control, "list_subshell_reply", &list)
        .await;
    assert_eq!(reply["subshell_id"], json!([subshell]));
    let content = json!({"subshell_id": subshell});
    let delete = client
        .send(Channel::Control, "delete_subshell_request", content)
        .await;
    let reply = client
        .reply(Channel::Control, "delete_subshell_reply", &delete)
        .await;
    assert_eq!(reply, json!({"status": "ok"}));
    let cell = ExecuteRequest::new("print gone");
    let id = client
        .raw
        .send_to_subshell(&subshell, "execute_request", cell)
        .await
        .unwrap();
    let reply = client.replied("error", &id).await;
    assert_eq!(reply["ename"], "CellRefused");
}

#[tokio::test]
async fn no_cell_is_left_unanswered_when_its_subshell_is_deleted() {
    const CELLS: usize = 200;
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let (_, subshell) = client.subshell().await;
    let mut open = Vec::new();
    for number in 0..CELLS {
        if number == CELLS / 2 {
            let content = json!({"subshell_id": subshell});
            client
                .send(Channel::Control, "delete_subshell_request", content)
                .await;
        }
        let cell = ExecuteRequest::new("sleep 0");
        let sent = client
            .raw
            .send_to_subshell(&subshell, "execute_request", cell);
        open.push(sent.await.unwrap());
    }
    while !open.is_empty() {
        let reply = client.raw.receive(Channel::Shell).await.unwrap();
        open.retain(|id| *id != reply.parent_header.msg_id);
    }
}

#[tokio::test]
async fn payloads_come_with_the_reply() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let id = client.execute("page help\nnext print 2").await;
    client.begin(&id).await;
    client.status("idle", &id).await;
    let reply = client.replied("ok", &id).await;
    let page = json!({"source": "page", "data": {"text/plain": "help"}, "start": 0});
    let next = json!({"source": "set_next_input", "text": "print 2", "replace": false});
    assert_eq!(reply["payload"], json!([page, next]));
    client.nothing_left().await;
}

#[tokio::test]
async fn a_failure_aborts_the_cells_of_its_own_shell_only() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let (_, subshell) = client.subshell().await;
    let mut open = vec![
        (client.execute("sleep 400").await, "ok"),
        (client.execute("sleep 0").await, "ok"),
    ];
    for (code, status) in [("sleep 50\nfail here", "error"), ("sleep 0", "aborted")] {
        let cell = ExecuteRequest::new(code);
        let sent = client
            .raw
            .send_to_subshell(&subshell, "execute_request", cell);
        open.push((sent.await.unwrap(), status));
    }
    while !open.is_empty() {
        let reply = client.raw.receive(Channel::Shell).await.unwrap();
        let about = &reply.parent_header.msg_id;
        let at = open.iter().position(|(id, _)| id == about).unwrap();
        assert_eq!(reply.content["status"], open.remove(at).1, "{reply:?}");
    }
}
