//! Starts and small queries, through real processes and sockets, in a home of their own.

use super::measures::Measures;
use super::{LatencyArguments, write_json};
use crate::context::Context;
use crate::error::CliError;
use crate::terminal;
use bireme_client::Cluster;
use bireme_jupyter::wire::{CellError, ExecuteRequest};
use bireme_jupyter::{ConnectionFile, Frontend};
use bireme_kernel::start_options;
use bireme_launchers::{start_cluster, stop_cluster};
use bireme_protocol::process::resident_bytes_of;
use bireme_settings::{Home, Settings};
use serde_json::json;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// Longest wait for a kernel.
const KERNEL_TIMEOUT: Duration = Duration::from_secs(20);
/// Cells that are run before one is measured.
const WARM_UP: usize = 50;
const MIB: f64 = (1 << 20) as f64;

/// One number with the bar it is held against.
struct Line {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// None where the design sets no bar.
    bar: Option<f64>,
}

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
    let directory = tempfile::Builder::new()
        .prefix("bireme-bench-")
        .tempdir()
        .map_err(|source| CliError::io("make a directory for the measurement", source))?;
    let home = Home::at(directory.path()).map_err(|source| CliError::Home { source })?;
    let lines = Context::block_on(async {
        let measured = measure(arguments, &home).await;
        let stopped = stop_cluster(&home).await;
        let lines = measured?;
        stopped?;
        Ok(lines)
    })?;
    report(arguments, &lines)
}

async fn measure(arguments: &LatencyArguments, home: &Home) -> Result<Vec<Line>, CliError> {
    let cluster = cluster_starts(arguments, home).await?;
    let idle_bytes = largest_engine(home).await?;
    let info = kernel_starts(arguments, home).await?;
    let (mut kernel, front_end) = start_kernel(home).await?;
    let started_at = Instant::now();
    select_one(&front_end).await?;
    let first = started_at.elapsed();
    for _ in 0..WARM_UP {
        select_one(&front_end).await?;
    }
    let mut queries = Measures::default();
    for _ in 0..arguments.count {
        let started_at = Instant::now();
        select_one(&front_end).await?;
        queries.add(started_at.elapsed());
    }
    let kernel_bytes = resident_bytes_of(kernel.id().unwrap_or_default());
    let used_bytes = largest_engine(home).await?;
    front_end.shutdown(false).await?;
    // It has been asked to end; a kernel that does not is killed when dropped.
    let _ = tokio::time::timeout(KERNEL_TIMEOUT, kernel.wait()).await;
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
    let milliseconds = |seconds: Option<f64>| seconds.unwrap_or(f64::NAN) * 1e3;
    let line = |name, value, unit, bar| Line {
        name,
        value,
        unit,
        bar,
    };
    vec![
        line(
            "%%sql SELECT 1, p50",
            milliseconds(queries.median()),
            "ms",
            Some(5.0),
        ),
        line(
            "%%sql SELECT 1, p99",
            milliseconds(queries.quantile(0.99)),
            "ms",
            Some(15.0),
        ),
        line(
            "first %%sql of a kernel",
            first.as_secs_f64() * 1e3,
            "ms",
            Some(150.0),
        ),
        line(
            "kernel start to kernel_info",
            milliseconds(info.median()),
            "ms",
            Some(100.0),
        ),
        line(
            "cluster usable",
            milliseconds(cluster.median()),
            "ms",
            Some(500.0),
        ),
        line(
            "kernel, resident",
            *kernel_bytes as f64 / MIB,
            "MiB",
            Some(40.0),
        ),
        line(
            "idle engine, resident",
            *idle_bytes as f64 / MIB,
            "MiB",
            Some(60.0),
        ),
        line(
            "engine after queries, resident",
            *used_bytes as f64 / MIB,
            "MiB",
            None,
        ),
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
        let (mut kernel, front_end) = start_kernel(home).await?;
        measures.add(started_at.elapsed());
        front_end.shutdown(false).await?;
        // As above.
        let _ = tokio::time::timeout(KERNEL_TIMEOUT, kernel.wait()).await;
    }
    Ok(measures)
}

/// Starts a kernel process and returns when it has said who it is.
async fn start_kernel(home: &Home) -> Result<(Child, Frontend), CliError> {
    let connection = ConnectionFile::new_loopback();
    let connection = with_free_ports(connection)?;
    let file = home.root().join("kernel-bench.json");
    connection.write(&file)?;
    let kernel = spawn_kernel(home, &file)?;
    let front_end = Frontend::connect(&connection, KERNEL_TIMEOUT).await?;
    front_end.kernel_info().await?;
    Ok((kernel, front_end))
}

fn spawn_kernel(home: &Home, file: &Path) -> Result<Child, CliError> {
    Command::new(Context::program()?)
        .arg("kernel")
        .arg("-f")
        .arg(file)
        .env("BIREME_HOME", home.root())
        .current_dir(home.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| CliError::io("start a kernel", source))
}

/// Ports that are free now, as Jupyter chooses them.
fn with_free_ports(mut connection: ConnectionFile) -> Result<ConnectionFile, CliError> {
    let failed = |source| CliError::io("find a free port", source);
    let listeners = std::iter::repeat_with(|| std::net::TcpListener::bind("127.0.0.1:0"))
        .take(5)
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(failed)?;
    let ports = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(failed)?;
    if let [shell, control, stdin, iopub, heartbeat] = ports[..] {
        connection.shell_port = shell;
        connection.control_port = control;
        connection.stdin_port = stdin;
        connection.iopub_port = iopub;
        connection.hb_port = heartbeat;
    }
    Ok(connection)
}

/// Runs the cell from the request to idle.
async fn select_one(front_end: &Frontend) -> Result<(), CliError> {
    let execution = front_end
        .execute(ExecuteRequest::new("%%sql\nSELECT 1"))
        .await?;
    let (_, end) = execution.collect().await?;
    match end.reply.error {
        None => Ok(()),
        Some(CellError { ename, evalue, .. }) => Err(CliError::Program {
            message: format!("measure SELECT 1: {ename}: {evalue}"),
        }),
    }
}

fn report(arguments: &LatencyArguments, lines: &[Line]) -> Result<ExitCode, CliError> {
    let mut text = String::new();
    for line in lines {
        let against = line.bar.map(|bar| {
            let verdict = if line.value <= bar { "ok" } else { "above" };
            format!("  bar {bar:>6.0} {:<3}  {verdict}", line.unit)
        });
        let row = format!(
            "{:<32} {:>9.2} {:<3}{}",
            line.name,
            line.value,
            line.unit,
            against.unwrap_or_default()
        );
        text.push_str(row.trim_end());
        text.push('\n');
    }
    terminal::print(&text)?;
    if let Some(path) = &arguments.json {
        let numbers: Vec<_> = lines
            .iter()
            .map(|line| json!({"name": line.name, "value": line.value, "unit": line.unit, "bar": line.bar}))
            .collect();
        let engines = arguments.engines;
        write_json(
            path,
            &json!({"bench": "latency", "engines": engines, "numbers": numbers}),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
