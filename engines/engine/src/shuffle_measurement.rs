//! One rank of a shuffle of generated rows, for `bireme bench shuffle`: the plan node, exchange and
//! transport that queries use, without a cluster around them.

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bireme_collectives::{Exchange, OperationId, SocketCommunicator, SocketOptions};
use bireme_frames::{Budget, Placement, SpillDirectory};
use bireme_operators::{CollectiveExec, Routing};
use bireme_protocol::{Fault, QueryId};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_distributed::DistributedTaskContext;
use futures::StreamExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const COLUMNS: usize = 4;
const ROWS: usize = 8192;
const PARTITIONS: usize = 4;
/// Different batches; they are more than caches hold.
const BATCHES: usize = 512;
/// Spreads numbers over all 64 bits.
const SPREAD: i64 = 0x5851_F42D_4C95_7F2D;

/// One rank of a shuffle.
#[derive(Clone, Debug)]
pub struct ShuffleMeasurement {
    /// Where the ranks meet.
    pub directory: PathBuf,
    /// The same on every rank.
    pub query: QueryId,
    /// This rank.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// Bytes that each rank sends to all ranks, itself among them, in each round.
    pub bytes: u64,
    /// How often.
    pub rounds: usize,
    /// Whether rows go through shared memory, or over sockets.
    pub share_memory: bool,
}

impl ShuffleMeasurement {
    /// Takes part in all rounds and tells how long each took until this rank had all its rows.
    /// Other ranks may still wait for its rows then: it is there for them until `others` is done.
    ///
    /// # Errors
    /// Another rank is gone, or the directory cannot be used.
    pub async fn run(&self, others: impl AsyncFnOnce(Vec<Duration>)) -> Result<(), Fault> {
        let failed = |error: DataFusionError| Fault::internal(error.strip_backtrace());
        let schema = schema();
        let batches = self.batches(&schema)?;
        let exchange = self.exchange()?;
        let mut took = Vec::with_capacity(self.rounds);
        for round in 0..self.rounds {
            let plan = self.plan(round, &batches, &schema).map_err(failed)?;
            let begun = Instant::now();
            drain(plan, &self.context(&exchange))
                .await
                .map_err(failed)?;
            took.push(begun.elapsed());
        }
        others(took).await;
        Ok(())
    }

    fn exchange(&self) -> Result<Arc<Exchange>, Fault> {
        let communicator = SocketCommunicator::start(SocketOptions {
            directory: self.directory.join("sockets"),
            rank: self.rank,
            size: self.size,
            share_memory: self.share_memory,
        });
        let budget = Budget::new(usize::MAX >> 1, 0);
        let path = self.directory.join(format!("spill-{}", self.rank));
        let spill = SpillDirectory::open(path, budget);
        let spill = spill.map_err(|error| Fault::internal(error.to_string()))?;
        Ok(Exchange::start(
            communicator.map_err(|error| Fault::from(&error))?,
            spill,
        ))
    }

    fn batches(&self, schema: &SchemaRef) -> Result<Vec<RecordBatch>, Fault> {
        let mut next = (self.rank as i64) << 32;
        let batch = |_| {
            let columns = (0..COLUMNS).map(|_| {
                let values = (0..ROWS).map(|_| {
                    next += 1;
                    next.wrapping_mul(SPREAD)
                });
                Arc::new(Int64Array::from_iter_values(values)) as _
            });
            RecordBatch::try_new(Arc::clone(schema), columns.collect())
        };
        let batches: Result<_, _> = (0..BATCHES).map(batch).collect();
        batches.map_err(|error| Fault::internal(error.to_string()))
    }

    fn plan(
        &self,
        round: usize,
        batches: &[RecordBatch],
        schema: &SchemaRef,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let count = self.bytes.div_ceil(batch_bytes());
        let mut partitions = vec![Vec::new(); PARTITIONS];
        for (index, batch) in (0..count as usize).zip(batches.iter().cycle()) {
            partitions[index % PARTITIONS].push(batch.clone());
        }
        let source = MemorySourceConfig::try_new_exec(&partitions, Arc::clone(schema), None)?;
        let key: Arc<dyn PhysicalExpr> = col("a", schema)?;
        let routing = Routing::Shuffle {
            keys: vec![key],
            placement: Placement::dealt(u16::try_from(self.size).unwrap_or(1), PARTITIONS)?,
        };
        let id = OperationId {
            query: self.query,
            plan: round as u64,
            index: 0,
        };
        Ok(Arc::new(CollectiveExec::new(
            id, routing, self.size, source,
        )))
    }

    fn context(&self, exchange: &Arc<Exchange>) -> Arc<TaskContext> {
        let config = SessionConfig::new()
            .with_extension(Arc::clone(exchange))
            .with_extension(Arc::new(DistributedTaskContext {
                task_index: self.rank,
                task_count: self.size,
            }));
        SessionContext::new_with_config(config).task_ctx()
    }

    /// Bytes that all ranks send in a round.
    pub fn bytes_per_round(&self) -> u64 {
        self.bytes.div_ceil(batch_bytes()) * batch_bytes() * self.size as u64
    }
}

fn batch_bytes() -> u64 {
    (COLUMNS * ROWS * size_of::<i64>()) as u64
}

fn schema() -> SchemaRef {
    let fields = ["a", "b", "c", "d"].map(|name| Field::new(name, DataType::Int64, false));
    Arc::new(Schema::new(fields.to_vec()))
}

/// Reads all partitions of this rank.
async fn drain(
    plan: Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
) -> Result<(), DataFusionError> {
    let mut reading = JoinSet::new();
    for partition in 0..PARTITIONS {
        let mut stream = plan.execute(partition, Arc::clone(context))?;
        reading.spawn(async move {
            while let Some(batch) = stream.next().await {
                batch?;
            }
            Ok::<_, DataFusionError>(())
        });
    }
    while let Some(read) = reading.join_next().await {
        read.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))??;
    }
    Ok(())
}
