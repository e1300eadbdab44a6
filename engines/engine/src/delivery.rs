//! Which rows of a result travel: all of them, or the first and the last with the count of all, so
//! that a notebook never receives more than it shows.

use crate::fault_from::fault_from;
use bireme_protocol::proto::{Delivery, ResultSummary};
use bireme_protocol::{ErrorCode, Fault};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::sync::mpsc;

/// Rows a preview may hold at either end.
const PREVIEW_ROWS_MAX: u64 = 10_000;
/// Batches the tail may hold before it is compacted: each may pin a far larger one.
const TAIL_BATCHES_MAX: usize = 64;

/// Collects the two ends of a result.
pub(crate) struct Preview {
    head_wanted: usize,
    tail_wanted: usize,
    head: Vec<RecordBatch>,
    head_rows: usize,
    tail: Vec<RecordBatch>,
    tail_rows: usize,
    rows: u64,
    schema: SchemaRef,
}

/// The two ends and how many rows there are in all.
pub(crate) struct PreviewRows {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) head_rows: u64,
    pub(crate) tail_rows: u64,
    pub(crate) rows: u64,
}

impl Preview {
    pub(crate) fn new(schema: SchemaRef, head: u64, tail: u64) -> Self {
        let wanted = |n: u64| usize::try_from(n.min(PREVIEW_ROWS_MAX)).unwrap_or(0);
        Self {
            head_wanted: wanted(head),
            tail_wanted: wanted(tail),
            head: Vec::new(),
            head_rows: 0,
            tail: Vec::new(),
            tail_rows: 0,
            rows: 0,
            schema,
        }
    }

    /// Takes the next rows of the result.
    ///
    /// # Errors
    /// The kept rows cannot be copied together.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.rows += batch.num_rows() as u64;
        let for_head = batch.num_rows().min(self.head_wanted - self.head_rows);
        if for_head > 0 {
            self.head.push(batch.slice(0, for_head));
            self.head_rows += for_head;
        }
        let rest = batch.slice(for_head, batch.num_rows() - for_head);
        let for_tail = rest.num_rows().min(self.tail_wanted);
        if for_tail > 0 {
            self.tail
                .push(rest.slice(rest.num_rows() - for_tail, for_tail));
            self.tail_rows += for_tail;
        }
        self.trim_tail();
        if self.tail.len() > TAIL_BATCHES_MAX {
            self.tail = vec![concat_batches(&self.schema, &self.tail)?];
        }
        Ok(())
    }

    fn trim_tail(&mut self) {
        while let Some(first) = self.tail.first() {
            let over = self.tail_rows - self.tail_wanted.min(self.tail_rows);
            if over == 0 {
                return;
            }
            let cut = over.min(first.num_rows());
            self.tail_rows -= cut;
            match cut == first.num_rows() {
                true => drop(self.tail.remove(0)),
                false => self.tail[0] = first.slice(cut, first.num_rows() - cut),
            }
        }
    }

    pub(crate) fn finish(self) -> PreviewRows {
        let mut batches = self.head;
        batches.extend(self.tail);
        PreviewRows {
            batches,
            head_rows: self.head_rows as u64,
            tail_rows: self.tail_rows as u64,
            rows: self.rows,
        }
    }
}

/// Sends all rows of a result.
pub(crate) async fn send_all(
    mut stream: SendableRecordBatchStream,
    rows: &mpsc::Sender<RecordBatch>,
) -> Result<ResultSummary, Fault> {
    let mut summary = ResultSummary::default();
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| fault_from(&error))?;
        summary.rows += batch.num_rows() as u64;
        send(rows, batch).await?;
    }
    summary.head_rows = summary.rows;
    Ok(summary)
}

/// Sends the two ends of a result.
pub(crate) async fn send_preview(
    mut stream: SendableRecordBatchStream,
    delivery: Delivery,
    rows: &mpsc::Sender<RecordBatch>,
) -> Result<ResultSummary, Fault> {
    let mut preview = Preview::new(stream.schema(), delivery.head, delivery.tail);
    let copy_failed = |error| Fault::internal(format!("copy rows of a preview: {error}"));
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| fault_from(&error))?;
        preview.push(&batch).map_err(copy_failed)?;
    }
    // The rows below may pin large batches: nothing else of the plan is held meanwhile.
    drop(stream);
    let kept = preview.finish();
    for batch in kept.batches {
        send(rows, batch).await?;
    }
    Ok(ResultSummary {
        rows: kept.rows,
        head_rows: kept.head_rows,
        tail_rows: kept.tail_rows,
        ..ResultSummary::default()
    })
}

async fn send(rows: &mpsc::Sender<RecordBatch>, batch: RecordBatch) -> Result<(), Fault> {
    let sent = rows.send(batch).await;
    sent.map_err(|_| Fault::new(ErrorCode::Cancelled, "the client went away"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Int64Array, record_batch};

    fn ends(sizes: &[i64], head: u64, tail: u64) -> (Vec<i64>, u64) {
        let empty = record_batch!(("n", Int64, [0])).unwrap();
        let mut preview = Preview::new(empty.schema(), head, tail);
        let mut next = 0;
        for size in sizes {
            let numbers = Int64Array::from_iter_values(next..next + size);
            next += size;
            let batch = RecordBatch::try_new(empty.schema(), vec![std::sync::Arc::new(numbers)]);
            preview.push(&batch.unwrap()).unwrap();
        }
        let kept = preview.finish();
        let numbers = kept.batches.iter().flat_map(|batch| {
            let column = batch
                .column(0)
                .as_any()
                .downcast_ref::<Int64Array>()
                .unwrap();
            column.values().to_vec()
        });
        (numbers.collect(), kept.rows)
    }

    #[test]
    fn both_ends_are_kept_and_all_rows_counted() {
        assert_eq!(ends(&[3, 3, 4], 2, 3), (vec![0, 1, 7, 8, 9], 10));
        assert_eq!(ends(&[4], 5, 5), (vec![0, 1, 2, 3], 4));
        assert_eq!(ends(&[6], 5, 5), (vec![0, 1, 2, 3, 4, 5], 6));
        assert_eq!(ends(&[1; 200], 1, 2), (vec![0, 198, 199], 200));
        assert_eq!(ends(&[], 5, 5), (vec![], 0));
    }
}
