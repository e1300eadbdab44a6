//! A rank that is gone before anybody has talked to it is missed within 2 s, by every rank, also by
//! those who only wait for its rows.

use crate::cluster::{Cluster, TRANSPORTS, batch, failure, id, in_time, spec};
use bireme_protocol::QueryId;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const MISSED_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_waits_for_its_rows_misses_it() {
    for transport in TRANSPORTS {
        let mut cluster = Cluster::new(transport, 3);
        let gone = cluster.engines.remove(2);
        if let Some(communicator) = &gone.in_process {
            communicator.cut_off();
        }
        drop(gone);
        let query = QueryId::random();
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for engine in &cluster.engines {
            let opened = engine.exchange.open(id(query, 0), spec(vec![1; 3]));
            tasks.spawn(async move {
                match opened {
                    Ok(operation) => failure(&operation, 0).await,
                    Err(error) => error.to_string(),
                }
            });
        }
        for error in in_time(tasks.join_all()).await {
            assert!(error.contains("engine 2 ended"), "{error}");
        }
        assert!(begun.elapsed() < MISSED_WITHIN, "{:?}", begun.elapsed());
        for engine in &cluster.engines {
            assert_eq!(engine.exchange.fault(query).unwrap().engine, Some(2));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_to_it_misses_it() {
    for transport in TRANSPORTS {
        let mut cluster = Cluster::new(transport, 2);
        let query = QueryId::random();
        let operation = cluster.engines[0]
            .exchange
            .open(id(query, 0), spec(vec![1; 2]))
            .unwrap();
        let gone = cluster.engines.remove(1);
        if let Some(communicator) = &gone.in_process {
            communicator.cut_off();
        }
        drop(gone);
        let begun = Instant::now();
        let error = in_time(async {
            loop {
                if let Err(error) = operation.send(1, 0, batch(0..8192)).await {
                    return error.to_string();
                }
            }
        })
        .await;
        assert!(error.contains("engine 1 ended"), "{error}");
        assert!(begun.elapsed() < MISSED_WITHIN, "{:?}", begun.elapsed());
    }
}
