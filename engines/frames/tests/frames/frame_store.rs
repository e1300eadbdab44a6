//! The frame store: what it holds comes back, from memory and from disk; what cannot be kept is an
//! error that leaves nothing behind.

use crate::small_disk::SmallDisk;
use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use bireme_frames::{Budget, Compression, FrameStore, PartitionFacts, SpillDirectory};
use bireme_protocol::QueryId;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROWS: i64 = 8192;
const BATCHES: i64 = 64;
const PATIENCE: Duration = Duration::from_secs(10);

/// A store with so many bytes of memory and of disk.
struct Engine {
    budget: Arc<Budget>,
    store: Arc<FrameStore>,
    directory: tempfile::TempDir,
}

impl Engine {
    fn new(memory: usize, disk: u64) -> Self {
        Self::with(memory, disk, Compression::None)
    }

    fn with(memory: usize, disk: u64, compression: Compression) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (budget, store) = store_at(directory.path(), memory, disk, compression);
        Self {
            budget,
            store,
            directory,
        }
    }

    fn persist(&self, segment: QueryId) -> Result<PartitionFacts, String> {
        let writer = self.store.write(segment, 0, batch(0).schema());
        let writer = writer.map_err(|error| error.to_string())?;
        for index in 0..BATCHES {
            writer
                .push(&batch(index))
                .map_err(|error| error.to_string())?;
        }
        Ok(writer.finish())
    }

    fn holds_nothing(&self) {
        assert!(self.store.snapshot().is_empty());
        is_free(&self.budget);
    }
}

fn store_at(
    path: &Path,
    memory: usize,
    disk: u64,
    compression: Compression,
) -> (Arc<Budget>, Arc<FrameStore>) {
    let budget = Budget::new(memory, disk);
    let spill = SpillDirectory::open(path.join("spill"), Arc::clone(&budget)).unwrap();
    let store = FrameStore::new(Arc::clone(&budget), spill, compression).unwrap();
    (budget, store)
}

/// The thread that pushes frames down may look at one a moment longer than its owner.
fn is_free(budget: &Budget) {
    let deadline = Instant::now() + PATIENCE;
    while (budget.frames_used(), budget.disk_used()) != (0, 0) {
        assert!(Instant::now() < deadline, "{:?}", budget.snapshot());
        std::thread::yield_now();
    }
}

fn batch(index: i64) -> RecordBatch {
    let values = Int64Array::from_iter_values(index * ROWS..(index + 1) * ROWS);
    RecordBatch::try_from_iter([("value", Arc::new(values) as _)]).unwrap()
}

