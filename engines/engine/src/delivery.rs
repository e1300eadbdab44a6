//! Which rows of a result travel: all of them, or the first and the last with the count of all, so
//! that a notebook never receives more than it shows.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;

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
