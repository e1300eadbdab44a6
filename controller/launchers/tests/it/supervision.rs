//! What dies is started again, and everybody knows how it ended.

use crate::processes::{PATIENCE, TestCluster, kill_9, until_gone};
use bireme_launchers::stop_cluster;
use bireme_protocol::proto::{Empty, ScaleRequest, WaitReadyRequest};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_is_back_under_its_rank() {
    let test = TestCluster::new(2, "serve");
    test.start().await.unwrap();
    let killed = test.pid_of("engine 1").await;
    kill_9(killed);
    let exit = format!("pid {killed}: signal 9 (SIGKILL)");
    test.until_status("engine 1 is back", |status| {
        let engine = &status.engines[1];
        engine.state == "up" && engine.pid != killed && engine.last_exit == exit
    })
    .await;
    let processes = test.processes().await;
    let engine = processes.iter().find(|p| p.name == "engine 1").unwrap();
    assert_eq!(
        (engine.restarts, engine.last_exit.as_str()),
        (1, "signal 9 (SIGKILL)")
    );
    stop_cluster(&test.home).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_controller_is_back_and_engines_with_it() {
    let test = TestCluster::new(2, "serve");
    test.start().await.unwrap();
    let engines = [test.pid_of("engine 0").await, test.pid_of("engine 1").await];
    let killed = test.pid_of("controller").await;
    kill_9(killed);
    until_gone(killed);
    let request = WaitReadyRequest {
        timeout_ms: u64::try_from(PATIENCE.as_millis()).unwrap(),
    };
    test.launcher().await.wait_ready(request).await.unwrap();
    let mut controller = test.controller().await;
    let status = controller.status(Empty {}).await.unwrap().into_inner();
    assert_ne!(status.controller_pid, killed);
    let pids: Vec<u32> = status.engines.iter().map(|engine| engine.pid).collect();
    assert_eq!(pids, engines, "the same engine processes");
    stop_cluster(&test.home).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_grows_and_shrinks() {
    let test = TestCluster::new(2, "serve");
    test.start().await.unwrap();
    let mut launcher = test.launcher().await;
    launcher.scale(ScaleRequest { engines: 3 }).await.unwrap();
    test.until_status("three are up", |status| {
        status
            .engines
            .iter()
            .filter(|engine| engine.state == "up")
            .count()
            == 3
    })
    .await;
    let pids = [test.pid_of("engine 1").await, test.pid_of("engine 2").await];
    launcher.scale(ScaleRequest { engines: 1 }).await.unwrap();
    pids.into_iter().for_each(until_gone);
    test.until_status("one is left", |status| status.engines.len() == 1)
        .await;
    assert!(launcher.scale(ScaleRequest { engines: 0 }).await.is_err());
    stop_cluster(&test.home).await.unwrap();
    test.has_nothing_left();
}
