//! A table that is written is read again as it was, and what is no table is refused.

use arrow_array::builder::{Int32Builder, ListBuilder, StringDictionaryBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int64Array,
    MapArray, NullArray, RecordBatch, StringArray, StringViewArray, StructArray,
    TimestampNanosecondArray,
};
use arrow_buffer::Buffer;
use arrow_schema::{DataType, Field, Schema};
use bireme::Table;
use bireme::transfer::{Layout, TableWriter, TransferError, map_file};
use std::sync::Arc;

fn lists() -> ArrayRef {
    let mut lists = ListBuilder::new(Int32Builder::new());
    lists.append_value([Some(1), None]);
    lists.append_null();
    lists.append_value([]);
    Arc::new(lists.finish())
}

fn dictionary() -> ArrayRef {
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    words.append_value("x");
    words.append_null();
    words.append_value("x");
    Arc::new(words.finish())
}

fn maps() -> ArrayRef {
    let keys = ["a", "b", "c"];
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let map = MapArray::new_from_strings(keys.into_iter(), &values, &[0, 1, 1, 3]).unwrap();
    Arc::new(map)
}

fn nested() -> ArrayRef {
    let field =
        |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    let (inner, words) = (lists(), dictionary());
    let columns = vec![
        (field("a \"quoted\" name", &inner), inner),
        (field("words", &words), words),
    ];
    Arc::new(StructArray::from(columns))
}

fn batch() -> RecordBatch {
    let long = "longer than the twelve bytes of a view";
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "int",
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(7)])),
        ),
        (
            "float",
            Arc::new(Float64Array::from(vec![f64::NAN, 0.5, -0.0])),
        ),
        (
            "bool",
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        ),
        (
            "text",
            Arc::new(StringArray::from(vec![Some("é"), None, Some("")])),
        ),
        (
            "view",
            Arc::new(StringViewArray::from(vec![Some(long), None, Some("short")])),
        ),
        ("none", Arc::new(NullArray::new(3))),
        (
            "time",
            Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3]).with_timezone("Europe/Zurich")),
        ),
        (
            "decimal",
            Arc::new(
                Decimal128Array::from(vec![1, -2, 3])
                    .with_precision_and_scale(20, 2)
                    .unwrap(),
            ),
        ),
        (
            "fixed",
            Arc::new(
                FixedSizeBinaryArray::try_from_iter([[1_u8, 2], [3, 4], [5, 6]].iter()).unwrap(),
            ),
        ),
        ("list", lists()),
        ("dictionary", dictionary()),
        ("map", maps()),
        ("struct", nested()),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap()
}

fn read(bytes: Vec<u8>) -> Result<Table, TransferError> {
    let bytes = Buffer::from_vec(bytes);
    Layout::read(&bytes)?.table(&[bytes])
}

fn round_trip(schema: &Schema, batches: &[RecordBatch]) -> Table {
    let mut writer = TableWriter::new(Vec::new(), schema).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    read(writer.finish().unwrap()).unwrap()
}

#[test]
fn every_kind_of_column_comes_back() {
    let batch = batch();
    let batches = [batch.clone(), batch.slice(1, 2), batch.slice(2, 0)];
    let table = round_trip(&batch.schema(), &batches);
    assert_eq!(table.schema(), &batch.schema());
    assert_eq!(table.batches(), batches);
}

#[test]
fn tables_without_rows_or_columns_come_back() {
    let schema = Schema::new(vec![Field::new("a", DataType::Int64, false)]);
    let table = round_trip(&schema, &[]);
    assert_eq!((table.num_rows(), table.num_columns()), (0, 1));
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(5));
    let none = Arc::new(Schema::empty());
    let rows = RecordBatch::try_new_with_options(Arc::clone(&none), vec![], &options).unwrap();
    assert_eq!(round_trip(&none, &[rows]).num_rows(), 5);
}

#[test]
fn what_is_no_table_is_refused() {
    let mut written = TableWriter::new(Vec::new(), &batch().schema()).unwrap();
    written.write(&batch()).unwrap();
    let whole = written.finish().unwrap();
    for length in (0..whole.len()).step_by(7) {
        read(whole[..length].to_vec()).unwrap_err();
    }
    read(b"something else entirely, and long".to_vec()).unwrap_err();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &whole).unwrap();
    let refused = map_file(file.path()).unwrap_err().to_string();
    assert!(refused.contains("not sealed"), "{refused}");
}

/// Files that stand for memory of a kernel, open here under these descriptors.
fn files(count: usize) -> (Vec<std::fs::File>, Vec<i32>) {
    use std::os::fd::AsRawFd;
    let files: Vec<_> = (0..count).map(|_| tempfile::tempfile().unwrap()).collect();
    let descriptors = files.iter().map(AsRawFd::as_raw_fd).collect();
    (files, descriptors)
}

#[test]
fn a_variable_is_divided_into_parts_in_its_order() {
    use std::io::Read;
    let batch = batch();
    let table = Table::from_batches(batch.schema(), vec![batch.clone(); 5]).unwrap();
    for (parts, each) in [(1, 1), (2, 3), (4, 1), (40, 2)] {
        let (written, descriptors) = files(1 + parts * each);
        bireme::scatter::write(&table, std::process::id(), &descriptors, parts).unwrap();
        let bytes: Vec<Buffer> = written
            .into_iter()
            .map(|mut file| {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                Buffer::from_vec(bytes)
            })
            .collect();
        let layout = Layout::read(&bytes[0]).unwrap();
        assert!(layout.batches.is_sorted_by_key(|batch| batch.part));
        let counted = |part| {
            let own = layout.batches.iter().filter(|batch| batch.part == part);
            own.map(|batch| batch.rows).sum::<u64>()
        };
        let least = (15 / parts) as u64;
        assert!((0..parts as u64).all(|part| (least..=least + 1).contains(&counted(part))));
        let back = layout.table(&bytes).unwrap();
        assert_eq!(
            joined(&back),
            joined(&table),
            "{parts} parts of {each} files"
        );
    }
}

/// Row by row: how rows are divided into batches is not looked at.
fn joined(table: &Table) -> Vec<RecordBatch> {
    let rows = table
        .batches()
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(move |row| batch.slice(row, 1)));
    rows.collect()
}
