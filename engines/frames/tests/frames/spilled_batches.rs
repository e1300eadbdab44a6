//! Batches in spill files: every type comes back whoever wrote it, views travel compact, damage is
//! an error that names file and offset, a full disk leaves the file as it was.

use crate::small_disk::SmallDisk;
use arrow::array::{
    ArrayRef, AsArray, DictionaryArray, Int64Array, ListArray, RecordBatch, StringArray,
    StringViewArray, StringViewBuilder, StructArray,
};
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::{DataType, Field, Int32Type, SchemaRef};
use bireme_frames::{
    Budget, FramesError, SpillDirectory, SpillTempFile, compact_memory_of_views, compact_views,
    decode_batch, encode_batch,
};
use datafusion::config::SpillCompression;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::spill_file::TempFileFactory;
use datafusion::physical_plan::SpillManager;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use futures::TryStreamExt;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// What stands before the bytes of a block: its length, then its checksum.
const HEADER_BYTES: u64 = 16;

fn directory(home: &Path, disk: u64) -> SpillDirectory {
    SpillDirectory::open(home.join("spill"), Budget::new(0, disk)).unwrap()
}

/// A batch of every kind of column, with these words in the one that has a dictionary.
fn batch_of(words: [&str; 3]) -> RecordBatch {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let views: ArrayRef = Arc::new(StringViewArray::from(vec![
        Some("longer than twelve bytes"),
        None,
        Some("x"),
    ]));
    let field = Arc::new(Field::new("v", DataType::Utf8View, true));
    let nested = StructArray::from(vec![(field, Arc::clone(&views))]);
    let dictionary: DictionaryArray<Int32Type> = words.into_iter().collect();
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        (
            "i",
            Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
            true,
        ),
        ("s", Arc::new(StringArray::from(vec!["a", "", "c"])), true),
        ("v", views, true),
        ("n", Arc::new(nested), true),
        ("d", Arc::new(dictionary), true),
        ("l", Arc::new(lists), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn batch() -> RecordBatch {
    batch_of(["x", "y", "x"])
}

/// Whole, empty and sliced batches, and one with another dictionary.
fn parts() -> [RecordBatch; 5] {
    let batch = batch();
    let other = batch_of(["z", "x", "w"]);
    let empty = batch.slice(0, 0);
    [
        batch.clone(),
        empty.clone(),
        batch.slice(1, 2),
        other,
        empty,
    ]
}

fn numbers(values: impl Iterator<Item = i64>) -> RecordBatch {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
    RecordBatch::try_from_iter([("i", values)]).unwrap()
}

/// Where a batch is in its file, as frames and exchanges remember it.
#[derive(Clone, Copy, Debug)]
struct Kept {
    offset: u64,
    length: usize,
}

impl Kept {
    /// Bytes it takes in the file.
    fn stored(&self) -> u64 {
        HEADER_BYTES + self.length as u64
    }
}

/// Writes a batch as frames and exchanges do.
fn keep(file: &SpillTempFile, batch: &RecordBatch) -> Result<Kept, FramesError> {
    let pieces = encode_batch(batch)?;
    let pieces: Vec<&[u8]> = pieces.iter().map(Buffer::as_slice).collect();
    let bytes = pieces.concat();
    let offset = file.append_checked(&bytes)?;
    Ok(Kept {
        offset,
        length: bytes.len(),
    })
}

/// Reads a batch as frames and exchanges do.
fn read(file: &SpillTempFile, kept: Kept, schema: &SchemaRef) -> Result<RecordBatch, FramesError> {
    let mut bytes = MutableBuffer::from_len_zeroed(kept.length);
    file.read_checked(bytes.as_slice_mut(), kept.offset)?;
    decode_batch(bytes.into(), schema)
}

/// Writes and reads files as DataFusion's operators and spilling joins do.
fn operators(
    spill: &SpillDirectory,
    schema: SchemaRef,
    compression: SpillCompression,
) -> SpillManager {
    let runtime = RuntimeEnvBuilder::new()
        .with_disk_manager_builder(spill.disk_manager())
        .build_arc()
        .unwrap();
    let metrics = SpillMetrics::new(&ExecutionPlanMetricsSet::new(), 0);
    SpillManager::new(runtime, metrics, schema).with_compression_type(compression)
}

/// Flips a bit; once more, and it is as it was.
fn damage(path: &Path, offset: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[test]
fn batches_come_back_in_any_order() {
    let home = tempfile::tempdir().unwrap();
    let spill = directory(home.path(), 1 << 20);
    let file = spill.create().unwrap();
    let parts = parts();
    let kept: Vec<_> = parts
        .iter()
        .map(|part| keep(&file, part).unwrap())
        .collect();
    assert_eq!(file.len(), kept.iter().map(Kept::stored).sum::<u64>());
    for (kept, part) in kept.iter().zip(&parts).rev() {
        assert_eq!(read(&file, *kept, &part.schema()).unwrap(), *part);
    }
    drop(file);
    assert_eq!(
        (spill.budget().disk_used(), spill.counters().files_live),
        (0, 0)
    );
}

#[tokio::test]
async fn what_operators_write_comes_back_compressed_or_not() {
    let home = tempfile::tempdir().unwrap();
    let spill = directory(home.path(), 1 << 20);
    let parts = parts();
    for compression in [SpillCompression::Uncompressed, SpillCompression::Lz4Frame] {
        let manager = operators(&spill, batch().schema(), compression);
        let file = manager.spill_record_batch_and_finish(&parts, "joining");
        let file = file.unwrap().unwrap();
        let rows = manager.read_spill_as_stream_unbuffered(file, None).unwrap();
        let read: Vec<RecordBatch> = rows.try_collect().await.unwrap();
        assert_eq!(read, parts);
    }
    assert_eq!(
        (spill.budget().disk_used(), spill.counters().files_live),
        (0, 0)
    );
}

#[test]
fn compression_makes_what_repeats_smaller() {
    let home = tempfile::tempdir().unwrap();
    let spill = directory(home.path(), 1 << 30);
    let batch = numbers((0..100_000).map(|i| i % 7));
    let stored = |compression| {
        let manager = operators(&spill, batch.schema(), compression);
        let batches = std::slice::from_ref(&batch);
        let file = manager.spill_record_batch_and_finish(batches, "sorting");
        let file = file.unwrap().unwrap();
        let used = spill.budget().disk_used();
        drop(file);
        used
    };
    assert!(stored(SpillCompression::Lz4Frame) * 4 < stored(SpillCompression::Uncompressed));
}

#[test]
fn views_are_written_without_what_they_do_not_use() {
    let home = tempfile::tempdir().unwrap();
    let spill = directory(home.path(), 1 << 20);
    let long = (0..10_000).map(|i| format!("a value longer than twelve {i}"));
    let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(long));
    let field = Arc::new(Field::new("v", DataType::Utf8View, true));
    let nested: ArrayRef = Arc::new(StructArray::from(vec![(field, Arc::clone(&views))]));
    let batch = RecordBatch::try_from_iter([("v", views), ("n", nested)]).unwrap();
    let few = batch.slice(17, 3);
    let file = spill.create().unwrap();
    let kept = keep(&file, &few).unwrap();
    assert!(kept.length < 5000, "{kept:?}");
    assert_eq!(read(&file, kept, &few.schema()).unwrap(), few);
    assert_eq!(compact_views(&few).unwrap(), few);
}

#[test]
fn views_give_back_memory_that_was_allocated_for_more() {
    let text = b"a value longer than twelve";
    let views = |buffer: Buffer| {
        let mut views = StringViewBuilder::new();
        let block = views.append_block(buffer);
        views.try_append_view(block, 0, text.len() as u32).unwrap();
        RecordBatch::try_from_iter([("v", Arc::new(views.finish()) as ArrayRef)]).unwrap()
    };
    let mut roomy = Vec::with_capacity(1 << 20);
    roomy.extend_from_slice(text);
    let batch = views(Buffer::from_vec(roomy));
    let compact = compact_memory_of_views(&batch).unwrap();
    assert_eq!(compact, batch);
    assert!(batch.get_array_memory_size() > 1 << 20);
    assert!(compact.get_array_memory_size() < 1000);
    // All of it is used where it is written.
    assert!(compact_views(&batch).unwrap().get_array_memory_size() > 1 << 20);
    // What lies in memory of others stays there: a copy would free nothing.
    let shared = Buffer::from_vec([vec![0; 1 << 20], text.to_vec()].concat());
    let batch = views(shared.slice(1 << 20));
    let same = compact_memory_of_views(&batch).unwrap();
    let start = |batch: &RecordBatch| batch.column(0).as_string_view().data_buffers()[0].as_ptr();
    assert_eq!(start(&same), start(&batch));
}

#[test]
fn damage_is_an_error_that_names_file_and_offset() {
    let home = tempfile::tempdir().unwrap();
    let spill = directory(home.path(), 1 << 20);
    let batch = batch();
    let schema = batch.schema();
    let file = spill.create().unwrap();
    let [first, second, third] = [(); 3].map(|()| keep(&file, &batch).unwrap());
    let checksum = "its checksum is another";
    let parts = [
        (0, "its length is another"),
        (5, "the file ends within it"),
        (8, checksum),
        (13, checksum),
        (HEADER_BYTES, checksum),
        (100, checksum),
        (second.stored() - 1, checksum),
    ];
    let place = format!("at offset {}", second.offset);
    for (at, reason) in parts {
        damage(file.path(), second.offset + at);
        let error = read(&file, second, &schema).unwrap_err().to_string();
        for said in ["spill-", place.as_str(), reason] {
            assert!(error.contains(said), "{at}: {error}");
        }
        for whole in [first, third] {
            assert_eq!(read(&file, whole, &schema).unwrap(), batch);
        }
        damage(file.path(), second.offset + at);
    }
    assert_eq!(read(&file, second, &schema).unwrap(), batch);
}

#[test]
fn a_truncated_file_is_an_error_that_names_it() {
    let home = tempfile::tempdir().unwrap();
    let spill = directory(home.path(), 1 << 20);
    let batch = batch();
    let schema = batch.schema();
    let file = spill.create().unwrap();
    let first = keep(&file, &batch).unwrap();
    let second = keep(&file, &batch).unwrap();
    let beyond = Kept {
        offset: file.len(),
        length: second.length,
    };
    let error = read(&file, beyond, &schema).unwrap_err().to_string();
    assert!(error.contains("the file ends within its header"), "{error}");
    // Within its bytes, within its header, and where it begins.
    for left in [50, 10, 0] {
        let truncated = OpenOptions::new().write(true).open(file.path()).unwrap();
        truncated.set_len(second.offset + left).unwrap();
        let error = read(&file, second, &schema).unwrap_err().to_string();
        assert!(
            error.contains("read spill file") && error.contains("spill-"),
            "{error}"
        );
        assert_eq!(read(&file, first, &schema).unwrap(), batch);
    }
}

#[test]
fn a_full_disk_leaves_the_file_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let batch = batch();
    let spill = directory(home.path(), 32 << 10);
    let file = spill.create().unwrap();
    let mut kept = Vec::new();
    let error = loop {
        match keep(&file, &batch) {
            Ok(one) => kept.push(one),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("memory.disk_limit"), "{error}");
    assert!(!kept.is_empty());
    for one in &kept {
        assert_eq!(read(&file, *one, &batch.schema()).unwrap(), batch);
    }
    let stored: u64 = kept.iter().map(Kept::stored).sum();
    assert_eq!(spill.budget().disk_used(), stored);
    drop(file);
    assert_eq!(spill.budget().disk_used(), 0);
}

#[test]
fn a_full_disk_ends_what_operators_write_and_is_free_again() {
    let home = tempfile::tempdir().unwrap();
    let spill = directory(home.path(), 256 << 10);
    let batch = numbers(0..10_000);
    let manager = operators(&spill, batch.schema(), SpillCompression::Uncompressed);
    let mut file = manager.create_in_progress_file("sorting").unwrap();
    let error = loop {
        if let Err(error) = file.append_batch(&batch) {
            break error.to_string();
        }
    };
    assert!(error.contains("memory.disk_limit"), "{error}");
    drop(file);
    assert_eq!(
        (spill.budget().disk_used(), spill.counters().files_live),
        (0, 0)
    );
}

#[tokio::test]
async fn what_operators_write_is_checked_too() {
    let home = tempfile::tempdir().unwrap();
    let spill = directory(home.path(), 8 << 20);
    let file = spill.create_temp_file("sorting").unwrap();
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    let mut writer = file.open_writer().unwrap();
    for (i, piece) in bytes.chunks(30_000).enumerate() {
        writer.write_all(piece).unwrap();
        if i % 5 == 0 {
            writer.flush().unwrap();
        }
    }
    writer.finish().unwrap();
    assert_eq!(file.size(), Some(bytes.len() as u64));
    let read: Vec<_> = file.read_stream().unwrap().try_collect().await.unwrap();
    assert_eq!(read.concat(), bytes);
    let path = file.path().unwrap();
    let checksum = "its checksum is another";
    // The first block is read to its length, whatever that says.
    let parts = [
        (0, checksum),
        (5, "the file ends within it"),
        (13, checksum),
        (500_000, checksum),
    ];
    for (at, reason) in parts {
        damage(path, at);
        let read: Result<Vec<_>, _> = file.read_stream().unwrap().try_collect().await;
        let error = read.unwrap_err().to_string();
        assert!(error.contains(reason), "{at}: {error}");
        damage(path, at);
    }
    let whole = std::fs::metadata(path).unwrap().len();
    let truncated = OpenOptions::new().write(true).open(path).unwrap();
    truncated.set_len(whole - 1).unwrap();
    let read: Result<Vec<_>, _> = file.read_stream().unwrap().try_collect().await;
    let error = read.unwrap_err().to_string();
    assert!(error.contains("read spill file"), "{error}");
}

#[test]
fn a_disk_without_space_is_an_error_and_gives_back_what_was_written() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let spill = directory(disk.path(), 1 << 30);
    let batch = numbers(0..10_000);
    let file = spill.create().unwrap();
    let mut kept = Vec::new();
    let error = loop {
        match keep(&file, &batch) {
            Ok(one) => kept.push(one),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("append to spill file"), "{error}");
    let stored: u64 = kept.iter().map(Kept::stored).sum();
    let path = file.path().to_path_buf();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), stored);
    assert_eq!(read(&file, kept[0], &batch.schema()).unwrap(), batch);
    assert_eq!(spill.budget().disk_used(), stored);
    drop(file);
    assert!(!path.exists());
    let again = spill.create().unwrap();
    keep(&again, &batch).unwrap();
    drop((again, spill));
}
