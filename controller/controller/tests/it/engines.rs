//! Engines register, see each other, are refused, leave.

use crate::fake_engine::FakeEngine;
use crate::harness::{Cluster, within};
use bireme_protocol::proto::{Hello, QueryState, ResizeRequest, WaitEnginesRequest};
use bireme_protocol::{ErrorCode, Fault, build_id};
use std::os::unix::fs::PermissionsExt;

#[tokio::test(flavor = "multi_thread")]
async fn engines_register_and_see_each_other() {
    let mut cluster = Cluster::start(2).await;
    let mut zero = FakeEngine::start(&cluster.home, 0);
    let mut one = FakeEngine::start(&cluster.home, 1);
    cluster.wait_engines(2).await;
    zero.sees_ranks(&[0, 1]).await;
    one.sees_ranks(&[0, 1]).await;
    let status = cluster.status().await;
    let states: Vec<_> = status
        .engines
        .iter()
        .map(|e| (e.rank, e.pid, e.state.as_str()))
        .collect();
    assert_eq!(states, [(0, 1000, "up"), (1, 1001, "up")]);
    assert_eq!(status.build_id, build_id());

    one.kill().await;
    zero.sees_ranks(&[0]).await;
    assert_eq!(cluster.status().await.engines[1].state, "lost");

    let mut again = FakeEngine::with_hello(&cluster.home, 1, build_id().to_string(), 2001);
    again.sees_ranks(&[0, 1]).await;
    zero.sees_ranks(&[0, 1]).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_build_is_refused_with_the_fix() {
    let mut cluster = Cluster::start(1).await;
    let mut engine = FakeEngine::with_hello(&cluster.home, 0, "0.0.1-other".to_string(), 5);
    let fault = engine.refused().await;
    assert_eq!(fault.code, ErrorCode::BuildMismatch);
    assert!(
        fault
            .hint
            .as_deref()
            .unwrap()
            .contains("bireme cluster restart"),
        "{fault:?}"
    );

    let hello = Hello {
        build_id: "0.0.1-other".to_string(),
        role: "kernel".to_string(),
        pid: 1,
    };
    let fault = Fault::from(cluster.client.hello(hello).await.unwrap_err());
    assert_eq!(fault.code, ErrorCode::BuildMismatch);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rank_beyond_the_cluster_is_refused() {
    let cluster = Cluster::start(1).await;
    let mut engine = FakeEngine::start(&cluster.home, 1);
    let fault = engine.refused().await;
    assert_eq!(fault.code, ErrorCode::InvalidArgument);
    assert!(fault.message.contains("has 1 engines"), "{fault}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_engines_says_which_are_missing() {
    let mut cluster = Cluster::start(2).await;
    let _zero = FakeEngine::start(&cluster.home, 0);
    cluster.wait_engines(1).await;
    cluster.report_exit(1, 77, "exit code 3").await;
    let request = WaitEnginesRequest {
        engines: 2,
        timeout_ms: 20,
    };
    let fault = Fault::from(cluster.client.wait_engines(request).await.unwrap_err());
    assert_eq!(
        fault.message,
        "wait for 2 engines: 1 of 2 are up; engine 1 is lost (pid 77: exit code 3)"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_leaves_the_topology_before_it_is_stopped() {
    let mut cluster = Cluster::start(2).await;
    let mut zero = FakeEngine::start(&cluster.home, 0);
    let one = FakeEngine::start(&cluster.home, 1);
    cluster.wait_engines(2).await;
    let query = cluster.submit("SELECT 1 FROM t").await.query_id;
    zero.next_start().await;

    let mut client = cluster.client.clone();
    let mut resizing = tokio::task::JoinSet::new();
    resizing.spawn(async move {
        let request = ResizeRequest {
            engines: 1,
            timeout_ms: 60_000,
        };
        client.resize(request).await.map(|_| ())
    });
    zero.sees_ranks(&[0]).await;
    assert!(
        resizing.try_join_next().is_none(),
        "a query still runs on engine 1"
    );
    zero.ends(&query, QueryState::Succeeded, None).await;
    within("the resize", resizing.join_next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    one.kill().await;
    assert_eq!(cluster.status().await.engines_wanted, 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_its_owners_alone_and_goes_with_the_controller() {
    let cluster = Cluster::start(1).await;
    let socket = cluster.home.controller_socket();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    cluster.stop().await;
    assert!(!socket.exists());
}
