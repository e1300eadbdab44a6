//! When rows end, and who waits for whom: a partition ends with the last rank's finish marker; a
//! rank that wants no rows goes on sending; a query whose senders wait holds up no other.

use crate::cluster::{Cluster, TRANSPORTS, batch, drain, id, in_time, until};
use bireme_protocol::QueryId;
use futures::{StreamExt, TryStreamExt};
use std::time::Duration;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_ends_when_every_rank_has_said_that_it_sends_no_more() {
    for transport in TRANSPORTS {
        let cluster = Cluster::new(transport, 3);
        let operations = cluster.open(id(QueryId::random(), 0), 1);
        let mut receiver = operations[0].receive(0).unwrap();
        in_time(operations[1].send(0, 0, batch([7]))).await.unwrap();
        in_time(operations[0].finish()).await.unwrap();
        in_time(operations[1].finish()).await.unwrap();
        let first = in_time(receiver.next()).await.unwrap().unwrap();
        assert_eq!(first.num_rows(), 1);
        let early = tokio::time::timeout(Duration::from_millis(200), receiver.next()).await;
        assert!(early.is_err(), "it ended although rank 2 has not finished");
        // A rank without a row says so, too.
        in_time(operations[2].finish()).await.unwrap();
        assert!(in_time(receiver.next()).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rank_that_wants_no_rows_goes_on_sending_and_is_sent_none() {
    for transport in TRANSPORTS {
        let cluster = Cluster::new(transport, 2);
        let operations = cluster.open(id(QueryId::random(), 0), 1);
        drop(operations[0].receive(0).unwrap());
        let rest = operations[1].receive(0).unwrap();
        let mut tasks = JoinSet::new();
        let content = operations[0].clone();
        tasks.spawn(async move {
            for _ in 0..200 {
                let sent = content.send(1, 0, batch(0..8192)).await.unwrap();
                assert!(sent.is_some(), "the other rank still wants rows");
            }
            content.finish().await.unwrap();
        });
        // Once rank 1 has been told, it drops what it would send.
        in_time(async {
            while operations[1]
                .send(0, 0, batch([1]))
                .await
                .unwrap()
                .is_some()
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        in_time(operations[1].finish()).await.unwrap();
        let batches: Vec<_> = in_time(rest.try_collect()).await.unwrap();
        let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(rows, 200 * 8192);
        in_time(tasks.join_all()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_whose_senders_wait_holds_up_no_other() {
    for transport in TRANSPORTS {
        let cluster = Cluster::new(transport, 2);
        let stuck = cluster.open(id(QueryId::random(), 0), 1);
        let mut tasks = JoinSet::new();
        for operation in &stuck {
            let sender = operation.clone();
            // Ends with the plan: nobody ever reads.
            tasks.spawn(async move { while sender.send(0, 0, batch(0..8192)).await.is_ok() {} });
        }
        // Two ranks fill two windows of 2 MiB.
        until("the senders wait", || {
            cluster.engines[0].budget.host_used() >= 3 << 20
        })
        .await;
        let other = cluster.open(id(QueryId::random(), 0), 1);
        let mut sending = JoinSet::new();
        for operation in other.clone() {
            sending.spawn(async move {
                for _ in 0..100 {
                    operation.send(0, 0, batch(0..8192)).await.unwrap();
                }
                operation.finish().await.unwrap();
            });
        }
        assert_eq!(drain(&other[0], 0).await.len(), 2 * 100 * 8192);
        in_time(sending.join_all()).await;
        let query = stuck[0].id().query;
        cluster.engines[0].exchange.close_query(query);
        in_time(tasks.join_all()).await;
    }
}
