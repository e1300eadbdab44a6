//! The sending side of a collective: one task per partition of the input, which ends with the
//! query at the latest. What nobody wants is not computed; a failure becomes the failure of the
//! query on every engine.

use crate::routing::Routing;
use bireme_collectives::{Operation, fault_of};
use bireme_frames::{Placement, hash_rows};
use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::arrow::compute::{BatchCoalescer, take_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, Time, Timestamp,
};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bucket of wide rows is sent when it holds about this much, rather than a whole batch.
const BUCKET_BYTES: usize = 1 << 20;
/// But never fewer rows than this.
const BUCKET_ROWS_MIN: usize = 256;

/// The label, and its value, of what the sending side of a node measures.
pub const SIDE_LABEL: (&str, &str) = ("side", "send");

/// What the sending side of one partition measures.
#[derive(Clone, Debug)]
struct FeedMetrics {
    rows: Count,
    bytes: Count,
    partition_time: Time,
    send_time: Time,
    /// The first message, and the latest.
    started: Timestamp,
    ended: Timestamp,
}

impl FeedMetrics {
    fn new(set: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let (label, side) = SIDE_LABEL;
        let builder = || MetricBuilder::new(set).with_new_label(label, side.to_string());
        Self {
            rows: builder().counter("rows_sent", partition),
            bytes: builder().counter("bytes_sent", partition),
            partition_time: builder().subset_time("partition_time", partition),
            send_time: builder().subset_time("send_time", partition),
            started: builder().start_timestamp(partition),
            ended: builder().end_timestamp(partition),
        }
    }
}

/// Starts a task per partition of the input.
pub(crate) fn start(
    operation: &Operation,
    routing: &Routing,
    input: &Arc<dyn ExecutionPlan>,
    metrics: &ExecutionPlanMetricsSet,
    context: &Arc<TaskContext>,
) -> Result<()> {
    let inputs = input.output_partitioning().partition_count();
    let remaining = Arc::new(AtomicUsize::new(inputs));
    for partition in 0..inputs {
        let sender = Sender {
            operation: operation.clone(),
            metrics: FeedMetrics::new(metrics, partition),
        };
        let stream = input.execute(partition, Arc::clone(context));
        let router = stream.and_then(|stream| {
            let router = Router::new(routing, sender, input, partition, context)?;
            Ok((stream, router))
        });
        let (stream, router) = match router {
            Ok(ready) => ready,
            Err(error) => {
                operation.fail(fault_of(&error));
                return Err(error);
            }
        };
        let operation_of_task = operation.clone();
        let remaining = Arc::clone(&remaining);
        operation.spawn(async move {
            let operation = operation_of_task;
            let mut fed = feed(stream, router, &operation).await;
            if fed.is_ok() && remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
                fed = operation.finish().await.map_err(Into::into);
            }
            if let Err(error) = fed {
                operation.fail(fault_of(&error));
            }
        });
    }
    Ok(())
}

async fn feed(
    mut stream: SendableRecordBatchStream,
    mut router: Router,
    operation: &Operation,
) -> Result<()> {
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        if !operation.is_wanted() {
            return Ok(());
        }
        if batch.num_rows() > 0 {
            router.route(batch).await?;
        }
    }
    drop(stream);
    router.flush().await
}

struct Sender {
    operation: Operation,
    metrics: FeedMetrics,
}

impl Sender {
    async fn send(&self, to: usize, partition: usize, batch: RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let _timer = self.metrics.send_time.timer();
        if self.metrics.started.value().is_none() {
            self.metrics.started.record();
        }
        if let Some(bytes) = self.operation.send(to, partition, batch).await? {
            self.metrics.rows.add(rows);
            self.metrics.bytes.add(bytes as usize);
        }
        self.metrics.ended.record();
        Ok(())
    }
}

enum Router {
    Gather {
        sender: Sender,
        partition: usize,
    },
    Broadcast {
        sender: Sender,
    },
    Spread {
        sender: Sender,
        partitions: usize,
        next: usize,
    },
    Shuffle(Box<Shuffle>),
}

impl Router {
    fn new(
        routing: &Routing,
        sender: Sender,
        input: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let inputs = input.output_partitioning().partition_count();
        Ok(match routing {
            Routing::Gather => {
                let partition = sender.operation.rank() * inputs + partition;
                Self::Gather { sender, partition }
            }
            Routing::Broadcast => Self::Broadcast { sender },
            Routing::Spread { partitions } => Self::Spread {
                // Not all inputs begin with the same engine.
                next: sender.operation.rank() + partition,
                partitions: *partitions,
                sender,
            },
            Routing::Shuffle { keys, placement } => {
                let total = sender.operation.size() * placement.partitions();
                let consumer = format!("CollectiveShuffle[{partition}]");
                Self::Shuffle(Box::new(Shuffle {
                    sender,
                    keys: keys.clone(),
                    placement: placement.clone(),
                    rows_of: vec![Vec::new(); total],
                    buckets: (0..total).map(|_| None).collect(),
                    schema: input.schema(),
                    batch_size: context.session_config().batch_size(),
                    bucket_rows: None,
                    reservation: MemoryConsumer::new(consumer)
                        .with_can_spill(true)
                        .register(context.memory_pool()),
                }))
            }
        })
    }

