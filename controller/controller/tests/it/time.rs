//! What happens because time passes, with a clock that stands until it is told to go.

use crate::fake_engine::FakeEngine;
use crate::harness::{Cluster, PATIENCE, SESSION, fault_of, request};
use bireme_controller::{Clock, Ended};
use bireme_protocol::ErrorCode;
use bireme_protocol::proto::{QueryState, SubmitRequest};
use std::time::{Duration, Instant};

async fn standing_clock(engines: u32) -> Cluster {
    Cluster::with(engines, |options| {
        options.clock = Clock::manual();
        options.idle_timeout = Duration::from_secs(1800);
        options.max_concurrent = 1;
    })
    .await
}

async fn until_state(cluster: &mut Cluster, rank: usize, state: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = cluster.status().await;
        if status.engines[rank].state == state {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "engine {rank} is not {state}: {status:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_cluster_ends() {
    let mut cluster = standing_clock(1).await;
    let engine = FakeEngine::start(&cluster.home, 0);
    cluster.wait_engines(1).await;
    cluster.clock.advance(Duration::from_secs(1700));
    cluster.open_session(SESSION).await;
    cluster.clock.advance(Duration::from_secs(1700));
    cluster.status().await;
    cluster.clock.advance(Duration::from_secs(101));
    assert_eq!(cluster.ended().await, Ended::Idle);
    assert_eq!(Ended::Idle.exit_code(), 0);
    engine.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_engine_is_suspected_then_lost_then_back() {
    let mut cluster = standing_clock(1).await;
    let mut engine = FakeEngine::start(&cluster.home, 0);
    cluster.wait_engines(1).await;
    let query = cluster.submit("SELECT 1 FROM t").await.query_id;
    engine.next_start().await;
    engine.script(|script| script.is_silent = true);
    until_state(&mut cluster, 0, "up").await;
    // A last heartbeat may be under way: each step is repeated until it shows.
    for state in ["suspected", "lost"] {
        let deadline = Instant::now() + PATIENCE;
        while cluster.status().await.engines[0].state != state {
            assert!(Instant::now() < deadline, "engine is not {state}");
            cluster.clock.advance(Duration::from_millis(100));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    cluster.clock.advance(Duration::from_millis(200));
    let fault = fault_of(&cluster.end_of(&query).await);
    assert_eq!(fault.code, ErrorCode::EngineLost);
    assert!(fault.message.contains("reported nothing for 5s"), "{fault}");
    engine.script(|script| script.is_silent = false);
    until_state(&mut cluster, 0, "up").await;
    engine.sees_ranks(&[0]).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_time_is_over_ends_wherever_it_is() {
    let mut cluster = standing_clock(1).await;
    let mut engine = FakeEngine::start(&cluster.home, 0);
    cluster.wait_engines(1).await;
    let timed = |sql| SubmitRequest {
        timeout_ms: 3000,
        ..request(SESSION, sql)
    };
    let running = cluster.submit_request(timed("runs")).await.unwrap();
    let queued = cluster.submit_request(timed("waits")).await.unwrap();
    assert_eq!(queued.state(), QueryState::Queued);
    assert_eq!(engine.next_start().await.timeout_ms, 3000);
    cluster.clock.advance(Duration::from_millis(3001));
    let fault = fault_of(&cluster.end_of(&queued.query_id).await);
    assert_eq!(fault.code, ErrorCode::TimedOut);
    assert!(fault.message.contains("in the queue"), "{fault}");
    cluster.clock.advance(Duration::from_millis(500));
    let fault = fault_of(&cluster.end_of(&running.query_id).await);
    assert_eq!(fault.code, ErrorCode::TimedOut);
    engine.next_cancel().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_engine_a_query_waits_for_a_bounded_time() {
    let mut cluster = standing_clock(1).await;
    let query = cluster.submit("SELECT 1 FROM t").await;
    assert_eq!(query.state(), QueryState::Queued);
    cluster.clock.advance(Duration::from_secs(31));
    let fault = fault_of(&cluster.end_of(&query.query_id).await);
    assert_eq!(fault.code, ErrorCode::Unavailable);
    assert!(fault.message.contains("0 of 1 are up"), "{fault}");
    cluster.stop().await;
}
