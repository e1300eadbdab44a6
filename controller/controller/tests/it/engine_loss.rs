//! An engine ends under a query: one root cause, which engine and how, and the others are told.

use crate::fake_engine::FakeEngine;
use crate::harness::{Cluster, SESSION, fault_of, request};
use bireme_controller::Clock;
use bireme_protocol::proto::{ExitReport, QueryState, SubmitRequest};
use bireme_protocol::{ErrorCode, Fault, build_id};
use std::time::Duration;

async fn two_engines() -> (Cluster, FakeEngine, FakeEngine) {
    // Time stands, so that what comes a moment later comes in time on any machine.
    let mut cluster = Cluster::with(2, |options| {
        options.clock = Clock::manual();
        // Seconds that pass in no time are no silence.
        options.heartbeat_interval = Duration::from_secs(3600);
    })
    .await;
    let zero = FakeEngine::start(&cluster.home, 0);
    let one = FakeEngine::start(&cluster.home, 1);
    cluster.wait_engines(2).await;
    (cluster, zero, one)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_fails_its_query_with_rank_and_signal() {
    let (mut cluster, mut zero, one) = two_engines().await;
    let query = cluster.submit("SELECT 1 FROM t").await.query_id;
    zero.next_start().await;
    one.kill().await;
    cluster.report_exit(1, 1001, "signal 9 (SIGKILL)").await;
    let last = cluster.end_of(&query).await;
    assert_eq!(last.state(), QueryState::Failed);
    let fault = fault_of(&last);
    assert_eq!(fault.code, ErrorCode::EngineLost);
    assert_eq!(fault.engine, Some(1));
    assert_eq!(
        fault.message,
        format!(
            "engine 1 (pid 1001) was killed by signal 9 (SIGKILL) while it ran query {}",
            &query[..8]
        )
    );
    assert!(fault.hint.unwrap().contains("for want of memory"));
    let cancel = zero.next_cancel().await;
    assert_eq!(
        Fault::from_json(&cancel.fault_json).code,
        ErrorCode::EngineLost
    );

    // The engine is back under its rank and the next query works.
    let mut again = FakeEngine::with_hello(&cluster.home, 1, build_id().to_string(), 2001);
    again.sees_ranks(&[0, 1]).await;
    let next = cluster.submit("SELECT 2 FROM t").await.query_id;
    zero.next_start().await;
    zero.ends(&next, QueryState::Succeeded, None).await;
    assert_eq!(cluster.end_of(&next).await.state(), QueryState::Succeeded);
    let status = cluster.status().await;
    assert_eq!(status.engines[1].restarts, 1);
    assert_eq!(status.engines[1].last_exit, "pid 1001: signal 9 (SIGKILL)");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_an_exit_may_come_first() {
    let (mut cluster, mut zero, one) = two_engines().await;
    let query = cluster.submit("SELECT 1 FROM t").await.query_id;
    zero.next_start().await;
    cluster.report_exit(1, 1001, "exit code 101").await;
    let fault = fault_of(&cluster.end_of(&query).await);
    assert!(
        fault
            .message
            .starts_with("engine 1 (pid 1001) ended with exit code 101"),
        "{fault}"
    );
    one.kill().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_report_the_query_fails_all_the_same() {
    let (mut cluster, mut zero, one) = two_engines().await;
    let query = cluster.submit("SELECT 1 FROM t").await.query_id;
    zero.next_start().await;
    one.kill().await;
    let fault = fault_of(&cluster.end_while_time_passes(&query).await);
    assert_eq!(fault.code, ErrorCode::EngineLost);
    assert!(
        fault
            .message
            .starts_with("engine 1 (pid 1001) closed its connection"),
        "{fault}"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_that_fails_because_of_another_engine_does_not_hide_the_cause() {
    let (mut cluster, mut zero, one) = two_engines().await;
    let query = cluster.submit("SELECT 1 FROM t").await.query_id;
    zero.next_start().await;
    let broken = Fault::new(ErrorCode::Unavailable, "read from engine 1: broken pipe");
    zero.ends(&query, QueryState::Failed, Some(broken)).await;
    one.kill().await;
    cluster.report_exit(1, 1001, "signal 11 (SIGSEGV)").await;
    let fault = fault_of(&cluster.end_of(&query).await);
    assert_eq!(fault.code, ErrorCode::EngineLost);
    assert!(fault.message.contains("SIGSEGV"), "{fault}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_no_engine_explains_is_what_it_seems() {
    let (mut cluster, mut zero, _one) = two_engines().await;
    let query = cluster.submit("SELECT 1 FROM t").await.query_id;
    zero.next_start().await;
    let broken = Fault::new(ErrorCode::Unavailable, "read s3://bucket/file: no route");
    zero.ends(&query, QueryState::Failed, Some(broken)).await;
    let fault = fault_of(&cluster.end_while_time_passes(&query).await);
    assert_eq!(fault.message, "read s3://bucket/file: no route");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_does_not_run_on_the_lost_engine_goes_on() {
    let (mut cluster, mut zero, one) = two_engines().await;
    zero.script(|script| script.taking_part = vec![0]);
    let query = cluster.submit("SELECT 1 FROM small").await.query_id;
    zero.next_start().await;
    one.kill().await;
    zero.sees_ranks(&[0]).await;
    cluster.report_exit(1, 1001, "signal 9 (SIGKILL)").await;
    zero.ends(&query, QueryState::Succeeded, None).await;
    assert_eq!(cluster.end_of(&query).await.state(), QueryState::Succeeded);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_head_fails_its_query() {
    let (mut cluster, mut zero, _one) = two_engines().await;
    let query = cluster.submit("SELECT 1 FROM t").await.query_id;
    zero.next_start().await;
    zero.kill().await;
    cluster.report_exit(0, 1000, "signal 9 (SIGKILL)").await;
    let fault = fault_of(&cluster.end_of(&query).await);
    assert_eq!(fault.engine, Some(0));
    assert_eq!(cluster.status().await.queries_running, 0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_waits_in_the_queue_for_the_engine_that_is_started_again() {
    let (mut cluster, mut zero, one) = two_engines().await;
    let lost = cluster.submit("SELECT 1 FROM t").await.query_id;
    zero.next_start().await;
    one.kill().await;
    cluster.report_exit(1, 1001, "signal 9 (SIGKILL)").await;
    let fault = fault_of(&cluster.end_of(&lost).await);
    assert_eq!(fault.code, ErrorCode::EngineLost);
    zero.next_cancel().await;
    zero.ends(&lost, QueryState::Cancelled, None).await;

    let held = cluster.submit("SELECT 2 FROM t").await;
    assert_eq!((held.state(), held.place), (QueryState::Queued, 1));
    let trivial = SubmitRequest {
        trivial: true,
        ..request(SESSION, "SELECT 3")
    };
    let trivial = cluster.submit_request(trivial).await.unwrap();
    assert_eq!(trivial.state(), QueryState::Running, "it needs one engine");
    assert_eq!(zero.next_start().await.sql, "SELECT 3");

    let mut again = FakeEngine::with_hello(&cluster.home, 1, build_id().to_string(), 2001);
    assert_eq!(again.next_start().await.query_id, held.query_id);
    again
        .ends(&held.query_id, QueryState::Succeeded, None)
        .await;
    let last = cluster.end_of(&held.query_id).await;
    assert_eq!(last.state(), QueryState::Succeeded);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_waits_for_a_missing_engine_for_a_bounded_time() {
    let (mut cluster, mut zero, one) = two_engines().await;
    one.kill().await;
    zero.sees_ranks(&[0]).await;
    cluster.report_exit(1, 1001, "exit code 3").await;
    let query = cluster.submit("SELECT 1 FROM t").await.query_id;
    cluster.clock.advance(Duration::from_secs(4));
    assert_eq!(cluster.status().await.queries_queued, 1);
    cluster.clock.advance(Duration::from_secs(1));
    let fault = fault_of(&cluster.end_of(&query).await);
    assert_eq!(fault.code, ErrorCode::Unavailable);
    assert_eq!(
        fault.message,
        "wait for 2 engines: 1 of 2 are up; engine 1 is lost (pid 1001: exit code 3)"
    );
    assert!(fault.hint.unwrap().contains("bireme cluster restart"));
    assert!(zero.has_no_call());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_does_not_wait_for_an_engine_that_is_given_up() {
    let (mut cluster, mut zero, one) = two_engines().await;
    one.kill().await;
    let report = ExitReport {
        rank: 1,
        pid: 1001,
        how: "exit code 101".to_string(),
        given_up: true,
    };
    cluster.client.report_exit(report).await.unwrap();
    zero.sees_ranks(&[0]).await;
    let query = cluster.submit("SELECT 1 FROM t").await.query_id;
    let fault = fault_of(&cluster.end_of(&query).await);
    let reason = "engine 1 is given up: it crashed too often (pid 1001: exit code 101)";
    assert!(fault.message.ends_with(reason), "{fault}");
    assert!(zero.has_no_call());
    cluster.stop().await;
}
