//! Two processes that exchange rows of four i64 columns by hash, through shared memory and over
//! sockets in turn. Each has one thread, as engines of a machine with two cores have.

use super::measures::Measures;
use super::{scratch, write_json};
use crate::context::Context;
use crate::error::CliError;
use crate::terminal;
use bireme_engine::ShuffleMeasurement;
use bireme_protocol::QueryId;
use clap::Args;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;

const GIB: f64 = (1 << 30) as f64;
/// The bar of the design, in bytes per second.
const BAR: f64 = 1.5e9;
const RANKS: usize = 2;
/// Whether rows go through shared memory.
const TRANSPORTS: [(&str, bool); 2] = [("shared memory", true), ("sockets", false)];

#[derive(Debug, Args)]
pub(crate) struct ShuffleArguments {
    /// GiB that each engine sends in a round.
    #[arg(long, default_value_t = 1.0, value_name = "GIB")]
    size: f64,
    /// Rounds per process; the first warms up and does not count.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Processes per transport, in turn; the median of their rounds counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Where the numbers go as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Be one of the two: what the first process tells the others.
    #[arg(long, hide = true, num_args = 4, value_names = ["RANK", "DIRECTORY", "QUERY", "SHARE"])]
    rank: Option<Vec<String>>,
}

pub(super) fn run(arguments: &ShuffleArguments) -> Result<ExitCode, CliError> {
    if let Some(told) = &arguments.rank {
        return run_rank(arguments, told);
    }
    let mut measures = TRANSPORTS.map(|_| Measures::default());
    for run in 0..arguments.runs.max(1) {
        for ((name, share), measures) in TRANSPORTS.iter().zip(&mut measures) {
            terminal::note(&format!("run {}: {name}", run + 1));
            for seconds in run_ranks(arguments, *share)? {
                measures.add(Duration::from_secs_f64(seconds));
            }
        }
    }
    report(arguments, &measures)
}

fn measurement(
    arguments: &ShuffleArguments,
    rank: usize,
    directory: &Path,
    query: QueryId,
    share_memory: bool,
) -> ShuffleMeasurement {
    ShuffleMeasurement {
        directory: directory.to_path_buf(),
        query,
        rank,
        size: RANKS,
        bytes: (arguments.size * GIB) as u64,
        rounds: arguments.rounds.max(1) + 1,
        share_memory,
    }
}

/// What each round took, as the slower of the two saw it.
fn run_ranks(arguments: &ShuffleArguments, share: bool) -> Result<Vec<f64>, CliError> {
    let directory = scratch()?;
    let failed = |source| CliError::io("run an engine of the measurement", source);
    let query = QueryId::random().to_string();
    let mut children = Vec::with_capacity(RANKS);
    for rank in 0..RANKS {
        let child = Command::new(Context::program()?)
            .args(["bench", "shuffle"])
            .args(["--size", &arguments.size.to_string()])
            .args(["--rounds", &arguments.rounds.to_string()])
            .args(["--rank", &rank.to_string()])
            .arg(directory.path())
            .args([&query, &share.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        children.push(child.map_err(failed)?);
    }
    let mut slowest = vec![0.0_f64; arguments.rounds.max(1)];
    for child in &mut children {
        let mut line = String::new();
        if let Some(answers) = child.stdout.take() {
            BufReader::new(answers)
                .read_line(&mut line)
                .map_err(failed)?;
        }
        let seconds: Vec<f64> =
            serde_json::from_str(&line).map_err(|error| failed(std::io::Error::other(error)))?;
        for (slowest, seconds) in slowest.iter_mut().zip(seconds.into_iter().skip(1)) {
            *slowest = slowest.max(seconds);
        }
    }
    for mut child in children {
        drop(child.stdin.take());
        child.wait().map_err(failed)?;
    }
    Ok(slowest)
}

fn run_rank(arguments: &ShuffleArguments, told: &[String]) -> Result<ExitCode, CliError> {
    let wrong = || {
        CliError::io(
            "be a rank of the measurement",
            std::io::ErrorKind::InvalidInput.into(),
        )
    };
    let [rank, directory, query, share] = told else {
        return Err(wrong());
    };
    let measurement = measurement(
        arguments,
        rank.parse().map_err(|_| wrong())?,
        Path::new(directory),
        query.parse().map_err(|_| wrong())?,
        share.parse().map_err(|_| wrong())?,
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|source| CliError::io("start a runtime", source))?;
    runtime.block_on(measurement.run(async |took: Vec<Duration>| {
        let seconds: Vec<f64> = took.iter().map(Duration::as_secs_f64).collect();
        // Whoever does not read it misses it; the parent says when all ranks are done.
        let _ = terminal::print(&format!("{}\n", json!(seconds)));
        let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    }))?;
    Ok(ExitCode::SUCCESS)
}

fn report(arguments: &ShuffleArguments, measures: &[Measures]) -> Result<ExitCode, CliError> {
    let bytes = measurement(arguments, 0, Path::new(""), QueryId::random(), true).bytes_per_round();
    let rates: Vec<f64> = measures
        .iter()
        .map(|measures| bytes as f64 / measures.median().unwrap_or(f64::NAN))
        .collect();
    let [shared, sockets] = rates[..] else {
        return Ok(ExitCode::FAILURE);
    };
    let mut text = String::new();
    for ((name, _), rate) in TRANSPORTS.iter().zip(&rates) {
        text.push_str(&format!("{name:<14} {:>6.2} GB/s\n", rate / 1e9));
    }
    let verdict = if shared >= BAR { "ok" } else { "below" };
    let ratio = shared / sockets;
    text.push_str(&format!(
        "shared memory is {ratio:.2} times as fast; bar {:.1} GB/s  {verdict}\n",
        BAR / 1e9
    ));
    terminal::print(&text)?;
    if let Some(path) = &arguments.json {
        let value = json!({
            "bytes_per_round": bytes,
            "shared_memory_bytes_per_second": shared,
            "sockets_bytes_per_second": sockets,
        });
        write_json(path, &value)?;
    }
    Ok(ExitCode::SUCCESS)
}
