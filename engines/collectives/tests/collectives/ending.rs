//! How plans end: closed, failed, or with an engine. Always on every rank, and with one cause.

use crate::cluster::{Cluster, TRANSPORTS, batch, failure, id, in_time, spec, until};
use bireme_protocol::{ErrorCode, Fault, QueryId};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_on_one_rank_is_the_same_failure_on_all_within_a_second() {
    for transport in TRANSPORTS {
        let cluster = Cluster::new(transport, 3);
        let query = QueryId::random();
        let operations = cluster.open(id(query, 0), 1);
        let mut tasks = JoinSet::new();
        for operation in operations.clone() {
            tasks.spawn(async move { failure(&operation, 0).await });
        }
        // One rank is blocked in a send, too.
        let blocked = operations[2].clone();
        tasks.spawn(async move {
            loop {
                if let Err(error) = blocked.send(1, 0, batch(0..8192)).await {
                    return error.to_string();
                }
            }
        });
        let begun = Instant::now();
        operations[1].fail(Fault::new(ErrorCode::ExecutionError, "divide 1 by 0"));
        operations[1].fail(Fault::new(ErrorCode::ExecutionError, "too late"));
        for error in in_time(tasks.join_all()).await {
            assert_eq!(error, "divide 1 by 0");
        }
        assert!(begun.elapsed() < Duration::from_secs(1));
        for engine in &cluster.engines {
            let fault = engine.exchange.fault(query).unwrap();
            assert_eq!(fault.engine, Some(1));
            assert_eq!(fault.query, Some(query.to_string()));
        }
        cluster.wait_until_free().await;
        let refused = cluster.engines[0]
            .exchange
            .open(id(query, 9), spec(vec![1; 3]));
        assert_eq!(refused.unwrap_err().to_string(), "divide 1 by 0");
        // Nor does a part of the plan that comes after its end report anything else.
        cluster.engines[0].exchange.close_query(query);
        for engine in &cluster.engines {
            until("the plan is closed", || engine.exchange.open_plans() == 0).await;
            let late = engine.exchange.open(id(query, 0), spec(vec![1; 3]));
            assert_eq!(late.unwrap_err().to_string(), "divide 1 by 0");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_guard_frees_everything_on_every_rank() {
    for transport in TRANSPORTS {
        let cluster = Cluster::new(transport, 3);
        let query = QueryId::random();
        let operations = cluster.open(id(query, 0), 2);
        let guard = cluster.engines[0]
            .exchange
            .guard(query, operations[0].id().plan);
        let mut tasks = JoinSet::new();
        for operation in &operations {
            let sender = operation.clone();
            // A task of the operation itself ends with the plan.
            operation.spawn(async move {
                while sender.send(0, 0, batch(0..8192)).await.is_ok() {}
                std::future::pending::<()>().await;
            });
            let waiting = operation.clone();
            tasks.spawn(async move { failure(&waiting, 1).await });
        }
        until("rows are held", || {
            cluster.engines[0].budget.host_used() > 0
        })
        .await;
        drop(guard);
        for error in in_time(tasks.join_all()).await {
            assert!(error.contains("the query has ended"), "{error}");
        }
        cluster.wait_until_free().await;
        for engine in &cluster.engines {
            until("the plan is gone", || engine.exchange.open_plans() == 0).await;
        }
        let late = cluster.engines[2]
            .exchange
            .open(id(query, 0), spec(vec![2; 3]));
        assert!(late.unwrap_err().to_string().contains("has ended"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_can_be_aborted_from_any_rank() {
    for transport in TRANSPORTS {
        let cluster = Cluster::new(transport, 2);
        let query = QueryId::random();
        let operations = cluster.open(id(query, 0), 1);
        let fault = Fault::new(ErrorCode::TimedOut, "run longer than 1 s");
        cluster.engines[1].exchange.abort_query(query, fault);
        for operation in &operations {
            assert_eq!(failure(operation, 0).await, "run longer than 1 s");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_ends_fails_what_it_took_part_in_and_the_next_query_of_others_goes_on() {
    for transport in TRANSPORTS {
        let mut cluster = Cluster::new(transport, 3);
        let query = QueryId::random();
        let operations = cluster.open(id(query, 0), 1);
        for operation in &operations {
            // Every rank has talked to every other.
            for to in 0..3 {
                in_time(operation.send(to, 0, batch([1]))).await.unwrap();
            }
        }
        until("all is heard", || {
            let mut engines = cluster.engines.iter();
            engines.all(|engine| engine.exchange.counters(query).messages_received == 2)
        })
        .await;
        let gone = cluster.engines.remove(2);
        if let Some(communicator) = &gone.in_process {
            communicator.cut_off();
        }
        let begun = Instant::now();
        let mut rest = operations;
        drop((gone, rest.pop()));
        for operation in &rest {
            let error = failure(operation, 0).await;
            assert!(error.contains("engine 2 ended"), "{error}");
        }
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
}
