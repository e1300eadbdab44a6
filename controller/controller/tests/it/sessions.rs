//! Names and settings of sessions.

use crate::fake_engine::FakeEngine;
use crate::harness::{Cluster, SESSION};
use bireme_protocol::proto::controller_client::ControllerClient;
use bireme_protocol::proto::{
    ConfigureRequest, DefineReply, DefineRequest, DropRequest, SessionRef,
};
use bireme_protocol::{ErrorCode, Fault};
use tonic::transport::Channel;

pub(crate) async fn define(
    client: &mut ControllerClient<Channel>,
    sql: &str,
) -> Result<DefineReply, Fault> {
    let request = DefineRequest {
        session: SESSION.to_string(),
        sql: sql.to_string(),
        ..DefineRequest::default()
    };
    Ok(client
        .define(request)
        .await
        .map_err(Fault::from)?
        .into_inner())
}

pub(crate) async fn names(client: &mut ControllerClient<Channel>) -> Vec<(String, String)> {
    let session = SESSION.to_string();
    let catalog = client.get_catalog(SessionRef { session }).await.unwrap();
    let entries = catalog.into_inner().entries.into_iter();
    entries.map(|entry| (entry.name, entry.sql)).collect()
}

pub(crate) fn drop_request(name: &str, if_exists: bool) -> DropRequest {
    DropRequest {
        session: SESSION.to_string(),
        name: name.to_string(),
        if_exists,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defining_again_replaces_and_dropping_takes_away() {
    let mut cluster = Cluster::start(1).await;
    let engine = FakeEngine::start(&cluster.home, 0);
    let client = &mut cluster.client;
    let first = define(client, "CREATE VIEW v AS SELECT 1").await.unwrap();
    assert!(!first.replaced);
    define(client, "CREATE VIEW w AS SELECT 1").await.unwrap();
    let second = define(client, "CREATE VIEW v AS SELECT 2").await.unwrap();
    assert!(second.replaced);
    assert!(second.catalog_version > first.catalog_version);
    assert_eq!(
        names(client).await,
        [
            ("v".to_string(), "CREATE VIEW v AS SELECT 2".to_string()),
            ("w".to_string(), "CREATE VIEW w AS SELECT 1".to_string())
        ]
    );
    assert!(
        client
            .drop(drop_request("V", false))
            .await
            .unwrap()
            .into_inner()
            .dropped
    );
    assert_eq!(names(client).await.len(), 1);
    assert!(
        !client
            .drop(drop_request("v", true))
            .await
            .unwrap()
            .into_inner()
            .dropped
    );
    let fault = Fault::from(client.drop(drop_request("v", false)).await.unwrap_err());
    assert_eq!(fault.code, ErrorCode::NotFound);
    assert_eq!(fault.hint.as_deref(), Some("the session has w"));

    let wrong = Fault::new(ErrorCode::SqlPlanError, "there is no table \"x\"");
    engine.script(|script| script.describe_fault = Some(wrong));
    let fault = define(client, "CREATE VIEW u AS SELECT * FROM x")
        .await
        .unwrap_err();
    assert_eq!(fault.code, ErrorCode::SqlPlanError);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_waits_for_an_engine() {
    let mut cluster = Cluster::start(1).await;
    let mut client = cluster.client.clone();
    let mut defining = tokio::task::JoinSet::new();
    defining.spawn(async move { define(&mut client, "CREATE VIEW v AS SELECT 1").await });
    cluster.status().await;
    let _engine = FakeEngine::start(&cluster.home, 0);
    defining.join_next().await.unwrap().unwrap().unwrap();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_checked_and_taken_back() {
    let mut cluster = Cluster::start(1).await;
    let configure = |key: &str, value: &str, reset| ConfigureRequest {
        session: SESSION.to_string(),
        key: key.to_string(),
        value: value.to_string(),
        reset,
    };
    let client = &mut cluster.client;
    let info = client
        .configure(configure("query.partitions", "8", false))
        .await
        .unwrap();
    assert_eq!(info.into_inner().settings[0].value, "8");
    let info = client
        .configure(configure("query.partitions", "", true))
        .await
        .unwrap();
    assert_eq!(info.into_inner().settings, []);
    for (key, value) in [
        ("query.partitions", "many"),
        ("query.nothing", "1"),
        ("memory.host_limit", "1GiB"),
    ] {
        let refused = client
            .configure(configure(key, value, false))
            .await
            .unwrap_err();
        assert_eq!(
            Fault::from(refused).code,
            ErrorCode::InvalidArgument,
            "{key}"
        );
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_open_is_named() {
    let mut cluster = Cluster::start(1).await;
    let request = crate::harness::request("ghost", "SELECT 1");
    let fault = cluster.submit_request(request).await.unwrap_err();
    assert_eq!(fault.code, ErrorCode::NotFound);
    assert!(fault.message.contains("\"ghost\""), "{fault}");
    cluster.stop().await;
}
