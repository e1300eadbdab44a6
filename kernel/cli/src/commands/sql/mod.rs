//! `bireme sql`: runs every statement of a text. Rows of queries go to standard output in one of
//! five formats, everything else to standard error.

mod progress_line;
mod rows;
mod statement_run;

use crate::context::{Context, working_directory};
use crate::error::{CliError, Excerpt};
use bireme_client::{Statement, split};
use bireme_kernel::{SessionRequest, attach_or_start};
use bireme_protocol::SessionName;
use bireme_settings::parse_duration;
use clap::{Args, ValueEnum};
use progress_line::ProgressLine;
use statement_run::StatementRun;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A drawn table: the first and the last rows.
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// One object per line.
    Json,
    /// One Parquet file; for a single query.
    Parquet,
    /// An Arrow IPC stream; for a single query.
    Arrow,
}

#[derive(Debug, Args)]
pub(crate) struct SqlArguments {
    /// The statements, separated by semicolons; `-` reads them from standard input.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    statements: Option<String>,
    /// A file with the statements.
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// How rows are written.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// The session whose views and tables are seen; a fresh one without it.
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// Most rows of each result.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Longest run of each statement, such as 30s or 5m; 0 for no limit.
    #[arg(long, value_name = "DURATION", value_parser = read_timeout)]
    timeout: Option<Duration>,
    /// How many engines to start when no cluster runs.
    #[arg(long, value_parser = crate::context::read_engines)]
    engines: Option<String>,
}

fn read_timeout(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("{text:?} is not a duration such as 30s or 5m"))
}

impl SqlArguments {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let (text, origin) = self.text()?;
        let home = context.home()?;
        let settings = context.settings(&home, self.engines.as_deref())?;
        let located = |fault| CliError::Fault {
            fault: Box::new(fault),
            excerpt: Some(Excerpt {
                text: text.clone(),
                origin: origin.clone(),
            }),
        };
        let statements = split(&text).map_err(located)?;
        self.check(&statements)?;
        let request = SessionRequest {
            name: match &self.session {
                Some(name) => SessionName(name.clone()),
                None => fresh_session("sql"),
            },
            client: "sql",
            directory: working_directory()?,
        };
        let program = Context::program()?;
        Context::block_on(async {
            let session = {
                let mut line = ProgressLine::new("connecting to the cluster");
                let attaching = line.wait(attach_or_start(&home, &program, &settings, &request));
                unless_interrupted(async { Ok(attaching.await?) }).await?
            };
            let run = StatementRun {
                session: &session,
                settings: &settings,
                format: self.format,
                limit: self.limit,
                timeout: self.timeout,
            };
            let work = async {
                for (index, statement) in statements.iter().enumerate() {
                    run.run(statement, index)
                        .await
                        .map_err(|error| match error {
                            CliError::Fault { mut fault, .. } => {
                                fault.position = fault.position.map(|at| statement.locate(at));
                                located(*fault)
                            }
                            other => other,
                        })?;
                }
                Ok(ExitCode::SUCCESS)
            };
            let ended = unless_interrupted(work).await;
            // A query that was dropped is cancelled on the engines before this process ends.
            session.cluster().settle().await;
            ended
        })
    }

    fn text(&self) -> Result<(String, String), CliError> {
        match (&self.file, self.statements.as_deref()) {
            (Some(path), _) => Ok((read_file(path)?, path.display().to_string())),
            (None, Some("-")) => {
                let mut text = String::new();
                let read = std::io::stdin().read_to_string(&mut text);
                read.map_err(|source| CliError::io("read standard input", source))?;
                Ok((text, "stdin".to_string()))
            }
            (None, Some(text)) => Ok((text.to_string(), "statement".to_string())),
            (None, None) => Err(CliError::usage("there are no statements to run")),
        }
    }

    /// Formats of one stream hold one result.
    fn check(&self, statements: &[Statement]) -> Result<(), CliError> {
        if statements.is_empty() {
            return Err(CliError::usage("there are no statements to run"));
        }
        let queries = statements
            .iter()
            .filter(|statement| statement_run::gives_rows(statement))
            .count();
        let is_single = matches!(self.format, Format::Parquet | Format::Arrow);
        if is_single && queries != 1 {
            let message = format!(
                "--format parquet and arrow hold one result, and there are {queries} queries"
            );
            return Err(CliError::usage(message));
        }
        if is_single && crate::terminal::width().is_some() {
            return Err(CliError::usage(
                "the result is binary: send it to a file with `> FILE`",
            ));
        }
        Ok(())
    }
}

/// Does some work until Ctrl-C.
async fn unless_interrupted<T>(
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    tokio::select! {
        biased;
        done = work => done,
        _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
    }
}

fn read_file(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path)
        .map_err(|source| CliError::io(format!("read {}", path.display()), source))
}

/// A session nobody else has.
pub(crate) fn fresh_session(prefix: &str) -> SessionName {
    let id = uuid::Uuid::new_v4().simple().to_string();
    SessionName(format!("{prefix}-{}", &id[..12]))
}
