//! Output without end: paced, bounded, cut in the middle, and never in the way of the prompt.

use std::time::{Duration, Instant};

use bireme_jupyter::Channel;
use bireme_jupyter::wire::Incoming;
use serde_json::json;

use crate::kernel::{PROMPT, TestKernel};
use crate::script::Script;

#[tokio::test]
async fn a_flood_is_coalesced_and_paced() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let id = client.execute("flood 200000").await;
    client.begin(&id).await;
    let (mut text, mut sent) = (String::new(), Vec::new());
    loop {
        let message = client.raw.receive(Channel::IoPub).await.unwrap();
        match message.msg_type() {
            "stream" => {
                let piece = message.content["text"].as_str().unwrap();
                sent.push((sent_at(&message), piece.len()));
                text.push_str(piece);
            }
            "status" => break,
            other => panic!("unexpected {other}"),
        }
    }
    client.replied("ok", &id).await;
    assert!(
        text.starts_with("line 0 of a flood of output\nline 1 of a"),
        "{}",
        &text[..99]
    );
    assert!(
        text.ends_with("line 199999 of a flood of output\n"),
        "{}",
        &text[text.len() - 99..]
    );
    assert!(text.contains("bytes dropped"));
    // By the kernel's clock, because arrivals jitter on a loaded machine.
    for (start, _) in &sent {
        let second = *start..*start + Duration::from_secs(1);
        let within: Vec<_> = sent.iter().filter(|(at, _)| second.contains(at)).collect();
        assert!(within.len() <= 20, "{} messages in a second", within.len());
        let bytes: usize = within.iter().map(|(_, bytes)| bytes).sum();
        assert!(bytes <= 900_000, "{bytes} bytes in a second");
    }
    client.nothing_left().await;
}

#[tokio::test]
async fn an_interrupt_during_a_flood_brings_the_prompt_back() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let id = client.execute("flood 200000\nsleep 60000").await;
    client.begin(&id).await;
    client.iopub("stream", &id).await;
    let asked = Instant::now();
    client
        .send(Channel::Control, "interrupt_request", json!({}))
        .await;
    let reply = client.replied("error", &id).await;
    assert_eq!(reply["ename"], "Cancelled");
    assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_flood_does_not_delay_a_completion() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let flood = client.execute("flood 200000").await;
    client.begin(&flood).await;
    client.iopub("stream", &flood).await;
    let asked = Instant::now();
    let content = json!({"code": "pri", "cursor_pos": 3});
    let id = client
        .send(Channel::Shell, "complete_request", content)
        .await;
    client.reply(Channel::Shell, "complete_reply", &id).await;
    loop {
        let message = client.raw.receive(Channel::IoPub).await.unwrap();
        let is_own = message.parent_header.msg_id == id;
        if is_own && message.content["execution_state"] == "idle" {
            break;
        }
    }
    assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_display_that_is_too_large_is_left_out_and_says_so() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let id = client.execute("displays 1 100000000\nprint after").await;
    client.begin(&id).await;
    let shown = client.iopub("display_data", &id).await;
    let text = shown["data"]["text/plain"].as_str().unwrap();
    assert!(text.contains("text/plain of 100.1 MB"), "{text}");
    client.stream("stdout", "after\n", &id).await;
    client.status("idle", &id).await;
    client.replied("ok", &id).await;
    client.nothing_left().await;
}

/// What jupyter_server lets through in three seconds before it drops messages, results among them.
const SERVER_WINDOW: (Duration, usize) = (Duration::from_secs(3), 3_000);

/// What came of a cell behind its input and when, up to its idle.
async fn arrivals(client: &mut Script, id: &str) -> Vec<(Incoming, Instant)> {
    let mut came = Vec::new();
    loop {
        let message = client.raw.receive(Channel::IoPub).await.unwrap();
        // An interrupt is busy and idle too, and so is the cell behind it once more.
        if message.parent_header.msg_id != id || message.content["execution_state"] == "busy" {
            continue;
        }
        if message.msg_type() == "status" {
            return came;
        }
        came.push((message, Instant::now()));
    }
}

