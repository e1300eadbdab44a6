//! Frames in the catalog: what queries are told of them, and what becomes of them when an engine,
//! the controller, or both end.

use crate::fake_engine::FakeEngine;
use crate::harness::{
    Cluster, ControllerProcess, PATIENCE, SESSION, fault_of, history, open_session, request,
    wait_engines, watch, within,
};
use bireme_controller::Clock;
use bireme_protocol::proto::controller_client::ControllerClient;
use bireme_protocol::proto::{
    CatalogEntry, EntryKind, Frame, FrameLayout, FrameMade, LayoutKind, Lineage, PartitionFacts,
    PublishRequest, QueryState, ResizeRequest, Segment, SessionRef, SourceFile, StartRequest,
};
use bireme_protocol::{ErrorCode, Fault};
use bireme_settings::Home;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::transport::Channel;

const DAY: Duration = Duration::from_secs(24 * 3600);
const CREATE: &str = "CREATE TABLE f AS SELECT 1";
const INSERT: &str = "INSERT INTO f SELECT 1";

/// What a head says that it has made: rows on both engines, from one file.
fn made(query: &str, sql: &str) -> FrameMade {
    let part = |rank| PartitionFacts {
        rank,
        partition: 0,
        rows: 10,
        bytes: 80,
        columns: Vec::new(),
    };
    let lineage = Lineage {
        sql: sql.to_string(),
        sources: vec![SourceFile {
            path: "t.parquet".to_string(),
            ..SourceFile::default()
        }],
        fingerprint: "same".to_string(),
        ..Lineage::default()
    };
    let layout = FrameLayout {
        kind: LayoutKind::RoundRobin.into(),
        columns: Vec::new(),
        partitions: 1,
    };
    let segment = Segment {
        id: query.to_string(),
        partitions: vec![part(0), part(1)],
        lineage: Some(lineage),
        owners: Vec::new(),
    };
    FrameMade {
        entry: Some(CatalogEntry {
            name: "f".to_string(),
            kind: EntryKind::Frame.into(),
            schema_json: "{}".to_string(),
            defined_at_ms: 1,
            frame: Some(Frame {
                layout: Some(layout),
                segments: vec![segment],
                ..Frame::default()
            }),
            ..CatalogEntry::default()
        }),
        is_appended: sql == INSERT,
        is_reused: false,
        remakes: String::new(),
    }
}

/// What the head of a query that makes a segment again says.
fn made_again(start: &StartRequest) -> FrameMade {
    FrameMade {
        remakes: start.remakes.clone(),
        ..made(&start.query_id, &start.sql)
    }
}

async fn frame(client: &mut ControllerClient<Channel>) -> Frame {
    let session = SESSION.to_string();
    let catalog = client.get_catalog(SessionRef { session }).await.unwrap();
    let mut entries = catalog.into_inner().entries.into_iter();
    let entry = entries.find(|entry| entry.name == "f").expect("a frame f");
    entry.frame.expect("a frame")
}

async fn names(client: &mut ControllerClient<Channel>) -> Vec<String> {
    let session = SESSION.to_string();
    let catalog = client.get_catalog(SessionRef { session }).await.unwrap();
    let entries = catalog.into_inner().entries.into_iter();
    entries.map(|entry| entry.name).collect()
}

fn ids(frame: &Frame) -> Vec<&str> {
    frame.segments.iter().map(|one| one.id.as_str()).collect()
}

