//! What a frame that is larger than memory writes to disk and reads back, beside what `dd` reaches
//! with direct I/O in the same directory, in turn. Both reach the disk: what the engine has written
//! is flushed, which counts, and is out of the page cache before it is read.

use super::lines::{Line, report};
use super::measures::Measures;
use super::peer::Ran;
use super::scratch;
use super::tpch::run_statement;
use crate::context::Context;
use crate::error::CliError;
use crate::terminal;
use bireme_client::{RunOptions, Session};
use bireme_kernel::{SessionRequest, attach_or_start, start_options};
use bireme_launchers::{start_cluster, stop_cluster};
use bireme_protocol::SessionName;
use bireme_settings::Home;
use clap::Args;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// One engine: what is written by several partitions at once counts several times, so that its rate is
/// at least what is told.
const ENGINES: &str = "1";
/// The environment of the cluster, over whatever this process has in its own.
const HOST_LIMIT: (&str, &str) = ("BIREME_MEMORY_HOST_LIMIT", "1GiB");
const SPILL_DIRECTORY: &str = "BIREME_MEMORY_SPILL_DIR";
/// dd writes as many bytes as it is given, and so shall the engine.
const COMPRESSION: (&str, &str) = ("BIREME_MEMORY_SPILL_COMPRESSION", "none");
/// The part of dd's rate that is to be reached.
const BAR: f64 = 0.8;
/// Rows that stay in memory and that the large frame is a multiple of: copying them costs little
/// beside writing. 256 MiB.
const BASE: &str = "CREATE TABLE base AS SELECT value AS a, value * 7 AS b, \
    CAST(value AS DOUBLE) AS c, CAST(value AS DOUBLE) / 7 AS d FROM range(0, 8388608)";
const BASES_PER_GIBIBYTE: u64 = 4;
const SPILLED: &str = "spilled";
const CREATE: &str = "CREATE TABLE spilled AS SELECT * FROM base";
const INSERT: &str = "INSERT INTO spilled SELECT * FROM base";
const SCAN: &str = "SELECT sum(a), sum(b), sum(c), sum(d) FROM spilled";
const MEBIBYTES_PER_GIBIBYTE: u64 = 1024;

#[derive(Debug, Args)]
pub(crate) struct SpillArguments {
    /// GiB of the frame; the engine may use 1 GiB of memory.
    #[arg(long, default_value_t = 4, value_name = "GIB", value_parser = clap::value_parser!(u64).range(2..=64))]
    size: u64,
    /// How often each is measured; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// A directory on the disk to measure [default: where engines spill].
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Where the numbers go as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What was measured: times per GB, since frames do not write the same number of bytes each time.
#[derive(Default)]
struct Measured {
    dd_writes: Measures,
    dd_reads: Measures,
    statements: Measures,
    writes: Measures,
    scans: Measures,
}

/// What the engine has moved between memory and disk since it started.
struct Moved {
    bytes_written: u64,
    bytes_read: u64,
    /// By the counters of frames, whether they were in memory before or not.
    frames_nanoseconds: u64,
    /// By the counters of files: nothing else writes any here.
    files_nanoseconds: u64,
}

impl Moved {
    async fn until_now(session: &Session) -> Result<Self, CliError> {
        let memory = session.cluster().memory().await?;
        let sum = |name: &str| -> u64 {
            let counters = memory.engines.iter().flat_map(|engine| &engine.counters);
            let named = counters.filter(|counter| counter.name == name);
            named.map(|counter| counter.value).sum()
        };
        Ok(Self {
            bytes_written: sum("copy-host-to-disk-bytes") + sum("alloc-disk-bytes"),
            bytes_read: sum("copy-disk-to-host-bytes"),
            frames_nanoseconds: sum("copy-host-to-disk-nanoseconds")
                + sum("alloc-disk-nanoseconds"),
            files_nanoseconds: sum("spill-write-nanoseconds"),
        })
    }

    /// What was moved since then.
    fn since(&self, then: &Self) -> Self {
        Self {
            bytes_written: self.bytes_written.saturating_sub(then.bytes_written),
            bytes_read: self.bytes_read.saturating_sub(then.bytes_read),
            frames_nanoseconds: self
                .frames_nanoseconds
                .saturating_sub(then.frames_nanoseconds),
            files_nanoseconds: self
                .files_nanoseconds
                .saturating_sub(then.files_nanoseconds),
        }
    }

