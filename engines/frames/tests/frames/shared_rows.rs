//! Rows that another process has put into shared memory: read where they are, kept where they are,
//! pushed to disk like others; and refused when they are not what is said of them.

use arrow::array::{
    Array, ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::datatypes::Int32Type;
use bireme_frames::{
    Budget, Compression, FrameRoom, FrameStore, SharedRows, SharedWriter, SpillDirectory,
};
use bireme_protocol::QueryId;
use bireme_protocol::proto::{self, SharedArray, SharedBatch, SharedBuffer};
use bireme_shared_memory::seal;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use nix::sys::memfd::{MFdFlags, memfd_create};
use proptest::prelude::*;
use prost::Message;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::Arc;

const ROWS: i64 = 1 << 16;
const MIB: usize = 1 << 20;

fn memory() -> File {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    File::from(memfd_create("test", flags).unwrap())
}

fn path(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// What another process hands over; it lets go when this is dropped.
struct Handed {
    files: Vec<File>,
    rows: proto::SharedRows,
    described: Option<File>,
}

impl Handed {
    /// Batches that lie in a file each per column, all of one part.
    fn new(batches: &[RecordBatch]) -> Self {
        let schema = batches[0].schema();
        let mut rows = proto::SharedRows {
            schema_json: serde_json::to_string(schema.as_ref()).unwrap(),
            parts: 1,
            ..proto::SharedRows::default()
        };
        let files: Vec<File> = schema.fields().iter().map(|_| memory()).collect();
        rows.files = files.iter().map(path).collect();
        let mut ends = vec![0; files.len()];
        for batch in batches {
            let columns = (0..files.len()).map(|index| {
                let mut writer = SharedWriter::open(&rows.files[index], ends[index]).unwrap();
                let alone = batch.project(&[index]).unwrap();
                let mut written = writer.write(&alone).unwrap();
                ends[index] = written.end;
                let mut column = written.batches.remove(0).columns.remove(0);
                lies_in(&mut column, index as u32);
                column
            });
            let columns = columns.collect();
            rows.batches.push(SharedBatch {
                part: 0,
                rows: batch.num_rows() as u64,
                columns,
            });
        }
        files.iter().for_each(|file| seal(file).unwrap());
        Self {
            files,
            rows,
            described: None,
        }
    }

    /// Where it is described, as it is now.
    fn describe(&mut self) -> String {
        let mut described = memory();
        described.write_all(&self.rows.encode_to_vec()).unwrap();
        seal(&described).unwrap();
        path(self.described.insert(described))
    }

    fn read(&mut self, store: &Arc<FrameStore>) -> Result<Vec<RecordBatch>, String> {
        let rows = SharedRows::open(&self.describe()).map_err(|error| error.to_string())?;
        let read = rows.read(|_| true, None, store).unwrap();
        read.map(|batch| batch.map_err(|error| error.to_string()))
            .collect()
    }
}

fn lies_in(array: &mut SharedArray, file: u32) {
    for buffer in array.nulls.iter_mut().chain(&mut array.buffers) {
        buffer.file = file;
    }
    array.children.iter_mut().for_each(|one| lies_in(one, file));
}

fn store(memory: usize, disk: u64) -> (tempfile::TempDir, Arc<Budget>, Arc<FrameStore>) {
    let directory = tempfile::tempdir().unwrap();
    let budget = Budget::new(memory, disk);
    let spill = SpillDirectory::open(directory.path().join("spill"), Arc::clone(&budget)).unwrap();
    let store = FrameStore::new(Arc::clone(&budget), spill, Compression::Lz4).unwrap();
    (directory, budget, store)
}

fn numbers(first: i64) -> RecordBatch {
    let ids = first..first + ROWS;
    let whole = Int64Array::from_iter(ids.clone().map(|id| (id % 7 > 0).then_some(id)));
    let parts = Float64Array::from_iter_values(ids.map(|id| id as f64 / 7.0));
    let columns: [(&str, ArrayRef); 2] = [("id", Arc::new(whole)), ("part", Arc::new(parts))];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, one)| (name, one, true))).unwrap()
}

