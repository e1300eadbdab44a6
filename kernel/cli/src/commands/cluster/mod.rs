//! `bireme cluster`: the life cycle of the processes behind the notebooks.

mod list;
mod logs;

use crate::context::{Context, read_engines};
use crate::error::CliError;
use crate::terminal;
use bireme_client::Cluster;
use bireme_kernel::start_options;
use bireme_launchers::{ClusterLock, StartedCluster, start_cluster, stop_cluster};
use bireme_magics::display::listing;
use bireme_protocol::proto::launcher_client::LauncherClient;
use bireme_protocol::proto::{ScaleRequest, WaitReadyRequest};
use bireme_protocol::{Address, ErrorCode, Fault, process};
use bireme_settings::{Home, Settings};
use clap::{Args, Subcommand};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What `status` ends with when there is no cluster, as service managers do.
const NOT_RUNNING: u8 = 3;
/// Longest wait for one answer of the launcher.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The same when rows of frames move first: the launcher gives up earlier, and says why.
const SCALE_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// What to do with the cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Start it, or say that it runs.
    Start(StartArguments),
    /// Show its controller and engines.
    Status,
    /// End it: running queries end, views and external tables stay.
    Stop,
    /// Stop it and start it again, after an update for example.
    Restart(StartArguments),
    /// List the running clusters of this user.
    List,
    /// Change the number of engines.
    Scale(ScaleArguments),
    /// Show the end of the logs.
    Logs(logs::LogsArguments),
}

#[derive(Debug, Args)]
pub(crate) struct StartArguments {
    /// How many engines: a number, or `auto` for one per two cores, at least 2.
    #[arg(long, value_parser = read_engines)]
    engines: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArguments {
    /// How many engines.
    #[arg(value_parser = clap::value_parser!(u32).range(1..=256))]
    engines: u32,
}

impl ClusterCommand {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::List => return list::run(),
            Self::Logs(arguments) => return arguments.run(&context.home()?),
            _ => {}
        }
        let home = context.home()?;
        Context::block_on(async {
            match self {
                Self::Start(arguments) => {
                    let settings = context.settings(&home, arguments.engines.as_deref())?;
                    start(&home, &settings).await?;
                }
                Self::Status => return status(&home).await,
                Self::Stop => stop(&home).await?,
                Self::Restart(arguments) => restart(context, &home, arguments).await?,
                Self::Scale(arguments) => scale(&home, arguments.engines).await?,
                Self::List | Self::Logs(_) => {}
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn start(home: &Home, settings: &Settings) -> Result<StartedCluster, CliError> {
    let started_at = Instant::now();
    let options = start_options(&Context::program()?, home, settings);
    let line = terminal::status_line();
    line.set_message(format!("starting {} engines", settings.engines()));
    let started = start_cluster(home, &options).await;
    line.finish_and_clear();
    let cluster = started?;
    let engines = counted(cluster.engines);
    terminal::print(&match cluster.is_new {
        true => {
            let took = started_at.elapsed().as_millis();
            format!(
                "cluster in {}: {engines}, started in {took} ms\n",
                home.root().display()
            )
        }
        false => format!(
            "cluster in {}: {engines}, was running\n",
            home.root().display()
        ),
    })?;
    if !cluster.is_new && settings.engines() != cluster.engines {
        let wanted = settings.engines();
        terminal::note(&format!(
            "`bireme cluster scale {wanted}` changes the number of engines"
        ));
    }
    Ok(cluster)
}

async fn status(home: &Home) -> Result<ExitCode, CliError> {
    let cluster = match Cluster::attach(home).await {
        Ok(cluster) => cluster,
        Err(fault)
            if fault.code == ErrorCode::Unavailable && ClusterLock::holder(home)?.is_none() =>
        {
            terminal::print(&format!("no cluster runs in {}\n", home.root().display()))?;
            return Ok(ExitCode::from(NOT_RUNNING));
        }
        Err(fault) => return Err(fault.into()),
    };
    let status = cluster.status().await?;
    let headline = format!(
        "cluster in {}\ncontroller: pid {}, {}, build {}\n{}, {} wanted · sessions: {} · queries: {} running, {} queued\n",
        home.root().display(),
        status.controller_pid,
        bireme_settings::format_bytes(status.controller_resident_bytes),
        status.build_id,
        counted(u32::try_from(status.engines.len()).unwrap_or(u32::MAX)),
        status.engines_wanted,
        status.sessions,
        status.queries_running,
        status.queries_queued,
    );
    let engines = listing::engines(&status, process::now_ms().unsigned_abs());
    terminal::print(&format!("{headline}{}\n", engines.plain.trim_end()))?;
    Ok(ExitCode::SUCCESS)
}

async fn stop(home: &Home) -> Result<(), CliError> {
    let line = terminal::status_line();
    line.set_message("stopping");
    let stopped = stop_cluster(home).await;
    line.finish_and_clear();
    let there = home.root().display();
    terminal::print(&match stopped? {
        true => format!("cluster in {there}: stopped\n"),
        false => format!("no cluster runs in {there}\n"),
    })
}

async fn restart(
    context: &Context,
    home: &Home,
    arguments: StartArguments,
) -> Result<(), CliError> {
    let mut engines = arguments.engines;
    if engines.is_none() {
        // As many as before; a cluster of another build does not say.
        if let Ok(cluster) = Cluster::attach(home).await {
            engines = cluster
                .status()
                .await
                .ok()
                .map(|status| status.engines_wanted.max(1).to_string());
        }
    }
    stop_cluster(home).await?;
    let settings = context.settings(home, engines.as_deref())?;
    start(home, &settings).await?;
    Ok(())
}

async fn scale(home: &Home, engines: u32) -> Result<(), CliError> {
    if ClusterLock::holder(home)?.is_none() {
        let message = format!(
            "scale the cluster in {}: none runs there",
            home.root().display()
        );
        let hint = format!("`bireme cluster start --engines {engines}` starts one");
        return Err(Fault::new(ErrorCode::Unavailable, message)
            .with_hint(hint)
            .into());
    }
    let line = terminal::status_line();
    let what = format!(
        "scaling to {}: frames and queries leave the others",
        counted(engines)
    );
    line.set_message(what);
    let channel = Address::unix(home.launcher_socket()).connect().await?;
    let mut launcher = LauncherClient::new(channel);
    let scaled = async {
        launcher.scale(ScaleRequest { engines }).await?;
        let timeout_ms = u64::try_from(ANSWER_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        launcher.wait_ready(WaitReadyRequest { timeout_ms }).await
    };
    let answer = tokio::time::timeout(SCALE_TIMEOUT, scaled).await;
    line.finish_and_clear();
    match answer {
        Ok(reply) => {
            let engines = reply.map_err(Fault::from)?.into_inner().engines;
            terminal::print(&format!(
                "cluster in {}: {}\n",
                home.root().display(),
                counted(engines)
            ))
        }
        Err(_) => {
            let message = format!(
                "scale to {}: not done after {SCALE_TIMEOUT:?}",
                counted(engines)
            );
            Err(Fault::new(ErrorCode::Unavailable, message).into())
        }
    }
}

fn counted(engines: u32) -> String {
    match engines {
        1 => "1 engine".to_string(),
        _ => format!("{engines} engines"),
    }
}
