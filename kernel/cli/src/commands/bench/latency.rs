//! Starts and small queries, through real processes and sockets, in a home of their own.

use super::bench_kernel::BenchKernel;
use super::lines::{Line, report};
use super::measures::Measures;
use super::{LatencyArguments, scratch};
use crate::context::Context;
use crate::error::CliError;
use bireme_client::Cluster;
use bireme_kernel::start_options;
use bireme_launchers::{start_cluster, stop_cluster};
use bireme_protocol::process::resident_bytes_of;
use bireme_settings::{Home, Settings};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Cells that are run before one is measured.
const WARM_UP: usize = 50;
const SELECT: &str = "%%sql\nSELECT 1";

/// What was measured.
struct Measured {
    cluster: Measures,
    info: Measures,
    first: Duration,
    queries: Measures,
    kernel_bytes: u64,
    idle_bytes: u64,
    used_bytes: u64,
}

pub(super) fn run(arguments: &LatencyArguments) -> Result<ExitCode, CliError> {
    let directory = scratch()?;
    let home = Home::at(directory.path()).map_err(|source| CliError::Home { source })?;
    let lines = Context::block_on(async {
        let measured = measure(arguments, &home).await;
        let stopped = stop_cluster(&home).await;
        let lines = measured?;
        stopped?;
        Ok(lines)
    })?;
    report("latency", &lines, arguments.json.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(arguments: &LatencyArguments, home: &Home) -> Result<Vec<Line>, CliError> {
    let cluster = cluster_starts(arguments, home).await?;
    let idle_bytes = largest_engine(home).await?;
    let info = kernel_starts(arguments, home).await?;
    let kernel = BenchKernel::start(home).await?;
    let first = kernel.time(SELECT).await?;
    for _ in 0..WARM_UP {
        kernel.time(SELECT).await?;
    }
    let mut queries = Measures::default();
    for _ in 0..arguments.count {
        queries.add(kernel.time(SELECT).await?);
    }
    let kernel_bytes = resident_bytes_of(kernel.pid());
    let used_bytes = largest_engine(home).await?;
    kernel.end().await?;
    Ok(summary(&Measured {
        cluster,
        info,
        first,
        queries,
        kernel_bytes,
        idle_bytes,
        used_bytes,
    }))
}

fn summary(measured: &Measured) -> Vec<Line> {
    let Measured {
        cluster,
        info,
        first,
        queries,
        kernel_bytes,
        idle_bytes,
        used_bytes,
    } = measured;
    let p99 = queries.quantile(0.99);
    let first = Some(first.as_secs_f64());
    vec![
        Line::milliseconds("%%sql SELECT 1, p50", queries.median(), Some(5.0)),
        Line::milliseconds("%%sql SELECT 1, p99", p99, Some(15.0)),
        Line::milliseconds("first %%sql of a kernel", first, Some(150.0)),
        Line::milliseconds("kernel start to kernel_info", info.median(), Some(100.0)),
        Line::milliseconds("cluster usable", cluster.median(), Some(500.0)),
        Line::mebibytes("kernel, resident", *kernel_bytes, Some(40.0)),
        Line::mebibytes("idle engine, resident", *idle_bytes, Some(60.0)),
        Line::mebibytes("engine after queries, resident", *used_bytes, None),
    ]
}

/// Resident memory of the largest engine.
async fn largest_engine(home: &Home) -> Result<u64, CliError> {
    let status = Cluster::attach(home).await?.status().await?;
    let engines = status.engines.iter();
    Ok(engines
        .map(|engine| resident_bytes_of(engine.pid))
        .max()
        .unwrap_or_default())
}

/// From nothing to all engines registered; the last cluster stays.
async fn cluster_starts(arguments: &LatencyArguments, home: &Home) -> Result<Measures, CliError> {
    let mut settings = Settings::load(home)?;
    let engines = arguments.engines.to_string();
    settings.set("cluster.engines", &engines, bireme_settings::Source::Flag)?;
    let options = start_options(&Context::program()?, home, &settings);
    let mut measures = Measures::default();
    for _ in 0..arguments.starts.max(1) {
        stop_cluster(home).await?;
        let started_at = Instant::now();
        start_cluster(home, &options).await?;
        measures.add(started_at.elapsed());
    }
    Ok(measures)
}

async fn kernel_starts(arguments: &LatencyArguments, home: &Home) -> Result<Measures, CliError> {
    let mut measures = Measures::default();
    for _ in 0..arguments.starts.max(1) {
        let started_at = Instant::now();
        let kernel = BenchKernel::start(home).await?;
        measures.add(started_at.elapsed());
        kernel.end().await?;
    }
    Ok(measures)
}