fn mixed() -> RecordBatch {
    let texts = StringArray::from(vec![Some("a"), None, Some("somewhat longer, é"), Some("")]);
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(4)]),
    ]);
    let numbers = Int64Array::from(vec![1, 2, 3, 4]);
    let columns: [(&str, ArrayRef); 3] = [
        ("text", Arc::new(texts)),
        ("list", Arc::new(lists)),
        ("number", Arc::new(numbers)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, one)| (name, one, true))).unwrap()
}

/// Keeps what is handed over as a segment.
fn keep(handed: &mut Handed, store: &Arc<FrameStore>) -> Result<QueryId, String> {
    let rows = SharedRows::open(&handed.describe()).unwrap();
    let segment = QueryId::random();
    let writer = store.write(segment, 0, Arc::clone(rows.schema())).unwrap();
    for batch in rows.read(|_| true, None, store).unwrap() {
        let batch = batch.map_err(|error| error.to_string())?;
        writer.push(&batch).map_err(|error| error.to_string())?;
    }
    writer.finish();
    Ok(segment)
}

fn kept(store: &Arc<FrameStore>, segment: QueryId) -> Vec<RecordBatch> {
    let reader = store.read(segment, 0, None).unwrap();
    let batches = (0..reader.len()).map(|index| match reader.resident(index).unwrap() {
        Some(batch) => batch,
        None => reader.restore(index).unwrap(),
    });
    batches.collect()
}

fn is_in_memory(store: &Arc<FrameStore>) -> u64 {
    store
        .snapshot()
        .iter()
        .map(|one| one.facts.host_bytes)
        .sum()
}

#[test]
fn rows_are_kept_where_they_are_and_outlive_who_wrote_them() {
    let (_directory, budget, store) = store(64 * MIB, u64::MAX);
    let batches: Vec<_> = (0..4).map(|index| numbers(index * ROWS)).collect();
    let mut handed = Handed::new(&batches);
    let bytes: u64 = handed
        .files
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    let segment = keep(&mut handed, &store).unwrap();
    // The pages that were written, once, and nothing beside them.
    let pages = |file: &File| file.metadata().unwrap().len().next_multiple_of(4096);
    let held: u64 = handed.files.iter().map(pages).sum();
    assert_eq!(budget.frames_used() as u64, held, "{bytes}");
    drop(handed);
    assert_eq!(kept(&store, segment), batches);
    store.drop_segment(segment);
    assert_eq!(budget.frames_used(), 0);
}

#[test]
fn under_pressure_they_go_to_disk_and_come_back() {
    let (_directory, budget, store) = store(64 * MIB, u64::MAX);
    let batches: Vec<_> = (0..4).map(|index| numbers(index * ROWS)).collect();
    let segment = keep(&mut Handed::new(&batches), &store).unwrap();
    let pool: Arc<dyn MemoryPool> = Arc::clone(&budget) as _;
    let reader = store.read(segment, 0, Some(&[0])).unwrap();
    let held = reader.resident(3).unwrap().unwrap();
    let operator = MemoryConsumer::new("operator").register(&pool);
    operator.try_grow(61 * MIB).unwrap();
    // The memory of a column leaves as a whole, and not under somebody who reads a part of it.
    assert!(budget.frames_used() > 0);
    assert_eq!(held, batches[3].project(&[0]).unwrap());
    drop((held, reader));
    operator.try_grow(2 * MIB).unwrap();
    assert_eq!((budget.frames_used(), is_in_memory(&store)), (0, 0));
    assert_eq!(kept(&store, segment), batches);
    operator.free();
    // There is room again: they stay where all frames do.
    assert_eq!(kept(&store, segment), batches);
    assert!(is_in_memory(&store) > 0);
    store.drop_segment(segment);
    assert_eq!((budget.frames_used(), budget.disk_used()), (0, 0));
}

#[test]
fn without_room_or_when_they_are_few_they_are_copied() {
    let few = vec![mixed()];
    let (_directory, budget, store) = store(64 * MIB, u64::MAX);
    let segment = keep(&mut Handed::new(&few), &store).unwrap();
    assert_eq!(kept(&store, segment), few);
    store.drop_segment(segment);
    assert_eq!(budget.frames_used(), 0);

    let many: Vec<_> = (0..4).map(|index| numbers(index * ROWS)).collect();
    assert!(budget.reserve_frames(54 * MIB, FrameRoom::Most));
    let segment = keep(&mut Handed::new(&many), &store).unwrap();
    assert!(budget.host_used() <= 64 * MIB, "{budget}");
    assert!(budget.disk_used() > 0);
    assert_eq!(kept(&store, segment), many);
    store.drop_segment(segment);
    budget.release_frames(54 * MIB);
    assert_eq!((budget.frames_used(), budget.disk_used()), (0, 0));
}

