//! `bireme datagen`: sample data as Parquet files. What is in them is the workloads'.

use crate::error::CliError;
use crate::terminal;
use bireme_settings::format_bytes;
use bireme_workloads::{Dataset, Progress, Summary, generate};
use clap::{Args, Subcommand};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The data sets.
#[derive(Debug, Subcommand)]
pub(crate) enum DatagenCommand {
    /// Vessel traffic around Denmark: one table, several files.
    Ais(AisArguments),
    /// The eight tables of TPC-H.
    Tpch(TpchArguments),
    /// Wholesale orders: lines, orders, customers and suppliers, for joins larger than memory.
    Orders(OrdersArguments),
}

#[derive(Debug, Args)]
pub(crate) struct AisArguments {
    /// Position reports to make.
    #[arg(long, default_value = "20_000_000", value_parser = read_rows)]
    rows: u64,
    /// The directory to fill.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct TpchArguments {
    /// The scale factor; 1 is about a gigabyte as text.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// The directory to fill, with one directory per table.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct OrdersArguments {
    /// The part of the full size, which is 95 million lines of 23.75 million orders.
    #[arg(long, default_value_t = 0.2)]
    scale: f64,
    /// The directory to fill, with one directory per table.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

fn read_rows(text: &str) -> Result<u64, String> {
    let plain = text.replace('_', "").to_ascii_lowercase();
    let (digits, factor) = match plain.strip_suffix(['k', 'm']) {
        Some(digits) if plain.ends_with('k') => (digits, 1_000),
        Some(digits) => (digits, 1_000_000),
        None => (plain.as_str(), 1),
    };
    let rows = digits
        .parse::<u64>()
        .ok()
        .and_then(|rows| rows.checked_mul(factor));
    rows.ok_or_else(|| format!("{text:?} is not a number of rows such as 500_000 or 20M"))
}

impl DatagenCommand {
    pub(crate) fn run(self) -> Result<ExitCode, CliError> {
        let (dataset, out) = match self {
            Self::Ais(arguments) => (
                Dataset::Ais {
                    rows: arguments.rows,
                },
                arguments.out,
            ),
            Self::Tpch(arguments) => (
                Dataset::Tpch {
                    scale: arguments.scale,
                },
                arguments.out,
            ),
            Self::Orders(arguments) => (
                Dataset::Orders {
                    scale: arguments.scale,
                },
                arguments.out,
            ),
        };
        let summary = generate_shown(&dataset, &out)?;
        terminal::note(&sentence(&summary));
        Ok(ExitCode::SUCCESS)
    }
}

/// Generates a data set with a bar on the terminal.
pub(crate) fn generate_shown(dataset: &Dataset, out: &Path) -> Result<Summary, CliError> {
    let bar = bar(dataset.name());
    let generated = generate(dataset, out, &mut |progress: Progress| {
        bar.set_length(progress.rows_total);
        bar.set_position(progress.rows_done);
        bar.set_message(format_bytes(progress.bytes_written));
    });
    bar.finish_and_clear();
    Ok(generated?)
}

fn bar(name: &'static str) -> ProgressBar {
    if !terminal::is_watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(8));
    let template = "{prefix} [{bar:30}] {percent:>3} % · {human_pos} of {human_len} rows · {msg} · {per_sec} · {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("#>-"));
    }
    bar.with_prefix(name)
}

fn sentence(summary: &Summary) -> String {
    let verb = match summary.is_reused {
        true => "already there",
        false => "written",
    };
    format!(
        "{}: {} rows in {} files, {}, {verb}",
        summary.directory.display(),
        HumanCount(summary.rows),
        summary.file_count,
        format_bytes(summary.bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::read_rows;

    #[test]
    fn rows_are_read_as_people_write_them() {
        assert_eq!(read_rows("500_000"), Ok(500_000));
        assert_eq!(read_rows("20M"), Ok(20_000_000));
        assert_eq!(read_rows("7k"), Ok(7_000));
        assert!(read_rows("many").is_err());
    }
}
