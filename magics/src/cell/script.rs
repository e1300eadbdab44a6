//! The SQL of a cell: binds its values, splits it into statements, runs each and shows what it
//! gives. Every fault that leaves here has its place in the cell.

use std::time::Duration;

use arrow::datatypes::SchemaRef;
use bireme_client::{QuerySummary, Rows, RunOptions, Statement, StatementKind};
use bireme_protocol::proto::{DefineReply, EntryKind, PersistOptions, StatementMode};
use bireme_protocol::{ErrorCode, Fault, Position};

use crate::binding::{BoundSql, Known, Wanted, bind};
use crate::columns::column_count;
use crate::display::plan;
use crate::display::table::{self, Facts};
use crate::display::units::{count, counted, milliseconds};
use crate::frame;
use crate::host::{Host, StreamName};
use crate::magic::Body;
use crate::mime_bundle::MimeBundle;
use crate::output::{CUT, Format, TEXT_ROWS_MAX, extent, print};
use crate::runner::{Runner, Take};
use crate::rust_rows::{Totals, too_many};
use crate::sql_scanner::{Part, scan};
use crate::text;

/// The SQL of one cell.
pub(crate) struct Script<'h> {
    host: &'h dyn Host,
    body: &'h Body,
    pub(super) bound: BoundSql,
    pub(super) runner: Runner<'h>,
}

/// How the rows of a query are shown.
#[derive(Clone, Debug)]
pub(crate) struct Showing {
    pub format: Format,
    pub limit: Option<u64>,
    pub rows: Option<u64>,
    pub remarks: Vec<String>,
    /// Whether it is the value of the cell.
    pub is_result: bool,
}

/// The SQL with its values bound. A place in a fault is one in the text.
async fn bound(host: &dyn Host, typed: &str) -> Result<BoundSql, Fault> {
    let parameters = host.parameters();
    let is_rust = |name: &str| host.is_rust_name(name);
    let mut expressions = Vec::new();
    loop {
        let known = Known {
            parameters: &parameters,
            expressions: &expressions,
            is_rust: &is_rust,
        };
        let (bound, wanted) = bind(typed, &known)?;
        // Once all are evaluated none is wanted.
        let Some(Wanted {
            expression,
            position,
        }) = wanted.into_iter().next()
        else {
            return Ok(bound);
        };
        let value = host.rust_value(&expression).await;
        let value = value.map_err(|fault| fault.at(position))?;
        expressions.push((expression, value));
    }
}

/// The same where no Rust can be evaluated, because some runs.
fn parameters_only(host: &dyn Host, typed: &str) -> Result<BoundSql, Fault> {
    let braces = scan(typed).find_map(|part| match part {
        Part::Braces { offset, text, .. } => Some((offset, text)),
        _ => None,
    });
    if let Some((offset, text)) = braces {
        let message = format!("{text} stands in the SQL of a Rust cell, where it is not bound");
        let hint = "put a value in with format!, or as $name after %param name = value";
        let position = text::position(typed, offset, text.chars().count());
        let fault = Fault::new(ErrorCode::InvalidArgument, message).at(position);
        return Err(fault.with_hint(hint));
    }
    let parameters = host.parameters();
    let known = Known {
        parameters: &parameters,
        expressions: &[],
        is_rust: &|_| false,
    };
    bind(typed, &known).map(|(bound, _)| bound)
}

impl<'h> Script<'h> {
    /// Binds the values of a cell's SQL; Rust expressions among them are evaluated first.
    pub(crate) async fn new(host: &'h dyn Host, body: &'h Body) -> Result<Self, Fault> {
        let bound = bound(host, &body.text).await;
        let bound = bound.map_err(|fault| to_cell(fault, body))?;
        Ok(Self {
            host,
            body,
            bound,
            runner: Runner::new(host),
        })
    }