/// Reads every batch of a partition, from wherever it is.
fn read(store: &Arc<FrameStore>, segment: QueryId) -> Result<Vec<RecordBatch>, String> {
    let reader = store
        .read(segment, 0, None)
        .map_err(|error| error.to_string())?;
    let one = |index| match reader.resident(index) {
        Ok(Some(batch)) => Ok(batch),
        Ok(None) => reader.restore(index).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    (0..reader.len()).map(one).collect()
}

fn expect_all(batches: &[RecordBatch]) {
    let expected: Vec<RecordBatch> = (0..BATCHES).map(batch).collect();
    assert!(batches == expected, "other rows than were written");
}

#[test]
fn what_was_dropped_is_not_written_any_more() {
    let engine = Engine::new(64 << 20, 64 << 20);
    let (dropped, other) = (QueryId::random(), QueryId::random());
    engine.persist(dropped).unwrap();
    engine.store.drop_segment(dropped);
    engine.holds_nothing();
    let refused = engine.persist(dropped).unwrap_err();
    assert!(
        refused.ends_with("it was dropped, as its query has ended"),
        "{refused}"
    );
    engine.holds_nothing();
    engine.persist(other).unwrap();
}

#[test]
fn a_segment_that_is_dropped_while_it_is_written_leaves_nothing() {
    let engine = Engine::new(64 << 20, 64 << 20);
    let segment = QueryId::random();
    let writer = engine.store.write(segment, 0, batch(0).schema()).unwrap();
    writer.push(&batch(0)).unwrap();
    engine.store.drop_segment(segment);
    writer.push(&batch(1)).unwrap();
    writer.finish();
    engine.holds_nothing();
}

#[test]
fn a_frame_larger_than_memory_comes_back_from_disk_again_and_again() {
    let engine = Engine::new(1 << 20, 64 << 20);
    let segment = QueryId::random();
    let facts = engine.persist(segment).unwrap();
    assert_eq!(facts.rows, (BATCHES * ROWS) as u64);
    assert!(
        facts.host_bytes < 1 << 20 && facts.disk_bytes > 3 << 20,
        "{facts:?}"
    );
    for _ in 0..3 {
        expect_all(&read(&engine.store, segment).unwrap());
    }
    engine.store.drop_segment(segment);
    engine.holds_nothing();
}

#[test]
fn what_is_compressed_takes_less_disk_and_comes_back() {
    let engine = Engine::with(0, 64 << 20, Compression::Lz4);
    let segment = QueryId::random();
    let facts = engine.persist(segment).unwrap();
    assert!(
        0 < facts.disk_bytes && facts.disk_bytes < facts.bytes * 3 / 4,
        "{facts:?}"
    );
    expect_all(&read(&engine.store, segment).unwrap());
}

#[test]
fn columns_go_to_disk_and_come_back_by_themselves() {
    let engine = Engine::new(6 << 20, 64 << 20);
    let wide = |index| {
        let values = || Arc::clone(batch(index).column(0));
        RecordBatch::try_from_iter([("hot", values()), ("cold", values())]).unwrap()
    };
    let segment = QueryId::random();
    let writer = engine.store.write(segment, 0, wide(0).schema()).unwrap();
    let rows = 32;
    for index in 0..rows {
        writer.push(&wide(index)).unwrap();
    }
    let whole = writer.finish();
    let hot = engine.store.read(segment, 0, Some(&[0])).unwrap();
    assert_eq!(hot.schema().fields().len(), 1);
    let cold = engine.store.read(segment, 0, Some(&[1])).unwrap();
    let bytes: usize = (0..rows as usize)
        .map(|row| hot.bytes_of(row) + cold.bytes_of(row))
        .sum();
    assert_eq!(bytes as u64, whole.bytes);
    drop(cold);
    let other = QueryId::random();
    engine.persist(other).unwrap();
    for index in 0..rows {
        let values = hot.resident(index as usize).unwrap();
        let values = values.expect("what is read stays in memory");
        assert_eq!(values.column(0), wide(index).column(0));
    }
    let both = engine.store.read(segment, 0, Some(&[1, 0])).unwrap();
    for index in 0..rows {
        let values = both.restore(index as usize).unwrap();
        assert_eq!(values, wide(index).project(&[1, 0]).unwrap());
    }
    let wrong = engine.store.read(segment, 0, Some(&[2])).unwrap_err();
    assert!(wrong.to_string().starts_with("read a batch"), "{wrong}");
}

#[test]
fn what_is_read_is_not_taken_from_under_the_reader() {
    let engine = Engine::new(6 << 20, 64 << 20);
    let (read_one, other) = (QueryId::random(), QueryId::random());
    engine.persist(read_one).unwrap();
    let reader = engine.store.read(read_one, 0, None).unwrap();
    let held = reader.resident(0).unwrap().expect("it is in memory");
    engine.persist(other).unwrap();
    let facts = engine.store.snapshot();
    let facts = facts.iter().find(|one| one.id == read_one).unwrap().facts;
    assert_eq!(facts.host_bytes, facts.bytes, "the other went to disk");
    assert_eq!(held, batch(0));
    drop((held, reader));
    expect_all(&read(&engine.store, read_one).unwrap());
    expect_all(&read(&engine.store, other).unwrap());
}

/// Who can spill does so; who cannot, or holds too little, comes before the reader.
#[test]
fn operators_that_can_spill_leave_what_is_read() {
    let engine = Engine::new(6 << 20, 64 << 20);
    let segment = QueryId::random();
    let whole = engine.persist(segment).unwrap();
    let reader = engine.store.read(segment, 0, None).unwrap();
    let resident = || engine.store.snapshot()[0].facts.host_bytes;
    let before = resident();
    assert!(before > 3 << 20, "{before}");
    let pool = Arc::clone(&engine.budget) as Arc<dyn MemoryPool>;
    let sort = MemoryConsumer::new("sort").with_can_spill(true);
    let (sort, keys) = (
        sort.register(&pool),
        MemoryConsumer::new("keys").register(&pool),
    );
    sort.try_grow(300 << 10).unwrap();
    let refused = sort.try_grow(3 << 20).unwrap_err().to_string();
    assert!(refused.contains("while they are read"), "{refused}");
    assert_eq!(resident(), before, "of {} bytes", whole.bytes);
    keys.try_grow(3 << 20).unwrap();
    assert!(resident() < before);
    keys.free();
    drop(reader);
    sort.try_grow(3 << 20).unwrap();
    expect_all(&read(&engine.store, segment).unwrap());
}

#[test]
fn the_disk_limit_is_an_error_and_gives_back_what_was_written() {
    let engine = Engine::new(1 << 20, 2 << 20);
    let refused = engine.persist(QueryId::random()).unwrap_err();
    assert!(refused.contains("raise memory.disk_limit"), "{refused}");
    engine.holds_nothing();
    let small = QueryId::random();
    let writer = engine.store.write(small, 0, batch(0).schema()).unwrap();
    writer.push(&batch(0)).unwrap();
    writer.finish();
    assert_eq!(read(&engine.store, small).unwrap(), [batch(0)]);
}

#[test]
fn who_is_refused_because_frames_cannot_be_written_is_told_why() {
    let engine = Engine::new(8 << 20, 1 << 20);
    let segment = QueryId::random();
    engine.persist(segment).unwrap();
    let pool = Arc::clone(&engine.budget) as Arc<dyn MemoryPool>;
    let reservation = MemoryConsumer::new("sort")
        .with_can_spill(true)
        .register(&pool);
    let refused = reservation.try_grow(6 << 20).unwrap_err().to_string();
    assert!(refused.contains("that cannot leave memory: "), "{refused}");
    assert!(refused.contains("raise memory.disk_limit"), "{refused}");
    expect_all(&read(&engine.store, segment).unwrap());
    engine.store.drop_segment(segment);
    reservation.try_grow(6 << 20).unwrap();
}

#[test]
fn a_full_disk_is_an_error_and_gives_back_what_was_written() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let (budget, store) = store_at(disk.path(), 1 << 20, 1 << 30, Compression::None);
    let writer = store
        .write(QueryId::random(), 0, batch(0).schema())
        .unwrap();
    let refused = (0..BATCHES).find_map(|index| writer.push(&batch(index)).err());
    let refused = refused.expect("the disk is too small").to_string();
    assert!(refused.contains("No space left on device"), "{refused}");
    drop(writer);
    is_free(&budget);
    let small = QueryId::random();
    let writer = store.write(small, 0, batch(0).schema()).unwrap();
    writer.push(&batch(0)).unwrap();
    writer.finish();
    assert_eq!(read(&store, small).unwrap(), [batch(0)]);
}

