//! Plans a definition without running it: what a `CREATE VIEW` or `CREATE EXTERNAL TABLE` makes.

use crate::fault_from::fault_from;
use crate::planner;
use crate::session_tables::{self, SessionTables, parse};
use crate::values;
use bireme_protocol::proto::{BoundValue, CatalogEntry, EntryKind};
use bireme_protocol::{ErrorCode, Fault, process};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{CreateView, Statement as SqlStatement};
use std::sync::Arc;

/// Describes the name a statement defines.
///
/// # Errors
/// The statement defines nothing, or cannot be planned.
pub(crate) async fn describe(
    state: &SessionState,
    sql: &str,
    bound: &[BoundValue],
    tables: &SessionTables,
    directory: &str,
) -> Result<CatalogEntry, Fault> {
    let mut statement = parse(state, sql).map_err(|error| fault_from(&error))?;
    let bound = values::read(bound)?;
    // The definition outlives the values: they become part of its text.
    let sql = match &mut statement {
        Statement::Statement(inner) if !bound.is_empty() => {
            values::inline(inner, &bound);
            inner.to_string()
        }
        _ => sql.to_string(),
    };
    let (name, kind, schema) = match &statement {
        Statement::CreateExternalTable(create) => {
            let name = last_name(&create.name.to_string());
            let table = session_tables::external_table(state, statement.clone(), directory).await;
            let table = table.map_err(|error| fault_from(&error))?;
            (name, EntryKind::ExternalTable, table.schema())
        }
        Statement::Statement(inner) => {
            let SqlStatement::CreateView(CreateView { name, .. }) = inner.as_ref() else {
                return Err(nothing_defined());
            };
            let name = name.0.last().and_then(|part| part.as_ident());
            let name = name.map(|ident| ident.value.clone()).unwrap_or_default();
            let plan = planner::plan_statement(state, statement.clone(), tables).await?;
            let LogicalPlan::Ddl(DdlStatement::CreateView(view)) = plan else {
                return Err(nothing_defined());
            };
            let schema = Arc::clone(view.input.schema().inner());
            refuse_circle(&view.input, &name)?;
            (name, EntryKind::View, schema)
        }
        _ => return Err(nothing_defined()),
    };
    Ok(CatalogEntry {
        name,
        kind: kind.into(),
        sql,
        schema_json: schema_json(&schema)?,
        defined_at_ms: process::now_ms(),
        directory: directory.to_string(),
        frame: None,
    })
}

fn schema_json(schema: &Schema) -> Result<String, Fault> {
    serde_json::to_string(schema)
        .map_err(|error| Fault::internal(format!("write a schema: {error}")))
}

fn last_name(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.trim_matches('"').to_string()
}

fn nothing_defined() -> Fault {
    Fault::new(
        ErrorCode::InvalidArgument,
        "define a name: the statement is neither CREATE VIEW nor CREATE EXTERNAL TABLE",
    )
}

/// A view that reads its own name, itself or through another view, would never end being planned.
fn refuse_circle(plan: &LogicalPlan, name: &str) -> Result<(), Fault> {
    match reads(plan, name).map_err(|error| fault_from(&error))? {
        false => Ok(()),
        true => Err(Fault::new(
            ErrorCode::SqlPlanError,
            format!("define view {name:?}: it would read itself"),
        )
        .with_hint("give the new view another name")),
    }
}

fn reads(plan: &LogicalPlan, name: &str) -> Result<bool, DataFusionError> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found |= scan.table_name.table().eq_ignore_ascii_case(name);
            let table = source_as_provider(&scan.source)?;
            if let Some(view) = table.get_logical_plan() {
                found |= reads(&view, name)?;
            }
        }
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}
