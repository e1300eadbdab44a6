//! What the spilling hash join costs: beside DataFusion's own while the build side fits in memory,
//! and beside itself when it has a quarter of that.

use super::lines::{Line, report};
use super::measures::Measures;
use super::scratch;
use crate::context::Context;
use crate::error::CliError;
use bireme_engine::JoinMeasurement;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How much longer ours may take where nothing spills.
const BAR_IN_MEMORY: f64 = 1.03;
/// How much longer it may take in a quarter of the memory.
const BAR_SPILLED: f64 = 3.0;
const MEMORY_PART: usize = 4;
const MIB: f64 = (1 << 20) as f64;

#[derive(Debug, Args)]
pub(crate) struct JoinArguments {
    /// Million rows of the build side, of 32 bytes; the probe side has four times as many.
    #[arg(long, default_value_t = 4, value_name = "MILLIONS", value_parser = clap::value_parser!(u64).range(1..=256))]
    rows: u64,
    /// How often each is measured, in turn, after once that does not count; the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Where the numbers go as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(arguments: &JoinArguments) -> Result<ExitCode, CliError> {
    let directory = scratch()?;
    let measurement = JoinMeasurement {
        directory: directory.path().to_path_buf(),
        build_rows: usize::try_from(arguments.rows).unwrap_or(1) * 1_000_000,
        partitions: 4,
        memory_part: MEMORY_PART,
    };
    let times = Context::block_on(async {
        let times = measurement.run(arguments.runs.max(1)).await?;
        Ok::<_, CliError>(times)
    })?;
    let median = |times: &[Duration]| {
        let mut measures = Measures::default();
        times.iter().for_each(|time| measures.add(*time));
        measures.median()
    };
    let (datafusion, in_memory, spilled) = (
        median(&times.datafusion),
        median(&times.in_memory),
        median(&times.spilled),
    );
    let ratio = |of: Option<f64>, to: Option<f64>| Some(of? / to?);
    let at_most = |name: &str, of, to, bar| Line::new(name, ratio(of, to), "x", Some(bar));
    let build = measurement.build_bytes() as f64 / MIB;
    let lines = [
        Line::new("build side", Some(build), "MiB", None),
        Line::new("DataFusion's join", datafusion, "s", None),
        Line::new("ours, in memory", in_memory, "s", None),
        at_most(
            "ours over DataFusion's, in memory",
            in_memory,
            datafusion,
            BAR_IN_MEMORY,
        ),
        Line::new("ours, in a quarter of the build side", spilled, "s", None),
        Line::new(
            "spilled",
            Some(times.spilled_bytes as f64 / MIB),
            "MiB",
            None,
        ),
        at_most("a quarter over in memory", spilled, in_memory, BAR_SPILLED),
    ];
    report("join", &lines, arguments.json.as_deref())?;
    Ok(ExitCode::SUCCESS)
}
