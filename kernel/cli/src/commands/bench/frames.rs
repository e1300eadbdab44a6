//! Resident frames: how fast they are made and read, beside what the same engines do with Parquet,
//! what DataFusion does with the same rows in memory, and what the memory itself can do.

use super::lines::{Line, report};
use super::measures::Measures;
use super::peer::{self, Peer, Ran};
use super::tpch::{define_tables, run_statement};
use crate::commands::datagen::generate_shown;
use crate::context::{Context, read_engines};
use crate::error::CliError;
use crate::terminal;
use bireme_client::{RunOptions, Session};
use bireme_kernel::{SessionRequest, attach_or_start};
use bireme_launchers::stop_cluster;
use bireme_protocol::SessionName;
use bireme_protocol::proto::PersistOptions;
use bireme_settings::Home;
use bireme_workloads::{Dataset, tpch_queries};
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The peer that holds the tables in memory.
const IN_MEMORY: &str = "datafusion_memory";
/// All columns of the largest table, none looked at but at its first value. Least and greatest values
/// would not do: the scan leaves out files that cannot hold a lesser one than those seen so far.
const DECODE: &str = "SELECT first_value(l_orderkey), first_value(l_partkey), first_value(l_suppkey), \
    first_value(l_linenumber), first_value(l_quantity), first_value(l_extendedprice), \
    first_value(l_discount), first_value(l_tax), first_value(l_returnflag), \
    first_value(l_linestatus), first_value(l_shipdate), first_value(l_commitdate), \
    first_value(l_receiptdate), first_value(l_shipinstruct), first_value(l_shipmode), \
    first_value(l_comment) FROM lineitem";
const PERSIST: &str = "CREATE TABLE kept AS SELECT * FROM lineitem";
/// Columns of doubles and how they are read.
const DOUBLES: &str = "CREATE TABLE doubles AS SELECT CAST(value AS DOUBLE) AS a, \
    CAST(value % 50 AS DOUBLE) AS b FROM range(0, 25000000)";
const DOUBLES_ROWS: f64 = 25e6;
const READ_DOUBLES: &str = "SELECT sum(a), max(b) FROM doubles";
const DOUBLE_BYTES: f64 = 16.0;
/// The tables with the keys that most queries join them by; without one a copy on every engine.
const KEYS: [(&str, &[&str]); 8] = [
    ("customer", &["c_custkey"]),
    ("lineitem", &["l_orderkey"]),
    ("nation", &[]),
    ("orders", &["o_orderkey"]),
    ("part", &["p_partkey"]),
    ("partsupp", &["ps_partkey"]),
    ("region", &[]),
    ("supplier", &[]),
];
/// Queries that read one table.
const SHAPES: [usize; 2] = [1, 6];
/// How much memory is read to see how fast that is.
const STREAM_BYTES: usize = 512 << 20;

#[derive(Debug, Args)]
pub(crate) struct FramesArguments {
    /// The scale factor of the TPC-H tables.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Where the data is, or is generated.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How many engines.
    #[arg(long, value_parser = read_engines)]
    engines: Option<String>,
    /// How often each is measured; the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// A Python with datafusion, for comparison; `none` for none.
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    python: String,
    /// Where the numbers go as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is measured, by name, in turn.
#[derive(Default)]
struct Measured {
    times: BTreeMap<String, Measures>,
}

impl Measured {
    fn add(&mut self, name: impl Into<String>, time: Duration) {
        self.times.entry(name.into()).or_default().add(time);
    }

    fn seconds(&self, name: &str) -> Option<f64> {
        self.times.get(name)?.median()
    }

    /// How many times as long the first takes as the second.
    fn ratio(&self, over: &str, under: &str) -> Option<f64> {
        Some(self.seconds(over)? / self.seconds(under)?)
    }

