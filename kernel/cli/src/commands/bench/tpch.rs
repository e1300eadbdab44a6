//! The 22 queries of TPC-H from Parquet, on the cluster and in peers, run by run and query by query
//! in turns, so that what disturbs the machine disturbs all alike.

use super::measures::Measures;
use super::peer::{self, PEERS, Peer, Ran};
use super::{TpchArguments, write_json};
use crate::commands::datagen::generate_shown;
use crate::commands::sql::fresh_session;
use crate::context::Context;
use crate::error::CliError;
use crate::terminal;
use bireme_client::{QueryUpdate, RunOptions, Session};
use bireme_kernel::{SessionRequest, attach_or_start};
use bireme_workloads::{Dataset, tpch_queries};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Our own column.
const OURS: &str = "bireme";

/// Times and failures of one engine, by query.
#[derive(Default)]
struct Column {
    version: String,
    times: BTreeMap<usize, Measures>,
    rows: BTreeMap<usize, u64>,
    failures: BTreeMap<usize, String>,
}

impl Column {
    fn add(&mut self, query: usize, ran: Ran) {
        match ran {
            Ran::Took { time, rows } => {
                self.times.entry(query).or_default().add(time);
                self.rows.insert(query, rows);
            }
            Ran::Failed { reason } => {
                self.failures.insert(query, reason);
            }
        }
    }

    fn median(&self, query: usize) -> Option<f64> {
        self.times.get(&query)?.median()
    }

    fn sum(&self) -> f64 {
        self.times.values().filter_map(Measures::median).sum()
    }
}

pub(super) fn run(arguments: &TpchArguments, context: &Context) -> Result<ExitCode, CliError> {
    let home = context.home()?;
    let settings = context.settings(&home, arguments.engines.as_deref())?;
    let default = || home.cache().join(format!("tpch-{}", arguments.scale));
    let data = arguments.data.clone().unwrap_or_else(default);
    generate_shown(
        &Dataset::Tpch {
            scale: arguments.scale,
        },
        &data,
    )?;
    let data = data
        .canonicalize()
        .map_err(|source| CliError::io("find the data", source))?;
    let mut peers = start_peers(&arguments.python, &data)?;
    let request = SessionRequest {
        name: fresh_session("bench"),
        client: "bench",
        directory: data.clone(),
    };
    let program = Context::program()?;
    let runtime = Context::runtime()?;
    let session = runtime.block_on(attach_or_start(&home, &program, &settings, &request))?;
    runtime.block_on(define_tables(&session, &data))?;
    let mut columns = BTreeMap::from([(OURS, Column::default())]);
    let engines = runtime.block_on(session.cluster().status())?.engines.len();
    if let Some(ours) = columns.get_mut(OURS) {
        ours.version = format!("{}, {engines} engines", env!("CARGO_PKG_VERSION"));
    }
    for peer in &peers {
        columns.insert(
            peer.name,
            Column {
                version: peer.version.clone(),
                ..Column::default()
            },
        );
    }
    let wanted =
        |number: &usize| arguments.queries.is_empty() || arguments.queries.contains(number);
    let line = terminal::status_line();
    for round in 1..=arguments.runs.max(1) {
        for (number, sql) in tpch_queries().filter(|(number, _)| wanted(number)) {
            line.set_message(format!("run {round} of {}, query {number}", arguments.runs));
            let ran = runtime.block_on(run_query(&session, sql));
            columns.entry(OURS).or_default().add(number, ran);
            for peer in &mut peers {
                let ran = peer.run(sql)?;
                columns.entry(peer.name).or_default().add(number, ran);
            }
        }
    }
    line.finish_and_clear();
    peers.into_iter().for_each(peer::end);
    report(arguments, &data, &columns)
}

fn start_peers(python: &str, data: &Path) -> Result<Vec<Peer>, CliError> {
    let mut peers = Vec::new();
    for name in PEERS.iter().filter(|_| python != "none") {
        match Peer::start(python, name, data)? {
            Ok(peer) => peers.push(peer),
            Err(reason) => terminal::note(&format!("without {name}: {reason}")),
        }
    }
    Ok(peers)
}

pub(super) async fn define_tables(session: &Session, data: &Path) -> Result<(), CliError> {
    for (name, glob) in (Dataset::Tpch { scale: 1.0 }).tables() {
        let directory: PathBuf = data.join(glob.trim_end_matches("*.parquet"));
        let sql = format!(
            "CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{}/'",
            directory.display().to_string().trim_end_matches('/')
        );
        session.define(&sql, Vec::new()).await?;
    }
    Ok(())
}

/// Runs a query on the cluster and takes all of its rows.
async fn run_query(session: &Session, sql: &str) -> Ran {
    run_statement(session, sql, &RunOptions::default()).await
}

pub(super) async fn run_statement(session: &Session, sql: &str, options: &RunOptions) -> Ran {
    let started_at = Instant::now();
    let mut rows = 0;
    let run = async {
        let mut query = session.submit(sql, options).await?;
        while let Some(update) = query.next().await {
            if let QueryUpdate::Batch(batch) = update? {
                rows += batch.num_rows() as u64;
            }
        }
        Ok::<_, bireme_protocol::Fault>(())
    };
    match run.await {
        Ok(()) => Ran::Took {
            time: started_at.elapsed(),
            rows,
        },
        Err(fault) => Ran::Failed {
            reason: fault.to_string(),
        },
    }
}

