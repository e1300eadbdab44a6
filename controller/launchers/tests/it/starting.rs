//! Starting, attaching and stopping.

use crate::processes::{PATIENCE, TestCluster, is_gone, kill_9, until_gone};
use bireme_launchers::stop_cluster;
use bireme_protocol::{ErrorCode, Fault};
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_starts_once_and_leaves_nothing_behind() {
    let test = TestCluster::new(4, "serve");
    let begun = Instant::now();
    let cluster = test.start().await.unwrap();
    println!("4 engines usable after {:?}", begun.elapsed());
    assert!(cluster.is_new);
    assert_eq!(cluster.engines, 4);
    let again = test.start().await.unwrap();
    assert!(!again.is_new);
    assert_eq!(again.engines, 4);

    let processes = test.processes().await;
    let names: Vec<&str> = processes.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(
        names,
        ["controller", "engine 0", "engine 1", "engine 2", "engine 3"]
    );
    assert!(
        processes
            .iter()
            .all(|p| p.state == "running" && p.restarts == 0)
    );
    let launcher = bireme_launchers::ClusterLock::holder(&test.home).unwrap();
    assert!(stop_cluster(&test.home).await.unwrap());
    assert!(is_gone(launcher.unwrap()), "the launcher ends with it");
    test.has_nothing_left();
    processes.iter().for_each(|process| until_gone(process.pid));
    assert!(
        !stop_cluster(&test.home).await.unwrap(),
        "there is none any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_start_at_once_share_one_cluster() {
    let test = TestCluster::new(2, "serve");
    let (one, other) = tokio::join!(test.start(), test.start());
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.is_new != other.is_new, "{one:?} {other:?}");
    stop_cluster(&test.home).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_does_not_start_is_shown_with_its_last_words() {
    let test = TestCluster::new(2, "crashes");
    let begun = Instant::now();
    let fault = Fault::from(test.start().await.unwrap_err());
    assert!(
        begun.elapsed() < PATIENCE,
        "it did not wait for the deadline"
    );
    assert_eq!(fault.code, ErrorCode::Unavailable);
    assert!(
        fault
            .message
            .contains("ended 5 times within 30s, last with exit code 101"),
        "{fault}"
    );
    let rank = fault.engine.unwrap();
    let words = format!("there is no device {rank}");
    assert!(
        fault.causes.iter().any(|line| line.contains(&words)),
        "{fault:?}"
    );
    test.has_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_does_not_start_ends_the_launcher() {
    let test = TestCluster::new(1, "controller crashes");
    let fault = Fault::from(test.start().await.unwrap_err());
    assert!(
        fault.message.contains("run controller: it ended 5 times"),
        "{fault}"
    );
    assert!(
        fault
            .causes
            .iter()
            .any(|line| line.contains("no luck today")),
        "{fault:?}"
    );
    test.has_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_launcher_takes_its_children_along() {
    let test = TestCluster::new(2, "serve");
    test.start().await.unwrap();
    let processes = test.processes().await;
    kill_9(
        bireme_launchers::ClusterLock::holder(&test.home)
            .unwrap()
            .unwrap(),
    );
    processes.iter().for_each(|process| until_gone(process.pid));
    let again = test.start().await.unwrap();
    assert!(again.is_new);
    stop_cluster(&test.home).await.unwrap();
    test.has_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_ignores_sigterm_is_killed() {
    let test = TestCluster::new(1, "ignores SIGTERM");
    test.start().await.unwrap();
    let engine = test.pid_of("engine 0").await;
    assert!(stop_cluster(&test.home).await.unwrap());
    until_gone(engine);
    test.has_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_engines_left_behind_ends_with_the_cluster() {
    let test = TestCluster::new(1, "leaves a child");
    test.start().await.unwrap();
    let child = std::fs::read_to_string(test.home.root().join("child")).unwrap();
    stop_cluster(&test.home).await.unwrap();
    until_gone(child.parse().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_cluster_ends_by_itself() {
    let test = TestCluster::new(1, "idle");
    // It may be idle before it is told to be ready.
    drop(test.start().await);
    let deadline = Instant::now() + PATIENCE;
    while bireme_launchers::ClusterLock::holder(&test.home)
        .unwrap()
        .is_some()
    {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    test.has_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_named() {
    let mut test = TestCluster::new(1, "serve");
    test.options.launcher.program = "/nonexistent/bireme".into();
    let fault = Fault::from(test.start().await.unwrap_err());
    assert_eq!(fault.message, "start launcher as /nonexistent/bireme");
    assert!(fault.causes[0].contains("No such file"), "{fault:?}");
}