/// Makes a segment of `f` through engine 0.
async fn make(client: &mut ControllerClient<Channel>, zero: &mut FakeEngine, sql: &str) -> String {
    let query = client.submit(request(SESSION, sql)).await.unwrap();
    let query = query.into_inner().query_id;
    zero.next_start().await;
    zero.makes(&query, made(&query, sql)).await;
    let last = watch(client, &query).await.pop().unwrap();
    assert_eq!(last.state(), QueryState::Succeeded);
    query
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_told_the_fingerprint_of_what_made_a_frame_and_not_its_files() {
    let mut cluster = Cluster::start(2).await;
    let mut zero = FakeEngine::start(&cluster.home, 0);
    let _one = FakeEngine::start(&cluster.home, 1);
    cluster.wait_engines(2).await;
    make(&mut cluster.client, &mut zero, CREATE).await;
    cluster.submit("SELECT 1 FROM f").await;
    let start = zero.next_start().await;
    let entry = start.catalog.unwrap().entries.remove(0);
    let lineage = entry.frame.unwrap().segments.remove(0).lineage.unwrap();
    assert_eq!(lineage.fingerprint, "same");
    assert!(lineage.sources.is_empty() && lineage.sql.is_empty());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_segment_is_made_again_with_its_lineage_and_a_query_waits_for_it() {
    let mut cluster = Cluster::start(2).await;
    let mut zero = FakeEngine::start(&cluster.home, 0);
    let one = FakeEngine::start(&cluster.home, 1);
    cluster.wait_engines(2).await;
    let old = make(&mut cluster.client, &mut zero, CREATE).await;
    one.kill().await;
    let mut one = FakeEngine::start(&cluster.home, 1);
    let rebuild = zero.next_start().await;
    assert_eq!(rebuild.remakes, old);
    assert_eq!(rebuild.sql, CREATE);
    assert_eq!(rebuild.reuse_before_ms, 0);
    let lineage = rebuild.rebuild.clone().expect("what made it");
    assert_eq!(lineage.sources[0].path, "t.parquet");
    let lost = frame(&mut cluster.client).await;
    assert!(lost.pending, "{}", lost.lost);

    // The other engine, which heads nothing yet, finds that what a query reads is on its way.
    let fault = Fault::new(ErrorCode::NotReady, "it is being made again");
    one.script(|script| script.start_fault = Some(fault));
    let reader = cluster.submit("SELECT 1 FROM f").await;
    assert_eq!(reader.state(), QueryState::Queued);
    one.next_start().await;
    assert!(
        zero.has_no_call() && one.has_no_call(),
        "nobody is asked again before"
    );
    zero.makes(&rebuild.query_id, made_again(&rebuild)).await;
    let started = zero.next_start().await;
    assert_eq!(started.query_id, reader.query_id);
    let whole = started.catalog.unwrap().entries.remove(0).frame.unwrap();
    assert_eq!(
        (ids(&whole), whole.lost.as_str()),
        (vec![rebuild.query_id.as_str()], "")
    );
    zero.ends(&reader.query_id, QueryState::Succeeded, None)
        .await;
    let last = cluster.end_of(&reader.query_id).await;
    assert_eq!(last.state(), QueryState::Succeeded);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_waits_for_a_frame_is_told_when_that_is_given_up() {
    let mut cluster = Cluster::start(2).await;
    let mut zero = FakeEngine::start(&cluster.home, 0);
    let one = FakeEngine::start(&cluster.home, 1);
    cluster.wait_engines(2).await;
    make(&mut cluster.client, &mut zero, CREATE).await;
    one.kill().await;
    let mut one = FakeEngine::start(&cluster.home, 1);
    let rebuild = zero.next_start().await;
    let fault = Fault::new(ErrorCode::NotReady, "it is being made again");
    one.script(|script| script.start_fault = Some(fault));
    let reader = cluster.submit("SELECT 1 FROM f").await;
    one.next_start().await;
    let gone = Fault::new(ErrorCode::NotFound, "read frame \"f\": it is lost");
    zero.script(|script| script.start_fault = Some(gone));
    let changed = Fault::new(ErrorCode::NotFound, "the file t.parquet is not what it was");
    zero.ends(&rebuild.query_id, QueryState::Failed, Some(changed))
        .await;
    let last = cluster.end_of(&reader.query_id).await;
    assert_eq!(fault_of(&last).code, ErrorCode::NotFound);
    let lost = frame(&mut cluster.client).await;
    assert!(!lost.pending);
    assert!(
        lost.lost.contains("t.parquet is not what it was"),
        "{}",
        lost.lost
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_is_made_again_while_the_controller_ends_goes_in_its_place() {
    let directory = TempDir::new().unwrap();
    let home = Home::at(directory.path()).unwrap();
    let mut zero = FakeEngine::start(&home, 0);
    let one = FakeEngine::start(&home, 1);
    let mut controller = ControllerProcess::start(&home).await;
    let client = &mut controller.client;
    wait_engines(client, 2).await;
    open_session(client, SESSION).await;
    let first = make(client, &mut zero, CREATE).await;
    let second = make(client, &mut zero, INSERT).await;
    zero.holds(&[&first, &second]);
    one.kill().await;
    let one = FakeEngine::start(&home, 1);
    let rebuild = zero.next_start().await;
    assert_eq!(rebuild.remakes, first);
    zero.reports_remade(&rebuild.query_id, true, 5, &first);
    one.reports(&rebuild.query_id, false, 5);
    controller.kill();

    let mut controller = ControllerProcess::start(&home).await;
    let client = &mut controller.client;
    wait_engines(client, 2).await;
    zero.makes(&rebuild.query_id, made_again(&rebuild)).await;
    watch(client, &rebuild.query_id).await;
    let kept = frame(client).await;
    assert_eq!(ids(&kept), [rebuild.query_id.as_str(), second.as_str()]);
    assert!(zero.has_no_call(), "it was made again once");
    controller.kill();
}

/// Two engines with a frame on both, and its segment.
async fn with_frame() -> (Cluster, FakeEngine, FakeEngine, String) {
    let mut cluster = Cluster::start(2).await;
    let mut zero = FakeEngine::start(&cluster.home, 0);
    let one = FakeEngine::start(&cluster.home, 1);
    cluster.wait_engines(2).await;
    let segment = make(&mut cluster.client, &mut zero, CREATE).await;
    (cluster, zero, one, segment)
}

fn to_one_engine() -> ResizeRequest {
    ResizeRequest {
        engines: 1,
        timeout_ms: u64::try_from(PATIENCE.as_millis()).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_moved_keep_what_made_them() {
    let (mut cluster, mut zero, _one, old) = with_frame().await;
    let mut client = cluster.client.clone();
    let resized = async { client.resize(to_one_engine()).await.unwrap() };
    let moved = async {
        let start = zero.next_start().await;
        assert_eq!(start.remakes, old);
        assert!(start.rebuild.is_none(), "its rows are there");
        let mut again = made_again(&start);
        for segment in again
            .entry
            .iter_mut()
            .flat_map(|entry| &mut entry.frame)
            .flat_map(|frame| &mut frame.segments)
        {
            segment.lineage = None;
            segment.partitions.truncate(1);
        }
        zero.makes(&start.query_id, again).await;
        start.query_id
    };
    let (_, id) = within("the move", async { tokio::join!(resized, moved) }).await;
    let kept = frame(&mut cluster.client).await;
    assert_eq!(ids(&kept), [id.as_str()]);
    let lineage = kept.segments[0]
        .lineage
        .as_ref()
        .expect("what made it first");
    assert_eq!(lineage.fingerprint, "same");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_stays_when_its_rows_cannot_be_moved() {
    let (mut cluster, mut zero, mut one, old) = with_frame().await;
    let mut client = cluster.client.clone();
    let resized = async { client.resize(to_one_engine()).await };
    let full = async {
        let start = zero.next_start().await;
        assert_eq!(start.remakes, old);
        let fault = Fault::new(ErrorCode::DiskFull, "keep f: 1 GiB are missing");
        zero.ends(&start.query_id, QueryState::Failed, Some(fault))
            .await;
    };
    let (resized, ()) = within("the answer", async { tokio::join!(resized, full) }).await;
    let fault = Fault::from(resized.unwrap_err());
    assert_eq!(
        fault.message,
        "scale the cluster from 2 to 1 engines: the frame \"f\" has rows on engine 1 that stay \
         there: they could not be moved: keep f: 1 GiB are missing; the engines stay too"
    );
    // The engine takes part again, and the rows are where they were.
    one.sees_ranks(&[0, 1]).await;
    assert_eq!(cluster.status().await.engines_wanted, 2);
    assert_eq!(ids(&frame(&mut cluster.client).await), [old.as_str()]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_stay_when_who_asked_has_gone() {
    let (mut cluster, mut zero, mut one, _) = with_frame().await;
    let mut client = cluster.client.clone();
    let mut asking = JoinSet::new();
    asking.spawn(async move { client.resize(to_one_engine()).await });
    zero.sees_ranks(&[0]).await;
    one.sees_ranks(&[0]).await;
    drop(asking);
    one.sees_ranks(&[0, 1]).await;
    assert_eq!(cluster.status().await.engines_wanted, 2);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_while_nobody_was_there_is_made_again_for_who_comes() {
    let directory = TempDir::new().unwrap();
    let home = Home::at(directory.path()).unwrap();
    let mut zero = FakeEngine::start(&home, 0);
    let one = FakeEngine::start(&home, 1);
    let mut controller = ControllerProcess::start(&home).await;
    let client = &mut controller.client;
    wait_engines(client, 2).await;
    open_session(client, SESSION).await;
    let made = make(client, &mut zero, CREATE).await;
    // A read sees every earlier write: the end of the query is in the database.
    history(client).await;
    controller.kill();
    // The engines begin anew, as after `bireme cluster stop`.
    zero.kill().await;
    one.kill().await;
    let mut zero = FakeEngine::start(&home, 0);
    let _one = FakeEngine::start(&home, 1);
    let mut controller = ControllerProcess::start(&home).await;
    let client = &mut controller.client;
    wait_engines(client, 2).await;
    open_session(client, "another").await;
    let query = client.submit(request("another", "SELECT 1 FROM t")).await;
    let start = zero.next_start().await;
    assert_eq!(start.query_id, query.unwrap().into_inner().query_id);
    zero.ends(&start.query_id, QueryState::Succeeded, None)
        .await;
    watch(client, &start.query_id).await;
    open_session(client, SESSION).await;
    assert_eq!(zero.next_start().await.remakes, made);
    controller.kill();
}

/// A cluster whose frames stay for a day, with the frame `f` made.
async fn with_a_frame() -> (Cluster, FakeEngine) {
    let mut cluster = Cluster::with(1, |options| {
        options.clock = Clock::manual();
        options.keep_frames = DAY;
    })
    .await;
    let mut zero = FakeEngine::start(&cluster.home, 0);
    cluster.wait_engines(1).await;
    make(&mut cluster.client, &mut zero, CREATE).await;
    (cluster, zero)
}

async fn until_it_is_gone(cluster: &mut Cluster) {
    let deadline = Instant::now() + PATIENCE;
    while names(&mut cluster.client).await.contains(&"f".to_string()) {
        assert!(Instant::now() < deadline, "the frame is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_go_when_nobody_was_there_for_a_day() {
    let (mut cluster, _zero) = with_a_frame().await;
    cluster.clock.advance(DAY - Duration::from_secs(1));
    let session = SESSION.to_string();
    cluster.client.attend(SessionRef { session }).await.unwrap();
    cluster.clock.advance(DAY - Duration::from_secs(1));
    frame(&mut cluster.client).await;
    cluster.clock.advance(Duration::from_secs(2));
    until_it_is_gone(&mut cluster).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_stays_for_others_as_long_as_it_is_published() {
    let (mut cluster, _zero) = with_a_frame().await;
    let publish = |withdraw| PublishRequest {
        session: SESSION.to_string(),
        name: "f".to_string(),
        withdraw,
    };
    cluster.client.publish(publish(false)).await.unwrap();
    cluster.clock.advance(10 * DAY);
    cluster.status().await;
    frame(&mut cluster.client).await;
    cluster.client.publish(publish(true)).await.unwrap();
    until_it_is_gone(&mut cluster).await;
    cluster.stop().await;
}
