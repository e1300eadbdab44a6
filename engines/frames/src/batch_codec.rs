//! A record batch as bytes: an Arrow IPC stream of exactly one batch, with its dictionaries, so
//! that each message stands alone. Decoding is zero-copy. Sockets, spill files and the partitions of
//! frames share it.

use crate::compact_views::{compact_views, used_by_views};
use crate::error::FramesError;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use bireme_shared_memory::EncodedBatch;
use std::sync::Arc;

/// The batch as pieces to be written one after the other. The pieces share the batch's memory.
pub fn encode_batch(batch: &RecordBatch) -> Result<Vec<Buffer>, FramesError> {
    encoded_batch(batch).map(EncodedBatch::into_pieces)
}

/// The batch as it is written, without what its views refer to and do not use.
pub(crate) fn encoded_batch(batch: &RecordBatch) -> Result<EncodedBatch, FramesError> {
    let encoded = compact_views(batch).and_then(|batch| EncodedBatch::new(&batch));
    encoded.map_err(|source| FramesError::Codec {
        action: "encode",
        rows: batch.num_rows(),
        columns: batch.num_columns(),
        source: Box::new(source),
    })
}

/// The batch in the bytes [`encode_batch`] made, with the schema of its operation.
pub fn decode_batch(bytes: Buffer, schema: &SchemaRef) -> Result<RecordBatch, FramesError> {
    let failed = |source: ArrowError| FramesError::Codec {
        action: "decode",
        rows: 0,
        columns: schema.fields().len(),
        source: Box::new(source),
    };
    let mut bytes = bytes;
    let batch = StreamDecoder::new().decode(&mut bytes).map_err(failed)?;
    let empty = || ArrowError::IpcError("the message holds no batch".to_string());
    let batch = batch.ok_or_else(|| failed(empty()))?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options)
        .map_err(failed)
}

/// Bytes the rows take by themselves. Views and slices share buffers with batches that go
/// elsewhere, so the size of the memory behind them would count those again and again.
pub fn row_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(column_bytes).sum()
}

/// Bytes the rows of a column take by themselves.
fn column_bytes(column: &ArrayRef) -> usize {
    let data = column.to_data();
    data.get_slice_memory_size()
        .unwrap_or_else(|_| data.get_array_memory_size())
        + view_bytes(column)
}

fn view_bytes(column: &ArrayRef) -> usize {
    match column.data_type() {
        DataType::Utf8View => used_by_views(column.as_string_view()),
        DataType::BinaryView => used_by_views(column.as_binary_view()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        DictionaryArray, Int32Array, Int64Array, ListArray, StringArray, StringViewArray,
    };
    use arrow::datatypes::{Field, Int32Type, Schema};

    fn joined(pieces: &[Buffer]) -> Buffer {
        let bytes: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| piece.as_slice())
            .copied()
            .collect();
        Buffer::from_vec(bytes)
    }

    fn round_trip(batch: &RecordBatch) -> RecordBatch {
        decode_batch(joined(&encode_batch(batch).unwrap()), &batch.schema()).unwrap()
    }

    #[test]
    fn every_kind_of_column_comes_back() {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
        ]);
        let columns: Vec<(&str, ArrayRef, bool)> = vec![
            (
                "i",
                Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
                true,
            ),
            ("s", Arc::new(StringArray::from(vec!["a", "", "c"])), true),
            (
                "v",
                Arc::new(StringViewArray::from(vec![
                    Some("longer than twelve bytes"),
                    None,
                    Some("x"),
                ])),
                true,
            ),
            (
                "d",
                Arc::new(
                    vec!["x", "y", "x"]
                        .into_iter()
                        .collect::<DictionaryArray<Int32Type>>(),
                ),
                true,
            ),
            ("l", Arc::new(lists), true),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        assert_eq!(round_trip(&batch), batch);
        let slice = batch.slice(1, 2);
        assert_eq!(round_trip(&slice), slice);
        let empty = batch.slice(0, 0);
        assert_eq!(round_trip(&empty), empty);
    }

    #[test]
    fn rows_without_columns_keep_their_number() {
        let options = RecordBatchOptions::new().with_row_count(Some(7));
        let schema = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(schema, vec![], &options).unwrap();
        assert_eq!(round_trip(&batch).num_rows(), 7);
    }

    #[test]
    fn a_few_rows_of_many_views_are_a_small_message() {
        let long: Vec<_> = (0..10_000)
            .map(|i| format!("a value longer than twelve {i}"))
            .collect();
        let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(&long));
        let batch = RecordBatch::try_from_iter([("v", views)])
            .unwrap()
            .slice(17, 3);
        assert!(row_bytes(&batch) < 1000);
        assert!(joined(&encode_batch(&batch).unwrap()).len() < 4000);
        assert_eq!(round_trip(&batch), batch);
    }

    #[test]
    fn garbage_is_an_error() {
        let schema = Arc::new(Schema::new(vec![Field::new("i", DataType::Int32, false)]));
        assert!(decode_batch(Buffer::from_vec(vec![7_u8; 100]), &schema).is_err());
        assert!(decode_batch(Buffer::from_vec(Vec::<u8>::new()), &schema).is_err());
        let other: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("a", Arc::clone(&other)), ("b", other)]).unwrap();
        assert!(decode_batch(joined(&encode_batch(&batch).unwrap()), &schema).is_err());
    }
}
