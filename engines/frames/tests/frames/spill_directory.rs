//! The spill directory: private, cleaned, limited, and DataFusion's operators spill into it.

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use bireme_frames::{Budget, SpillDirectory};
use datafusion::datasource::MemTable;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

#[test]
fn it_is_private_and_what_a_killed_engine_left_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("spill");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("spill-7"), b"left").unwrap();
    std::fs::write(path.join("notes.txt"), b"not ours").unwrap();
    let spill = SpillDirectory::open(&path, Budget::new(0, 1 << 20)).unwrap();
    let mode = std::fs::metadata(spill.path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    let names: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["notes.txt"]);
}

#[test]
fn it_belongs_to_one_engine_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("spill");
    let spill = SpillDirectory::open(&path, Budget::new(0, 1 << 20)).unwrap();
    let file = spill.create().unwrap();
    file.append(b"live").unwrap();
    let refused = SpillDirectory::open(&path, Budget::new(0, 1 << 20)).unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("another engine uses it"), "{refused}");
    assert!(refused.contains("memory.spill_dir"), "{refused}");
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
    drop(spill);
    assert!(SpillDirectory::open(&path, Budget::new(0, 1 << 20)).is_err());
    drop(file);
    assert!(SpillDirectory::open(&path, Budget::new(0, 1 << 20)).is_ok());
}

#[test]
fn a_file_is_counted_and_gone_with_its_last_reference() {
    let home = tempfile::tempdir().unwrap();
    let budget = Budget::new(0, 1000);
    let spill = SpillDirectory::open(home.path().join("spill"), Arc::clone(&budget)).unwrap();
    let file = spill.create().unwrap();
    assert_eq!(file.append(b"hello ").unwrap(), 0);
    assert_eq!(file.append(b"world").unwrap(), 6);
    let mut buffer = [0; 5];
    file.read_at(&mut buffer, 6).unwrap();
    assert_eq!(&buffer, b"world");
    let refused = file.append(&[0; 1000]).unwrap_err().to_string();
    assert!(refused.contains("memory.disk_limit"), "{refused}");
    assert_eq!(file.len(), 11);
    assert_eq!(budget.disk_used(), 11);
    file.clear().unwrap();
    assert_eq!(budget.disk_used(), 0);
    file.append(b"again").unwrap();
    drop(file);
    assert_eq!(budget.disk_used(), 0);
    assert_eq!(spill.counters().files_live, 0);
    assert_eq!(std::fs::read_dir(spill.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error_that_names_it() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("file");
    std::fs::write(&path, b"").unwrap();
    let refused = SpillDirectory::open(&path, Budget::new(0, 0)).unwrap_err();
    assert!(refused.to_string().contains("memory.spill_dir"));
}

#[tokio::test]
async fn a_sort_larger_than_the_budget_spills_here_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let budget = Budget::new(12 << 20, 1 << 30);
    let spill = SpillDirectory::open(home.path().join("spill"), Arc::clone(&budget)).unwrap();
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(budget.for_query("q")))
        .with_disk_manager_builder(spill.disk_manager())
        .build_arc()
        .unwrap();
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_sort_spill_reservation_bytes(1 << 20);
    let context = SessionContext::new_with_config_rt(config, runtime);
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]));
    let batches = (0..400_i64).map(|i| {
        let values =
            Int64Array::from_iter_values((0..8192).map(|j| (i * 8192 + j) * 7919 % 3_276_800));
        RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(values)]).unwrap()
    });
    let table = MemTable::try_new(Arc::clone(&schema), vec![batches.collect()]).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    let sorted = context
        .sql("select v from t order by v")
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let rows: usize = sorted.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 400 * 8192);
    let mut last = i64::MIN;
    for batch in &sorted {
        let values = batch
            .column(0)
            .as_any()
            .downcast_ref::<Int64Array>()
            .unwrap();
        for value in values.values() {
            assert!(*value >= last);
            last = *value;
        }
    }
    drop(sorted);
    assert!(spill.counters().bytes_written > 0, "the sort did not spill");
    assert_eq!(spill.counters().files_live, 0);
    assert_eq!((budget.host_used(), budget.disk_used()), (0, 0));
}
