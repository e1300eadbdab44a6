//! From a statement's text to a plan: tables and names resolved, values bound, errors with their
//! place in the text.

use crate::fault_from::fault_from;
use crate::names::{self, KnownNames};
use crate::session_tables::{SessionTables, parse};
use crate::values;
use bireme_protocol::Fault;
use bireme_protocol::proto::BoundValue;
use datafusion::catalog::SchemaProvider;
use datafusion::common::TableReference;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    CreateTableOptions, Ident, ObjectName, Statement as SqlStatement, Visit, Visitor,
};
use std::ops::ControlFlow;

/// What stands for the name of a frame that is made.
const NEW_FRAME: &str = "a new frame";

/// Plans one statement of a session.
///
/// # Errors
/// It is not SQL, or names what is not there, with the place.
pub(crate) async fn plan(
    state: &SessionState,
    sql: &str,
    bound: &[BoundValue],
    tables: &SessionTables,
) -> Result<LogicalPlan, Fault> {
    let statement = parse(state, sql).map_err(|error| fault_from(&error))?;
    let plan = plan_statement(state, statement, tables).await?;
    let bound = values::read(bound)?;
    if bound.is_empty() {
        return Ok(plan);
    }
    plan.with_param_values(values::parameters(bound))
        .map_err(|error| fault_from(&error))
}

/// Plans a parsed statement.
///
/// # Errors
/// It names what is not there, with the place.
pub(crate) async fn plan_statement(
    state: &SessionState,
    mut statement: Statement,
    tables: &SessionTables,
) -> Result<LogicalPlan, Fault> {
    detach(&mut statement);
    let known = known_names(state, &statement, tables).await?;
    if let Statement::Statement(inner) = &mut statement {
        names::spell(inner, known)?;
    }
    let plan = state.statement_to_plan(statement).await;
    plan.map_err(|error| fault_from(&error))
}

/// The columns of every table the statement reads.
async fn known_names(
    state: &SessionState,
    statement: &Statement,
    tables: &SessionTables,
) -> Result<KnownNames, Fault> {
    let references = state
        .resolve_table_references(statement)
        .map_err(|error| fault_from(&error))?;
    let mut known = KnownNames::default();
    for reference in references {
        if reference.table() == NEW_FRAME {
            continue;
        }
        // Other schemas (information_schema) answer for themselves.
        if reference.schema().is_some_and(|schema| schema != "public") {
            continue;
        }
        match tables.table(reference.table()).await {
            Ok(Some(table)) => {
                for field in table.schema().fields() {
                    known.add(field.name());
                }
            }
            Ok(None) if is_table_function(state, reference.table()) => {}
            Ok(None) => return Err(unknown_table(statement, &reference, tables)),
            Err(error) => {
                let mut fault = fault_from(&error);
                if fault.position.is_none() {
                    fault.position = place_of(statement, &reference);
                }
                return Err(fault);
            }
        }
    }
    Ok(known)
}

/// Of a statement that makes a frame only its query is planned: where its rows go is no part of that,
/// and the frame that has its name now is not looked at unless the query reads it.
fn detach(statement: &mut Statement) {
    let Statement::Statement(statement) = statement else {
        return;
    };
    let SqlStatement::CreateTable(create) = statement.as_mut() else {
        return;
    };
    create.partition_by = None;
    create.table_options = CreateTableOptions::None;
    let name = create.name.0.last().and_then(|part| part.as_ident());
    let name = name.map(|name| name.value.clone()).unwrap_or_default();
    let mut find = FindRelation { name: &name };
    let query = create.query.as_ref();
    if !query.is_some_and(|query| query.visit(&mut find).is_break()) {
        create.name = vec![Ident::new(NEW_FRAME)].into();
    }
}

/// `FROM range(10)` reads no table of that name.
fn is_table_function(state: &SessionState, name: &str) -> bool {
    state.table_functions().contains_key(&name.to_lowercase())
}

fn unknown_table(
    statement: &Statement,
    reference: &TableReference,
    tables: &SessionTables,
) -> Fault {
    let mut fault = tables.unknown(reference.table());
    fault.position = place_of(statement, reference);
    fault
}

fn place_of(
    statement: &Statement,
    reference: &TableReference,
) -> Option<bireme_protocol::Position> {
    let Statement::Statement(statement) = statement else {
        return None;
    };
    let mut find = FindRelation {
        name: reference.table(),
    };
    match statement.visit(&mut find) {
        ControlFlow::Break(ident) => {
            let quotes = 2 * usize::from(ident.quote_style.is_some());
            names::position(ident.span, ident.value.chars().count() + quotes)
        }
        ControlFlow::Continue(()) => None,
    }
}

struct FindRelation<'a> {
    name: &'a str,
}

impl Visitor for FindRelation<'_> {
    type Break = Ident;

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Ident> {
        match relation.0.last().and_then(|part| part.as_ident()) {
            Some(ident) if ident.value == self.name => ControlFlow::Break(ident.clone()),
            _ => ControlFlow::Continue(()),
        }
    }
}
