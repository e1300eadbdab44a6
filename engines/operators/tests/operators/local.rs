//! A collective by itself: with one task it is a local repartition; in any other place than its
//! own it refuses to run.

use crate::answers::rows;
use crate::cluster::{PARTITIONS, TestCluster, in_time};
use bireme_collectives::{Exchange, OperationId};
use bireme_operators::{CollectiveExec, Routing};
use bireme_protocol::QueryId;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::prelude::SessionConfig;
use datafusion_distributed::DistributedTaskContext;
use futures::TryStreamExt;
use std::sync::Arc;

/// Three partitions with nulls and one key in many rows.
fn input() -> Arc<dyn ExecutionPlan> {
    let partition = |number: i64| {
        let keys =
            (0..500_i64).map(|row| (row % 7 != 0).then_some(if row % 3 == 0 { 1 } else { row }));
        let texts = (0..500).map(|row| Some(format!("row {row} of {number}")));
        let keys: ArrayRef = Arc::new(keys.collect::<Int64Array>());
        let texts: ArrayRef = Arc::new(texts.collect::<StringArray>());
        let columns = [("k", keys, true), ("s", texts, true)];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    };
    let partitions: Vec<_> = (0..3).map(|number| vec![partition(number)]).collect();
    let schema = partitions[0][0].schema();
    MemorySourceConfig::try_new_exec(&partitions, schema, None).unwrap()
}

fn keys(input: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn PhysicalExpr>> {
    vec![col("k", &input.schema()).unwrap()]
}

fn collective(engines: usize) -> CollectiveExec {
    let id = OperationId {
        query: QueryId::random(),
        plan: 7,
        index: 0,
    };
    let input = input();
    let routing = Routing::Shuffle {
        keys: keys(&input),
        placement: bireme_frames::Placement::dealt(1, PARTITIONS).unwrap(),
    };
    CollectiveExec::new(id, routing, engines, input)
}

/// The context of a task on the engine of this exchange.
fn context(exchange: &Arc<Exchange>, task: Option<DistributedTaskContext>) -> Arc<TaskContext> {
    let mut config = SessionConfig::new().with_extension(Arc::clone(exchange));
    if let Some(task) = task {
        config = config.with_extension(Arc::new(task));
    }
    Arc::new(TaskContext::default().with_session_config(config))
}

async fn partition_of(
    plan: &dyn ExecutionPlan,
    partition: usize,
    context: &Arc<TaskContext>,
) -> Vec<String> {
    let stream = plan.execute(partition, Arc::clone(context)).unwrap();
    let batches: Vec<_> = in_time(stream.try_collect()).await.unwrap();
    let mut rows = rows(&batches);
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_task_a_shuffle_is_datafusions_repartition() {
    let cluster = TestCluster::new(1);
    let context = context(&cluster.engines[0].exchange, None);
    let shuffle = collective(1);
    let input = input();
    let by_hash = Partitioning::Hash(keys(&input), PARTITIONS);
    let stock = RepartitionExec::try_new(input, by_hash).unwrap();
    let mut count = 0;
    for partition in 0..PARTITIONS {
        let came = partition_of(&shuffle, partition, &context).await;
        assert_eq!(came, partition_of(&stock, partition, &context).await);
        count += came.len();
    }
    assert_eq!(count, 1500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_on_another_engine_than_its_number_says_is_refused() {
    let cluster = TestCluster::new(2);
    let exchange = &cluster.engines[1].exchange;
    let here = DistributedTaskContext {
        task_index: 1,
        task_count: 2,
    };
    let elsewhere = DistributedTaskContext {
        task_index: 0,
        task_count: 2,
    };
    for (engines, task) in [(2, Some(elsewhere)), (2, None), (3, Some(here))] {
        let refused = collective(engines).execute(0, context(exchange, task));
        let refused = refused.err().unwrap().to_string();
        assert!(refused.contains("is on engine 1 of 2"), "{refused}");
        assert!(refused.contains("task i must run on engine i"), "{refused}");
    }
    let nowhere = collective(2).execute(0, Arc::default());
    let nowhere = nowhere.err().unwrap().to_string();
    assert!(nowhere.contains("has no exchange"), "{nowhere}");
    cluster.wait_until_free().await;
}
