//! Failures, early ends, dropped streams, several queries at once, and running a plan twice.

use crate::answers::{compare_on, rows, run};
use crate::cluster::{TestCluster, in_time, single};
use crate::tables::Tables;
use bireme_collectives::fault_of;
use datafusion::physical_plan::{collect, execute_stream};
use futures::StreamExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

const JOIN: &str = "select f.id, d.name, count(*) from facts f join dimensions d on f.k = d.k \
                    group by f.id, d.name";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_below_a_collective_ends_the_query_with_its_cause() {
    let tables = Tables::new();
    for size in [2, 3] {
        let cluster = TestCluster::new(size);
        let (context, query) = cluster.session(0, &[]);
        tables.register(&context);
        let begun = Instant::now();
        let sql = "select 100 / (k - 1) as q, count(*) from facts group by q";
        let error = run(&context, sql).await.unwrap_err();
        assert!(
            fault_of(&error).to_string().contains("Divide by zero"),
            "{error}"
        );
        assert!(begun.elapsed() < Duration::from_secs(5));
        let fault = cluster.engines[0].exchange.fault(query).unwrap();
        assert!(fault.message.contains("Divide by zero"), "{fault}");
        cluster.wait_until_free().await;
        // The next query works.
        let (context, _) = cluster.session(0, &[]);
        tables.register(&context);
        run(&context, JOIN).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_frees_everything_on_every_engine() {
    let tables = Tables::new();
    let cluster = TestCluster::new(3);
    for polls in 0..3 {
        let (context, _) = cluster.session(1, &[("datafusion.execution.batch_size", "64")]);
        tables.register(&context);
        let frame = context.sql(JOIN).await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let mut stream = execute_stream(plan, context.task_ctx()).unwrap();
        for _ in 0..polls {
            in_time(stream.next()).await.unwrap().unwrap();
        }
        drop(stream);
        cluster.wait_until_free().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_ends_early_and_frees_everything() {
    let tables = Tables::new();
    let cluster = TestCluster::new(3);
    let (context, _) = cluster.session(0, &[("datafusion.execution.batch_size", "32")]);
    tables.register(&context);
    let sql = "select f.id from facts f join dimensions d on f.k = d.k limit 3";
    assert_eq!(run(&context, sql).await.unwrap().1.len(), 3);
    cluster.wait_until_free().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_at_once_from_several_heads_do_not_meet() {
    let tables = Tables::new();
    let register = |context: &datafusion::prelude::SessionContext| tables.register(context);
    let context = single(&[]);
    register(&context);
    let (_, expected) = run(&context, JOIN).await.unwrap();
    let cluster = TestCluster::new(3);
    let again = (0..8).map(|_| compare_on(&cluster, &[], &register, JOIN, &expected));
    futures::future::join_all(again).await;
    cluster.wait_until_free().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_runs_once() {
    let tables = Tables::new();
    let cluster = TestCluster::new(2);
    let (context, _) = cluster.session(0, &[]);
    tables.register(&context);
    let frame = context
        .sql("select count(*) from facts group by g")
        .await
        .unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let batches = in_time(collect(Arc::clone(&plan), context.task_ctx()))
        .await
        .unwrap();
    assert_eq!(rows(&batches).len(), 30);
    let again = in_time(collect(plan, context.task_ctx()))
        .await
        .unwrap_err();
    assert!(again.to_string().contains("has been run before"), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_query_held_is_free_within_two_seconds_without_a_next_query() {
    let tables = Tables::new();
    let cluster = TestCluster::new(3);
    let (context, _) = cluster.session(0, &[]);
    tables.register(&context);
    let (plan, _) = run(&context, JOIN).await.unwrap();
    // Its build side is kept by the node, for as long as there is the node.
    assert!(plan.contains("mode=CollectLeft"), "{plan}");
    drop(context);
    let ended = Instant::now();
    cluster.wait_until_free().await;
    assert!(ended.elapsed() < Duration::from_secs(2));
}
