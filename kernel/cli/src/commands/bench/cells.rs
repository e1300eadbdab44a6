//! Rust cells from the request to idle, completions while one runs, the way back from a cell that ends otherwise,
//! and what compilers take of memory; beside evcxr_jupyter where it is installed, cell by cell in turn.

use super::bench_kernel::BenchKernel;
use super::lines::{Line, report};
use super::measures::Measures;
use super::peer::{self, Peer, Ran};
use super::scratch;
use crate::commands::install::preparation;
use crate::context::Context;
use crate::error::CliError;
use crate::terminal;
use bireme_jupyter::FrontendMessage;
use bireme_protocol::process::resident_bytes_of;
use bireme_px::process_tree::ProcessTree;
use bireme_settings::Home;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Longest wait for Rust to be up.
const READY_WITHIN: Duration = Duration::from_secs(300);
/// How often it is asked whether it is.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How long somebody looks at a notebook before the first cell.
const LOOK: Duration = Duration::from_secs(10);
const PEER: &str = "evcxr_jupyter";
const VARIABLES: &str = "let numbers: Vec<i64> = (0..1000).collect();\n\
    let words: Vec<String> = numbers.iter().map(|n| n.to_string()).collect();\n\
    let mut total = 0_i64;";
/// Fails unless the variables are as they were.
const UNHARMED: &str = "assert_eq!((numbers.len(), words.len()), (1000, 1000));";
/// Tells when it runs.
const CLOCK: &str = "println!(\"{}\", std::time::UNIX_EPOCH.elapsed()?.as_nanos());";
/// What else a cell may do than return.
const ENDINGS: [(&str, &str); 4] = [
    ("panic", "panic!(\"no\");"),
    (
        "segfault",
        "unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };",
    ),
    ("abort", "std::process::abort();"),
    ("exit", "std::process::exit(3);"),
];
/// How often each of them is measured.
const ENDINGS_EACH: usize = 5;
const LOOP: &str = "loop { std::thread::sleep(std::time::Duration::from_millis(10)); }";

