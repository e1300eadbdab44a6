//! How long joins take that fit and that do not, beside DataFusion's: run with
//! `cargo nextest run --workspace --test spilling_joins --run-ignored only --no-capture`.

use crate::harness::Machine;
use bireme_operators::{QueryEnd, with_spilling_joins};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::common::JoinType;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::joins::{HashJoinExec, HashJoinExecBuilder, PartitionMode};
use futures::TryStreamExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BUILD_ROWS: i64 = 2_000_000;
const PROBE_ROWS: i64 = 6_000_000;
const BATCH_ROWS: i64 = 8192;
const RUNS: usize = 7;

fn partitions(rows: i64, stride: i64) -> Vec<Vec<RecordBatch>> {
    let part = |part: i64| {
        let rows = rows / 2;
        (0..rows / BATCH_ROWS)
            .map(|batch| {
                let ids = batch * BATCH_ROWS..(batch + 1) * BATCH_ROWS;
                let keys = ids
                    .clone()
                    .map(|id| (id * stride % (BUILD_ROWS / 2)) * 1_000_003 + part);
                let text = StringArray::from_iter_values(
                    ids.clone().map(|id| format!("payload {id:010}")),
                );
                let columns: [(&str, ArrayRef); 3] = [
                    ("k", Arc::new(Int64Array::from_iter_values(keys))),
                    ("id", Arc::new(Int64Array::from_iter_values(ids))),
                    ("s", Arc::new(text)),
                ];
                RecordBatch::try_from_iter(columns).unwrap()
            })
            .collect()
    };
    (0..2).map(part).collect()
}

fn join(build: &[Vec<RecordBatch>], probe: &[Vec<RecordBatch>]) -> HashJoinExec {
    let source = |parts: &[Vec<RecordBatch>]| {
        MemorySourceConfig::try_new_exec(parts, parts[0][0].schema(), None).unwrap()
    };
    let key = || Arc::new(Column::new("k", 0)) as _;
    HashJoinExecBuilder::new(
        source(build),
        source(probe),
        vec![(key(), key())],
        JoinType::Inner,
    )
    .with_partition_mode(PartitionMode::Partitioned)
    .build()
    .unwrap()
}

async fn once(machine: &Machine, join: HashJoinExec, spilling: bool) -> (Duration, usize) {
    let mut plan: Arc<dyn datafusion::physical_plan::ExecutionPlan> = Arc::new(join);
    if spilling {
        plan = with_spilling_joins(plan, &QueryEnd::default()).unwrap();
    }
    let begun = Instant::now();
    let stream = execute_stream(plan, Arc::clone(&machine.context)).unwrap();
    let rows = stream
        .try_fold(0, |rows, batch| async move { Ok(rows + batch.num_rows()) })
        .await
        .unwrap();
    (begun.elapsed(), rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn ratios_to_the_join_of_datafusion() {
    let (build, probe) = (partitions(BUILD_ROWS, 1), partitions(PROBE_ROWS, 7));
    let bytes: usize = build
        .iter()
        .flatten()
        .map(RecordBatch::get_array_memory_size)
        .sum();
    let machine = |memory, compression| {
        let settings = [
            ("datafusion.execution.batch_size", "8192"),
            ("datafusion.execution.spill_compression", compression),
        ];
        Machine::with(memory, 64 << 30, &settings)
    };
    let (mut stock, mut fits) = (Duration::MAX, Duration::MAX);
    let (mut rows, free) = (0, machine(8 << 30, "uncompressed"));
    for _ in 0..RUNS {
        let (took, given) = once(&free, join(&build, &probe), false).await;
        stock = stock.min(took);
        rows = given;
        let (took, given) = once(&free, join(&build, &probe), true).await;
        fits = fits.min(took);
        assert_eq!(rows, given);
    }
    println!("build side {} MiB, {rows} rows joined", bytes >> 20);
    let ratio = |took: Duration| took.as_secs_f64() / stock.as_secs_f64();
    println!(
        "DataFusion {stock:?}; it fits: {fits:?}, {:.3} times",
        ratio(fits)
    );
    for compression in ["uncompressed", "lz4_frame"] {
        for part in [1, 4, 20] {
            let machine = machine(bytes / part, compression);
            let mut least = Duration::MAX;
            for _ in 0..3 {
                let (took, given) = once(&machine, join(&build, &probe), true).await;
                assert_eq!(rows, given);
                least = least.min(took);
            }
            let spilled = machine.spill.counters().bytes_written >> 20;
            println!(
                "1/{part} of it, {compression}: {least:?}, {:.2} times, {} MiB written",
                ratio(least),
                spilled / 3
            );
        }
    }
}