    /// The SQL that a Rust cell made: its values are those of parameters.
    pub(crate) fn of_rust(host: &'h dyn Host, body: &'h Body) -> Result<Self, Fault> {
        let bound = parameters_only(host, &body.text)?;
        Ok(Self {
            host,
            body,
            bound,
            runner: Runner::new(host),
        })
    }

    /// The statements, in order. Their offsets are offsets in the bound SQL.
    pub(crate) fn statements(&self) -> Result<Vec<Statement>, Fault> {
        bireme_client::split(&self.bound.sql).map_err(|fault| self.place(fault, &self.bound.sql, 0))
    }

    /// Runs a statement that gives no rows, or an explained one. `None` when it is a query.
    pub(crate) async fn command(
        &mut self,
        statement: &Statement,
        timeout: Option<Duration>,
    ) -> Result<Option<String>, Fault> {
        let Statement { text, offset, .. } = statement;
        match &statement.kind {
            StatementKind::Query | StatementKind::Copy => Ok(None),
            StatementKind::Explain { is_analyze, body } => {
                let mode = match is_analyze {
                    true => StatementMode::Analyze,
                    false => StatementMode::Explain,
                };
                let options = RunOptions {
                    mode,
                    timeout,
                    ..RunOptions::default()
                };
                self.explain(&text[*body..], offset + body, options).await?;
                Ok(Some(String::new()))
            }
            StatementKind::Keep => {
                let layout = PersistOptions::default();
                self.keep(text, *offset, layout, timeout).await.map(Some)
            }
            StatementKind::Define => self.define(text, *offset).await.map(Some),
            StatementKind::Drop { name, if_exists } => {
                let service = self.runner.service().await?;
                let dropped = service.drop_name(name, *if_exists).await;
                let dropped = dropped.map_err(|fault| self.at_statement(fault, statement))?;
                Ok(Some(match dropped {
                    true => format!("dropped {name}"),
                    false => format!("{name} was not there"),
                }))
            }
            StatementKind::Set { key, value } => {
                let set = self.host.configure(key, value.as_deref()).await;
                set.map_err(|fault| self.at_statement(fault, statement))?;
                let now = self.host.settings();
                let known = bireme_settings::find(key).map(|setting| now.get(setting.key));
                let shown = known.or(value.as_deref()).unwrap_or("default");
                Ok(Some(format!("{key} = {shown}")))
            }
            StatementKind::Unsupported { verb } => {
                let message = format!("{verb} is not something Bireme runs");
                let hint = "it runs SELECT, CREATE VIEW, CREATE [EXTERNAL] TABLE, INSERT, DROP, SHOW, DESCRIBE, EXPLAIN and SET";
                let fault = Fault::new(ErrorCode::SqlPlanError, message).with_hint(hint);
                Err(self.at_statement(fault, statement))
            }
        }
    }

    /// Runs a statement that makes a frame or adds to one; gives the acknowledgement.
    async fn keep(
        &mut self,
        sql: &str,
        offset: usize,
        layout: PersistOptions,
        timeout: Option<Duration>,
    ) -> Result<String, Fault> {
        let options = RunOptions {
            values: self.bound.values_in(sql),
            ..frame::options(layout, timeout)
        };
        let outcome = self.runner.run(sql, &options).await;
        let outcome = outcome.map_err(|fault| self.place(fault, sql, offset))?;
        Ok(frame::made(&outcome.summary))
    }

    async fn define(&mut self, text: &str, offset: usize) -> Result<String, Fault> {
        let values = self.bound.values_in(text);
        let defined = self.runner.define(text, values).await;
        let reply = defined.map_err(|fault| self.place(fault, text, offset))?;
        Ok(acknowledgement(reply))
    }

    /// Explains a query, or runs and measures it, and shows its plan.
    pub(crate) async fn explain(
        &mut self,
        sql: &str,
        offset: usize,
        options: RunOptions,
    ) -> Result<(), Fault> {
        let plan = self.plan(sql, offset, options).await?;
        self.host.display(plan);
        Ok(())
    }

