//! Full disks, damaged files, queries that end early, order and limit, metrics, dynamic filters.

use crate::harness::{Case, Machine, Shape, sorted};
use arrow::compute::SortOptions;
use bireme_operators::{QueryEnd, with_spilling_joins};
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::common::JoinType;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::joins::{HashJoinExecBuilder, PartitionMode};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::ParquetReadOptions;
use futures::{StreamExt, TryStreamExt};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const BUILD: Shape = Shape {
    rows: 20_000,
    keys: 15_000,
    same_key_in: 0,
    null_in: 0,
    seed: 3,
};
const PROBE: Shape = Shape {
    rows: 20_000,
    keys: 15_000,
    same_key_in: 0,
    null_in: 0,
    seed: 4,
};

fn case() -> Case {
    Case::new(JoinType::Inner, BUILD, PROBE)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_limit_is_an_error_and_the_next_query_works() {
    let memory = case().build_bytes() / 8;
    let machine = Machine::with(memory, 1 << 20, &[]);
    let error = machine.run(case().join()).await.unwrap_err().to_string();
    assert!(error.contains("memory.disk_limit"), "{error}");
    assert_eq!(std::fs::read_dir(machine.spill.path()).unwrap().count(), 0);
    let small = |shape: Shape| Shape { rows: 200, ..shape };
    let next = Case::new(JoinType::Full, small(BUILD), small(PROBE));
    machine.run(next.join()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_gone_is_an_error_that_names_it() {
    let machine = Machine::new(case().build_bytes() / 8);
    std::fs::remove_dir_all(machine.spill.path()).unwrap();
    let error = machine.run(case().join()).await.unwrap_err().to_string();
    assert!(error.contains("create spill file"), "{error}");
    std::fs::create_dir(machine.spill.path()).unwrap();
    let (_, spilled) = machine.run(case().join()).await.unwrap();
    assert!(spilled > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_files_are_an_error_that_names_file_and_offset() {
    let machine = Machine::new(case().build_bytes() / 8);
    let plan = with_spilling_joins(Arc::new(case().join()), &QueryEnd::default()).unwrap();
    let mut rows = plan.execute(0, Arc::clone(&machine.context)).unwrap();
    rows.next().await.unwrap().unwrap();
    for entry in std::fs::read_dir(machine.spill.path()).unwrap() {
        let path = entry.unwrap().path();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        file.write_all_at(b"damage", length / 2).unwrap();
    }
    let read: Result<Vec<_>, _> = rows.try_collect().await;
    let error = read.unwrap_err().to_string();
    assert!(error.contains("the block at offset"), "{error}");
    drop(plan);
    machine.until_free().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_little_for_any_block_says_who_asked_how_much() {
    let machine = Machine::new(3000);
    let error = machine.run(case().join()).await.unwrap_err().to_string();
    assert!(error.contains("HashJoin"), "{error}");
    assert!(error.contains("join a block of"), "{error}");
    assert!(error.contains("of query q"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_ends_stops_while_it_spills() {
    let large = |shape: Shape| Shape {
        rows: 150_000,
        keys: 2000,
        ..shape
    };
    let case = Case::new(JoinType::Full, large(BUILD), large(PROBE));
    let join = case.join();
    for part in [4, 20] {
        let machine = Machine::new(case.build_bytes() / part);
        let token = CancellationToken::new();
        let end = QueryEnd::from(token.clone());
        let join = join.builder().reset_state().build().unwrap();
        let plan = with_spilling_joins(Arc::new(join), &end).unwrap();
        let (of_plan, context) = (Arc::clone(&plan), Arc::clone(&machine.context));
        let work = async move {
            execute_stream(of_plan, context)?
                .try_collect::<Vec<_>>()
                .await
        };
        let work =
            tokio_util::task::AbortOnDropHandle::new(tokio::runtime::Handle::current().spawn(work));
        let begun = Instant::now();
        while machine.spill.counters().bytes_written < 1 << 20 {
            assert!(begun.elapsed() < Duration::from_secs(30));
            tokio::task::yield_now().await;
        }
        token.cancel();
        let cancelled = Instant::now();
        let error = work.await.unwrap().unwrap_err().to_string();
        let took = cancelled.elapsed();
        assert!(error.contains("the query has ended"), "{error}");
        println!("stopped {took:?} after its end");
        assert!(took < Duration::from_secs(5), "{took:?}");
        drop(plan);
        machine.until_free().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_leaves_no_file() {
    let machine = Machine::new(case().build_bytes() / 8);
    let plan = with_spilling_joins(Arc::new(case().join()), &QueryEnd::default()).unwrap();
    let mut rows = plan.execute(1, Arc::clone(&machine.context)).unwrap();
    rows.next().await.unwrap().unwrap();
    assert!(machine.spill.counters().files_live > 0);
    drop((rows, plan));
    machine.until_free().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_and_limit_hold_for_what_was_spilled() {
    let sorted_by = |name, column| {
        let by = PhysicalSortExpr::new(Arc::new(Column::new(name, column)), SortOptions::default());
        LexOrdering::new(vec![by]).unwrap()
    };
    let bytes = case().build_bytes();
    for limit in [None, Some(700)] {
        let left = MemorySourceConfig::try_new_exec(&BUILD.partitions(1), BUILD.schema(), None);
        let right =
            MemorySourceConfig::try_new(&PROBE.partitions(1), PROBE.schema(), None).unwrap();
        let right = right
            .try_with_sort_information(vec![sorted_by("id", 1)])
            .unwrap();
        let key = || Arc::new(Column::new("k", 0)) as _;
        let right = DataSourceExec::from_data_source(right);
        let join =
            HashJoinExecBuilder::new(left.unwrap(), right, vec![(key(), key())], JoinType::Right)
                .with_partition_mode(PartitionMode::CollectLeft)
                .with_fetch(limit)
                .build()
                .unwrap();
        assert!(join.properties().output_ordering().is_some());
        // The sort keeps 10 MiB aside, whatever it sorts.
        let settings = [("datafusion.execution.sort_spill_reservation_bytes", "65536")];
        let machine = Machine::with(bytes, 1 << 30, &settings);
        let (rows, spilled) = machine.run(join).await.unwrap();
        assert!(spilled > 0);
        let ids = rows.iter().flat_map(|batch| {
            batch
                .column(6)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        });
        let ids: Vec<_> = ids.collect();
        assert!(ids.is_sorted());
        match limit {
            Some(limit) => assert_eq!(ids.len(), limit),
            None => assert!(ids.len() > PROBE.rows),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spilled_bytes_rows_and_files_are_counted() {
    let machine = Machine::with(
        case().build_bytes() / 4,
        1 << 30,
        &[("datafusion.execution.spill_compression", "lz4_frame")],
    );
    let plan = with_spilling_joins(Arc::new(case().join()), &QueryEnd::default()).unwrap();
    let rows = machine.collect(Arc::clone(&plan)).await.unwrap();
    let metrics = plan.metrics().unwrap();
    let output: usize = rows.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(metrics.output_rows(), Some(output));
    assert!(metrics.spill_count().unwrap() > 8);
    assert!(metrics.spilled_rows().unwrap() >= BUILD.rows);
    let counted = metrics.spilled_bytes().unwrap() as u64;
    let written = machine.spill.counters().bytes_written;
    // Blocks add lengths and checksums.
    assert!(counted <= written && written < counted + counted / 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_fits_keeps_its_dynamic_filter() {
    let home = tempfile::tempdir().unwrap();
    for (name, shape) in [("build", Shape { rows: 50, ..BUILD }), ("probe", PROBE)] {
        let path = home.path().join(format!("{name}.parquet"));
        let file = std::fs::File::create(path).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, shape.schema(), None).unwrap();
        for batch in shape.partitions(1).concat() {
            writer.write(&batch).unwrap();
        }
        writer.close().unwrap();
    }
    let mut answers = Vec::new();
    for spilling in [false, true] {
        let settings = [("datafusion.execution.parquet.pushdown_filters", "true")];
        let machine = Machine::with(1 << 30, 1 << 30, &settings);
        for name in ["build", "probe"] {
            let path = home.path().join(format!("{name}.parquet"));
            let options = ParquetReadOptions::default();
            let path = path.to_str().unwrap();
            machine
                .session
                .register_parquet(name, path, options)
                .await
                .unwrap();
        }
        let sql = "select p.id, b.id from build b join probe p on b.k = p.k";
        let frame = machine.session.sql(sql).await.unwrap();
        let mut plan = frame.create_physical_plan().await.unwrap();
        if spilling {
            plan = with_spilling_joins(plan, &QueryEnd::default()).unwrap();
        }
        let schema = plan.schema();
        let rows = machine.collect(Arc::clone(&plan)).await.unwrap();
        answers.push((sorted(&schema, &rows), scanned(&plan)));
        assert_eq!(machine.spill.counters().bytes_written, 0);
    }
    assert_eq!(answers[0], answers[1]);
    let scanned = answers[0].1;
    assert!(scanned < PROBE.rows / 4, "{scanned}");
}

/// Rows that scans gave.
fn scanned(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let below: usize = plan.children().into_iter().map(scanned).sum();
    let own = plan.downcast_ref::<DataSourceExec>();
    below + own.map_or(0, |scan| scan.metrics().unwrap().output_rows().unwrap_or(0))
}
