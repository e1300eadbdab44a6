//! This engine's place in its cluster: registers with the controller, reports, takes commands, and
//! comes back by itself when the controller does.

use crate::engine::Engine;
use crate::queries::Remakes;
use bireme_protocol::proto::controller_client::ControllerClient;
use bireme_protocol::proto::engine_command::Command;
use bireme_protocol::proto::engine_report::Report;
use bireme_protocol::proto::{EngineReport, Heartbeat, QueryProgress, Register, RunningQuery};
use bireme_protocol::{Address, ErrorCode, Fault, QueryId, build_id, process};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;

/// Reports under way to the controller.
const REPORTS_AHEAD: usize = 64;
/// Waits between attempts to reach the controller grow from the first to the second.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How long an engine waits for its controller to return before it gives up.
const ORPHANED_MAX: Duration = Duration::from_secs(24 * 3600);

/// Keeps the engine a member until it is told to leave.
///
/// # Errors
/// The controller refuses this build.
pub(crate) async fn keep(engine: Arc<Engine>, stop: CancellationToken) -> Result<(), Fault> {
    let mut wait = RETRY_FIRST;
    let mut last_contact = Instant::now();
    while !stop.is_cancelled() && last_contact.elapsed() < ORPHANED_MAX {
        match attach(&engine).await {
            Ok((reports, commands)) => {
                wait = RETRY_FIRST;
                serve(&engine, reports, commands, &stop).await;
                last_contact = Instant::now();
            }
            // Another build is started in this one's place, not by waiting.
            Err(fault) if fault.code == ErrorCode::BuildMismatch => {
                tracing::error!(%fault, "refused by the controller");
                stop.cancel();
                return Err(fault);
            }
            Err(fault) => tracing::debug!(%fault, "the controller does not answer yet"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
    stop.cancel();
    Ok(())
}

type Reports = mpsc::Sender<EngineReport>;

async fn attach(
    engine: &Arc<Engine>,
) -> Result<(Reports, Streaming<bireme_protocol::proto::EngineCommand>), Fault> {
    let address = Address::unix(engine.home().controller_socket());
    let mut controller: ControllerClient<Channel> = ControllerClient::new(address.connect().await?);
    let (reports_tx, reports_rx) = mpsc::channel(REPORTS_AHEAD);
    let register = Report::Register(Register {
        hello: Some(build_id::hello("engine")),
        rank: engine.rank(),
        address: engine.address().to_string(),
        slot: "cpu".to_string(),
        segments: engine
            .frames()
            .segments()
            .iter()
            .map(ToString::to_string)
            .collect(),
        running: running(engine),
    });
    let heartbeat = Report::Heartbeat(heartbeat(engine));
    for report in [register, heartbeat] {
        let sent = reports_tx.try_send(EngineReport {
            report: Some(report),
        });
        sent.map_err(|error| Fault::internal(format!("queue a first report: {error}")))?;
    }
    let commands = controller.attach(ReceiverStream::new(reports_rx)).await?;
    Ok((reports_tx, commands.into_inner()))
}

async fn serve(
    engine: &Arc<Engine>,
    reports: Reports,
    mut commands: Streaming<bireme_protocol::proto::EngineCommand>,
    stop: &CancellationToken,
) {
    // All ends once more: the last connection may have broken with some under way.
    let mut told = 0;
    let mut ticks = tokio::time::interval(engine.settings().duration("engine.heartbeat_interval"));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        let report = tokio::select! {
            () = stop.cancelled() => return,
            command = commands.message() => match command {
                Ok(Some(command)) => {
                    if let Some(command) = command.command {
                        obey(engine, command);
                    }
                    continue;
                }
                Ok(None) => return,
                Err(status) => {
                    tracing::info!(%status, "the controller is gone");
                    return;
                }
            },
            ended = engine.ends().next(&mut told) => Report::QueryEnded(ended),
            _ = ticks.tick() => Report::Heartbeat(heartbeat(engine)),
        };
        let sent = reports.send(EngineReport {
            report: Some(report),
        });
        if sent.await.is_err() {
            return;
        }
    }
}

fn heartbeat(engine: &Arc<Engine>) -> Heartbeat {
    let budget = engine.budget();
    Heartbeat {
        resident_bytes: process::resident_bytes(),
        memory_limit: budget.host_limit() as u64,
        memory_reserved: budget.host_used() as u64,
        spill_bytes: budget.disk_used(),
        running: running(engine),
    }
}

/// The queries that run here or wait for their client here.
fn running(engine: &Arc<Engine>) -> Vec<RunningQuery> {
    let exchange = engine.exchange();
    let mut heads = engine.queries().held();
    let mut running = Vec::new();
    for (query, mut progress) in engine.live().progress() {
        let moved = exchange.counters(query);
        progress.bytes_shuffled = progress.bytes_shuffled.max(moved.bytes_sent);
        running.push(report(query, Some(progress), heads.remove(&query)));
    }
    let planned = heads.into_iter();
    running.extend(planned.map(|(query, remakes)| report(query, None, Some(remakes))));
    running
}

fn report(
    query: QueryId,
    progress: Option<QueryProgress>,
    as_head: Option<Remakes>,
) -> RunningQuery {
    let is_head = as_head.is_some();
    let remakes = as_head.unwrap_or_default();
    RunningQuery {
        query_id: query.to_string(),
        progress,
        head: is_head,
        remakes: remakes.segment,
        moves: remakes.is_moved,
    }
}

fn obey(engine: &Arc<Engine>, command: Command) {
    match command {
        Command::Topology(topology) => engine.set_topology(&topology),
        Command::Registered(registered) => {
            tracing::info!(cluster = %registered.cluster_id, "registered");
        }
        Command::DropSegments(dropped) => {
            let segments = dropped.ids.iter().filter_map(|id| id.parse().ok());
            let forget = |segment| engine.frames().drop_segment(segment);
            let forgotten: Vec<_> = segments.map(forget).collect();
            // Not here: while large frames go heartbeats would be late.
            engine.unattended().spawn_blocking(move || drop(forgotten));
        }
        // Told by calls of the engine's own service and by signals.
        Command::Cancel(_) | Command::Shutdown(_) => {}
    }
}
