//! A query's life: submitted, started, followed, cancelled, remembered.

use crate::fake_engine::FakeEngine;
use crate::harness::{Cluster, SESSION, fault_of, request, with_id, within};
use bireme_protocol::proto::{
    BoundValue, ConfigureRequest, QueryRef, QueryState, SpansRequest, SubmitRequest,
};
use bireme_protocol::{ErrorCode, Fault, QueryId};
use tokio::sync::watch;

#[tokio::test(flavor = "multi_thread")]
async fn a_query_runs_on_its_head_and_is_remembered() {
    let mut cluster = Cluster::start(2).await;
    let mut zero = FakeEngine::start(&cluster.home, 0);
    let one = FakeEngine::start(&cluster.home, 1);
    cluster.wait_engines(2).await;
    let configure = ConfigureRequest {
        session: SESSION.to_string(),
        key: "query.partitions".to_string(),
        value: "8".to_string(),
        reset: false,
    };
    cluster.client.configure(configure).await.unwrap();
    let submitted = SubmitRequest {
        values: vec![BoundValue {
            name: "x".to_string(),
            json: "1".to_string(),
        }],
        limit: 9,
        ..request(SESSION, "SELECT $x FROM t")
    };
    let event = cluster.submit_request(submitted).await.unwrap();
    assert_eq!(event.state(), QueryState::Running);
    assert_eq!(event.head_rank, 0);
    assert!(event.head_address.ends_with("engine-0.sock"), "{event:?}");
    let start = zero.next_start().await;
    assert_eq!(start.query_id, event.query_id);
    assert_eq!((start.limit, start.values.len()), (9, 1));
    assert_eq!(start.catalog.unwrap().session, SESSION);
    assert_eq!(start.settings[0].value, "8");

    zero.reports(&event.query_id, true, 40);
    one.reports(&event.query_id, false, 2);
    let query_id = event.query_id.clone();
    let follow = cluster.client.watch(QueryRef { query_id }).await.unwrap();
    let mut events = follow.into_inner();
    loop {
        let event = within("progress", events.message()).await.unwrap().unwrap();
        assert_eq!(event.state(), QueryState::Running);
        if event.progress.unwrap().rows_scanned == 42 {
            assert_eq!(event.engines.len(), 2);
            break;
        }
    }
    zero.ends(&event.query_id, QueryState::Succeeded, None)
        .await;
    let last = cluster.end_of(&event.query_id).await;
    assert_eq!(last.state(), QueryState::Succeeded);
    let progress = last.progress.unwrap();
    assert_eq!((progress.rows_scanned, progress.rows_out), (42, 7));

    let history = cluster.history().await;
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].sql, "SELECT $x FROM t");
    assert_eq!(history[0].state(), QueryState::Succeeded);
    assert_eq!(cluster.status().await.queries_running, 0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_cannot_be_planned_fails_with_the_engines_fault() {
    let mut cluster = Cluster::start(1).await;
    let engine = FakeEngine::start(&cluster.home, 0);
    cluster.wait_engines(1).await;
    let fault = Fault::new(ErrorCode::SqlPlanError, "there is no table \"tt\"")
        .with_hint("did you mean \"t\"?");
    engine.script(|script| script.start_fault = Some(fault.clone()));
    let event = cluster.submit("SELECT * FROM tt").await;
    assert_eq!(event.state(), QueryState::Failed);
    let fault = fault_of(&event);
    assert_eq!(fault.code, ErrorCode::SqlPlanError);
    assert_eq!(fault.hint.as_deref(), Some("did you mean \"t\"?"));
    assert_eq!(fault.query.as_deref(), Some(event.query_id.as_str()));
    assert_eq!(
        cluster.end_of(&event.query_id).await.state(),
        QueryState::Failed
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_running_query_reaches_every_engine() {
    let mut cluster = Cluster::start(2).await;
    let mut zero = FakeEngine::start(&cluster.home, 0);
    let mut one = FakeEngine::start(&cluster.home, 1);
    cluster.wait_engines(2).await;
    let event = cluster.submit("SELECT 1 FROM t").await;
    zero.next_start().await;
    let reply = cluster.cancel(&event.query_id[..8]).await.unwrap();
    assert!(reply.cancelled);
    assert_eq!(reply.query_id, event.query_id);
    for engine in [&mut zero, &mut one] {
        let cancel = engine.next_cancel().await;
        assert_eq!(cancel.query_id, event.query_id);
        assert_eq!(
            Fault::from_json(&cancel.fault_json).code,
            ErrorCode::Cancelled
        );
    }
    let last = cluster.end_of(&event.query_id).await;
    assert_eq!(last.state(), QueryState::Cancelled);
    assert!(fault_of(&last).message.ends_with("was cancelled: a test"));

    let again = cluster.cancel(&event.query_id).await.unwrap();
    assert!(!again.cancelled, "it has ended already");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_while_the_head_plans_takes_back_what_it_makes() {
    let mut cluster = Cluster::start(1).await;
    let mut engine = FakeEngine::start(&cluster.home, 0);
    cluster.wait_engines(1).await;
    let (gate, closed) = watch::channel(false);
    engine.script(|script| script.start_gate = Some(closed));
    let id = QueryId::random();
    let mut client = cluster.client.clone();
    let mut submitting = tokio::task::JoinSet::new();
    submitting.spawn(async move { client.submit(with_id(id, "SELECT 1 FROM t")).await });
    engine.next_start().await;
    assert!(cluster.cancel(&id.to_string()).await.unwrap().cancelled);
    let event = within("the answer", submitting.join_next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(event.unwrap().into_inner().state(), QueryState::Cancelled);
    engine.next_cancel().await;
    gate.send_replace(true);
    assert_eq!(engine.next_cancel().await.query_id, id.to_string());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_before_the_answer_cancels() {
    let mut cluster = Cluster::start(1).await;
    let mut engine = FakeEngine::start(&cluster.home, 0);
    cluster.wait_engines(1).await;
    let (_gate, closed) = watch::channel(false);
    engine.script(|script| script.start_gate = Some(closed));
    let id = QueryId::random();
    let mut client = cluster.client.clone();
    let mut submitting = tokio::task::JoinSet::new();
    submitting.spawn(async move { client.submit(with_id(id, "SELECT 1 FROM t")).await });
    engine.next_start().await;
    submitting.shutdown().await;
    assert_eq!(engine.next_cancel().await.query_id, id.to_string());
    let last = cluster.end_of(&id.to_string()).await;
    assert_eq!(last.state(), QueryState::Cancelled);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_beginning_of_an_id_must_mean_one_query() {
    let mut cluster = Cluster::start(1).await;
    let _engine = FakeEngine::start(&cluster.home, 0);
    cluster.wait_engines(1).await;
    for last in ["1", "2"] {
        let id: QueryId = format!("aaaaaaaa00000000000000000000000{last}")
            .parse()
            .unwrap();
        let event = cluster
            .submit_request(with_id(id, "SELECT 1 FROM t"))
            .await
            .unwrap();
        assert_eq!(event.query_id, id.to_string());
    }
    let fault = cluster.cancel("aaaa").await.unwrap_err();
    assert_eq!(fault.code, ErrorCode::InvalidArgument);
    assert!(fault.message.contains("2 queries begin so"), "{fault}");
    let fault = cluster.cancel("bbbb").await.unwrap_err();
    assert_eq!(fault.code, ErrorCode::NotFound);
    let again: QueryId = "aaaaaaaa000000000000000000000001".parse().unwrap();
    let fault = cluster
        .submit_request(with_id(again, "SELECT 2"))
        .await
        .unwrap_err();
    assert_eq!(
        fault.code,
        ErrorCode::InvalidArgument,
        "an id is one query's"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_come_from_every_engine() {
    let mut cluster = Cluster::start(2).await;
    let _zero = FakeEngine::start(&cluster.home, 0);
    let _one = FakeEngine::start(&cluster.home, 1);
    cluster.wait_engines(2).await;
    let query_id = cluster.submit("SELECT 1 FROM t").await.query_id;
    let request = SpansRequest {
        query_id: query_id[..6].to_string(),
    };
    let spans = cluster.client.spans(request).await.unwrap().into_inner();
    let seen: Vec<_> = spans
        .engines
        .iter()
        .map(|e| (e.rank, e.spans[0].query_id == query_id))
        .collect();
    assert_eq!(seen, [(0, true), (1, true)]);
    cluster.stop().await;
}
