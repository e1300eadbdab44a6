//! The names a statement can read: the session's views and external tables, and files by path.
//!
//! Tables are made when a statement asks for them, so that a session with many names costs a query
//! nothing for those it does not read.

use crate::fault_from::nearest;
use crate::frame_table::FrameTable;
use crate::shared_table::SharedTable;
use crate::table_files;
use async_trait::async_trait;
use bireme_frames::Placement;
use bireme_operators::ResidentFrame;
use bireme_protocol::proto::{Catalog, CatalogEntry, EntryKind};
use bireme_protocol::{ErrorCode, Fault};
use datafusion::arrow::datatypes::Schema;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, TableProvider};
use datafusion::datasource::ViewTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{CreateExternalTable, DdlStatement, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{ObjectNamePart, visit_relations_mut};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock, Weak};

/// Views over views over views: more than this is a circle.
const VIEW_DEPTH_MAX: usize = 64;

/// Resolves the tables of one statement.
pub(crate) struct SessionTables {
    catalog: Catalog,
    directory: String,
    state: OnceLock<Weak<RwLock<SessionState>>>,
    placement: OnceLock<Placement>,
    made: RwLock<HashMap<String, Arc<dyn TableProvider>>>,
    /// Names being made, outermost first.
    under_way: RwLock<Vec<String>>,
}

impl std::fmt::Debug for SessionTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionTables")
            .field("session", &self.catalog.session)
            .field("version", &self.catalog.version)
            .finish_non_exhaustive()
    }
}

impl SessionTables {
    /// The tables of a catalog; relative paths begin in `directory`.
    pub(crate) fn new(catalog: Catalog, directory: String) -> Arc<Self> {
        Arc::new(Self {
            catalog,
            directory,
            state: OnceLock::new(),
            placement: OnceLock::new(),
            made: RwLock::default(),
            under_way: RwLock::default(),
        })
    }

    /// Makes these the tables of a session state, which plans the views among them.
    /// `placement` is how its shuffles place rows.
    pub(crate) fn install(
        self: &Arc<Self>,
        state: &Arc<RwLock<SessionState>>,
        placement: Placement,
    ) -> Result<()> {
        let database = MemoryCatalogProvider::new();
        database.register_schema("public", Arc::clone(self) as Arc<dyn SchemaProvider>)?;
        let catalogs = Arc::clone(state.read().catalog_list());
        catalogs.register_catalog("bireme".to_string(), Arc::new(database));
        // Set once: a second installation would plan views in another session.
        let _ = self.state.set(Arc::downgrade(state));
        let _ = self.placement.set(placement);
        Ok(())
    }

    /// Every name of the session.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.catalog.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The names that were asked for and found.
    pub(crate) fn used(&self) -> Vec<String> {
        self.made.read().keys().cloned().collect()
    }

