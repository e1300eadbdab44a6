//! Admission: places, turns, and the way around the queue.

use crate::fake_engine::FakeEngine;
use crate::harness::{Cluster, SESSION, request, within};
use bireme_controller::Clock;
use bireme_protocol::ErrorCode;
use bireme_protocol::proto::{Empty, QueryRef, QueryState, SubmitRequest};

async fn one_place() -> (Cluster, FakeEngine) {
    let mut cluster = Cluster::with(1, |options| {
        options.clock = Clock::manual();
        options.max_concurrent = 1;
        options.queue_max = 4;
    })
    .await;
    let engine = FakeEngine::start(&cluster.home, 0);
    cluster.wait_engines(1).await;
    (cluster, engine)
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