fn report(
    arguments: &TpchArguments,
    data: &Path,
    columns: &BTreeMap<&'static str, Column>,
) -> Result<ExitCode, CliError> {
    let queries: Vec<usize> = columns
        .values()
        .flat_map(|column| column.times.keys().chain(column.failures.keys()).copied())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    let differ = differing_rows(columns, &queries);
    let mut text = format!(
        "TPC-H at scale {}, seconds, median of {} interleaved runs\n",
        arguments.scale, arguments.runs
    );
    text.push_str(&times_text(columns, &queries));
    text.push_str(&ratios_text(columns));
    for (name, column) in columns {
        text.push_str(&format!("{name}: {}\n", column.version));
        for (query, reason) in &column.failures {
            text.push_str(&format!("{name} failed at query {query}: {reason}\n"));
        }
    }
    for (query, counts) in &differ {
        text.push_str(&format!(
            "query {query}: the numbers of rows differ: {counts}\n"
        ));
    }
    terminal::print(&text)?;
    if let Some(path) = &arguments.json {
        write_json(path, &as_json(arguments, data, columns))?;
    }
    let ours_failed = columns
        .get(OURS)
        .is_some_and(|ours| !ours.failures.is_empty());
    Ok(ExitCode::from(u8::from(ours_failed || !differ.is_empty())))
}

/// One line per query, one column per engine, and the sums.
fn times_text(columns: &BTreeMap<&'static str, Column>, queries: &[usize]) -> String {
    let cell = |seconds: Option<f64>| match seconds {
        Some(seconds) => format!("{seconds:>12.3}"),
        None => format!("{:>12}", "failed"),
    };
    let names: String = columns.keys().map(|name| format!("{name:>12}")).collect();
    let mut text = format!("{:>5}{names}\n", "query");
    for number in queries {
        let medians = columns.values().map(|column| column.median(*number));
        text.push_str(&format!(
            "{number:>5}{}\n",
            medians.map(cell).collect::<String>()
        ));
    }
    let sums = columns.values().map(|column| cell(Some(column.sum())));
    text.push_str(&format!("{:>5}{}\n", "sum", sums.collect::<String>()));
    text
}

/// Our time as a multiple of each peer's: over the sum, and the geometric mean over the queries.
fn ratios_text(columns: &BTreeMap<&'static str, Column>) -> String {
    let mut text = String::new();
    for (name, ratio) in ratios(columns) {
        text.push_str(&format!(
            "bireme / {name}: {:.2} by sum, {:.2} by geometric mean of {} queries\n",
            ratio.by_sum, ratio.by_geometric_mean, ratio.queries
        ));
    }
    text
}

/// Our time over a peer's, on the queries that both answered.
#[derive(serde::Serialize)]
struct Ratio {
    queries: usize,
    by_sum: f64,
    by_geometric_mean: f64,
}

fn ratios(columns: &BTreeMap<&'static str, Column>) -> BTreeMap<&'static str, Ratio> {
    let Some(ours) = columns.get(OURS) else {
        return BTreeMap::new();
    };
    let mut ratios = BTreeMap::new();
    for (name, peer) in columns.iter().filter(|(name, _)| **name != OURS) {
        let both: Vec<(f64, f64)> = ours
            .times
            .keys()
            .filter_map(|query| Some((ours.median(*query)?, peer.median(*query)?)))
            .collect();
        if both.is_empty() {
            continue;
        }
        let (mine, theirs) = both
            .iter()
            .fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
        let logarithms: f64 = both.iter().map(|(mine, theirs)| (mine / theirs).ln()).sum();
        let ratio = Ratio {
            queries: both.len(),
            by_sum: mine / theirs,
            by_geometric_mean: (logarithms / both.len() as f64).exp(),
        };
        ratios.insert(*name, ratio);
    }
    ratios
}

/// Queries whose answers cannot all be right.
fn differing_rows(
    columns: &BTreeMap<&'static str, Column>,
    queries: &[usize],
) -> Vec<(usize, String)> {
    let mut differ = Vec::new();
    for query in queries {
        let counts: Vec<(&str, u64)> = columns
            .iter()
            .filter_map(|(name, column)| Some((*name, *column.rows.get(query)?)))
            .collect();
        if counts.windows(2).any(|pair| pair[0].1 != pair[1].1) {
            let said = counts.iter().map(|(name, rows)| format!("{name} {rows}"));
            differ.push((*query, said.collect::<Vec<_>>().join(", ")));
        }
    }
    differ
}

fn as_json(
    arguments: &TpchArguments,
    data: &Path,
    columns: &BTreeMap<&'static str, Column>,
) -> Value {
    let engines: serde_json::Map<String, Value> = columns
        .iter()
        .map(|(name, column)| {
            let medians: BTreeMap<String, Option<f64>> = column
                .times
                .keys()
                .map(|query| (query.to_string(), column.median(*query)))
                .collect();
            let value = json!({
                "version": column.version,
                "seconds": medians,
                "sum": column.sum(),
                "failures": column.failures,
            });
            ((*name).to_owned(), value)
        })
        .collect();
    json!({
        "bench": "tpch",
        "scale": arguments.scale,
        "runs": arguments.runs,
        "data": data.file_name().map(|name| name.to_string_lossy()),
        "engines": engines,
        "bireme_over": ratios(columns),
    })
}
