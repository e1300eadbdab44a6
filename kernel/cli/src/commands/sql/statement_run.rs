//! Runs one statement: queries with progress and rows, definitions with a sentence.

use super::Format;
use super::progress_line::ProgressLine;
use super::rows::RowWriter;
use crate::error::CliError;
use crate::terminal;
use bireme_client::{QueryUpdate, Rows, RunOptions, Session, Statement, StatementKind};
use bireme_magics::display::table::{self, Extent, Facts};
use bireme_magics::display::{plan, progress};
use bireme_magics::frame;
use bireme_protocol::proto::StatementMode;
use bireme_protocol::{ErrorCode, Fault};
use bireme_settings::Settings;
use std::time::Duration;

/// What holds for every statement of a call.
pub(crate) struct StatementRun<'a> {
    pub(crate) session: &'a Session,
    pub(crate) settings: &'a Settings,
    pub(crate) format: Format,
    pub(crate) limit: Option<u64>,
    pub(crate) timeout: Option<Duration>,
}

/// Whether a statement writes rows to standard output.
pub(crate) fn gives_rows(statement: &Statement) -> bool {
    matches!(statement.kind, StatementKind::Query)
}

impl StatementRun<'_> {
    /// Runs a statement; `index` counts from 0. Positions in a fault are positions in the statement.
    pub(crate) async fn run(&self, statement: &Statement, index: usize) -> Result<(), CliError> {
        match &statement.kind {
            StatementKind::Query => self.query(statement, index).await,
            StatementKind::Copy => self.copy(statement).await,
            StatementKind::Keep => self.keep(statement).await,
            StatementKind::Explain { is_analyze, body } => {
                self.explain(statement, *is_analyze, *body).await
            }
            StatementKind::Define => {
                let mut line = ProgressLine::new("planning");
                let defined = self.session.define(&statement.text, Vec::new());
                let reply = line.wait(defined).await?;
                line.clear();
                let name = reply.entry.map(|entry| entry.name).unwrap_or_default();
                let verb = if reply.replaced {
                    "replaced"
                } else {
                    "defined"
                };
                terminal::note(&format!("{name}: {verb}"));
                Ok(())
            }
            StatementKind::Drop { name, if_exists } => {
                let verb = match self.session.drop_name(name, *if_exists).await? {
                    true => "dropped",
                    false => "was not there",
                };
                terminal::note(&format!("{name}: {verb}"));
                Ok(())
            }
            StatementKind::Set { key, value } => {
                self.session.configure(key, value.as_deref()).await?;
                Ok(())
            }
            StatementKind::Unsupported { verb } => {
                let message = format!("run {verb}: Bireme does not run such statements");
                let hint = "it runs queries, CREATE VIEW, CREATE EXTERNAL TABLE, CREATE TABLE, INSERT INTO, DROP, SET, COPY and EXPLAIN";
                Err(Fault::new(ErrorCode::SqlPlanError, message)
                    .with_hint(hint)
                    .into())
            }
        }
    }

    fn options(&self, mode: StatementMode, statement: &Statement, rows: Rows) -> RunOptions {
        RunOptions {
            mode,
            limit: self.limit,
            timeout: self.timeout,
            rows,
            is_trivial: statement.is_trivial,
            ..RunOptions::default()
        }
    }

    async fn query(&self, statement: &Statement, index: usize) -> Result<(), CliError> {
        let extent = self.extent();
        let rows = match self.format {
            Format::Table => Rows::Preview {
                head: extent.head() as u64,
                tail: extent.tail() as u64,
            },
            _ => Rows::All,
        };
        let options = self.options(StatementMode::Run, statement, rows);
        let (mut line, mut query) =
            ProgressLine::submit(self.session, &statement.text, &options).await?;
        let mut writer = RowWriter::new(self.format);
        let mut schema = None;
        let mut batches = Vec::new();
        while let Some(update) = line.next(&mut query).await {
            match update? {
                QueryUpdate::Schema(found) => {
                    if self.format != Format::Table {
                        line.pause(|| writer.begin(&found, index))?;
                    }
                    schema = Some(found);
                }
                QueryUpdate::Batch(batch) if self.format == Format::Table => batches.push(batch),
                QueryUpdate::Batch(batch) => line.pause(|| writer.write(&batch))?,
                QueryUpdate::Done(summary) => {
                    line.clear();
                    if let (Format::Table, Some(schema)) = (self.format, &schema) {
                        let facts = Facts::of(&summary, Vec::new());
                        let drawn =
                            table::render(schema, &batches, &facts, extent, terminal::width());
                        let gap = if index > 0 { "\n" } else { "" };
                        terminal::print(&format!("{gap}{}\n", drawn.plain.trim_end()))?;
                    } else {
                        terminal::note(&progress::summary_line(summary.rows, &summary.progress));
                    }
                }
                QueryUpdate::Queued { .. } | QueryUpdate::Progress { .. } => {}
            }
        }
        writer.finish()
    }

    async fn copy(&self, statement: &Statement) -> Result<(), CliError> {
        let options = self.options(StatementMode::Run, statement, Rows::All);
        let (mut line, mut query) =
            ProgressLine::submit(self.session, &statement.text, &options).await?;
        while let Some(update) = line.next(&mut query).await {
            if let QueryUpdate::Done(summary) = update? {
                line.clear();
                terminal::note(&progress::summary_line(summary.rows, &summary.progress));
            }
        }
        Ok(())
    }

    async fn keep(&self, statement: &Statement) -> Result<(), CliError> {
        let options = self.options(StatementMode::Run, statement, Rows::All);
        let (mut line, mut query) =
            ProgressLine::submit(self.session, &statement.text, &options).await?;
        while let Some(update) = line.next(&mut query).await {
            if let QueryUpdate::Done(summary) = update? {
                line.clear();
                terminal::note(&frame::made(&summary));
            }
        }
        Ok(())
    }

    async fn explain(
        &self,
        statement: &Statement,
        is_analyze: bool,
        body: usize,
    ) -> Result<(), CliError> {
        let mode = match is_analyze {
            true => StatementMode::Analyze,
            false => StatementMode::Explain,
        };
        let options = self.options(mode, statement, Rows::All);
        // Blanks in the place of EXPLAIN keep positions right.
        let blanks = statement.text[..body]
            .chars()
            .map(|c| if c == '\n' { c } else { ' ' });
        let explained = blanks.collect::<String>() + &statement.text[body..];
        let (mut line, mut query) =
            ProgressLine::submit(self.session, &explained, &options).await?;
        while let Some(update) = line.next(&mut query).await {
            if let QueryUpdate::Done(summary) = update? {
                line.clear();
                let drawn = summary
                    .plan
                    .map(|plan| plan::render(&plan).plain)
                    .unwrap_or_default();
                terminal::print(&format!("{}\n", drawn.trim_end()))?;
            }
        }
        Ok(())
    }

    fn extent(&self) -> Extent {
        Extent {
            rows: usize::try_from(self.settings.integer("display.rows")).unwrap_or(10),
            columns: usize::try_from(self.settings.integer("display.columns")).unwrap_or(12),
        }
    }
}
