//! Statements that make frames: `CREATE TABLE f AS SELECT ...` and `INSERT INTO f`.

use crate::lineage;
use bireme_operators::{Keep, Sources};
use bireme_protocol::proto::{
    Catalog, CatalogEntry, EntryKind, FrameLayout, LayoutKind, PersistOptions,
};
use bireme_protocol::{ErrorCode, Fault, QueryId};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DdlStatement, LogicalPlan, WriteOp};
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::{
    CreateTable, CreateTableOptions, Expr, Insert, ObjectName, SqlOption,
    Statement as SqlStatement, TableObject,
};

/// What a statement does to a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameStatement {
    /// The frame, as it is written.
    pub(crate) name: String,
    pub(crate) action: FrameAction,
    /// The columns of `PARTITION BY`.
    pub(crate) by: Vec<String>,
    /// What `WITH (...)` says, an option each.
    options: Vec<(String, String)>,
}

/// How a statement changes a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameAction {
    /// It makes it, in place of what has the name.
    Create {
        /// But not if there is something of the name.
        if_not_exists: bool,
    },
    /// It adds rows.
    Insert,
}

impl FrameStatement {
    /// Reads what a statement does; `None` if it makes no frame. Text that is no SQL is none.
    pub(crate) fn read(sql: &str) -> Option<Self> {
        let statement = DFParser::parse_sql(sql).ok()?.pop_front()?;
        let Statement::Statement(statement) = statement else {
            return None;
        };
        let (mut by, mut options) = (Vec::new(), Vec::new());
        let (name, action) = match *statement {
            SqlStatement::CreateTable(CreateTable {
                name,
                if_not_exists,
                partition_by,
                table_options,
                ..
            }) => {
                by = partition_by.map_or_else(Vec::new, |columns| column_names(&columns));
                options = option_texts(&table_options);
                (name, FrameAction::Create { if_not_exists })
            }
            SqlStatement::Insert(Insert {
                table: TableObject::TableName(name),
                ..
            }) => (name, FrameAction::Insert),
            _ => return None,
        };
        Some(Self {
            name: last_part(&name)?,
            action,
            by,
            options,
        })
    }

    /// Whether `WITH (replicate = true)` is said.
    fn is_replicated(&self) -> Result<bool, Fault> {
        let refused = |message: String| {
            let fault = Fault::new(ErrorCode::SqlPlanError, message);
            fault.with_hint(
                "CREATE TABLE f WITH (replicate = true) AS puts all rows on every engine",
            )
        };
        let mut is_replicated = false;
        for (name, value) in &self.options {
            if !name.eq_ignore_ascii_case("replicate") {
                let table = &self.name;
                return Err(refused(format!(
                    "make frame {table}: it has no option {name:?}"
                )));
            }
            is_replicated = match value.to_lowercase().as_str() {
                "true" => true,
                "false" => false,
                other => {
                    let message = format!("make frame {}: replicate is no {other}", self.name);
                    return Err(refused(message));
                }
            };
        }
        if is_replicated && !self.by.is_empty() {
            let message = format!(
                "make frame {}: PARTITION BY puts each row on one engine, replicate on all",
                self.name
            );
            return Err(
                Fault::new(ErrorCode::SqlPlanError, message).with_hint("leave one of the two out")
            );
        }
        Ok(is_replicated)
    }

    /// What the query that makes the rows keeps, and with how many partitions per engine.
    ///
    /// # Errors
    /// Rows are added to what is no frame, or the layout makes no sense.
    pub(crate) fn keep(
        &self,
        segment: QueryId,
        catalog: &Catalog,
        options: Option<&PersistOptions>,
    ) -> Result<(Keep, Option<usize>), Fault> {
        let mut options = options.cloned().unwrap_or_default();
        let spread = options.spread;
        let keep = |layout, columns| Keep {
            name: self.name.clone(),
            segment,
            layout,
            columns,
            spread,
            sources: Sources::default(),
        };
        if self.action == FrameAction::Insert {
            let layout = existing_layout(catalog, &self.name)?;
            let partitions = layout.partitions as usize;
            return Ok((keep(layout.kind(), layout.columns), Some(partitions)));
        }
        let is_replicated = self.is_replicated()?;
        if options.by.is_empty() && !options.replicate {
            options.by.clone_from(&self.by);
            options.replicate = is_replicated;
        }
        let layout = match (options.replicate, options.by.is_empty()) {
            (true, _) => LayoutKind::Replicated,
            (false, false) => LayoutKind::Hash,
            (false, true) => LayoutKind::RoundRobin,
        };
        Ok((keep(layout, options.by), None))
    }
}

