//! Clusters of engines within the test process, over each transport.

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use bireme_collectives::{
    Communicator, Exchange, InProcessCommunicator, Operation, OperationId, OperationSpec,
    SocketCommunicator, SocketOptions,
};
use bireme_frames::{Budget, SpillDirectory};
use bireme_protocol::QueryId;
use futures::{StreamExt, TryStreamExt};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Nothing in these tests takes longer, on any machine.
pub(crate) const WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    InProcess,
    SharedMemory,
    /// Where the system has no memory to share.
    Sockets,
}

pub(crate) const TRANSPORTS: [Transport; 3] = [
    Transport::InProcess,
    Transport::SharedMemory,
    Transport::Sockets,
];

pub(crate) struct Engine {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) in_process: Option<Arc<InProcessCommunicator>>,
}

pub(crate) struct Cluster {
    pub(crate) engines: Vec<Engine>,
    pub(crate) home: TempDir,
}

pub(crate) struct Limits {
    pub(crate) host: usize,
    pub(crate) disk: u64,
    /// How long a sender waits for room.
    pub(crate) room_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            host: 1 << 30,
            disk: 1 << 30,
            room_within: Duration::from_secs(3600),
        }
    }
}

impl Cluster {
    pub(crate) fn new(transport: Transport, size: usize) -> Self {
        Self::with_limits(transport, size, &Limits::default())
    }

    pub(crate) fn with_limits(transport: Transport, size: usize, limits: &Limits) -> Self {
        let home = tempfile::tempdir().unwrap();
        let in_process = InProcessCommunicator::cluster(size);
        let engine = |rank: usize| {
            let communicator: Arc<dyn Communicator> = match transport {
                Transport::InProcess => Arc::clone(&in_process[rank]) as _,
                Transport::SharedMemory | Transport::Sockets => {
                    SocketCommunicator::start(SocketOptions {
                        directory: home.path().join("sockets"),
                        rank,
                        size,
                        share_memory: transport == Transport::SharedMemory,
                    })
                    .unwrap()
                }
            };
            let budget = Budget::new(limits.host, limits.disk);
            let path = home.path().join(format!("spill-{rank}"));
            let spill = SpillDirectory::open(path, Arc::clone(&budget)).unwrap();
            Engine {
                exchange: Exchange::start_with_deadline(communicator, spill, limits.room_within),
                budget,
                in_process: (transport == Transport::InProcess)
                    .then(|| Arc::clone(&in_process[rank])),
            }
        };
        Self {
            engines: (0..size).map(engine).collect(),
            home,
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.engines.len()
    }

    /// The operation on every rank, with so many partitions on each.
    pub(crate) fn open(&self, id: OperationId, partitions: usize) -> Vec<Operation> {
        let spec = spec(vec![partitions; self.size()]);
        let engines = self.engines.iter();
        engines
            .map(|engine| engine.exchange.open(id, spec.clone()).unwrap())
            .collect()
    }

    /// Waits until no engine holds memory, disk or files.
    pub(crate) async fn wait_until_free(&self) {
        until("memory, disk and files are free", || {
            self.engines.iter().all(|engine| {
                let spill = engine.exchange.spill_directory();
                engine.budget.host_used() == 0
                    && engine.budget.disk_used() == 0
                    && std::fs::read_dir(spill.path()).unwrap().count() == 0
            })
        })
        .await;
    }
}

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]))
}

pub(crate) fn spec(partitions: Vec<usize>) -> OperationSpec {
    OperationSpec {
        schema: schema(),
        partitions,
    }
}

pub(crate) fn id(query: QueryId, index: u32) -> OperationId {
    OperationId {
        query,
        plan: 7,
        index,
    }
}

pub(crate) fn batch(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    let values = Int64Array::from_iter_values(values);
    RecordBatch::try_new(schema(), vec![Arc::new(values)]).unwrap()
}

pub(crate) fn values(batches: &[RecordBatch]) -> Vec<i64> {
    let columns = batches.iter().map(|batch| batch.column(0));
    columns
        .flat_map(|column| column.as_primitive::<Int64Type>().values().to_vec())
        .collect()
}

/// All rows of a partition.
pub(crate) async fn drain(operation: &Operation, partition: usize) -> Vec<i64> {
    let receiver = operation.receive(partition).unwrap();
    let batches: Vec<_> = in_time(receiver.try_collect()).await.unwrap();
    values(&batches)
}

/// The error a partition ends with.
pub(crate) async fn failure(operation: &Operation, partition: usize) -> String {
    let mut receiver = operation.receive(partition).unwrap();
    in_time(async {
        loop {
            match receiver.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error.to_string(),
                None => return "it ended without an error".to_string(),
            }
        }
    })
    .await
}

/// Fails the test rather than hang.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(WITHIN, work).await.expect("in time")
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < WITHIN, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
