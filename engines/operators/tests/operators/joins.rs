//! Every kind of join, with nulls, skew, empty sides and sides without partner, collected and
//! partitioned, on 1, 2, 3 and 5 engines.

use crate::answers::{compare_on, run};
use crate::cluster::{TestCluster, single};
use crate::tables::Tables;

// Below `facts`, which has a column `d`, the name of an outer table is not `d`: DataFusion reads
// `d.k` there as a field of that column.
const STATEMENTS: [&str; 22] = [
    "select f.id, d.name from facts f join dimensions d on f.k = d.k",
    "select f.id, d.name from facts f left join dimensions d on f.k = d.k and d.w < 5",
    "select f.id, d.name from dimensions d left join facts f on f.k = d.k",
    "select f.id, d.k from facts f right join dimensions d on f.k = d.k and f.g > 3",
    "select f.id, d.k from facts f full join dimensions d on f.k = d.k",
    "select f.id, d.k from facts f full join dimensions d on f.k = d.k and f.g = d.w",
    "select id from facts where k in (select k from dimensions where w > 2)",
    "select id from facts where k not in (select k from dimensions where k is not null)",
    "select id from facts where k not in (select k from dimensions)",
    "select id from facts where k not in (select k from empty)",
    "select k from dimensions where k not in (select k from facts where g = 3 and k is not null)",
    "select id from facts f where exists (select 1 from dimensions d where d.k = f.k and d.w = f.g)",
    "select k from dimensions o where not exists (select 1 from facts f where o.k = f.k)",
    "select f.id, d.k from facts f join dimensions d on f.g < d.w and f.id < 200",
    "select f.id, d.k from facts f left join dimensions d on f.g > d.k * 10 and f.x < d.w",
    "select d.k, f.id from dimensions d left join facts f on f.g > d.k * 10 and f.x < d.w",
    "select f.id, d.k from facts f full join dimensions d on f.g > d.k * 10 and f.x < d.w",
    "select o.k from dimensions o where exists (select 1 from facts f where f.x < o.k - 400)",
    "select count(*), sum(a.id + b.k) from (select id from facts where id < 30) a cross join dimensions b",
    "select f.id, e.k from facts f left join empty e on f.k = e.k",
    "select f.id, e.k from facts f join empty e on f.k = e.k",
    "select a.id, b.id from facts a join facts b on a.s = b.s and a.d = b.d and a.id < b.id",
];

async fn all_joins(settings: &[(&str, &str)]) {
    let tables = Tables::new();
    let register = |context: &datafusion::prelude::SessionContext| tables.register(context);
    let context = single(settings);
    register(&context);
    let clusters: Vec<_> = [1, 2, 3, 5].map(TestCluster::new).into();
    for sql in STATEMENTS {
        let (_, expected) = run(&context, sql).await.unwrap();
        for cluster in &clusters {
            let plan = compare_on(cluster, settings, &register, sql, &expected).await;
            if cluster.engines.len() > 1 {
                assert!(
                    plan.contains("QueryScopeExec"),
                    "{sql} ran on the head:\n{plan}"
                );
            }
        }
    }
    for cluster in &clusters {
        cluster.wait_until_free().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_that_collect_one_side() {
    all_joins(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_by_hash() {
    all_joins(&[
        (
            "datafusion.optimizer.hash_join_single_partition_threshold",
            "0",
        ),
        (
            "datafusion.optimizer.hash_join_single_partition_threshold_rows",
            "0",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_by_sort() {
    all_joins(&[("datafusion.optimizer.prefer_hash_join", "false")]).await;
}
