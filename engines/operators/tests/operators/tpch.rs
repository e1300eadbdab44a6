//! TPC-H at a small scale: 22 queries on 1, 2, 3 and 5 engines.

use crate::answers::{compare_on, run};
use crate::cluster::{TestCluster, single};
use bireme_workloads::{Dataset, generate, tpch_queries};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const DATASET: Dataset = Dataset::Tpch { scale: 0.02 };

/// Generates the data unless it is there. Tests of other processes do it at the same time.
pub(crate) fn data() -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("tpch-0.02");
    let begun = Instant::now();
    loop {
        match generate(&DATASET, &directory, &mut |_| {}) {
            Ok(_) => return directory,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn register(context: &SessionContext) {
    let directory = data();
    for (table, _) in DATASET.tables() {
        let path = format!("{}/", directory.join(table).display());
        let options = ParquetReadOptions::default();
        let registered = context.register_parquet(table, path, options);
        futures::executor::block_on(registered).unwrap();
    }
}

async fn all_queries(settings: &[(&str, &str)], sizes: &[usize]) {
    let context = single(settings);
    register(&context);
    let clusters: Vec<_> = sizes.iter().copied().map(TestCluster::new).collect();
    for (number, sql) in tpch_queries() {
        let (_, expected) = run(&context, sql).await.unwrap();
        for cluster in &clusters {
            let plan = compare_on(cluster, settings, &register, sql, &expected).await;
            let staged = cluster.engines.len() == 1 || plan.contains("QueryScopeExec");
            assert!(staged, "Q{number} ran on the head:\n{plan}");
        }
    }
    for cluster in &clusters {
        cluster.wait_until_free().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_those_of_one_process() {
    all_queries(&[], &[1, 2, 3, 5]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same_with_filters_in_the_scans_and_joins_by_hash() {
    let settings = [
        ("datafusion.execution.parquet.pushdown_filters", "true"),
        (
            "datafusion.optimizer.hash_join_single_partition_threshold",
            "0",
        ),
        (
            "datafusion.optimizer.hash_join_single_partition_threshold_rows",
            "0",
        ),
    ];
    all_queries(&settings, &[2, 3]).await;
}