#[test]
fn what_could_change_or_is_no_memory_is_refused() {
    let (_directory, _budget, store) = store(64 * MIB, u64::MAX);
    let mut handed = Handed::new(&[mixed()]);
    let refused = |path: &str| SharedRows::open(path).unwrap_err().to_string();
    let open = memory();
    assert!(refused(&path(&open)).contains("not sealed"));
    let file = tempfile::tempfile().unwrap();
    assert!(refused(&path(&file)).contains("no file in memory"));
    let (pipe, _end) = std::io::pipe().unwrap();
    let pipe = File::from(std::os::fd::OwnedFd::from(pipe));
    assert!(refused(&path(&pipe)).contains("no file in memory"));
    assert!(refused("/etc/passwd").contains("no descriptor"));
    assert!(refused("/proc/self/fd/1").contains("no descriptor"));
    let gone = path(&memory());
    assert!(
        refused(&gone).contains("let go of it"),
        "{}",
        refused(&gone)
    );
    // The same of the files that hold the rows.
    handed.rows.files[0] = path(&open);
    let error = handed.read(&store).unwrap_err();
    assert!(error.contains("not sealed"), "{error}");
    handed.rows.files.clear();
    let error = handed.read(&store).unwrap_err();
    assert!(error.contains("refers to file 0"), "{error}");
}

#[test]
fn text_that_is_none_is_refused() {
    let (_directory, _budget, store) = store(64 * MIB, u64::MAX);
    let bytes: ArrayRef = Arc::new(arrow::array::BinaryArray::from_vec(vec![
        b"fine",
        b"\xff\xfe",
    ]));
    let batch = RecordBatch::try_from_iter([("text", bytes)]).unwrap();
    let mut handed = Handed::new(&[batch]);
    let schema = handed.rows.schema_json.replace("Binary", "Utf8");
    assert_ne!(schema, handed.rows.schema_json);
    handed.rows.schema_json = schema;
    let error = handed.read(&store).unwrap_err();
    assert!(
        error.to_lowercase().contains("utf8") || error.contains("UTF-8"),
        "{error}"
    );
}

/// One number of a description, by its place in it.
fn numbers_of(rows: &mut proto::SharedRows) -> Vec<&mut u64> {
    fn of_buffer<'a>(buffer: &'a mut SharedBuffer, found: &mut Vec<&'a mut u64>) {
        found.push(&mut buffer.offset);
        found.push(&mut buffer.length);
    }
    fn of_array<'a>(array: &'a mut SharedArray, found: &mut Vec<&'a mut u64>) {
        found.push(&mut array.length);
        for buffer in array.nulls.iter_mut().chain(&mut array.buffers) {
            of_buffer(buffer, found);
        }
        array
            .children
            .iter_mut()
            .for_each(|one| of_array(one, found));
    }
    let mut found = Vec::new();
    for batch in &mut rows.batches {
        found.push(&mut batch.rows);
        batch
            .columns
            .iter_mut()
            .for_each(|one| of_array(one, &mut found));
    }
    found
}

proptest! {
    /// Wrong numbers give an error or rows that are whole, and never more than that.
    #[test]
    fn nonsense_is_refused(
        place in any::<prop::sample::Index>(),
        value in prop_oneof![0..300_u64, any::<u64>(), (0..64_u32).prop_map(|bit| 1 << bit)],
    ) {
        let (_directory, _budget, store) = store(64 * MIB, u64::MAX);
        let mut handed = Handed::new(&[mixed()]);
        {
            let mut numbers = numbers_of(&mut handed.rows);
            let place = place.index(numbers.len());
            *numbers[place] = value;
        }
        for batch in handed.read(&store).unwrap_or_default() {
            for column in batch.columns() {
                column.to_data().validate_full().unwrap();
                let _ = arrow::util::display::array_value_to_string(column, column.len() - 1);
            }
        }
    }
}