#[test]
fn a_damaged_file_is_an_error_and_the_frame_can_be_dropped() {
    let engine = Engine::new(0, 64 << 20);
    let segment = QueryId::random();
    engine.persist(segment).unwrap();
    let spill = engine.directory.path().join("spill");
    let files = std::fs::read_dir(spill)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let file = files
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let damaged = read(&engine.store, segment).unwrap_err();
    assert!(
        damaged.contains("is not what was written there"),
        "{damaged}"
    );
    engine.store.drop_segment(segment);
    engine.holds_nothing();
    let other = QueryId::random();
    engine.persist(other).unwrap();
    let batches = read(&engine.store, other).unwrap();
    let first = batches[0].column(0).as_primitive::<Int64Type>();
    assert_eq!(first.value(1), 1);
    expect_all(&batches);
}

#[test]
fn memory_of_a_dropped_frame_is_used_again_and_is_nobodys_meanwhile() {
    let engine = Engine::new(64 << 20, u64::MAX);
    let segment = QueryId::random();
    engine.persist(segment).unwrap();
    let held = engine.budget.frames_used();
    engine.store.drop_segment(segment);
    engine.holds_nothing();
    // An eighth of the budget at most, in four parts of which this frame had one.
    let spare = engine.budget.spare();
    assert!(
        0 < spare && spare <= (8 << 20).min(held),
        "{spare} of {held}"
    );
    let segment = QueryId::random();
    engine.persist(segment).unwrap();
    assert_eq!(engine.budget.spare(), 0);
    engine.store.drop_segment(segment);
    engine.holds_nothing();
    assert_eq!(engine.budget.spare(), spare);
    // It is gone before anybody misses it.
    let pool: Arc<dyn MemoryPool> = Arc::clone(&engine.budget) as _;
    let operator = MemoryConsumer::new("operator").register(&pool);
    operator.try_grow((64 << 20) - spare).unwrap();
    assert_eq!(engine.budget.spare(), spare);
    operator.try_grow(4096).unwrap();
    assert_eq!(engine.budget.spare(), spare - 4096);
    operator.try_grow(spare - 4096).unwrap();
    assert_eq!(engine.budget.spare(), 0);
}

#[test]
fn memory_that_nobody_asks_for_again_goes_back_to_the_system() {
    let engine = Engine::new(64 << 20, u64::MAX);
    let segment = QueryId::random();
    engine.persist(segment).unwrap();
    engine.store.drop_segment(segment);
    let deadline = Instant::now() + 3 * PATIENCE;
    while engine.budget.spare() > 0 {
        assert!(Instant::now() < deadline, "{:?}", engine.budget.spare());
        std::thread::yield_now();
    }
}
