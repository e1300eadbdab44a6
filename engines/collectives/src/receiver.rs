//! The rows of one partition, as a stream. Dropping it tells every rank to send no more.

use crate::error::CollectivesError;
use crate::frame::Body;
use crate::operation::Operation;
use crate::receive::Next;
use crate::spill_queue;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use futures::Stream;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};
use tokio_util::task::AbortOnDropHandle;

type Reading = AbortOnDropHandle<Result<Buffer, CollectivesError>>;

/// A stream of what all ranks sent to one partition, in the order each of them sent it.
#[derive(Debug)]
pub struct Receiver {
    operation: Operation,
    schema: SchemaRef,
    partition: usize,
    /// A batch on its way from disk, and the rank it came from.
    reading: Option<(usize, Reading)>,
    bytes_spilled: u64,
    /// When the first batch was read from disk, and how long it took from then to the last.
    read_back: Option<(SystemTime, Instant, Duration)>,
    done: bool,
}

impl Receiver {
    pub(crate) fn new(operation: Operation, schema: SchemaRef, partition: usize) -> Self {
        Self {
            operation,
            schema,
            partition,
            reading: None,
            bytes_spilled: 0,
            read_back: None,
            done: false,
        }
    }

    /// Bytes of its rows that went to disk and came back.
    pub fn bytes_spilled(&self) -> u64 {
        self.bytes_spilled
    }

    fn rows(&self, from: usize, bytes: Buffer) -> Result<RecordBatch, CollectivesError> {
        let batch = bireme_frames::decode_batch(bytes, &self.schema)?;
        // Rows this rank sent itself were counted when they were sent.
        if from != self.operation.rank() {
            self.operation.count_rows_received(batch.num_rows());
        }
        Ok(batch)
    }

    fn poll_reading(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<RecordBatch, CollectivesError>>> {
        let Some((from, reading)) = &mut self.reading else {
            return Poll::Ready(None);
        };
        let from = *from;
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        if let Some((_, begun, took)) = &mut self.read_back {
            *took = begun.elapsed();
        }
        let bytes = read.map_err(|error| CollectivesError::Task {
            action: "read spilled rows",
            reason: error.to_string(),
        })??;
        Poll::Ready(Some(self.rows(from, bytes)))
    }

    fn poll_rows(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<RecordBatch, CollectivesError>>> {
        loop {
            if self.reading.is_some() {
                return self.poll_reading(context);
            }
            match ready!(self.operation.poll_next(self.partition, context))? {
                Next::End => return Poll::Ready(None),
                Next::Rows(from, Body::Batch(batch)) => {
                    if from != self.operation.rank() {
                        self.operation.count_rows_received(batch.num_rows());
                    }
                    return Poll::Ready(Some(Ok(batch)));
                }
                Next::Rows(from, Body::Encoded(bytes)) => {
                    return Poll::Ready(Some(self.rows(from, bytes)));
                }
                Next::Rows(_, Body::Empty | Body::Fault(_)) => {}
                Next::Spilled(file, entry) => {
                    let from = entry.from;
                    self.bytes_spilled += entry.bytes();
                    let now = || (SystemTime::now(), Instant::now(), Duration::ZERO);
                    self.read_back.get_or_insert_with(now);
                    let read = move || spill_queue::read(&file, &entry);
                    let handle = tokio::task::spawn_blocking(read);
                    self.reading = Some((from, AbortOnDropHandle::new(handle)));
                }
            }
        }
    }
}

impl Stream for Receiver {
    type Item = Result<RecordBatch, CollectivesError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        let next = ready!(self.poll_rows(context));
        self.done = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some((started, _, took)) = self.read_back {
            let bytes = self.bytes_spilled;
            self.operation
                .tell_moved(self.partition, true, bytes, (started, took));
        }
        self.operation.stop_partition(self.partition);
    }
}
