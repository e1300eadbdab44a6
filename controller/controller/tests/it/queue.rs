//! Admission: places, turns, and the way around the queue.

use crate::fake_engine::FakeEngine;
use crate::harness::{Cluster, PATIENCE, SESSION, fault_of, request, within};
use bireme_controller::Clock;
use bireme_protocol::proto::{Empty, QueryEvent, QueryRef, QueryState, SubmitRequest};
use bireme_protocol::{ErrorCode, Fault};
use std::time::{Duration, Instant};
use tonic::Streaming;

async fn one_place() -> (Cluster, FakeEngine) {
    let mut cluster = Cluster::with(1, |options| {
        options.clock = Clock::manual();
        options.max_concurrent = 1;
        options.queue_max = 4;
        // Seconds that pass in no time are no silence.
        options.heartbeat_interval = Duration::from_secs(3600);
    })
    .await;
    let engine = FakeEngine::start(&cluster.home, 0);
    cluster.wait_engines(1).await;
    (cluster, engine)
}

/// Follows a query as a client does that waits in the queue.
async fn follow(cluster: &mut Cluster, query: &str) -> Streaming<QueryEvent> {
    let query_id = query.to_string();
    let watched = cluster.client.watch(QueryRef { query_id }).await;
    let mut events = watched.unwrap().into_inner();
    let event = within("an event", events.message()).await.unwrap().unwrap();
    assert_eq!(event.state(), QueryState::Queued);
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_take_turns_and_queries_show_their_place() {
    let (mut cluster, mut engine) = one_place().await;
    cluster.open_session("other").await;
    let mut ids = Vec::new();
    for (session, sql, place) in [
        (SESSION, "a1", 0),
        (SESSION, "a2", 1),
        (SESSION, "a3", 2),
        ("other", "b1", 2),
    ] {
        let event = cluster.submit_request(request(session, sql)).await.unwrap();
        assert_eq!(event.place, place, "{sql}");
        let expected = if place == 0 {
            QueryState::Running
        } else {
            QueryState::Queued
        };
        assert_eq!(event.state(), expected, "{sql}");
        ids.push(event.query_id);
    }
    let jobs = cluster
        .client
        .jobs(Empty {})
        .await
        .unwrap()
        .into_inner()
        .queries;
    let places: Vec<_> = jobs
        .iter()
        .map(|job| (job.sql.as_str(), job.place))
        .collect();
    assert_eq!(places, [("a1", 0), ("a2", 1), ("b1", 2), ("a3", 3)]);

    let query_id = ids[2].clone();
    let follow = cluster.client.watch(QueryRef { query_id }).await.unwrap();
    let mut events = follow.into_inner();
    let mut places = Vec::new();
    for expected in ["a1", "a2", "b1", "a3"] {
        let start = engine.next_start().await;
        assert_eq!(start.sql, expected);
        engine
            .ends(&start.query_id, QueryState::Succeeded, None)
            .await;
    }
    while let Some(event) = within("an event", events.message()).await.unwrap() {
        places.push(event.place);
    }
    assert!(
        places.is_sorted_by(|a, b| a >= b),
        "the place only falls: {places:?}"
    );
    assert_eq!(places.first(), Some(&3));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_without_tables_bypasses_the_queue() {
    let (mut cluster, mut engine) = one_place().await;
    cluster.submit("big").await;
    assert_eq!(cluster.submit("big too").await.state(), QueryState::Queued);
    let trivial = SubmitRequest {
        trivial: true,
        ..request(SESSION, "SELECT 1")
    };
    let event = cluster.submit_request(trivial).await.unwrap();
    assert_eq!(event.state(), QueryState::Running);
    assert_eq!(engine.next_start().await.sql, "big");
    assert_eq!(engine.next_start().await.sql, "SELECT 1");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_query_is_cancelled_without_the_engines() {
    let (mut cluster, mut engine) = one_place().await;
    cluster.submit("big").await;
    let first = cluster.submit("waits").await;
    let second = cluster.submit("waits too").await;
    assert_eq!(second.place, 2);
    engine.next_start().await;
    assert!(cluster.cancel(&first.query_id).await.unwrap().cancelled);
    assert_eq!(
        cluster.end_of(&first.query_id).await.state(),
        QueryState::Cancelled
    );
    assert!(engine.has_no_call());
    let query_id = second.query_id;
    let mut events = cluster
        .client
        .watch(QueryRef { query_id })
        .await
        .unwrap()
        .into_inner();
    let event = within("an event", events.message()).await.unwrap().unwrap();
    assert_eq!(event.place, 1, "it moved up");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_with_numbers_and_a_way_out() {
    let (mut cluster, _engine) = one_place().await;
    for _ in 0..5 {
        cluster.submit("q").await;
    }
    let fault = cluster
        .submit_request(request(SESSION, "q"))
        .await
        .unwrap_err();
    assert_eq!(fault.code, ErrorCode::Unavailable);
    assert_eq!(
        fault.message,
        "submit a query: 1 run and 4 wait, the queue holds 4"
    );
    assert!(fault.hint.unwrap().contains("%cancel"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_query_keeps_its_place_until_its_head_has_let_go() {
    let (mut cluster, mut engine) = one_place().await;
    let first = cluster.submit("first").await;
    let second = cluster.submit("second").await;
    engine.next_start().await;
    cluster.cancel(&first.query_id).await.unwrap();
    engine.next_cancel().await;
    assert_eq!(cluster.status().await.queries_queued, 1);
    engine
        .ends(&first.query_id, QueryState::Cancelled, None)
        .await;
    assert_eq!(engine.next_start().await.query_id, second.query_id);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_query_ends_when_its_last_follower_is_gone() {
    let (mut cluster, mut engine) = one_place().await;
    let big = cluster.submit("big").await.query_id;
    engine.next_start().await;
    engine.reports(&big, true, 1);
    let shared = cluster.submit("two follow it").await.query_id;
    let lonely = cluster.submit("one follows it").await.query_id;
    let gone = follow(&mut cluster, &shared).await;
    let _stays = follow(&mut cluster, &shared).await;
    let only = follow(&mut cluster, &lonely).await;
    drop(gone);
    drop(only);
    let deadline = Instant::now() + PATIENCE;
    while cluster.status().await.queries_queued > 1 {
        assert!(Instant::now() < deadline, "nobody follows it any more");
        cluster.clock.advance(Duration::from_millis(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let last = cluster.end_of(&lonely).await;
    assert_eq!(last.state(), QueryState::Cancelled);
    let fault = fault_of(&last);
    assert!(fault.message.ends_with("its client went away"), "{fault}");
    engine.ends(&big, QueryState::Succeeded, None).await;
    assert_eq!(engine.next_start().await.query_id, shared);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_told_again_changes_nothing() {
    let (mut cluster, mut engine) = one_place().await;
    let first = cluster.submit("first").await.query_id;
    for sql in ["second", "third", "fourth"] {
        cluster.submit(sql).await;
    }
    engine.next_start().await;
    engine.ends(&first, QueryState::Succeeded, None).await;
    let second = engine.next_start().await.query_id;
    // An engine tells its last ends again whenever it has been away.
    let wrong = Fault::new(ErrorCode::ExecutionError, "not the first word");
    engine.ends(&first, QueryState::Succeeded, None).await;
    engine.ends(&first, QueryState::Failed, Some(wrong)).await;
    engine.ends(&second, QueryState::Succeeded, None).await;
    assert_eq!(engine.next_start().await.sql, "third");
    let status = cluster.status().await;
    let counts = (status.queries_running, status.queries_queued);
    assert_eq!(counts, (1, 1), "there is one place");
    let last = cluster.end_of(&first).await;
    assert_eq!(last.state(), QueryState::Succeeded);
    let history = cluster.history().await;
    let of_first = history.iter().filter(|record| record.sql == "first");
    let states: Vec<QueryState> = of_first.map(|record| record.state()).collect();
    assert_eq!(states, [QueryState::Succeeded]);
    cluster.stop().await;
}
