//! `%scatter` and `%gather` of a Rust variable from the request to idle, beside ipyparallel with the
//! same rows in pandas, in turn. All together takes about ten times the variable's memory.

use super::bench_kernel::BenchKernel;
use super::lines::{Line, report};
use super::measures::Measures;
use super::peer::{self, Peer, Ran};
use super::scratch;
use crate::context::Context;
use crate::error::CliError;
use crate::terminal;
use bireme_kernel::start_options;
use bireme_launchers::{start_cluster, stop_cluster};
use bireme_settings::Home;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const PEER: &str = "ipyparallel";
/// The peer starts as many.
const ENGINES: &str = "2";
/// How many times as fast as the peer each way is to be.
const BAR: f64 = 5.0;
/// Four columns of 8 bytes.
const ROW_BYTES: u64 = 32;
/// 320 GB, more than a notebook holds.
const ROWS_MAX: u64 = 10_000_000_000;
/// Rows of a batch of the variable, 4 MiB.
const BATCH_ROWS: u64 = 1 << 17;
/// The variable may come back with what Arrow adds to it.
const BIND_LIMIT_FACTOR: u64 = 2;
/// The value of the variable, by `rows` and `batch`; `peers.py` makes the same rows.
const TABLE: &str = r#"
    let part = |first: i64| {
        let ids = first..(first + batch).min(rows);
        Table::new([
            Column::new("id", ids.clone().collect::<Vec<i64>>()),
            Column::new("key", ids.clone().map(|id| id % 1000).collect::<Vec<i64>>()),
            Column::new("value", ids.clone().map(|id| id as f64 * 0.5).collect::<Vec<f64>>()),
            Column::new("share", ids.map(|id| id as f64 / 7.0).collect::<Vec<f64>>()),
        ])
    };
    let starts = (0..rows).step_by(batch as usize);
    let parts = starts.map(part).collect::<Result<Vec<Table>, TableError>>()?;
    let schema = parts[0].schema().clone();
    Table::from_batches(schema, parts.into_iter().flat_map(Table::into_batches))?
"#;
/// What happens once: connections, and the program code of the first time.
const WARM_UP: [&str; 4] = [
    "let small: Table = Table::new([Column::new(\"id\", vec![1_i64, 2, 3])])?;",
    "%scatter small --as warm",
    "%gather warm --to small",
    "%drop warm",
];
const SCATTER: &str = "%scatter large --as spread";
const GATHER: &str = "%gather spread --to back";
/// A frame that is made in place of another is there beside it for a while.
const DROP: &str = "%drop spread";

#[derive(Debug, Args)]
pub(crate) struct ScatterArguments {
    /// Rows of the variable, of 32 bytes each: 1 GB.
    #[arg(long, default_value_t = 31_250_000, value_parser = clap::value_parser!(u64).range(1..=ROWS_MAX))]
    rows: u64,
    /// How often each is measured; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// A Python with ipyparallel and pandas, for comparison; `none` for none.
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    python: String,
    /// Where the numbers go as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What the two ways took.
#[derive(Default)]
struct Timed {
    scatter: Measures,
    gather: Measures,
}

pub(super) fn run(arguments: &ScatterArguments, context: &Context) -> Result<ExitCode, CliError> {
    let directory = scratch()?;
    let home = Home::at(directory.path()).map_err(|source| CliError::Home { source })?;
    let lines = Context::block_on(async {
        let measured = measure(arguments, context, &home).await;
        let stopped = stop_cluster(&home).await;
        let lines = measured?;
        stopped?;
        Ok::<_, CliError>(lines)
    })?;
    report("scatter", &lines, arguments.json.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(
    arguments: &ScatterArguments,
    context: &Context,
    home: &Home,
) -> Result<Vec<Line>, CliError> {
    let settings = context.settings(home, Some(ENGINES))?;
    let options = start_options(&Context::program()?, home, &settings);
    start_cluster(home, &options).await?;
    let kernel = BenchKernel::start(home).await?;
    prepare(&kernel, arguments.rows).await?;
    let mut peer = start_peer(arguments)?;
    let (mut ours, mut theirs) = (Timed::default(), Timed::default());
    let line = terminal::status_line();
    for round in 1..=arguments.runs.max(1) {
        line.set_message(format!("run {round} of {}", arguments.runs.max(1)));
        ours.scatter.add(kernel.time(SCATTER).await?);
        if let Some(peer) = &mut peer {
            theirs
                .scatter
                .add(time_peer(peer, "scatter", arguments.rows)?);
        }
        ours.gather.add(kernel.time(GATHER).await?);
        if let Some(peer) = &mut peer {
            theirs
                .gather
                .add(time_peer(peer, "gather", arguments.rows)?);
        }
        kernel.time(DROP).await?;
    }
    line.finish_and_clear();
    let rows = arguments.rows;
    let checked = format!("assert_eq!(back.num_rows() as u64, {rows});");
    kernel.time(&checked).await?;
    peer.into_iter().for_each(peer::end);
    kernel.end().await?;
    Ok(lines(rows * ROW_BYTES, &ours, &theirs))
}

/// Makes the variable, and does once what is measured.
async fn prepare(kernel: &BenchKernel, rows: u64) -> Result<(), CliError> {
    terminal::note("the crate that cells link against is compiled, once per home");
    for cell in WARM_UP {
        kernel.time(cell).await?;
    }
    let limit = rows * ROW_BYTES * BIND_LIMIT_FACTOR;
    // The smallest of variables still has a head.
    let limit = limit.max(1 << 20);
    kernel
        .time(&format!("%config rust.bind_limit {limit}"))
        .await?;
    let bounds = format!("let (rows, batch) = ({rows}_i64, {BATCH_ROWS}_i64);");
    let made = format!("let large: Table = {{ {bounds} {TABLE} }};");
    kernel.time(&made).await?;
    Ok(())
}

fn start_peer(arguments: &ScatterArguments) -> Result<Option<Peer>, CliError> {
    if arguments.python == "none" {
        return Ok(None);
    }
    let rows = arguments.rows.to_string();
    match Peer::start(&arguments.python, PEER, Path::new(&rows))? {
        Ok(peer) => Ok(Some(peer)),
        Err(reason) => {
            terminal::note(&format!("without {PEER}: {reason}"));
            Ok(None)
        }
    }
}

fn time_peer(peer: &mut Peer, way: &str, rows: u64) -> Result<Duration, CliError> {
    let reason = match peer.run(way)? {
        Ran::Took { time, rows: moved } if moved == rows => return Ok(time),
        Ran::Took { rows: moved, .. } => format!("{moved} rows of {rows} were moved"),
        Ran::Failed { reason } => reason,
    };
    Err(CliError::Program {
        message: format!("measure {way} in {PEER}: {reason}"),
    })
}

fn lines(bytes: u64, ours: &Timed, theirs: &Timed) -> Vec<Line> {
    let gigabytes = bytes as f64 / 1e9;
    let way = |name: &str, of: fn(&Timed) -> &Measures| {
        let (ours, theirs) = (of(ours).median(), of(theirs).median());
        let mut lines = vec![Line::milliseconds(
            format!("{name} of {gigabytes:.2} GB"),
            ours,
            None,
        )];
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            lines.push(Line::milliseconds(format!("  {PEER}"), Some(theirs), None));
            let name = format!("{name}: rate over {PEER}'s");
            lines.push(Line::at_least(name, Some(theirs / ours), BAR));
        }
        lines
    };
    let mut lines = way("%scatter", |timed| &timed.scatter);
    lines.extend(way("%gather", |timed| &timed.gather));
    lines
}