    /// What the session knows.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn entry(&self, name: &str) -> Result<Option<&CatalogEntry>, Fault> {
        let entries = &self.catalog.entries;
        if let Some(exact) = entries.iter().find(|entry| entry.name == name) {
            return Ok(Some(exact));
        }
        let mut alike = entries
            .iter()
            .filter(|entry| entry.name.eq_ignore_ascii_case(name));
        match (alike.next(), alike.next()) {
            (Some(first), Some(second)) => Err(Fault::new(
                ErrorCode::SqlPlanError,
                format!(
                    "resolve table {name:?}: it could be {} or {}",
                    first.name, second.name
                ),
            )
            .with_hint("write the name exactly, in double quotes")),
            (first, _) => Ok(first),
        }
    }

    /// Why a table cannot be found.
    pub(crate) fn unknown(&self, name: &str) -> Fault {
        let fault = Fault::new(
            ErrorCode::SqlPlanError,
            format!("no table or view {name:?}"),
        );
        match nearest(name, self.names()) {
            Some(known) => fault.with_hint(format!("did you mean {known:?}?")),
            None if self.catalog.entries.is_empty() => fault.with_hint(
                "a path in quotes reads files: FROM 'data/*.parquet'; CREATE VIEW or CREATE EXTERNAL TABLE makes a name",
            ),
            None => fault.with_hint(format!(
                "this session has {}",
                self.names().take(8).collect::<Vec<_>>().join(", ")
            )),
        }
    }

    fn state(&self) -> Result<SessionState> {
        let state = self.state.get().and_then(Weak::upgrade);
        let state = state.ok_or_else(|| {
            DataFusionError::Internal("plan a view: its session has ended".to_string())
        })?;
        let state = state.read().clone();
        Ok(state)
    }

    async fn make(&self, entry: &CatalogEntry) -> Result<Arc<dyn TableProvider>> {
        if entry.kind() == EntryKind::Frame {
            return self.frame(entry);
        }
        let state = self.state()?;
        let statement = parse(&state, &entry.sql)?;
        self.enter(entry)?;
        let made = match entry.kind() {
            EntryKind::ExternalTable => {
                external_table(&state, statement, self.directory_of(entry)).await
            }
            _ => self.view(&state, statement, entry).await,
        };
        self.under_way.write().pop();
        made
    }

    fn frame(&self, entry: &CatalogEntry) -> Result<Arc<dyn TableProvider>> {
        let frame = entry.frame.clone().unwrap_or_default();
        if !frame.lost.is_empty() {
            let code = match frame.pending {
                true => ErrorCode::NotReady,
                false => ErrorCode::NotFound,
            };
            return Err(external(
                Fault::new(code, format!("read frame {:?}: {}", entry.name, frame.lost))
                    .with_hint("%frames shows what there is; run the cell that makes it again"),
            ));
        }
        let schema: Schema = serde_json::from_str(&entry.schema_json).map_err(|error| {
            let message = format!("read the columns of frame {:?}: {error}", entry.name);
            external(Fault::internal(message))
        })?;
        let placement = self.placement.get().ok_or_else(|| {
            DataFusionError::Internal("read a frame: its session has no engines".to_string())
        })?;
        let frame = ResidentFrame::new(&entry.name, Arc::new(schema), &frame, placement)?;
        Ok(Arc::new(FrameTable::new(frame)))
    }

    /// Where relative paths of a definition begin, wherever the session is by now.
    fn directory_of<'a>(&'a self, entry: &'a CatalogEntry) -> &'a str {
        match entry.directory.as_str() {
            "" => &self.directory,
            directory => directory,
        }
    }

    fn enter(&self, entry: &CatalogEntry) -> Result<()> {
        let mut under_way = self.under_way.write();
        if under_way.contains(&entry.name) || under_way.len() >= VIEW_DEPTH_MAX {
            let circle = under_way.join(" -> ");
            return Err(external(Fault::new(
                ErrorCode::SqlPlanError,
                format!("plan view {:?}: it reads itself ({circle})", entry.name),
            )));
        }
        under_way.push(entry.name.clone());
        Ok(())
    }

    async fn view(
        &self,
        state: &SessionState,
        mut statement: Statement,
        entry: &CatalogEntry,
    ) -> Result<Arc<dyn TableProvider>> {
        self.locate_files(&mut statement, self.directory_of(entry));
        let planned = Box::pin(crate::planner::plan_statement(state, statement, self)).await;
        match planned {
            Ok(LogicalPlan::Ddl(DdlStatement::CreateView(view))) => Ok(Arc::new(ViewTable::new(
                (*view.input).clone(),
                view.definition,
            ))),
            Ok(other) => Err(DataFusionError::Internal(format!(
                "plan view {:?}: its definition is {}",
                entry.name,
                other.display()
            ))),
            Err(mut fault) => {
                // The place is one of the view's text, not of the statement the user sees.
                fault.position = None;
                Err(external(
                    fault.with_cause(format!("in view {:?}", entry.name)),
                ))
            }
        }
    }

    /// Makes the relative paths a statement reads absolute.
    fn locate_files(&self, statement: &mut Statement, directory: &str) {
        let Statement::Statement(inner) = statement else {
            return;
        };
        let _: ControlFlow<()> = visit_relations_mut(inner.as_mut(), |relation| {
            if let [ObjectNamePart::Identifier(name)] = relation.0.as_mut_slice()
                && table_files::is_path(&name.value)
                && matches!(self.entry(&name.value), Ok(None))
            {
                name.value = table_files::absolute(&name.value, directory);
            }
            ControlFlow::Continue(())
        });
    }
}

/// Reads a statement with the places of its names.
pub(crate) fn parse(state: &SessionState, sql: &str) -> Result<Statement> {
    let dialect = state.config_options().sql_parser.dialect;
    state.sql_to_statement(sql, &dialect)
}

