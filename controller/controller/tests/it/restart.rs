//! The controller is killed: what it answered is there after its return, and queries go on.

use crate::fake_engine::FakeEngine;
use crate::harness::{
    ControllerProcess, SESSION, fault_of, history, open_session, request, wait_engines, watch,
    within,
};
use crate::sessions::{define, drop_request, names};
use bireme_protocol::proto::{ConfigureRequest, OpenSessionRequest, QueryState};
use bireme_protocol::{ErrorCode, Fault};
use bireme_settings::Home;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn names_settings_and_history_survive_kill_9() {
    let directory = TempDir::new().unwrap();
    let home = Home::at(directory.path()).unwrap();
    let mut engine = FakeEngine::start(&home, 0);
    let _other = FakeEngine::start(&home, 1);
    let mut controller = ControllerProcess::start(&home).await;
    let client = &mut controller.client;
    wait_engines(client, 2).await;
    open_session(client, SESSION).await;
    for sql in [
        "CREATE VIEW a AS SELECT 1",
        "CREATE VIEW b AS SELECT 1",
        "CREATE VIEW a AS SELECT 2",
    ] {
        define(client, sql).await.unwrap();
    }
    client.drop(drop_request("b", false)).await.unwrap();
    let configure = ConfigureRequest {
        session: SESSION.to_string(),
        key: "query.partitions".to_string(),
        value: "8".to_string(),
        reset: false,
    };
    client.configure(configure).await.unwrap();
    let query = client
        .submit(request(SESSION, "SELECT 1 FROM a"))
        .await
        .unwrap()
        .into_inner()
        .query_id;
    engine.next_start().await;
    engine.ends(&query, QueryState::Succeeded, None).await;
    watch(client, &query).await;
    // Its row is in the database once a read sees it.
    assert_eq!(history(client).await[0].state(), QueryState::Succeeded);
    controller.kill();

    let mut controller = ControllerProcess::start(&home).await;
    let client = &mut controller.client;
    let open = OpenSessionRequest {
        session: SESSION.to_string(),
        ..OpenSessionRequest::default()
    };
    let info = client.open_session(open).await.unwrap().into_inner();
    assert!(!info.created);
    assert_eq!(info.settings[0].value, "8");
    assert_eq!(info.catalog_version, 4);
    assert_eq!(
        names(client).await,
        [("a".to_string(), "CREATE VIEW a AS SELECT 2".to_string())]
    );
    let history = history(client).await;
    assert_eq!(
        (history.len(), history[0].state()),
        (1, QueryState::Succeeded)
    );
    let last = watch(client, &query[..8]).await.pop().unwrap();
    assert_eq!(
        last.state(),
        QueryState::Succeeded,
        "an ended query is followed from the database"
    );
    controller.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_query_is_adopted_and_followed_to_its_end() {
    let directory = TempDir::new().unwrap();
    let home = Home::at(directory.path()).unwrap();
    let mut zero = FakeEngine::start(&home, 0);
    let one = FakeEngine::start(&home, 1);
    let mut controller = ControllerProcess::start(&home).await;
    let client = &mut controller.client;
    wait_engines(client, 2).await;
    open_session(client, SESSION).await;
    let query = client
        .submit(request(SESSION, "SELECT 1 FROM t"))
        .await
        .unwrap()
        .into_inner()
        .query_id;
    zero.next_start().await;
    zero.reports(&query, true, 5);
    one.reports(&query, false, 6);
    assert_eq!(history(client).await[0].state(), QueryState::Running);
    controller.kill();

    let mut controller = ControllerProcess::start(&home).await;
    let client = &mut controller.client;
    wait_engines(client, 2).await;
    let jobs = client
        .jobs(bireme_protocol::proto::Empty {})
        .await
        .unwrap()
        .into_inner()
        .queries;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].sql, "SELECT 1 FROM t");
    assert_eq!(jobs[0].state(), QueryState::Running);
    zero.ends(&query, QueryState::Succeeded, None).await;
    let last = watch(client, &query).await.pop().unwrap();
    assert_eq!(last.state(), QueryState::Succeeded);
    assert_eq!(history(client).await[0].state(), QueryState::Succeeded);
    controller.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_waited_fails_and_says_so() {
    let directory = TempDir::new().unwrap();
    let home = Home::at(directory.path()).unwrap();
    let mut controller = ControllerProcess::start(&home).await;
    let client = &mut controller.client;
    open_session(client, SESSION).await;
    let event = client
        .submit(request(SESSION, "SELECT 1 FROM t"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(event.state(), QueryState::Queued, "there is no engine");
    // It was answered from memory: its row is in the database a moment later.
    let written = async {
        while history(client).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    within("its row", written).await;
    controller.kill();

    let mut controller = ControllerProcess::start(&home).await;
    let last = watch(&mut controller.client, &event.query_id)
        .await
        .pop()
        .unwrap();
    assert_eq!(last.state(), QueryState::Failed);
    let fault: Fault = fault_of(&last);
    assert_eq!(fault.code, ErrorCode::Unavailable);
    assert_eq!(fault.hint.as_deref(), Some("run it again"));
    controller.kill();
}