    /// Explains a query, or runs and measures it, and draws its plan.
    pub(crate) async fn plan(
        &mut self,
        sql: &str,
        offset: usize,
        options: RunOptions,
    ) -> Result<MimeBundle, Fault> {
        let is_trivial = options.mode == StatementMode::Explain;
        let values = self.bound.values_in(sql);
        let rows = Rows::Preview { head: 1, tail: 0 };
        let options = RunOptions {
            values,
            rows,
            is_trivial,
            ..options
        };
        let outcome = self.runner.run(sql, &options).await;
        let outcome = outcome.map_err(|fault| self.place(fault, sql, offset))?;
        let tree = outcome.summary.plan.as_ref();
        let tree =
            tree.ok_or_else(|| Fault::internal("the engine explained a query without a plan"))?;
        Ok(plan::render(tree))
    }

    /// Runs a query and draws its first and last rows.
    pub(crate) async fn preview(&mut self, query: &Statement) -> Result<MimeBundle, Fault> {
        let extent = extent(self.host, None);
        let options = RunOptions {
            values: self.bound.values_in(&query.text),
            rows: Rows::Preview {
                head: extent.head() as u64,
                tail: extent.tail() as u64,
            },
            is_trivial: query.is_trivial,
            ..RunOptions::default()
        };
        let outcome = self.runner.run(&query.text, &options).await;
        let outcome = outcome.map_err(|fault| self.place(fault, &query.text, query.offset))?;
        let facts = Facts::of(&outcome.summary, Vec::new());
        Ok(table::render(
            &outcome.schema,
            &outcome.batches,
            &facts,
            extent,
            None,
        ))
    }

    /// The columns of a query, which does not run.
    pub(crate) async fn columns(&mut self, query: &Statement) -> Result<SchemaRef, Fault> {
        // On lines of its own, so that a comment at its end does not reach further.
        let sql = format!("SELECT * FROM (\n{}\n) LIMIT 0", query.text);
        let options = RunOptions {
            values: self.bound.values_in(&query.text),
            ..RunOptions::default()
        };
        let outcome = self.runner.run(&sql, &options).await;
        let outcome = outcome.map_err(|mut fault| {
            fault.position = fault.position.map(|at| Position {
                line: at.line.saturating_sub(1).max(1),
                ..at
            });
            self.place(fault, &query.text, query.offset)
        })?;
        Ok(outcome.schema)
    }

    /// Runs a query and gives all its rows away as they come.
    pub(crate) async fn rows(
        &mut self,
        query: &Statement,
        options: RunOptions,
        take: Take<'_>,
    ) -> Result<(SchemaRef, QuerySummary), Fault> {
        let options = RunOptions {
            values: self.bound.values_in(&query.text),
            is_trivial: query.is_trivial,
            ..options
        };
        let outcome = self.runner.run_into(&query.text, &options, take).await;
        outcome.map_err(|fault| self.place(fault, &query.text, query.offset))
    }

    /// Runs a query and shows its rows.
    pub(crate) async fn show(
        &mut self,
        query: &Statement,
        showing: Showing,
        timeout: Option<Duration>,
    ) -> Result<(), Fault> {
        let extent = extent(self.host, showing.rows);
        let rows = match showing.format {
            Format::Table => Rows::Preview {
                head: extent.head() as u64,
                tail: extent.tail() as u64,
            },
            Format::Csv | Format::Json => Rows::Preview {
                head: TEXT_ROWS_MAX,
                tail: 0,
            },
        };
        let options = RunOptions {
            mode: StatementMode::Run,
            values: self.bound.values_in(&query.text),
            limit: showing.limit,
            timeout,
            rows,
            is_trivial: query.is_trivial,
            persist: None,
        };
        let outcome = self.runner.run(&query.text, &options).await;
        let outcome = outcome.map_err(|fault| self.place(fault, &query.text, query.offset))?;
        let mut remarks = showing.remarks;
        if outcome.is_cut {
            remarks.push(CUT.into());
        }
        if showing.format != Format::Table {
            print(self.host, showing.format, &outcome.schema, &outcome.batches)?;
            self.tell_left_out(&outcome.summary);
            return Ok(());
        }
        let facts = Facts::of(&outcome.summary, remarks);
        let bundle = table::render(&outcome.schema, &outcome.batches, &facts, extent, None);
        match showing.is_result {
            true => self.host.result(bundle),
            false => self.host.display(bundle),
        }
        Ok(())
    }

