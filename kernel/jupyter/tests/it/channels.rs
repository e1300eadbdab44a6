//! The channels besides cells: comms, questions to the user, control, garbage, several clients.

use bireme_jupyter::Channel;
use bireme_jupyter::wire::{ExecuteRequest, Parent};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::kernel::TestKernel;

#[tokio::test]
async fn an_unknown_comm_is_closed_and_a_known_one_answers() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let content = json!({"comm_id": "1", "target_name": "nobody", "data": {}});
    let id = client.send(Channel::Shell, "comm_open", content).await;
    client.status("busy", &id).await;
    assert_eq!(
        client.iopub("comm_close", &id).await,
        json!({"comm_id": "1", "data": {}})
    );
    client.status("idle", &id).await;

    let content = json!({"comm_id": "2", "target_name": "echo", "data": {"n": 1}});
    let id = client.send(Channel::Shell, "comm_open", content).await;
    client.status("busy", &id).await;
    assert_eq!(
        client.iopub("comm_msg", &id).await,
        json!({"comm_id": "2", "data": {"n": 1}})
    );
    client.status("idle", &id).await;
    assert_eq!(
        open_comms(&mut client).await,
        json!({"2": {"target_name": "echo"}})
    );

    let id = client
        .send(Channel::Shell, "comm_close", json!({"comm_id": "2"}))
        .await;
    client.status("busy", &id).await;
    client.status("idle", &id).await;
    assert_eq!(open_comms(&mut client).await, json!({}));
    client.nothing_left().await;
}

#[tokio::test]
async fn a_comm_is_spoken_on_while_a_cell_runs() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let running = client.execute("sleep 60000").await;
    client.begin(&running).await;
    for (kind, content) in [
        (
            "comm_open",
            json!({"comm_id": "1", "target_name": "echo", "data": {"n": 1}}),
        ),
        ("comm_msg", json!({"comm_id": "1", "data": {"n": 2}})),
    ] {
        let id = client.send(Channel::Shell, kind, content.clone()).await;
        client.status("busy", &id).await;
        let answer = json!({"comm_id": "1", "data": content["data"]});
        assert_eq!(client.iopub("comm_msg", &id).await, answer, "{kind}");
        client.status("idle", &id).await;
        client.status("busy", &running).await;
    }
    // On a comm that nobody has opened nothing is said.
    let content = json!({"comm_id": "2", "data": {}});
    let id = client.send(Channel::Shell, "comm_msg", content).await;
    client.status("busy", &id).await;
    client.status("idle", &id).await;
}

async fn open_comms(client: &mut crate::script::Script) -> Value {
    let id = client
        .send(Channel::Shell, "comm_info_request", json!({}))
        .await;
    client.status("busy", &id).await;
    client.status("idle", &id).await;
    let mut reply = client.reply(Channel::Shell, "comm_info_reply", &id).await;
    assert_eq!(reply["status"], "ok");
    reply["comms"].take()
}

#[tokio::test]
async fn a_question_goes_to_the_client_that_sent_the_cell() {
    let kernel = TestKernel::start().await;
    let mut asked = kernel.client().await.started().await;
    let mut other = kernel.client().await;
    // An answer to nothing is stale and must not answer the question that follows.
    let stale = json!({"value": "stale"});
    asked
        .send(Channel::Stdin, "input_reply", stale.clone())
        .await;

    let id = asked.execute("print before\nask_secret name?").await;
    asked.begin(&id).await;
    asked.stream("stdout", "before\n", &id).await;
    let question = asked.raw.receive(Channel::Stdin).await.unwrap();
    assert_eq!(question.msg_type(), "input_request");
    assert_eq!(question.parent_header.msg_id, id);
    assert_eq!(
        question.content,
        json!({"prompt": "name?", "password": true})
    );
    // Neither may another client answer.
    other.send(Channel::Stdin, "input_reply", stale).await;
    let fence = other
        .send(Channel::Shell, "kernel_info_request", json!({}))
        .await;
    other
        .reply(Channel::Shell, "kernel_info_reply", &fence)
        .await;

    let answer = json!({"value": "trireme"});
    asked
        .raw
        .send(Channel::Stdin, "input_reply", &question.request, answer)
        .await
        .unwrap();
    asked.replied("ok", &id).await;
    for (state, about) in [("busy", &fence), ("idle", &fence), ("busy", &id)] {
        asked.status(state, about).await;
    }
    asked.stream("stdout", "trireme\n", &id).await;
    asked.status("idle", &id).await;
    asked.nothing_left().await;
}

#[tokio::test]
async fn a_question_that_may_not_be_asked_fails_the_cell() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let request = ExecuteRequest {
        allow_stdin: false,
        ..ExecuteRequest::new("ask name?")
    };
    let id = client
        .send(Channel::Shell, "execute_request", request)
        .await;
    client.begin(&id).await;
    let error = client.iopub("error", &id).await;
    assert_eq!(error["ename"], "StdinNotImplementedError");
    client.status("idle", &id).await;
    client.replied("error", &id).await;
    client.nothing_left().await;
}

