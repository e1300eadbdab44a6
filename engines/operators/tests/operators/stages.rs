//! How a query is spread: one stage below the head, one task per engine, task i on engine i, every
//! sending side started when the plan is set; collectives wherever DataFusion repartitions.

use crate::answers::{rows, run};
use crate::cluster::{SetTask, TestCluster, in_time, single, until};
use crate::tables::Tables;
use datafusion::physical_plan::execute_stream;
use futures::TryStreamExt;

const GROUPS: &str = "select g, count(*) from facts group by g";
const JOIN: &str = "select f.id, d.name from facts f join dimensions d on f.k = d.k";
const NULL_AWARE: &str = "select id from facts where k not in (select k from dimensions)";
const FULL: &str =
    "select f.id, d.k from facts f full join dimensions d on f.g > d.k * 10 and f.x < d.w";
const AVERAGE: &str = "select id from facts where x > (select avg(x) from facts)";
const STOCK: [(&str, &str); 0] = [];
const BY_HASH: [(&str, &str); 2] = [
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
async fn every_engine_has_one_task_and_task_i_is_on_engine_i() {
    let tables = Tables::new();
    for size in [2, 3, 5] {
        let cluster = TestCluster::new(size);
        for sql in [GROUPS, JOIN, NULL_AWARE, FULL, AVERAGE] {
            let (context, _) = cluster.session(size - 1, &[]);
            tables.register(&context);
            run(&context, sql).await.unwrap();
            let one_each = (0..size).map(|rank| SetTask {
                task: rank,
                rank,
                tasks: size,
            });
            let expected: Vec<_> = one_each.collect();
            assert_eq!(cluster.take_set_tasks(), expected, "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_engine_sends_before_anybody_asks_for_a_result() {
    let tables = Tables::new();
    let cluster = TestCluster::new(3);
    cluster.allow_polls(false);
    let (context, query) = cluster.session(0, &[]);
    tables.register(&context);
    let frame = context.sql(GROUPS).await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let stream = execute_stream(plan, context.task_ctx()).unwrap();
    until("every engine has sent rows", || {
        let mut engines = cluster.engines.iter();
        engines.all(|engine| engine.exchange.counters(query).rows_sent > 0)
    })
    .await;
    cluster.allow_polls(true);
    let batches: Vec<_> = in_time(stream.try_collect()).await.unwrap();
    assert_eq!(rows(&batches).len(), 30);
    cluster.wait_until_free().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collectives_stand_where_datafusion_repartitions_and_nothing_else_crosses_engines() {
    let tables = Tables::new();
    let cluster = TestCluster::new(3);
    for (sql, settings, node) in [
        (GROUPS, &STOCK[..], "CollectiveShuffleExec: hash(["),
        (JOIN, &BY_HASH[..], "CollectiveShuffleExec: hash(["),
        (JOIN, &STOCK[..], "CollectiveBroadcastExec: to every engine"),
        (NULL_AWARE, &STOCK[..], "CollectiveGatherExec: to engine 0"),
        (AVERAGE, &STOCK[..], "CollectiveGatherExec: to engine 0"),
    ] {
        let (context, _) = cluster.session(0, settings);
        tables.register(&context);
        let (plan, _) = run(&context, sql).await.unwrap();
        assert!(plan.contains(node), "{sql}\n{plan}");
        assert_eq!(plan.matches("NetworkCoalesceExec").count(), 1, "{plan}");
        for stock in ["NetworkShuffle", "NetworkBroadcast", "partitioning=Hash("] {
            assert!(!plan.contains(stock), "{stock} in\n{plan}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_all_rows_in_one_place_pulls_no_scan_there() {
    let tables = Tables::new();
    let cluster = TestCluster::new(3);
    for sql in [NULL_AWARE, FULL, AVERAGE] {
        let (context, query) = cluster.session(0, &[]);
        tables.register(&context);
        let (plan, _) = run(&context, sql).await.unwrap();
        assert!(plan.contains("CollectiveGatherExec"), "{sql}\n{plan}");
        for (rank, engine) in cluster.engines.iter().enumerate() {
            let sent = engine.exchange.counters(query).rows_sent;
            assert!(sent > 0, "engine {rank} scanned nothing for {sql}\n{plan}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_rows_stand_beside_files_on_all_engines() {
    let tables = Tables::new();
    let sql = "select count(*) from facts where id in (select value from generate_series(1, 20))";
    let context = single(&[]);
    tables.register(&context);
    let (_, expected) = run(&context, sql).await.unwrap();
    let cluster = TestCluster::new(2);
    let (context, _) = cluster.session(0, &[]);
    tables.register(&context);
    let (plan, rows) = run(&context, sql).await.unwrap();
    assert_eq!(rows, expected);
    let first = plan.lines().next().unwrap();
    assert!(first.starts_with("DistributedExec"), "{plan}");
    assert!(plan.contains("LazyMemoryExec"), "{plan}");
}