    async fn route(&mut self, batch: RecordBatch) -> Result<()> {
        match self {
            Self::Gather { sender, partition } => sender.send(0, *partition, batch).await,
            Self::Broadcast { sender } => {
                for to in 0..sender.operation.size() {
                    sender.send(to, 0, batch.clone()).await?;
                }
                Ok(())
            }
            Self::Spread {
                sender,
                partitions,
                next,
            } => {
                let engines = sender.operation.size();
                let (to, partition) = (*next % engines, *next / engines % *partitions);
                *next += 1;
                sender.send(to, partition, batch).await
            }
            Self::Shuffle(shuffle) => shuffle.route(batch).await,
        }
    }

    async fn flush(&mut self) -> Result<()> {
        match self {
            Self::Gather { .. } | Self::Broadcast { .. } | Self::Spread { .. } => Ok(()),
            Self::Shuffle(shuffle) => shuffle.flush().await,
        }
    }
}

/// Splits batches by hash and gathers the pieces of each bucket until a batch is worth sending.
struct Shuffle {
    sender: Sender,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    placement: Placement,
    /// The rows of a batch, by bucket: rank * N + partition. Kept for its memory.
    rows_of: Vec<Vec<u32>>,
    buckets: Vec<Option<BatchCoalescer>>,
    schema: SchemaRef,
    batch_size: usize,
    bucket_rows: Option<usize>,
    reservation: MemoryReservation,
}

impl Shuffle {
    /// Rows of a full bucket, fixed by the first batch.
    fn bucket_rows(&mut self, batch: &RecordBatch) -> usize {
        *self.bucket_rows.get_or_insert_with(|| {
            let row = batch.get_array_memory_size() / batch.num_rows().max(1);
            let fitting = BUCKET_BYTES / row.max(1);
            fitting.max(BUCKET_ROWS_MIN).min(self.batch_size)
        })
    }

    async fn route(&mut self, batch: RecordBatch) -> Result<()> {
        let mut ready = Vec::new();
        let rows = self.bucket_rows(&batch);
        for (bucket, piece) in self.split(&batch)? {
            let schema = &self.schema;
            let coalescer = self.buckets[bucket]
                .get_or_insert_with(|| BatchCoalescer::new(Arc::clone(schema), rows));
            coalescer.push_batch(piece)?;
            while let Some(batch) = coalescer.next_completed_batch() {
                ready.push((bucket, batch));
            }
        }
        self.send(ready).await?;
        let held = self
            .buckets
            .iter()
            .flatten()
            .map(BatchCoalescer::size)
            .sum();
        if self.reservation.try_resize(held).is_err() {
            // Sending is this node's way of spilling: the receiver spills if it must.
            self.flush().await?;
        }
        Ok(())
    }

    /// The batch's rows by bucket.
    fn split(&mut self, batch: &RecordBatch) -> Result<Vec<(usize, RecordBatch)>> {
        let _timer = self.sender.metrics.partition_time.timer();
        let columns: Result<Vec<_>> = self
            .keys
            .iter()
            .map(|key| key.evaluate(batch)?.into_array(batch.num_rows()))
            .collect();
        let partitions = self.placement.partitions();
        for (row, hash) in (0..).zip(hash_rows(&columns?, batch.num_rows())?) {
            let (rank, partition) = self.placement.locate(hash);
            self.rows_of[rank * partitions + partition].push(row);
        }
        let mut pieces = Vec::new();
        for (bucket, rows) in self.rows_of.iter_mut().enumerate() {
            if rows.is_empty() {
                continue;
            }
            let indices = UInt32Array::from(std::mem::take(rows));
            let piece = take_record_batch(batch, &indices)?;
            pieces.push((bucket, piece));
            // The memory of the indices serves the next batch.
            if let Ok(memory) = indices.into_parts().1.into_inner().into_vec::<u32>() {
                *rows = memory;
                rows.clear();
            }
        }
        Ok(pieces)
    }

    async fn flush(&mut self) -> Result<()> {
        let mut ready = Vec::new();
        for (bucket, coalescer) in self.buckets.iter_mut().enumerate() {
            let Some(mut coalescer) = coalescer.take() else {
                continue;
            };
            coalescer.finish_buffered_batch()?;
            while let Some(batch) = coalescer.next_completed_batch() {
                ready.push((bucket, batch));
            }
        }
        self.send(ready).await?;
        self.reservation.free();
        Ok(())
    }

    async fn send(&self, ready: Vec<(usize, RecordBatch)>) -> Result<()> {
        for (bucket, batch) in ready {
            let partitions = self.placement.partitions();
            let (to, partition) = (bucket / partitions, bucket % partitions);
            self.sender.send(to, partition, batch).await?;
        }
        Ok(())
    }
}
