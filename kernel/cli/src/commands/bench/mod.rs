//! `bireme bench`: measures this build on this machine, beside what is installed of others.

mod bench_kernel;
mod cells;
mod frames;
mod join;
mod latency;
mod lines;
mod measures;
mod peer;
mod scatter;
mod shuffle;
mod spill;
mod tpch;

use crate::context::{Context, read_engines};
use crate::error::CliError;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// How long Rust cells and completions take, beside evcxr_jupyter if it is there.
    Cells(cells::CellsArguments),
    /// How fast resident frames are made and read, beside Parquet, DataFusion and the memory itself.
    Frames(frames::FramesArguments),
    /// What the spilling hash join costs, beside DataFusion's own.
    Join(join::JoinArguments),
    /// How long a kernel, a cluster and `%%sql SELECT 1` take, and how much memory is resident.
    Latency(LatencyArguments),
    /// How fast a Rust variable goes to the engines and back, beside ipyparallel with pandas if it is there.
    Scatter(scatter::ScatterArguments),
    /// How fast two engines of this host exchange rows.
    Shuffle(shuffle::ShuffleArguments),
    /// How fast a frame larger than memory goes to disk and comes back, beside dd with direct I/O.
    Spill(spill::SpillArguments),
    /// The 22 queries of TPC-H, beside DuckDB, Polars and DataFusion where Python has them.
    Tpch(TpchArguments),
}

#[derive(Debug, Args)]
pub(crate) struct LatencyArguments {
    /// How many engines.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    engines: u32,
    /// How often `SELECT 1` is measured.
    #[arg(long, default_value_t = 500)]
    count: usize,
    /// How often a kernel and a cluster are started.
    #[arg(long, default_value_t = 5)]
    starts: usize,
    /// Where the numbers go as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct TpchArguments {
    /// The scale factor.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Where the data is, or is generated.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How many engines.
    #[arg(long, value_parser = read_engines)]
    engines: Option<String>,
    /// How often each query is measured; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only these queries, such as 1,6,18.
    #[arg(long, value_delimiter = ',', value_name = "N")]
    queries: Vec<usize>,
    /// A Python with duckdb, polars or datafusion, for comparison; `none` for none.
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    python: String,
    /// Where the numbers go as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl BenchCommand {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::Cells(arguments) => cells::run(&arguments),
            Self::Frames(arguments) => frames::run(&arguments, context),
            Self::Join(arguments) => join::run(&arguments),
            Self::Latency(arguments) => latency::run(&arguments),
            Self::Scatter(arguments) => scatter::run(&arguments, context),
            Self::Shuffle(arguments) => shuffle::run(&arguments),
            Self::Spill(arguments) => spill::run(&arguments, context),
            Self::Tpch(arguments) => tpch::run(&arguments, context),
        }
    }
}

/// A directory for one measurement, which goes with it.
fn scratch() -> Result<tempfile::TempDir, CliError> {
    let directory = tempfile::Builder::new().prefix("bireme-bench-").tempdir();
    directory.map_err(|source| CliError::io("make a directory for the measurement", source))
}

/// Writes numbers to a file that appears whole.
fn write_json(path: &std::path::Path, value: &serde_json::Value) -> Result<(), CliError> {
    let failed = |source| CliError::io(format!("write {}", path.display()), source);
    let unfinished = path.with_extension("part");
    std::fs::write(&unfinished, format!("{value:#}\n")).map_err(failed)?;
    std::fs::rename(&unfinished, path).map_err(failed)
}
