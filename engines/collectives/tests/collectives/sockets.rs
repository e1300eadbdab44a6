//! What only transports between processes must do: be private, refuse strangers, survive a restart,
//! share memory and give it back.

use crate::cluster::{Cluster, Transport, batch, drain, id, in_time, until, values};
use bireme_collectives::{
    Communicator, Frame, FrameKind, Inbox, SocketCommunicator, SocketOptions,
};
use bireme_protocol::{Fault, QueryId};
use futures::StreamExt;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, Weak};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_is_private_and_strangers_are_not_heard() {
    let cluster = Cluster::new(Transport::SharedMemory, 2);
    let directory = cluster.home.path().join("sockets");
    let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let garbage = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(directory.join("exchange-0")).unwrap();
        stream.write_all(&[0xa5; 4096]).unwrap();
        let mut answer = Vec::new();
        // The connection is closed without an answer; how is up to the system.
        let _ = stream.read_to_end(&mut answer);
        answer
    });
    assert!(in_time(garbage).await.unwrap().is_empty());
    let query = QueryId::random();
    let operations = cluster.open(id(query, 0), 1);
    for operation in &operations {
        in_time(operation.send(0, 0, batch([7]))).await.unwrap();
        in_time(operation.finish()).await.unwrap();
    }
    assert_eq!(drain(&operations[0], 0).await, [7, 7]);
}

/// What an engine says first: magic, version, rank, size, build.
fn greeting(rank: u32, size: u32, build: u64) -> Vec<u8> {
    let mut bytes = b"bireme x".to_vec();
    for number in [1, rank, size, 0] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&build.to_le_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_of_another_build_or_cluster_are_not_heard() {
    let cluster = Cluster::new(Transport::SharedMemory, 2);
    let path = cluster.home.path().join("sockets").join("exchange-0");
    for first in [greeting(1, 2, 7), greeting(1, 3, 7), greeting(0, 2, 7)] {
        let path = path.clone();
        let refused = tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.write_all(&first).unwrap();
            let mut answer = Vec::new();
            // The connection is closed without an answer; how is up to the system.
            let _ = stream.read_to_end(&mut answer);
            answer
        });
        assert!(in_time(refused).await.unwrap().is_empty());
    }
    // Nobody was lost by it: the engines themselves go on.
    let operations = cluster.open(id(QueryId::random(), 0), 1);
    for operation in &operations {
        in_time(operation.send(1, 0, batch([3]))).await.unwrap();
        in_time(operation.finish()).await.unwrap();
    }
    assert_eq!(drain(&operations[1], 0).await, [3, 3]);
}

#[derive(Default)]
struct Recorder {
    frames: Mutex<Vec<FrameKind>>,
    lost: Mutex<Vec<usize>>,
}

impl Inbox for Recorder {
    fn deliver(&self, _from: usize, frame: Frame) {
        self.frames.lock().unwrap().push(frame.kind);
    }

    fn lost(&self, peer: usize, _fault: Fault) {
        self.lost.lock().unwrap().push(peer);
    }
}

fn listen(directory: &std::path::Path, rank: usize) -> (Arc<SocketCommunicator>, Arc<Recorder>) {
    let communicator = SocketCommunicator::start(SocketOptions {
        directory: directory.to_path_buf(),
        rank,
        size: 2,
        share_memory: true,
    })
    .unwrap();
    let recorder = Arc::new(Recorder::default());
    let inbox: Weak<dyn Inbox> = Arc::downgrade(&recorder) as _;
    communicator.attach(inbox);
    (communicator, recorder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_is_reached_again_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let (first, heard) = listen(home.path(), 0);
    let (second, inbox) = listen(home.path(), 1);
    let frame = || Frame::signal(id(QueryId::random(), 0), FrameKind::Stop, 0, 0);
    second.post(0, frame()).unwrap();
    first.post(1, frame()).unwrap();
    let both = [&heard, &inbox];
    until("both were heard", || {
        let heard = |by: &&Arc<Recorder>| !by.frames.lock().unwrap().is_empty();
        both.iter().all(heard)
    })
    .await;
    drop(second);
    // Each direction misses it by itself; what is posted before both did may be lost with it.
    until("it was missed", || *heard.lost.lock().unwrap() == [1, 1]).await;
    let (_again, inbox) = listen(home.path(), 1);
    first.post(1, frame()).unwrap();
    until("it hears again", || inbox.frames.lock().unwrap().len() == 1).await;
}

/// Bytes of memory behind the arenas of this process.
fn shared_bytes() -> u64 {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let arenas = files.filter(|file| {
        let target = std::fs::read_link(file.path()).unwrap_or_default();
        target
            .to_string_lossy()
            .starts_with("/memfd:bireme exchange")
    });
    arenas
        .filter_map(|file| std::fs::metadata(file.path()).ok())
        .map(|file| file.blocks() * 512)
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_lie_in_shared_memory_for_as_long_as_they_are_read() {
    const ROWS: i64 = 100_000;
    let cluster = Cluster::new(Transport::SharedMemory, 2);
    let operations = cluster.open(id(QueryId::random(), 0), 1);
    let mut receiver = operations[1].receive(0).unwrap();
    let mut held = Vec::new();
    // The first rows go over the socket: the other side has not said yet that it can map.
    while shared_bytes() == 0 {
        assert!(held.len() < 1000, "rows still go over the socket");
        in_time(operations[0].send(1, 0, batch(0..ROWS)))
            .await
            .unwrap();
        held.push(in_time(receiver.next()).await.unwrap().unwrap());
    }
    for operation in &operations {
        in_time(operation.finish()).await.unwrap();
    }
    drop(receiver);
    cluster.engines[0]
        .exchange
        .close_query(operations[0].id().query);
    assert!(
        shared_bytes() >= ROWS as u64 * 8,
        "the query's end frees nothing that is read"
    );
    let last = values(&held[held.len() - 1..]);
    assert!(last.into_iter().eq(0..ROWS));
    drop(held);
    until("free memory goes back to the system", || {
        shared_bytes() == 0
    })
    .await;
}
