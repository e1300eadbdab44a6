//! The first test of the first collective: a filter made above a collective by one rank's part of
//! a build side must not reach scans that feed all ranks. It once returned 1,014 of 3,000 rows.

use crate::answers::{compare, run};
use crate::cluster::TestCluster;
use crate::tables::Tables;

const PARTITIONED: [(&str, &str); 2] = [
    (
        "datafusion.optimizer.hash_join_single_partition_threshold",
        "0",
    ),
    (
        "datafusion.optimizer.hash_join_single_partition_threshold_rows",
        "0",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_of_parquet_files_is_whole_with_and_without_pushdown_filters() {
    let tables = Tables::new();
    let register = |context: &datafusion::prelude::SessionContext| tables.register(context);
    for pushdown in ["true", "false"] {
        for partitioned in [true, false] {
            let mut settings = vec![("datafusion.execution.parquet.pushdown_filters", pushdown)];
            if partitioned {
                settings.extend(PARTITIONED);
            }
            for sql in [
                "select f.id, d.name from facts f join dimensions d on f.k = d.k",
                "select f.id, d.name from facts f join dimensions d on f.k = d.k where d.w = 3",
                "select count(*), sum(f.x) from facts f, dimensions d, dimensions e \
                 where f.k = d.k and f.g = e.k and d.w < 4 and e.w > 1",
                "select f.id from facts f where f.k in (select k from dimensions where w = 2)",
                "select g, min(x), max(x) from facts group by g order by g limit 5 /* ordered */",
                "select id from facts order by x desc nulls last, id limit 10 /* ordered */",
            ] {
                let plans = compare(&[1, 2, 3], &settings, &register, sql).await;
                assert!(plans[1].contains("QueryScopeExec"), "{}", plans[1]);
                if partitioned && sql.contains("join") {
                    assert!(plans[1].contains("CollectiveShuffleExec"), "{}", plans[1]);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_made_above_a_collective_is_not_below_it() {
    let tables = Tables::new();
    let cluster = TestCluster::new(3);
    let sql = "select f.id, d.name from facts f join dimensions d on f.k = d.k where d.w = 3";
    for pushdown in ["true", "false"] {
        let collected = vec![("datafusion.execution.parquet.pushdown_filters", pushdown)];
        let mut by_hash = collected.clone();
        by_hash.extend(PARTITIONED);
        let (context, _) = cluster.session(0, &by_hash);
        tables.register(&context);
        let (plan, _) = run(&context, sql).await.unwrap();
        assert!(plan.contains("CollectiveShuffleExec"), "{plan}");
        assert!(!plan.contains("DynamicFilter"), "{plan}");
        // The whole build side is on every engine here: its filter is right for every scan.
        let (context, _) = cluster.session(0, &collected);
        tables.register(&context);
        let (plan, _) = run(&context, sql).await.unwrap();
        assert!(plan.contains("CollectiveBroadcastExec"), "{plan}");
        assert!(plan.contains("DynamicFilter"), "{plan}");
    }
}
