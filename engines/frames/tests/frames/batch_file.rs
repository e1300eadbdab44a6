//! Batches in files: every type comes back, views travel compact, damage is an error that names
//! file and offset, a full disk leaves the file as it was.

use arrow::array::{
    ArrayRef, DictionaryArray, Int64Array, ListArray, RecordBatch, StringArray, StringViewArray,
    StructArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use bireme_frames::{BatchFile, Budget, SpillCompression, SpillDirectory, compact_views};
use datafusion::execution::spill_file::TempFileFactory;
use futures::TryStreamExt;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

fn directory(home: &Path, disk: u64) -> SpillDirectory {
    SpillDirectory::open(home.join("spill"), Budget::new(0, disk)).unwrap()
}

fn batch() -> RecordBatch {
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
    let dictionary: DictionaryArray<Int32Type> = vec!["x", "y", "x"].into_iter().collect();
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
    let batch = batch();
    for compression in [SpillCompression::None, SpillCompression::Lz4] {
        let file = BatchFile::create(&spill, batch.schema(), compression).unwrap();
        let parts = [batch.clone(), batch.slice(1, 2), batch.slice(0, 0)];
        let entries: Vec<_> = parts
            .iter()
            .map(|part| file.append(part).unwrap())
            .collect();
        let stored: u64 = entries.iter().map(|entry| entry.stored_bytes).sum();
        assert_eq!(file.file().len(), stored);
        for (entry, part) in entries.iter().zip(&parts).rev() {
            assert_eq!(file.read(entry).unwrap(), *part);
            assert_eq!(entry.rows, part.num_rows());
        }
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
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values((0..100_000).map(|i| i % 7)));
    let batch = RecordBatch::try_from_iter([("i", values)]).unwrap();
    let stored = |compression| {
        let file = BatchFile::create(&spill, batch.schema(), compression).unwrap();
        file.append(&batch).unwrap().stored_bytes
    };
    assert!(stored(SpillCompression::Lz4) * 4 < stored(SpillCompression::None));
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
    let file = BatchFile::create(&spill, batch.schema(), SpillCompression::None).unwrap();
    let entry = file.append(&few).unwrap();
    assert!(entry.stored_bytes < 5000, "{entry:?}");
    assert_eq!(file.read(&entry).unwrap(), few);
    assert_eq!(compact_views(&few).unwrap(), few);
}

#[test]
fn damage_is_an_error_that_names_file_and_offset() {
    let home = tempfile::tempdir().unwrap();
    let spill = directory(home.path(), 1 << 20);
    let batch = batch();
    let file = BatchFile::create(&spill, batch.schema(), SpillCompression::Lz4).unwrap();
    let first = file.append(&batch).unwrap();
    let second = file.append(&batch).unwrap();
    let path = file.file().path().to_path_buf();
    for at in [0, 5, 13, 100] {
        damage(&path, second.offset + at);
        let error = file.read(&second).unwrap_err().to_string();
        let place = format!("at offset {}", second.offset);
        assert!(
            error.contains(&place) && error.contains("spill-"),
            "{error}"
        );
        assert_eq!(file.read(&first).unwrap(), batch);
        damage(&path, second.offset + at);
    }
    assert_eq!(file.read(&second).unwrap(), batch);
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(second.offset + 50)
        .unwrap();
    let error = file.read(&second).unwrap_err().to_string();
    assert!(error.contains("read spill file"), "{error}");
}

#[test]
fn a_full_disk_leaves_the_file_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let batch = batch();
    let spill = directory(home.path(), 4096);
    let file = BatchFile::create(&spill, batch.schema(), SpillCompression::None).unwrap();
    let mut entries = Vec::new();
    let error = loop {
        match file.append(&batch) {
            Ok(entry) => entries.push(entry),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("memory.disk_limit"), "{error}");
    for entry in &entries {
        assert_eq!(file.read(entry).unwrap(), batch);
    }
    let used: u64 = entries.iter().map(|entry| entry.stored_bytes).sum();
    assert_eq!(spill.budget().disk_used(), used);
    drop(file);
    assert_eq!(spill.budget().disk_used(), 0);
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
    damage(file.path().unwrap(), 500_000);
    let read: Result<Vec<_>, _> = file.read_stream().unwrap().try_collect().await;
    let error = read.unwrap_err().to_string();
    assert!(error.contains("its checksum is another"), "{error}");
}

/// A file system of its own that is full after a megabyte.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(home.path())
            .output();
        match mount {
            Ok(mount) if mount.status.success() => Some(Self(home)),
            other => {
                println!("skipped: a tmpfs cannot be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount = std::process::Command::new("umount")
            .arg(self.0.path())
            .status();
        assert!(unmount.unwrap().success());
    }
}

#[test]
fn a_disk_without_space_is_an_error_and_gives_back_what_was_written() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let spill = directory(disk.0.path(), 1 << 30);
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
    let batch = RecordBatch::try_from_iter([("i", values)]).unwrap();
    let schema = Arc::new(Schema::new(batch.schema().fields().clone()));
    let file = BatchFile::create(&spill, schema, SpillCompression::None).unwrap();
    let mut entries = Vec::new();
    let error = loop {
        match file.append(&batch) {
            Ok(entry) => entries.push(entry),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("append to spill file"), "{error}");
    let stored: u64 = entries.iter().map(|entry| entry.stored_bytes).sum();
    let path = file.file().path().to_path_buf();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), stored);
    assert_eq!(file.read(&entries[0]).unwrap(), batch);
    assert_eq!(spill.budget().disk_used(), stored);
    drop(file);
    assert!(!path.exists());
    let again = BatchFile::create(&spill, batch.schema(), SpillCompression::None).unwrap();
    again.append(&batch).unwrap();
    drop((again, spill));
}