/// The rows a planned statement keeps.
///
/// # Errors
/// It does something else, such as overwrite rows.
pub(crate) fn rows_to_keep(plan: LogicalPlan) -> Result<LogicalPlan, Fault> {
    match plan {
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => {
            Ok(LogicalPlan::clone(&create.input))
        }
        LogicalPlan::Dml(dml) if dml.op == WriteOp::Insert(InsertOp::Append) => {
            Ok(LogicalPlan::clone(&dml.input))
        }
        other => Err(Fault::new(
            ErrorCode::SqlPlanError,
            format!("make a frame by {}: it is not supported", other.display()),
        )
        .with_hint("CREATE TABLE f AS SELECT ... makes a frame, INSERT INTO f adds rows")),
    }
}

fn existing_layout(catalog: &Catalog, name: &str) -> Result<FrameLayout, Fault> {
    let entry = lineage::find(catalog, name);
    let layout = entry.and_then(|entry| entry.frame.as_ref()?.layout.clone());
    layout.ok_or_else(|| {
        let what = match entry.map(CatalogEntry::kind) {
            Some(EntryKind::View) => "it is a view",
            Some(EntryKind::ExternalTable) => "it is an external table",
            _ => "there is no frame of this name",
        };
        Fault::new(
            ErrorCode::SqlPlanError,
            format!("insert into {name:?}: {what}"),
        )
        .with_hint("rows go into frames: CREATE TABLE f AS SELECT ... makes one, %persist too")
    })
}

/// The columns of `PARTITION BY a` or `PARTITION BY (a, b)`.
fn column_names(columns: &Expr) -> Vec<String> {
    match columns {
        Expr::Identifier(name) => vec![name.value.clone()],
        Expr::Nested(inner) => column_names(inner),
        Expr::Tuple(columns) => columns.iter().flat_map(column_names).collect(),
        // Not a column: the frame has none of this name, which is what the user is told.
        other => vec![other.to_string()],
    }
}

/// The options of `WITH (a = b)`, with their values as they are written.
fn option_texts(options: &CreateTableOptions) -> Vec<(String, String)> {
    let CreateTableOptions::With(options) = options else {
        return Vec::new();
    };
    let texts = options.iter().map(|option| match option {
        SqlOption::KeyValue { key, value } => (key.value.clone(), plain(value)),
        SqlOption::Ident(name) => (name.value.clone(), String::new()),
        other => (other.to_string(), String::new()),
    });
    texts.collect()
}

/// A value without the quotes of text.
fn plain(value: &Expr) -> String {
    value.to_string().trim_matches('\'').to_string()
}

fn last_part(name: &ObjectName) -> Option<String> {
    Some(name.0.last()?.as_ident()?.value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> Option<(String, FrameAction)> {
        FrameStatement::read(sql).map(|statement| (statement.name, statement.action))
    }

    #[test]
    fn a_layout_is_read_from_partition_by() {
        let by = |sql: &str| FrameStatement::read(sql).unwrap().by;
        assert_eq!(by("CREATE TABLE f PARTITION BY k AS SELECT 1 AS k"), ["k"]);
        assert_eq!(
            by("CREATE TABLE f PARTITION BY (a, \"B c\") AS SELECT 1"),
            ["a", "B c"]
        );
        assert!(by("CREATE TABLE f AS SELECT 1").is_empty());
    }

    #[test]
    fn a_copy_on_every_engine_is_asked_for_by_an_option() {
        let layout = |sql: &str| {
            let statement = FrameStatement::read(sql).unwrap();
            let kept = statement.keep(QueryId::random(), &Catalog::default(), None);
            kept.map(|(keep, _)| keep.layout)
        };
        for option in ["replicate = true", "REPLICATE = 'TRUE'"] {
            let made = layout(&format!("CREATE TABLE f WITH ({option}) AS SELECT 1 AS k"));
            assert_eq!(made.unwrap(), LayoutKind::Replicated, "{option}");
        }
        let made =
            layout("CREATE TABLE f WITH (replicate = false) PARTITION BY k AS SELECT 1 AS k");
        assert_eq!(made.unwrap(), LayoutKind::Hash);
        let both = layout("CREATE TABLE f WITH (replicate = true) PARTITION BY k AS SELECT 1 AS k");
        assert!(both.unwrap_err().message.contains("PARTITION BY"));
        let none = layout("CREATE TABLE f WITH (replicat = true) AS SELECT 1 AS k").unwrap_err();
        assert!(none.hint.unwrap().contains("replicate = true"));
        assert!(layout("CREATE TABLE f WITH (replicate = 3) AS SELECT 1 AS k").is_err());
    }

    #[test]
    fn statements_that_make_frames_are_told_from_others() {
        let create = |if_not_exists| FrameAction::Create { if_not_exists };
        let some = |name: &str, action| Some((name.to_string(), action));
        assert_eq!(read("create table F as select 1"), some("F", create(false)));
        assert_eq!(
            read("CREATE TABLE IF NOT EXISTS \"My F\" (a INT)"),
            some("My F", create(true))
        );
        assert_eq!(
            read("INSERT INTO f SELECT 1"),
            some("f", FrameAction::Insert)
        );
        assert_eq!(read("CREATE VIEW v AS SELECT 1"), None);
        assert_eq!(read("SELECT 1"), None);
        assert_eq!(read("no sql"), None);
    }
}