#[tokio::test]
async fn an_interrupt_ends_a_question() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let id = client.execute("ask name?").await;
    client.begin(&id).await;
    client.raw.receive(Channel::Stdin).await.unwrap();
    let interrupt = client
        .send(Channel::Control, "interrupt_request", json!({}))
        .await;
    client
        .reply(Channel::Control, "interrupt_reply", &interrupt)
        .await;
    assert_eq!(client.replied("error", &id).await["ename"], "Cancelled");
}

#[tokio::test]
async fn two_clients_see_all_outputs_and_get_their_own_replies() {
    let kernel = TestKernel::start().await;
    let mut one = kernel.client().await.started().await;
    let mut two = kernel.client().await;
    let first = one.execute("sleep 20\nprint one").await;
    one.begin(&first).await;
    two.begin(&first).await;
    let second = two.execute("print two").await;
    for client in [&mut one, &mut two] {
        client.stream("stdout", "one\n", &first).await;
        client.status("idle", &first).await;
        assert_eq!(client.begin(&second).await, 2);
        client.stream("stdout", "two\n", &second).await;
        client.status("idle", &second).await;
    }
    one.replied("ok", &first).await;
    two.replied("ok", &second).await;
}

#[tokio::test]
async fn garbage_is_dropped_and_the_next_message_is_served() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let object = || Bytes::from("{}");
    let garbage: Vec<Vec<Bytes>> = vec![
        vec![Bytes::from("\u{fffd}")],
        vec![Bytes::from("<IDS|MSG>")],
        vec![
            Bytes::from("<IDS|MSG>"),
            Bytes::new(),
            object(),
            object(),
            object(),
            object(),
        ],
        vec![
            Bytes::from("<IDS|MSG>"),
            Bytes::from("0".repeat(64)),
            object(),
            object(),
            object(),
            object(),
        ],
    ];
    for channel in [
        Channel::Shell,
        Channel::Control,
        Channel::Stdin,
        Channel::IoPub,
    ] {
        for frames in &garbage {
            client.raw.send_frames(channel, frames).await.unwrap();
        }
    }
    client.nothing_left().await;
}

#[tokio::test]
async fn messages_that_do_not_fit_in_memory_together_are_answered_all_the_same() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let cell = ExecuteRequest {
            silent: true,
            ..ExecuteRequest::new(format!("sleep 0{}", " ".repeat(60_000_000)))
        };
        open.push(client.send(Channel::Shell, "execute_request", cell).await);
    }
    for id in &open {
        client.replied("ok", id).await;
    }
}

#[tokio::test]
async fn a_wrong_signature_and_a_replay_are_refused() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let mut stranger = kernel.connection.clone();
    stranger.key = "another key".to_owned();
    let mut intruder = bireme_jupyter::RawClient::connect(&stranger, crate::script::DEADLINE)
        .await
        .unwrap();
    // It may listen, which needs no signature, but it cannot run anything.
    intruder.receive_frames(Channel::IoPub).await.unwrap();
    let cell = ExecuteRequest::new("print stolen");
    intruder
        .send(Channel::Shell, "execute_request", &Parent::none(), cell)
        .await
        .unwrap();
    let frames = client
        .raw
        .message("execute_request", ExecuteRequest::new("sleep 0"));
    client
        .raw
        .send_frames(Channel::Shell, &frames)
        .await
        .unwrap();
    client
        .raw
        .send_frames(Channel::Shell, &frames)
        .await
        .unwrap();
    let reply = client.raw.receive(Channel::Shell).await.unwrap();
    let id = reply.parent_header.msg_id;
    client.begin(&id).await;
    client.status("idle", &id).await;
    client.nothing_left().await;
}

#[tokio::test]
async fn control_requests_are_answered_politely() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let content = json!({"type": "request", "seq": 7, "command": "attach"});
    let id = client
        .send(Channel::Control, "debug_request", content)
        .await;
    let reply = client.reply(Channel::Control, "debug_reply", &id).await;
    assert_eq!(
        (&reply["success"], &reply["request_seq"]),
        (&json!(false), &json!(7))
    );
    client.status("busy", &id).await;
    client.status("idle", &id).await;
    let id = client
        .send(Channel::Control, "usage_request", json!({}))
        .await;
    let reply = client.reply(Channel::Control, "usage_reply", &id).await;
    assert!(
        reply["kernel_memory"].as_u64().unwrap() > 1 << 20,
        "{reply}"
    );
    assert!(
        reply["host_virtual_memory"]["total"].as_u64().unwrap() > 1 << 28,
        "{reply}"
    );
    assert_eq!(reply["cells"], 0);
    client.status("busy", &id).await;
    client.status("idle", &id).await;
    // A request nobody knows is told of, but has no reply that anybody would understand.
    let id = client
        .send(Channel::Shell, "unheard_request", json!({}))
        .await;
    client.status("busy", &id).await;
    client.status("idle", &id).await;
    client.nothing_left().await;
}

#[tokio::test]
async fn the_heartbeat_echoes_what_it_gets() {
    let kernel = TestKernel::start_with(false, Default::default()).await;
    let mut client = kernel.client().await;
    for beat in [Bytes::from("ping"), Bytes::from(vec![0; 100_000])] {
        let frames = [Bytes::new(), beat];
        client
            .raw
            .send_frames(Channel::Heartbeat, &frames)
            .await
            .unwrap();
        assert_eq!(
            client.raw.receive_frames(Channel::Heartbeat).await.unwrap(),
            frames
        );
    }
}