    /// Runs a query and binds its rows to a Rust variable.
    pub(crate) async fn bind(
        &mut self,
        query: &Statement,
        variable: &str,
        limit: Option<u64>,
        timeout: Option<Duration>,
    ) -> Result<(), Fault> {
        let options = RunOptions {
            limit,
            timeout,
            ..RunOptions::default()
        };
        let most = self.host.settings().bytes("rust.bind_limit");
        let mut rows = self.host.rows_for_rust(variable)?;
        let mut bytes = 0;
        let mut take = |batch| {
            bytes = rows.write(&batch)?;
            if bytes > most {
                let message = format!("bind the rows to the Rust variable {variable}");
                return Err(too_many(&message, bytes, most));
            }
            Ok(())
        };
        let (schema, summary) = self.rows(query, options, &mut take).await?;
        rows.finish(&schema).await?;
        let come = Totals {
            rows: summary.rows,
            bytes,
        };
        self.acknowledge(&come.told(variable, &schema, summary.elapsed));
        Ok(())
    }

    /// Rows as text have no shape line: what is missing is said beside them.
    fn tell_left_out(&self, summary: &QuerySummary) {
        if summary.rows <= TEXT_ROWS_MAX {
            return;
        }
        let elapsed = u64::try_from(summary.elapsed.as_millis()).unwrap_or(u64::MAX);
        let line = format!(
            "the first {} of {} in {}; `bireme sql` prints them all\n",
            count(TEXT_ROWS_MAX),
            counted(summary.rows, "row"),
            milliseconds(elapsed)
        );
        self.host.stream(StreamName::Stderr, &line);
    }

    /// Shows what a statement without rows did.
    pub(crate) fn acknowledge(&self, line: &str) {
        if !line.is_empty() {
            self.host.display(MimeBundle::plain(line));
        }
    }

    /// A fault about a statement as a whole.
    pub(crate) fn at_statement(&self, mut fault: Fault, statement: &Statement) -> Fault {
        let first = statement.text.split_whitespace().next().unwrap_or_default();
        let length = first.chars().count() as u32;
        fault.position.get_or_insert(Position {
            line: 1,
            column: 1,
            length: length.max(1),
        });
        self.place(fault, &statement.text, statement.offset)
    }

    /// Moves a fault's place from a piece of the bound SQL to the cell.
    pub(super) fn place(&self, mut fault: Fault, piece: &str, offset: usize) -> Fault {
        fault.position = fault.position.map(|position| {
            let typed = self.bound.locate(&self.body.text, piece, offset, position);
            self.body.to_cell(typed)
        });
        fault
    }
}

fn to_cell(mut fault: Fault, body: &Body) -> Fault {
    fault.position = fault.position.map(|position| body.to_cell(position));
    fault
}

/// What a definition did.
pub(super) fn acknowledgement(reply: DefineReply) -> String {
    let entry = reply.entry.unwrap_or_default();
    let verb = if reply.replaced {
        "replaced"
    } else {
        "created"
    };
    let kind = match entry.kind() {
        EntryKind::ExternalTable => "external table",
        EntryKind::Frame => "frame",
        EntryKind::View | EntryKind::Unspecified => "view",
    };
    let count = counted(column_count(&entry.schema_json), "column");
    format!("{verb} {kind} {} ({count})", entry.name)
}