    /// The time that writing took, one write after the other.
    fn writing(&self) -> Duration {
        Duration::from_nanos(self.frames_nanoseconds.max(self.files_nanoseconds))
    }
}

pub(super) fn run(arguments: &SpillArguments, context: &Context) -> Result<ExitCode, CliError> {
    let on_disk = directory_on_disk(arguments, context)?;
    let directory = scratch()?;
    let home = Home::at(directory.path()).map_err(|source| CliError::Home { source })?;
    let lines = Context::block_on(async {
        let measured = measure(arguments, context, &home, on_disk.path()).await;
        let stopped = stop_cluster(&home).await;
        let measured = measured?;
        stopped?;
        Ok::<_, CliError>(lines(&measured))
    })?;
    report("spill", &lines, arguments.json.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

/// A directory of our own, where engines spill if nothing else is said.
fn directory_on_disk(arguments: &SpillArguments, context: &Context) -> Result<TempDir, CliError> {
    let home = context.home()?;
    let settings = context.settings(&home, None)?;
    let default = || match settings.get("memory.spill_dir") {
        "" => home.spill(),
        directory => PathBuf::from(directory),
    };
    let directory = arguments.directory.clone().unwrap_or_else(default);
    let made = std::fs::create_dir_all(&directory)
        .and_then(|()| directory.canonicalize())
        .and_then(|directory| {
            tempfile::Builder::new()
                .prefix("bireme-bench-")
                .tempdir_in(directory)
        });
    made.map_err(|source| {
        CliError::io(
            format!("make a directory in {}", directory.display()),
            source,
        )
    })
}

/// A cluster with little memory, which spills to this directory.
async fn start(context: &Context, home: &Home, disk: &Path) -> Result<Session, CliError> {
    let settings = context.settings(home, Some(ENGINES))?;
    let program = Context::program()?;
    let mut options = start_options(&program, home, &settings);
    options.launcher = options
        .launcher
        .with_environment(HOST_LIMIT.0, HOST_LIMIT.1)
        .with_environment(COMPRESSION.0, COMPRESSION.1)
        .with_environment(SPILL_DIRECTORY, disk);
    start_cluster(home, &options).await?;
    let request = SessionRequest {
        name: SessionName("spill".to_string()),
        client: "bench",
        directory: disk.to_path_buf(),
    };
    Ok(attach_or_start(home, &program, &settings, &request).await?)
}

async fn measure(
    arguments: &SpillArguments,
    context: &Context,
    home: &Home,
    disk: &Path,
) -> Result<Measured, CliError> {
    let session = start(context, home, disk).await?;
    took(&session, BASE).await?;
    let mut measured = Measured::default();
    let (mut has_dd, mut is_cold) = (true, true);
    let line = terminal::status_line();
    for round in 1..=arguments.runs.max(1) {
        let say = |what: &str| {
            line.set_message(format!("run {round} of {}, {what}", arguments.runs.max(1)));
        };
        if has_dd {
            say("dd");
            let size = arguments.size * MEBIBYTES_PER_GIBIBYTE;
            if let Err(reason) = dd_both_ways(&disk.join("dd"), size, &mut measured) {
                line.suspend(|| terminal::note(&format!("without dd: {reason}")));
                has_dd = false;
            }
        }
        say("a frame goes to disk");
        let bases = arguments.size * BASES_PER_GIBIBYTE;
        let files = spill(&session, bases, disk, &mut measured).await?;
        if is_cold && let Err(reason) = out_of_page_cache(&files) {
            let told = format!("what is read back may come from the page cache: {reason}");
            line.suspend(|| terminal::note(&told));
            is_cold = false;
        }
        say("it is read back");
        restore(&session, &mut measured).await?;
        session.drop_name(SPILLED, false).await?;
    }
    line.finish_and_clear();
    Ok(measured)
}

/// Makes a frame, most of which goes to disk, and waits until it is there; the files on that disk.
async fn spill(
    session: &Session,
    bases: u64,
    disk: &Path,
    measured: &mut Measured,
) -> Result<Vec<PathBuf>, CliError> {
    let before = Moved::until_now(session).await?;
    let mut statements = took(session, CREATE).await?;
    for _ in 1..bases {
        statements += took(session, INSERT).await?;
    }
    let moved = Moved::until_now(session).await?.since(&before);
    let failed = |source| CliError::io(format!("flush files below {}", disk.display()), source);
    let files = files_below(disk).map_err(failed)?;
    let flushing = flush(&files).map_err(failed)?;
    let per_gigabyte = |time: Duration| per_gigabyte(time, moved.bytes_written);
    measured
        .statements
        .add(per_gigabyte(statements + flushing)?);
    measured
        .writes
        .add(per_gigabyte(moved.writing() + flushing)?);
    Ok(files)
}

/// Reads the frame. Reads from disk overlap, so that the sum of their times tells nothing: the whole
/// scan counts, for what it has read from disk.
async fn restore(session: &Session, measured: &mut Measured) -> Result<(), CliError> {
    let before = Moved::until_now(session).await?;
    let scan = took(session, SCAN).await?;
    let moved = Moved::until_now(session).await?.since(&before);
    measured.scans.add(per_gigabyte(scan, moved.bytes_read)?);
    Ok(())
}

async fn took(session: &Session, sql: &str) -> Result<Duration, CliError> {
    match run_statement(session, sql, &RunOptions::default()).await {
        Ran::Took { time, .. } => Ok(time),
        Ran::Failed { reason } => Err(CliError::Program {
            message: format!("measure {sql}: {reason}"),
        }),
    }
}

fn per_gigabyte(time: Duration, bytes: u64) -> Result<Duration, CliError> {
    match bytes {
        0 => Err(CliError::Program {
            message: "measure a frame on disk: not a byte of it is there".to_string(),
        }),
        bytes => Ok(time.div_f64(bytes as f64 / 1e9)),
    }
}

fn files_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => directories.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    Ok(files)
}

/// Waits until the files are on the disk, for which engines have no need; tells how long that took.
fn flush(files: &[PathBuf]) -> io::Result<Duration> {
    let begun = Instant::now();
    for file in files {
        match File::open(file).and_then(|file| file.sync_all()) {
            // It was the last of another frame.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            flushed => flushed?,
        }
    }
    Ok(begun.elapsed())
}

/// Makes the system forget what it holds of flushed files.
fn out_of_page_cache(files: &[PathBuf]) -> Result<(), String> {
    let files = files.iter().filter(|file| file.exists());
    for file in files {
        dd([
            operand("if=", file),
            "iflag=nocache".into(),
            "count=0".into(),
        ])?;
    }
    Ok(())
}

/// Writes a file and reads it back, both past the page cache.
fn dd_both_ways(file: &Path, mebibytes: u64, measured: &mut Measured) -> Result<(), String> {
    let count = || OsString::from(format!("count={mebibytes}"));
    let write = dd([
        operand("if=", Path::new("/dev/zero")),
        operand("of=", file),
        "bs=1M".into(),
        count(),
        "oflag=direct".into(),
    ]);
    let both = write.and_then(|write| {
        let read = dd([
            operand("if=", file),
            operand("of=", Path::new("/dev/null")),
            "bs=1M".into(),
            count(),
            "iflag=direct".into(),
        ]);
        Ok((write, read?))
    });
    // The frame needs the room; where there is no file, dd has said why.
    let _ = std::fs::remove_file(file);
    let (write, read) = both?;
    let gigabytes = (mebibytes << 20) as f64 / 1e9;
    measured.dd_writes.add(write.div_f64(gigabytes));
    measured.dd_reads.add(read.div_f64(gigabytes));
    Ok(())
}

fn operand(name: &str, path: &Path) -> OsString {
    let mut operand = OsString::from(name);
    operand.push(path);
    operand
}

/// Runs dd; how long it took, or what it complained about.
fn dd(operands: impl IntoIterator<Item = OsString>) -> Result<Duration, String> {
    let begun = Instant::now();
    let ended = Command::new("dd")
        .args(operands)
        .arg("status=none")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("start dd: {error}"))?;
    let time = begun.elapsed();
    match ended.status.success() {
        true => Ok(time),
        false => Err(String::from_utf8_lossy(&ended.stderr).trim().to_string()),
    }
}

fn lines(measured: &Measured) -> Vec<Line> {
    let rate = |name: &str, of: &Measures| {
        let rate = of.median().map(|seconds| 1.0 / seconds)?;
        Some(Line::new(name, Some(rate), "GB/s", None))
    };
    let against = |name: &str, ours: &Measures, dd: &Measures| {
        let ratio = dd.median()? / ours.median()?;
        Some(Line::at_least(name, Some(ratio), BAR))
    };
    let Measured {
        dd_writes,
        dd_reads,
        statements,
        writes,
        scans,
    } = measured;
    let lines = [
        rate("dd oflag=direct", dd_writes),
        rate("spill, all of the statements and flush", statements),
        rate("spill, the engine's writes and flush", writes),
        against("spill: the engine's rate over dd's", writes, dd_writes),
        rate("dd iflag=direct", dd_reads),
        rate("restore, all of the scan", scans),
        against("restore: the scan's rate over dd's", scans, dd_reads),
    ];
    lines.into_iter().flatten().collect()
}