#[derive(Debug, Args)]
pub(crate) struct CellsArguments {
    /// Cells of each kind; their median counts.
    #[arg(long, default_value_t = 20)]
    count: usize,
    /// The peer's program.
    #[arg(long, default_value = PEER, value_name = "PROGRAM")]
    peer: PathBuf,
    /// A Python with jupyter_client, to talk to the peer; `none` for no peer.
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    python: String,
    /// Where the numbers go as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What cells of one kernel took.
#[derive(Default)]
struct Timed {
    first: Measures,
    trivial: Measures,
    with_variables: Measures,
}

pub(super) fn run(arguments: &CellsArguments) -> Result<ExitCode, CliError> {
    let directory = scratch()?;
    let home = Home::at(directory.path()).map_err(|source| CliError::Home { source })?;
    let lines = Context::block_on(measure(arguments, &home))?;
    report("cells", &lines, arguments.json.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(arguments: &CellsArguments, home: &Home) -> Result<Vec<Line>, CliError> {
    let compiling = compile_crate(home)?;
    let kernel = BenchKernel::start(home).await?;
    let started_at = Instant::now();
    until_ready(&kernel).await?;
    let ready = started_at.elapsed();
    tokio::time::sleep(LOOK).await;
    let (mut ours, mut theirs) = (Timed::default(), Timed::default());
    ours.first.add(kernel.time("1 + 1").await?);
    let mut peer = start_peer(arguments)?;
    if let Some(peer) = &mut peer {
        theirs.first.add(time_peer(peer, "1 + 1")?);
    }
    time_cells(
        arguments.count,
        &kernel,
        &mut ours,
        peer.as_mut(),
        &mut theirs,
    )
    .await?;
    peer.into_iter().for_each(peer::end);
    let mut lines = cell_lines(&ours, &theirs);
    lines.extend(while_a_cell_runs(arguments.count, &kernel).await?);
    for (name, ending) in ENDINGS {
        let prompt = ending_to_prompt(&kernel, ending).await?;
        let name = format!("{name} to the prompt");
        lines.push(Line::milliseconds(name, prompt.median(), Some(500.0)));
    }
    lines.push(Line::milliseconds(
        "Rust host start",
        Some(ready.as_secs_f64()),
        None,
    ));
    lines.push(Line::new(
        "the bireme crate from nothing, once per home",
        Some(compiling.as_secs_f64()),
        "s",
        Some(30.0),
    ));
    let compilers = memory_below(kernel.pid());
    lines.push(Line::mebibytes(
        "all compilers, resident",
        compilers,
        Some(1144.0),
    ));
    kernel.end().await?;
    Ok(lines)
}

/// Compiles the crate that cells link against, which a new home has not, with the start of evcxr that takes.
fn compile_crate(home: &Home) -> Result<Duration, CliError> {
    let failed = |reason: String| CliError::Program {
        message: format!("compile the bireme crate: {reason}"),
    };
    let begun = Instant::now();
    let done = preparation(&Context::program()?, home, "").status();
    let done = done.map_err(|error| failed(error.to_string()))?;
    let took = begun.elapsed();
    done.success()
        .then_some(took)
        .ok_or_else(|| failed(done.to_string()))
}

fn start_peer(arguments: &CellsArguments) -> Result<Option<Peer>, CliError> {
    if arguments.python == "none" {
        return Ok(None);
    }
    match Peer::start(&arguments.python, PEER, &arguments.peer)? {
        Ok(peer) => Ok(Some(peer)),
        Err(reason) => {
            terminal::note(&format!("without {PEER}: {reason}"));
            Ok(None)
        }
    }
}

fn time_peer(peer: &mut Peer, code: &str) -> Result<Duration, CliError> {
    match peer.run(code)? {
        Ran::Took { time, .. } => Ok(time),
        Ran::Failed { reason } => Err(CliError::Program {
            message: format!("measure the cell `{code}` in {PEER}: {reason}"),
        }),
    }
}

/// Somebody types, which starts Rust, until completions come.
async fn until_ready(kernel: &BenchKernel) -> Result<(), CliError> {
    let begun = Instant::now();
    while begun.elapsed() < READY_WITHIN {
        if completes(kernel, "Vec::with_c").await? {
            return Ok(());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Err(CliError::Program {
        message: format!("wait for Rust to complete: nothing came in {READY_WITHIN:?}"),
    })
}

/// How long it takes until something completes: who gets nothing asks again.
async fn until_completed(kernel: &BenchKernel, code: &str) -> Result<Duration, CliError> {
    let begun = Instant::now();
    while !completes(kernel, code).await? {
        if begun.elapsed() > READY_WITHIN {
            return Err(CliError::Program {
                message: format!("complete `{code}`: nothing came in {READY_WITHIN:?}"),
            });
        }
    }
    Ok(begun.elapsed())
}

async fn completes(kernel: &BenchKernel, code: &str) -> Result<bool, CliError> {
    let reply = kernel
        .front_end
        .complete(code, code.chars().count())
        .await?;
    Ok(!reply.matches.is_empty())
}

async fn time_cells(
    count: usize,
    kernel: &BenchKernel,
    ours: &mut Timed,
    mut peer: Option<&mut Peer>,
    theirs: &mut Timed,
) -> Result<(), CliError> {
    for number in 0..count {
        let code = format!("1 + {number}");
        ours.trivial.add(kernel.time(&code).await?);
        if let Some(peer) = &mut peer {
            theirs.trivial.add(time_peer(peer, &code)?);
        }
    }
    kernel.time(VARIABLES).await?;
    if let Some(peer) = &mut peer {
        time_peer(peer, VARIABLES)?;
    }
    for number in 0..count {
        let code = format!("total += numbers[{number}] + words.len() as i64; total");
        ours.with_variables.add(kernel.time(&code).await?);
        if let Some(peer) = &mut peer {
            theirs.with_variables.add(time_peer(peer, &code)?);
        }
    }
    Ok(())
}

fn cell_lines(ours: &Timed, theirs: &Timed) -> Vec<Line> {
    let line = |name: &str, of: fn(&Timed) -> &Measures, bar| {
        let ours = Line::milliseconds(name, of(ours).median(), Some(bar));
        let theirs = of(theirs).median();
        let theirs = theirs.map(|_| Line::milliseconds(format!("  {PEER}"), theirs, None));
        std::iter::once(ours).chain(theirs)
    };
    let mut lines = Vec::new();
    lines.extend(line(
        "first Rust cell, host warm",
        |timed| &timed.first,
        400.0,
    ));
    lines.extend(line("trivial cell, p50", |timed| &timed.trivial, 200.0));
    lines.extend(line(
        "cell with variables, p50",
        |timed| &timed.with_variables,
        350.0,
    ));
    lines
}

/// Completions, and the way back to the prompt.
async fn while_a_cell_runs(count: usize, kernel: &BenchKernel) -> Result<Vec<Line>, CliError> {
    let running = kernel.begin(LOOP).await?;
    until_ready(kernel).await?;
    let (mut rust, mut sql) = (Measures::default(), Measures::default());
    for number in 0..count {
        rust.add(until_completed(kernel, &format!("let n = {number}; words.it")).await?);
        sql.add(until_completed(kernel, "%%sql\nSELECT ab").await?);
    }
    let begun = Instant::now();
    kernel.front_end.interrupt().await?;
    running.collect().await?;
    let prompt = Some(begun.elapsed().as_secs_f64());
    let (rust, sql) = (rust.quantile(0.95), sql.quantile(0.95));
    Ok(vec![
        Line::milliseconds("Rust completion while a cell runs, p95", rust, Some(300.0)),
        Line::milliseconds("SQL completion while a cell runs, p95", sql, Some(50.0)),
        Line::milliseconds("interrupt of a loop to the prompt", prompt, Some(500.0)),
    ])
}

/// From what ends a cell to the prompt; the variables of earlier cells are there.
async fn ending_to_prompt(kernel: &BenchKernel, ending: &str) -> Result<Measures, CliError> {
    let mut measures = Measures::default();
    for _ in 0..ENDINGS_EACH {
        let running = kernel.begin(&format!("{CLOCK}\n{ending}")).await?;
        let (messages, end) = running.collect().await?;
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let told = messages.iter().find_map(|message| match message {
            FrontendMessage::Stream(stream) => stream.text.trim().parse().ok(),
            _ => None,
        });
        let (Some(nanoseconds), Some(_)) = (told, &end.reply.error) else {
            return Err(CliError::Program {
                message: format!("end a cell by `{ending}`: it said {:?}", end.reply),
            });
        };
        measures.add(now.saturating_sub(Duration::from_nanos(nanoseconds)));
        kernel.time(UNHARMED).await?;
    }
    Ok(measures)
}

/// Resident memory of all processes below one.
fn memory_below(pid: u32) -> u64 {
    let below = ProcessTree::read().below(pid, &[]);
    below.into_iter().map(resident_bytes_of).sum()
}