/// Makes the table of a `CREATE EXTERNAL TABLE` statement.
pub(crate) async fn external_table(
    state: &SessionState,
    statement: Statement,
    directory: &str,
) -> Result<Arc<dyn TableProvider>> {
    let plan = state.statement_to_plan(statement).await?;
    let LogicalPlan::Ddl(DdlStatement::CreateExternalTable(mut command)) = plan else {
        return Err(DataFusionError::Internal(
            "make an external table from another statement".to_string(),
        ));
    };
    for location in &command.locations {
        table_files::check_local(location).map_err(external)?;
    }
    locate(&mut command, directory);
    let kind = command.file_type.to_uppercase();
    let factory = state.table_factories().get(kind.as_str()).ok_or_else(|| {
        external(
            Fault::new(
                ErrorCode::SqlPlanError,
                format!("no format {:?}", command.file_type),
            )
            .with_hint("STORED AS PARQUET, CSV, JSON or ARROW"),
        )
    })?;
    factory.create(state, &command).await
}

fn locate(command: &mut CreateExternalTable, directory: &str) {
    for location in &mut command.locations {
        *location = table_files::absolute(location, directory);
    }
    let compressions = command.locations.iter();
    if let Some(compression) = compressions
        .filter_map(|l| table_files::compression_option(l))
        .next()
        && matches!(command.file_type.to_uppercase().as_str(), "CSV" | "JSON")
    {
        command
            .options
            .entry("format.compression".to_string())
            .or_insert_with(|| compression.to_string());
    }
}

fn external(fault: Fault) -> DataFusionError {
    DataFusionError::External(Box::new(fault))
}

#[async_trait]
impl SchemaProvider for SessionTables {
    fn table_names(&self) -> Vec<String> {
        self.names().map(str::to_string).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.made.read().get(name) {
            return Ok(Some(Arc::clone(table)));
        }
        let table = match self.entry(name).map_err(external)? {
            // The planner looks up the name an external table's own definition gives it.
            Some(entry)
                if entry.kind() == EntryKind::ExternalTable
                    && self.under_way.read().contains(&entry.name) =>
            {
                return Ok(None);
            }
            Some(entry) => Box::pin(self.make(entry)).await?,
            None if SharedTable::is_path(name) => SharedTable::open(name)?,
            None if table_files::is_path(name) => {
                let state = self.state()?;
                table_files::open(name, &self.directory, &state).await?
            }
            None => return Ok(None),
        };
        let mut made = self.made.write();
        made.insert(name.to_string(), Arc::clone(&table));
        Ok(Some(table))
    }

    fn table_exist(&self, name: &str) -> bool {
        matches!(self.entry(name), Ok(Some(_))) || table_files::is_path(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner;
    use crate::test_engine::TestEngine;
    use bireme_operators::QueryEnd;
    use bireme_protocol::QueryId;
    use datafusion::physical_plan::collect;

    #[tokio::test]
    async fn a_view_reads_its_files_from_where_it_was_defined() {
        let test = TestEngine::new("view-directory");
        let home = test.engine.home().root().to_path_buf();
        for (folder, rows) in [("here", "n\n1\n2\n"), ("there", "n\n3\n")] {
            std::fs::create_dir(home.join(folder)).unwrap();
            std::fs::write(home.join(folder).join("numbers.csv"), rows).unwrap();
        }
        let text = |folder: &str| home.join(folder).to_string_lossy().into_owned();
        let view = CatalogEntry {
            name: "v".to_string(),
            kind: EntryKind::View.into(),
            sql: "CREATE VIEW v AS SELECT * FROM 'numbers.csv'".to_string(),
            directory: text("here"),
            ..CatalogEntry::default()
        };
        let catalog = Catalog {
            entries: vec![view],
            ..Catalog::default()
        };
        let tables = SessionTables::new(catalog, text("there"));
        let settings = test.engine.settings();
        let session = test
            .engine
            .head_session(
                QueryId::random(),
                &QueryEnd::default(),
                settings,
                &tables,
                crate::engine::HeadNeeds::default(),
            )
            .await
            .unwrap();
        let state = session.context.state();
        for (table, rows) in [("v", 2), ("'numbers.csv'", 1)] {
            let sql = format!("SELECT * FROM {table}");
            let plan = planner::plan(&state, &sql, &[], &tables).await.unwrap();
            let plan = state.create_physical_plan(&plan).await.unwrap();
            let batches = collect(plan, session.context.task_ctx()).await.unwrap();
            let read: usize = batches.iter().map(|batch| batch.num_rows()).sum();
            assert_eq!(read, rows, "{sql}");
        }
    }
}
