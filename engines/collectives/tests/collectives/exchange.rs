//! Rows go where they are sent, once, in order, from every rank to every rank.

use crate::cluster::{Cluster, TRANSPORTS, batch, drain, failure, id, in_time, spec, until};
use bireme_collectives::Operation;
use bireme_protocol::QueryId;
use futures::StreamExt;
use tokio::task::JoinSet;

const PARTITIONS: usize = 3;
const BATCHES: i64 = 50;

/// A value that says who sent it to whom, and as which.
fn value(from: usize, to: usize, partition: usize, number: i64) -> i64 {
    ((from * 100 + to) * 100 + partition) as i64 * 1000 + number
}

async fn send_all(operation: Operation) {
    for number in 0..BATCHES {
        for to in 0..operation.size() {
            for partition in 0..PARTITIONS {
                let value = value(operation.rank(), to, partition, number);
                let sent = operation.send(to, partition, batch([value, value])).await;
                sent.unwrap();
            }
        }
    }
    operation.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_arrives_once_and_in_its_senders_order() {
    for transport in TRANSPORTS {
        for size in [1, 2, 3, 5] {
            let cluster = Cluster::new(transport, size);
            let query = QueryId::random();
            let operations = cluster.open(id(query, 0), PARTITIONS);
            let mut tasks = JoinSet::new();
            for operation in &operations {
                tasks.spawn(send_all(operation.clone()));
            }
            for (to, operation) in operations.iter().enumerate() {
                for partition in 0..PARTITIONS {
                    let rows = drain(operation, partition).await;
                    assert_eq!(rows.len() as i64, size as i64 * BATCHES * 2);
                    for from in 0..size {
                        let sent = (0..BATCHES).flat_map(|n| [value(from, to, partition, n); 2]);
                        let of_rank = |row: &&i64| **row / 10_000_000 == from as i64;
                        let came = rows.iter().filter(of_rank).copied();
                        assert!(came.eq(sent), "{transport:?} {size} ranks, {from} to {to}");
                    }
                }
            }
            in_time(tasks.join_all()).await;
            let counters = cluster.engines[0].exchange.counters(query);
            let rows = size as u64 * PARTITIONS as u64 * BATCHES as u64 * 2;
            assert_eq!((counters.rows_sent, counters.rows_received), (rows, rows));
            assert_eq!(counters.bytes_buffered, 0);
            assert_eq!(
                counters.messages_sent,
                rows / 2 * (size as u64 - 1) / size as u64
            );
            cluster.engines[0].exchange.close_query(query);
            cluster.wait_until_free().await;
            let after = cluster.engines[0].exchange.counters(query);
            assert_eq!(after.rows_sent, counters.rows_sent, "kept after the end");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_early_waits_for_this_ranks_part_of_the_plan() {
    for transport in TRANSPORTS {
        let cluster = Cluster::new(transport, 2);
        let (query, of) = (QueryId::random(), spec(vec![1, 1]));
        let first = cluster.engines[0]
            .exchange
            .open(id(query, 3), of.clone())
            .unwrap();
        in_time(first.send(1, 0, batch([1, 2]))).await.unwrap();
        in_time(first.finish()).await.unwrap();
        until("the message has come", || {
            cluster.engines[1].exchange.open_plans() == 1
        })
        .await;
        let second = cluster.engines[1].exchange.open(id(query, 3), of).unwrap();
        in_time(second.finish()).await.unwrap();
        assert_eq!(drain(&second, 0).await, [1, 2]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_queries_at_once_do_not_meet() {
    for transport in TRANSPORTS {
        let cluster = Cluster::new(transport, 3);
        let queries = [QueryId::random(), QueryId::random()];
        let opened = queries.map(|query| cluster.open(id(query, 0), 1));
        for (number, operations) in opened.iter().enumerate() {
            for operation in operations {
                let rows = batch([number as i64]);
                in_time(operation.send(2, 0, rows)).await.unwrap();
            }
        }
        // The first fails while the second runs.
        opened[0][1].fail(bireme_protocol::Fault::internal("planned"));
        for operation in &opened[1] {
            in_time(operation.finish()).await.unwrap();
        }
        assert!(failure(&opened[0][2], 0).await.contains("planned"));
        assert_eq!(drain(&opened[1][2], 0).await, [1, 1, 1]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_stops_early_ends_what_is_sent_to_it_and_nothing_else() {
    for transport in TRANSPORTS {
        let cluster = Cluster::new(transport, 2);
        let operations = cluster.open(id(QueryId::random(), 0), 2);
        let mut tasks = JoinSet::new();
        for operation in operations.clone() {
            tasks.spawn(async move {
                let rows = batch(0..8192);
                for _ in 0..200 {
                    for to in 0..2 {
                        operation.send(to, 1, rows.clone()).await.unwrap();
                        operation.send(to, 0, rows.clone()).await.unwrap();
                    }
                }
                operation.finish().await.unwrap();
            });
        }
        // Each rank reads one batch of partition 1 and is content.
        for operation in &operations {
            let mut receiver = operation.receive(1).unwrap();
            in_time(receiver.next()).await.unwrap().unwrap();
        }
        for operation in &operations {
            assert_eq!(drain(operation, 0).await.len(), 2 * 200 * 8192);
        }
        in_time(tasks.join_all()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_nobody_wants_rows_the_senders_know() {
    for transport in TRANSPORTS {
        let cluster = Cluster::new(transport, 2);
        let operations = cluster.open(id(QueryId::random(), 0), 2);
        assert!(operations[0].is_wanted());
        for operation in &operations {
            drop(operation.receive(0).unwrap());
            drop(operation.receive(1).unwrap());
        }
        for operation in &operations {
            until("all have stopped", || !operation.is_wanted()).await;
            let sent = in_time(operation.send(1, 0, batch([1]))).await.unwrap();
            assert_eq!(sent, None, "a batch nobody wants is dropped");
        }
    }
}

#[tokio::test]
async fn misuse_is_an_error_that_says_so() {
    let cluster = Cluster::new(TRANSPORTS[0], 2);
    let operations = cluster.open(id(QueryId::random(), 0), 1);
    let _receiver = operations[0].receive(0).unwrap();
    let twice = operations[0].receive(0).unwrap_err().to_string();
    assert!(twice.contains("has been taken before"), "{twice}");
    let beyond = operations[0].receive(1).unwrap_err().to_string();
    assert!(beyond.contains("partition 1 of 1"), "{beyond}");
    let other = cluster.engines[0]
        .exchange
        .open(operations[0].id(), spec(vec![2, 2]));
    assert!(other.unwrap_err().to_string().contains("another schema"));
}
