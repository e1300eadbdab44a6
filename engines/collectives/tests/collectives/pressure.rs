//! Bounded buffers, partitions nobody polls, tiny budgets, full disks.

use crate::cluster::{Cluster, Limits, TRANSPORTS, batch, drain, failure, id, in_time, until};
use bireme_collectives::Operation;
use bireme_protocol::{ErrorCode, Fault, QueryId};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const MIB: usize = 1 << 20;
const ROWS: i64 = 16 * 1024;

/// Numbered batches of 128 KiB to partition 0 and then to partition 1 of rank 0.
async fn send_numbered(operation: Operation, batches: i64, sent: Arc<AtomicI64>) {
    for number in 0..batches {
        for partition in [0, 1] {
            let rows = batch((0..ROWS).map(|row| number * ROWS + row));
            operation.send(0, partition, rows).await.unwrap();
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
    operation.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_wait_when_nobody_is_hungry_and_nothing_is_spilled() {
    for transport in TRANSPORTS {
        let cluster = Cluster::new(transport, 2);
        let operations = cluster.open(id(QueryId::random(), 0), 2);
        let sent = Arc::new(AtomicI64::new(0));
        let mut tasks = JoinSet::new();
        for operation in operations.clone() {
            tasks.spawn(send_numbered(operation, 200, Arc::clone(&sent)));
        }
        until("the windows are full", || {
            cluster.engines[0].budget.host_used() >= 6 * MIB
        })
        .await;
        let enough = tokio::time::timeout(Duration::from_millis(300), tasks.join_next()).await;
        assert!(enough.is_err(), "a sender ended although nobody reads");
        // Two ranks, two partitions, 2 MiB each, one batch beyond.
        assert!(cluster.engines[0].budget.host_used() <= 9 * MIB);
        assert_eq!(
            cluster.engines[0]
                .exchange
                .spill_directory()
                .counters()
                .files,
            0
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_nobody_polls_does_not_stall_its_neighbour() {
    for transport in TRANSPORTS {
        for host in [1 << 30, 4 * MIB] {
            let limits = Limits {
                host,
                ..Limits::default()
            };
            let cluster = Cluster::with_limits(transport, 2, &limits);
            let query = QueryId::random();
            let moves = Arc::new(Mutex::new(Vec::new()));
            let seen = Arc::clone(&moves);
            let watched = &cluster.engines[0].exchange;
            watched.on_spill(move |moved| seen.lock().unwrap().push(moved));
            let operations = cluster.open(id(query, 0), 2);
            let sent = Arc::new(AtomicI64::new(0));
            let mut tasks = JoinSet::new();
            for operation in operations.clone() {
                tasks.spawn(send_numbered(operation, 150, Arc::clone(&sent)));
            }
            // All of partition 1 comes although partition 0, sent before it, is not polled.
            let rows = 2 * 150 * ROWS;
            assert_eq!(drain(&operations[0], 1).await.len() as i64, rows);
            let spilled = cluster.engines[0].exchange.counters(query).bytes_spilled;
            assert_eq!(
                spilled > 0,
                host < 1 << 30,
                "{transport:?}: {spilled} bytes spilled"
            );
            // And partition 0 is all there, from memory or disk, each sender's rows in order.
            let kept = drain(&operations[0], 0).await;
            assert_eq!(kept.len() as i64, rows);
            let mut last = [-1, -1];
            for row in kept {
                let next = last.iter().position(|last| last + 1 == row);
                last[next.expect("rows of a sender are in order")] = row;
            }
            in_time(tasks.join_all()).await;
            // All that went to disk came back, and the timeline is told of both.
            let spilled = watched.counters(query).bytes_spilled;
            let moves = std::mem::take(&mut *moves.lock().unwrap());
            assert!(moves.iter().all(|moved| moved.query == query));
            let bytes = |is_back: bool| {
                let of_kind = moves.iter().filter(|moved| moved.is_back == is_back);
                of_kind.map(|moved| moved.bytes).sum::<u64>()
            };
            assert_eq!((bytes(false), bytes(true)), (spilled, spilled), "{moves:?}");
            watched.close_query(query);
            cluster.wait_until_free().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_the_query_everywhere_and_leaves_nothing() {
    for transport in TRANSPORTS {
        let limits = Limits {
            host: 2 * MIB,
            disk: 8 * MIB as u64,
            ..Limits::default()
        };
        let cluster = Cluster::with_limits(transport, 2, &limits);
        let query = QueryId::random();
        let operations = cluster.open(id(query, 0), 2);
        let mut tasks = JoinSet::new();
        for operation in operations.clone() {
            tasks.spawn(async move {
                for number in 0..2000 {
                    let rows = batch((0..ROWS).map(|row| number * ROWS + row));
                    if operation.send(0, 0, rows.clone()).await.is_err() {
                        return;
                    }
                    if operation.send(0, 1, rows).await.is_err() {
                        return;
                    }
                }
            });
        }
        let error = failure(&operations[0], 1).await;
        assert!(error.contains("memory.disk_limit"), "{error}");
        in_time(tasks.join_all()).await;
        for engine in &cluster.engines {
            until("every rank knows", || {
                engine.exchange.fault(query).is_some()
            })
            .await;
            let fault = engine.exchange.fault(query).unwrap();
            assert_eq!((fault.code, fault.engine), (ErrorCode::DiskFull, Some(0)));
        }
        cluster.wait_until_free().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_gets_no_room_by_its_deadline_fails_the_query_with_the_numbers() {
    let room_within = Duration::from_millis(300);
    for transport in TRANSPORTS {
        let limits = Limits {
            room_within,
            ..Limits::default()
        };
        let cluster = Cluster::with_limits(transport, 2, &limits);
        let query = QueryId::random();
        let operations = cluster.open(id(query, 5), 1);
        let begun = Instant::now();
        // Nobody reads and nobody is hungry: the window fills up and stays full.
        let error = in_time(async {
            loop {
                if let Err(error) = operations[1].send(0, 0, batch(0..ROWS)).await {
                    return error;
                }
            }
        })
        .await;
        assert!(begun.elapsed() >= room_within, "{:?}", begun.elapsed());
        let text = error.to_string();
        for part in ["partition 0 of engine 0 in operation 5", "within 0.3 s"] {
            assert!(text.contains(part), "{text}");
        }
        operations[1].fail(Fault::from(&error));
        for engine in &cluster.engines {
            until("every rank knows", || {
                engine.exchange.fault(query).is_some()
            })
            .await;
            let fault = engine.exchange.fault(query).unwrap();
            assert_eq!((fault.code, fault.engine), (ErrorCode::TimedOut, Some(1)));
        }
        cluster.wait_until_free().await;
    }
}