    /// The sum over the queries of a kind.
    fn sum(&self, kind: &str) -> Option<f64> {
        let of_kind = self.times.iter().filter(|(name, _)| name.starts_with(kind));
        let seconds: Option<Vec<f64>> = of_kind.map(|(_, measures)| measures.median()).collect();
        Some(seconds?.into_iter().sum()).filter(|sum| *sum > 0.0)
    }
}

pub(super) fn run(arguments: &FramesArguments, context: &Context) -> Result<ExitCode, CliError> {
    let kept = context.home()?;
    let default = || kept.cache().join(format!("tpch-{}", arguments.scale));
    let data = arguments.data.clone().unwrap_or_else(default);
    let dataset = Dataset::Tpch {
        scale: arguments.scale,
    };
    generate_shown(&dataset, &data)?;
    let data = data
        .canonicalize()
        .map_err(|source| CliError::io("find the data", source))?;
    let directory = super::scratch()?;
    let home = Home::at(directory.path()).map_err(|source| CliError::Home { source })?;
    let lines = Context::block_on(async {
        let measured = measure(arguments, context, &home, &data).await;
        let stopped = stop_cluster(&home).await;
        let lines = measured?;
        stopped?;
        Ok::<_, CliError>(lines)
    })?;
    report("frames", &lines, arguments.json.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(
    arguments: &FramesArguments,
    context: &Context,
    home: &Home,
    data: &Path,
) -> Result<Vec<Line>, CliError> {
    let settings = context.settings(home, arguments.engines.as_deref())?;
    let program = Context::program()?;
    let open = async |name: &str| {
        let request = SessionRequest {
            name: SessionName(name.to_string()),
            client: "bench",
            directory: data.to_path_buf(),
        };
        attach_or_start(home, &program, &settings, &request).await
    };
    let files = open("files").await?;
    let frames = open("frames").await?;
    let keyed = open("keyed").await?;
    for session in [&files, &frames, &keyed] {
        define_tables(session, data).await?;
    }
    let mut peer = start_peer(&arguments.python, data)?;
    let mut measured = Measured::default();
    let line = terminal::status_line();
    for round in 1..=arguments.runs.max(1) {
        line.set_message(format!(
            "run {round} of {}, frames are made",
            arguments.runs
        ));
        measured.add("decode", took(&files, DECODE).await?);
        measured.add("persist", took(&files, PERSIST).await?);
    }
    took(&files, "CREATE TABLE kept AS SELECT 1").await?;
    took(&frames, DOUBLES).await?;
    for (table, keys) in KEYS {
        let sql = format!("CREATE TABLE {table} AS SELECT * FROM {table}");
        took(&frames, &sql).await?;
        took_with(&keyed, &sql, &by(keys)).await?;
    }
    for round in 1..=arguments.runs.max(1) {
        line.set_message(format!(
            "run {round} of {}, frames are read",
            arguments.runs
        ));
        measured.add("doubles", took(&frames, READ_DOUBLES).await?);
        measured.add("stream", stream());
        for (number, sql) in tpch_queries() {
            measured.add(format!("resident q{number:02}"), took(&frames, sql).await?);
            measured.add(format!("keyed q{number:02}"), took(&keyed, sql).await?);
            measured.add(format!("parquet q{number:02}"), took(&files, sql).await?);
            if let Some(peer) = peer.as_mut().filter(|_| SHAPES.contains(&number))
                && let Ran::Took { time, .. } = peer.run(sql)?
            {
                measured.add(format!("memory q{number:02}"), time);
            }
        }
    }
    line.finish_and_clear();
    peer.into_iter().for_each(peer::end);
    Ok(lines(&measured))
}

/// DataFusion with the tables in memory, if it is wanted and there.
fn start_peer(python: &str, data: &Path) -> Result<Option<Peer>, CliError> {
    if python == "none" {
        return Ok(None);
    }
    match Peer::start(python, IN_MEMORY, data)? {
        Ok(peer) => Ok(Some(peer)),
        Err(reason) => {
            terminal::note(&format!("without {IN_MEMORY}: {reason}"));
            Ok(None)
        }
    }
}

fn lines(measured: &Measured) -> Vec<Line> {
    let gigabytes = |bytes: f64, name: &str| Some(bytes / measured.seconds(name)? / 1e9);
    let read = gigabytes(DOUBLES_ROWS * DOUBLE_BYTES, "doubles");
    let stream = gigabytes(STREAM_BYTES as f64, "stream");
    let part = read.zip(stream).map(|(read, stream)| read / stream);
    let mut lines = vec![
        Line::milliseconds(
            "decode lineitem from Parquet",
            measured.seconds("decode"),
            None,
        ),
        Line::milliseconds("persist lineitem", measured.seconds("persist"), None),
        Line::at_least(
            "persist: rate over decoding's",
            measured.ratio("decode", "persist"),
            0.7,
        ),
        Line::new("sum(a), max(b) over resident doubles", read, "GB/s", None),
        Line::new("memory read by as many threads", stream, "GB/s", None),
        Line::at_least("part of the memory's bandwidth", part, 0.6),
    ];
    for number in SHAPES {
        let (ours, theirs) = (
            format!("resident q{number:02}"),
            format!("memory q{number:02}"),
        );
        lines.push(Line::milliseconds(
            format!("TPC-H query {number} over frames"),
            measured.seconds(&ours),
            None,
        ));
        lines.push(Line::at_least(
            format!("query {number}: rate over DataFusion's MemTable"),
            measured.ratio(&theirs, &ours),
            0.95,
        ));
    }
    let parquet = measured.sum("parquet");
    lines.push(Line::new("TPC-H over Parquet, sum", parquet, "s", None));
    for (kind, name) in [
        ("resident", "frames"),
        ("keyed", "frames laid out by their keys"),
    ] {
        let sum = measured.sum(kind);
        let ratio = sum.zip(parquet).map(|(sum, parquet)| sum / parquet);
        lines.push(Line::new(format!("TPC-H over {name}, sum"), sum, "s", None));
        lines.push(Line::new(
            format!("{name} / Parquet"),
            ratio,
            "x",
            Some(0.7),
        ));
    }
    lines
}

async fn took(session: &Session, sql: &str) -> Result<Duration, CliError> {
    took_with(session, sql, &RunOptions::default()).await
}

async fn took_with(
    session: &Session,
    sql: &str,
    options: &RunOptions,
) -> Result<Duration, CliError> {
    match run_statement(session, sql, options).await {
        Ran::Took { time, .. } => Ok(time),
        Ran::Failed { reason } => Err(failed(sql, reason)),
    }
}

fn failed(sql: &str, reason: String) -> CliError {
    let beginning: String = sql.chars().take(40).collect();
    CliError::io(
        format!("measure {beginning}..."),
        std::io::Error::other(reason),
    )
}

/// A frame laid out by these columns, or copied to every engine.
fn by(columns: &[&str]) -> RunOptions {
    RunOptions {
        persist: Some(PersistOptions {
            by: columns.iter().map(|column| column.to_string()).collect(),
            replicate: columns.is_empty(),
            spread: false,
        }),
        ..RunOptions::default()
    }
}

/// Reads memory with all cores, as STREAM does (McCalpin, 1995), and adds it up.
fn stream() -> Duration {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let length = STREAM_BYTES / size_of::<f64>() / threads;
    let arrays: Vec<Vec<f64>> = (0..threads).map(|_| vec![1.0; length]).collect();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for array in &arrays {
            scope.spawn(|| std::hint::black_box(sum(array)));
        }
    });
    started.elapsed()
}

/// A sum that the compiler may do in any order.
fn sum(array: &[f64]) -> f64 {
    const LANES: usize = 32;
    let mut lanes = [0.0; LANES];
    for chunk in array.chunks_exact(LANES) {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().sum()
}
