//! [`CellQueries`]: what a Rust cell asks of the engines while it runs, through the same script as
//! `%%sql`: values, settings, progress in the cell and its interrupt are those of SQL cells. How the
//! cell asks, and where rows go, is the kernel's matter.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bireme_client::{RunOptions, Statement, StatementKind};
use bireme_protocol::proto::StatementMode;
use bireme_protocol::{ErrorCode, Fault};

use crate::cell::script::Script;
use crate::host::Host;
use crate::magic::Body;
use crate::mime_bundle::MimeBundle;
use crate::rust_rows::too_many;

/// The queries of one running Rust cell.
#[derive(Clone, Copy)]
pub struct CellQueries<'h> {
    host: &'h dyn Host,
}

/// What a text of statements defines.
#[derive(Clone, Debug, PartialEq)]
pub enum Defined {
    /// A query at its end, and the query's columns.
    Query {
        /// The query.
        sql: String,
        /// Its columns.
        schema: SchemaRef,
    },
    /// Statements only; what the last did.
    Done(String),
}

impl<'h> CellQueries<'h> {
    /// The queries of a cell.
    pub fn new(host: &'h dyn Host) -> Self {
        Self { host }
    }

    /// Runs all statements but a query at the end, and plans that.
    ///
    /// # Errors
    /// When a statement fails. Positions are positions in `sql`.
    pub async fn define(&self, sql: &str) -> Result<Defined, Fault> {
        let body = body(sql);
        let mut script = Script::of_rust(self.host, &body)?;
        let statements = script.statements()?;
        let Some((last, before)) = statements.split_last() else {
            let message = "there is no statement in the SQL";
            return Err(Fault::new(ErrorCode::InvalidArgument, message));
        };
        for statement in before {
            let done = script.command(statement, None).await?;
            if done.is_none() {
                let message = "only the last statement may give rows";
                let fault = Fault::new(ErrorCode::InvalidArgument, message);
                return Err(script.at_statement(fault, statement));
            }
        }
        if last.kind == StatementKind::Query {
            let schema = script.columns(last).await?;
            let sql = last.text.clone();
            return Ok(Defined::Query { sql, schema });
        }
        match script.command(last, None).await? {
            Some(done) => Ok(Defined::Done(done)),
            None => {
                let message = "the last statement gives no rows to Rust";
                let fault = Fault::new(ErrorCode::InvalidArgument, message);
                let hint = "run it with %%sql, or make it a SELECT";
                Err(script.at_statement(fault.with_hint(hint), last))
            }
        }
    }

    /// Runs a query and gives its rows away as they come; `write` tells the bytes taken so far, of which
    /// there may be `rust.bind_limit`.
    ///
    /// # Errors
    /// When the query fails, or gives more.
    pub async fn rows(
        &self,
        sql: &str,
        write: &mut (dyn FnMut(&RecordBatch) -> Result<u64, Fault> + Send),
    ) -> Result<SchemaRef, Fault> {
        let body = body(sql);
        let mut script = Script::of_rust(self.host, &body)?;
        let query = only_query(&script)?;
        let most = self.host.settings().bytes("rust.bind_limit");
        let mut take = |batch: RecordBatch| match write(&batch)? {
            bytes if bytes > most => Err(too_many("collect the rows", bytes, most)),
            _ => Ok(()),
        };
        let ran = script.rows(&query, RunOptions::default(), &mut take).await;
        ran.map(|(schema, _)| schema)
    }

    /// Runs a query and draws its first and last rows.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn show(&self, sql: &str) -> Result<MimeBundle, Fault> {
        let body = body(sql);
        let mut script = Script::of_rust(self.host, &body)?;
        let query = only_query(&script)?;
        script.preview(&query).await
    }

    /// Plans a query, or runs and measures it, and draws its plan.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn explain(&self, sql: &str, is_run: bool) -> Result<MimeBundle, Fault> {
        let body = body(sql);
        let mut script = Script::of_rust(self.host, &body)?;
        let query = only_query(&script)?;
        let mode = match is_run {
            true => StatementMode::Analyze,
            false => StatementMode::Explain,
        };
        let options = RunOptions {
            mode,
            ..RunOptions::default()
        };
        script.plan(&query.text, query.offset, options).await
    }
}

fn body(sql: &str) -> Body {
    Body {
        text: sql.to_string(),
        line: 1,
        column: 1,
    }
}

fn only_query(script: &Script<'_>) -> Result<Statement, Fault> {
    let mut statements = script.statements()?;
    match (statements.pop(), statements.is_empty()) {
        (Some(query), true) if query.kind == StatementKind::Query => Ok(query),
        _ => Err(Fault::internal("a lazy frame is not one query")),
    }
}