fn assert_let_through(came: &[(Incoming, Instant)]) {
    let (window, most) = SERVER_WINDOW;
    for (at, (_, first)) in came.iter().enumerate() {
        let within = came[at..]
            .iter()
            .take_while(|(_, one)| *one < *first + window);
        let count = within.count();
        assert!(count <= most, "{count} messages in {window:?}");
    }
}

#[tokio::test]
async fn outputs_without_end_are_paced_and_the_value_comes_behind_them() {
    let text_between = "print a\ndisplay b\n".repeat(2_400);
    for (cell, displays) in [
        ("displays 3600 10\n", 3_600),
        ("displays 3600 4000\n", 3_600),
        (text_between.as_str(), 2_400),
    ] {
        let kernel = TestKernel::start().await;
        let mut client = kernel.client().await.started().await;
        let id = client.execute(&format!("{cell}value")).await;
        client.begin(&id).await;
        let came = arrivals(&mut client, &id).await;
        client.replied("ok", &id).await;
        let shown = came
            .iter()
            .filter(|(one, _)| one.msg_type() == "display_data");
        assert_eq!(shown.count(), displays);
        assert_eq!(came.last().unwrap().0.msg_type(), "execute_result");
        assert_let_through(&came);
    }
}

#[tokio::test]
async fn of_many_updates_the_last_is_shown() {
    const UPDATES: usize = 20_000;
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let updates: Vec<String> = (0..UPDATES)
        .map(|number| format!("update {number}"))
        .collect();
    let begun = Instant::now();
    let id = client.execute(&updates.join("\n")).await;
    client.begin(&id).await;
    let (mut count, mut last) = (0, String::new());
    loop {
        let message = client.raw.receive(Channel::IoPub).await.unwrap();
        if message.msg_type() == "status" {
            break;
        }
        count += 1;
        last = message.content["data"]["text/html"]
            .as_str()
            .unwrap()
            .to_owned();
    }
    client.replied("ok", &id).await;
    assert_eq!(last, format!("<b>{}</b>", UPDATES - 1));
    let seconds = begun.elapsed().as_secs() as usize + 1;
    assert!(count <= seconds * 1_000, "{count} updates in {seconds} s");
}

#[tokio::test]
async fn an_interrupt_among_displays_brings_the_prompt_back_and_is_let_through() {
    let kernel = TestKernel::start().await;
    let mut client = kernel.client().await.started().await;
    let id = client.execute("displays 5000 10\nsleep 60000").await;
    client.begin(&id).await;
    client.iopub("display_data", &id).await;
    let asked = Instant::now();
    client
        .send(Channel::Control, "interrupt_request", json!({}))
        .await;
    let came = arrivals(&mut client, &id).await;
    let reply = client.replied("error", &id).await;
    assert_eq!(reply["ename"], "Cancelled");
    assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
    assert_eq!(came.last().unwrap().0.msg_type(), "error");
    assert_let_through(&came);
    let mut texts = came
        .iter()
        .filter_map(|(one, _)| one.content["text"].as_str());
    assert!(texts.any(|text| text.ends_with("outputs left out\n")));
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_little_and_misses_nothing_but_text() {
    let kernel = TestKernel::start().await;
    let mut reader = kernel.client().await.started().await;
    let mut stalled = kernel.client().await;
    let before = resident_bytes();
    let mut last = String::new();
    for _ in 0..4 {
        last = reader.execute("flood 100000\ndisplay shown").await;
        loop {
            let message = reader.raw.receive(Channel::IoPub).await.unwrap();
            if message.content["execution_state"] == "idle" {
                break;
            }
        }
        reader.replied("ok", &last).await;
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown <= 64 << 20, "grew by {} MiB", grown >> 20);
    let (mut displays, mut idles) = (0, 0);
    loop {
        let message = stalled.raw.receive(Channel::IoPub).await.unwrap();
        displays += usize::from(message.msg_type() == "display_data");
        if message.content["execution_state"] == "idle" {
            idles += 1;
            if message.parent_header.msg_id == last {
                break;
            }
        }
    }
    assert_eq!((displays, idles), (4, 4));
}

/// When the kernel wrote a message.
fn sent_at(message: &Incoming) -> jiff::Timestamp {
    message.request.header().date.parse().unwrap()
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kibibytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes * 1024
}
