//! [`LazyFrame`]: a query that is made of verbs and runs when its rows are wanted.
//!
//! Verbs take the frame by reference, so that a variable of a notebook stays. Each adds a step to a plan of SQL
//! that the engines run; a verb that cannot be meant is told when the frame is run. Joins and groups
//! are in files of their own, and so is what runs a frame.

use crate::frame::expr::{Expr, ToExprs, col};
use crate::frame::plan::{Order, Plan};
use crate::frame::sql_text;
use crate::frame_error::FrameError;
use std::fmt;
use std::sync::Arc;

/// A query on the engines that has not run yet.
///
/// ```no_run
/// # use bireme::prelude::*;
/// # fn main() -> Result<(), FrameError> {
/// let trips = scan_parquet("trips/*.parquet")?;
/// let table = trips
///     .filter(col("km").gt(5))
///     .group_by("city")
///     .agg([len(), col("km").mean().alias("mean_km")])
///     .sort(col("mean_km").desc())
///     .limit(10)
///     .collect()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LazyFrame {
    pub(crate) plan: Result<Arc<Plan>, FrameError>,
}

impl LazyFrame {
    pub(crate) fn source(sql: String, columns: Vec<String>) -> LazyFrame {
        let plan = Ok(Plan::source(sql, columns));
        LazyFrame { plan }
    }

    /// The names of the columns.
    ///
    /// # Errors
    /// When a verb before cannot be meant.
    pub fn columns(&self) -> Result<Vec<String>, FrameError> {
        let plan = self.plan.as_ref();
        plan.map(|plan| plan.columns().to_vec())
            .map_err(Clone::clone)
    }

    /// The SQL that runs.
    ///
    /// # Errors
    /// When a verb before cannot be meant.
    pub fn to_sql(&self) -> Result<String, FrameError> {
        self.plan.as_ref().map(Plan::to_sql).map_err(Clone::clone)
    }

    /// These columns only, in this order. Aggregates among columns are told in every row; aggregates
    /// alone give one row.
    #[must_use]
    pub fn select(&self, columns: impl ToExprs) -> LazyFrame {
        self.verb("select", |plan| {
            let chosen = expand(columns.to_exprs(), plan);
            select("select", plan, &chosen)
        })
    }

    /// All columns and these; one that is called as another takes its place.
    #[must_use]
    pub fn with_columns(&self, columns: impl ToExprs) -> LazyFrame {
        self.verb("with_columns", |plan| {
            let new = expand(columns.to_exprs(), plan);
            let mut chosen: Vec<Expr> = plan.columns().iter().map(col).collect();
            for column in new {
                let name = column.output_name();
                match chosen.iter_mut().find(|old| old.output_name() == name) {
                    Some(old) => *old = column,
                    None => chosen.push(column),
                }
            }
            rows("with_columns", plan, &chosen)
        })
    }

    /// One more column; see [`LazyFrame::with_columns`].
    #[must_use]
    pub fn with_column(&self, column: impl Into<Expr>) -> LazyFrame {
        self.with_columns(column.into())
    }

    /// The rows where a condition holds. Aggregates in it are those of all rows.
    #[must_use]
    pub fn filter(&self, condition: impl Into<Expr>) -> LazyFrame {
        self.verb("filter", |plan| {
            let condition = condition.into();
            check("filter", plan, &condition)?;
            let contents = condition.contents();
            let columns = plan.columns();
            if !contents.has_aggregates && !contents.has_windows {
                let sql = condition.to_sql(None, None);
                return Ok(keep(plan, &format!(" WHERE {sql}")));
            }
            // A window stands in no WHERE.
            let flag = free_name("__kept", columns);
            let mut flagged: Vec<Expr> = columns.iter().map(col).collect();
            flagged.push(condition.named(flag.clone()));
            let flagged = rows("filter", plan, &flagged)?;
            let order = flagged.order().clone();
            let list: Vec<Expr> = columns.iter().chain(&order.hidden).map(col).collect();
            let tail = format!(" WHERE {}", sql_text::name(&flag));
            Ok(over(&flagged, &list, None, &tail, columns, order))
        })
    }

    /// Ordered by some columns: `sort([col("a").desc(), col("b")])`. Equal rows come in any order; only the
    /// last sort counts.
    #[must_use]
    pub fn sort(&self, by: impl ToExprs) -> LazyFrame {
        self.verb("sort", |plan| {
            let keys = expand(by.to_exprs(), plan);
            for key in &keys {
                check_key("sort", plan, key)?;
            }
            if keys.is_empty() {
                return Err(FrameError::refused("sort", "it needs a column at least"));
            }
            Ok(plan.sorted(keys))
        })
    }

    /// The first rows; any rows when they are not sorted.
    #[must_use]
    pub fn limit(&self, rows: u64) -> LazyFrame {
        self.slice(0, rows)
    }

    /// The same as [`LazyFrame::limit`].
    #[must_use]
    pub fn head(&self, rows: u64) -> LazyFrame {
        self.slice(0, rows)
    }

    /// Some rows from `offset` on, counted from 0.
    #[must_use]
    pub fn slice(&self, offset: u64, rows: u64) -> LazyFrame {
        self.verb("slice", |plan| {
            let skipped = match offset {
                0 => String::new(),
                offset => format!(" OFFSET {offset}"),
            };
            let order = Order {
                is_written: true,
                ..plan.order().clone()
            };
            let tail = format!("{} LIMIT {rows}{skipped}", order.to_sql());
            let texts = vec!["SELECT * FROM ".to_string(), tail];
            let columns = plan.columns().to_vec();
            Ok(Plan::ordered(texts, vec![Arc::clone(plan)], columns, order))
        })
    }

    /// Without repeated rows.
    #[must_use]
    pub fn unique(&self) -> LazyFrame {
        self.verb("unique", |plan| {
            let names = sql_text::names(plan.columns());
            let texts = vec![format!("SELECT DISTINCT {names} FROM "), String::new()];
            let columns = plan.columns().to_vec();
            Ok(Plan::step(texts, vec![Arc::clone(plan)], columns))
        })
    }

    /// The same as [`LazyFrame::unique`].
    #[must_use]
    pub fn distinct(&self) -> LazyFrame {
        self.unique()
    }

    /// Without rows that have a null.
    #[must_use]
    pub fn drop_nulls(&self) -> LazyFrame {
        self.verb("drop_nulls", |plan| {
            let parts = plan.columns().iter();
            let parts: Vec<String> = parts
                .map(|name| format!("{} IS NOT NULL", sql_text::name(name)))
                .collect();
            let tail = format!(" WHERE {}", parts.join(" AND "));
            Ok(keep(plan, &tail))
        })
    }

    /// Without these columns.
    #[must_use]
    pub fn drop(&self, columns: impl ToExprs) -> LazyFrame {
        self.verb("drop", |plan| {
            let dropped = plain_columns("drop", plan, &columns.to_exprs())?;
            let kept = plan.columns().iter().filter(|name| !dropped.contains(name));
            let kept: Vec<Expr> = kept.map(col).collect();
            select("drop", plan, &kept)
        })
    }

    /// Columns under other names: `rename([("old", "new")])`.
    #[must_use]
    pub fn rename<'n>(&self, names: impl IntoIterator<Item = (&'n str, &'n str)>) -> LazyFrame {
        self.verb("rename", |plan| {
            let names: Vec<(&str, &str)> = names.into_iter().collect();
            for (old, _) in &names {
                check("rename", plan, &col(*old))?;
            }
            let columns = plan.columns().iter().map(|name| {
                let new = names.iter().find(|(old, _)| old == name);
                new.map_or_else(|| col(name), |(_, new)| col(name).named((*new).to_string()))
            });
            let columns: Vec<Expr> = columns.collect();
            select("rename", plan, &columns)
        })
    }

    /// The rows of both, repeated ones too; columns meet by name.
    #[must_use]
    pub fn union(&self, other: &LazyFrame) -> LazyFrame {
        self.verb("union", |plan| {
            let other = other.plan.as_ref().map_err(Clone::clone)?;
            let columns = plan.columns();
            let is_same = columns.len() == other.columns().len();
            let missing = columns.iter().find(|name| !other.columns().contains(name));
            if let Some(column) = missing {
                return Err(FrameError::NoSuchColumn {
                    verb: "union",
                    column: column.clone(),
                    columns: other.columns().to_vec(),
                });
            }
            if !is_same {
                let reason = "the other frame has more columns; `select` those of this one";
                return Err(FrameError::refused("union", reason));
            }
            let names = sql_text::names(columns);
            let head = format!("SELECT {names} FROM ");
            let middle = format!("\nUNION ALL\nSELECT {names} FROM ");
            let texts = vec![head, middle, String::new()];
            let inputs = vec![Arc::clone(plan), Arc::clone(other)];
            Ok(Plan::step(texts, inputs, columns.to_vec()))
        })
    }

    /// The frame after a verb.
    pub(crate) fn verb(
        &self,
        name: &'static str,
        step: impl FnOnce(&Arc<Plan>) -> Result<Arc<Plan>, FrameError>,
    ) -> LazyFrame {
        let plan = self.plan.as_ref().map_err(Clone::clone);
        let plan = plan.and_then(step).and_then(|plan| {
            let mut seen = plan.columns().to_vec();
            seen.sort_unstable();
            let twice = seen.windows(2).find(|pair| pair[0] == pair[1]);
            match twice {
                Some(pair) => {
                    let reason = format!("two columns are called {:?}; `alias` one", pair[0]);
                    Err(FrameError::refused(name, reason))
                }
                None => Ok(plan),
            }
        });
        LazyFrame { plan }
    }
}

impl fmt::Debug for LazyFrame {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_sql() {
            Ok(sql) => write!(out, "LazyFrame({sql})"),
            Err(error) => write!(out, "LazyFrame({error})"),
        }
    }
}

/// A step that keeps the columns of another, and the order of its rows.
fn keep(plan: &Arc<Plan>, tail: &str) -> Arc<Plan> {
    let texts = vec!["SELECT * FROM ".to_string(), tail.to_string()];
    let order = Order {
        is_written: false,
        ..plan.order().clone()
    };
    let columns = plan.columns().to_vec();
    Plan::ordered(texts, vec![Arc::clone(plan)], columns, order)
}

/// A step of expressions over one other.
pub(crate) fn over(
    plan: &Arc<Plan>,
    list: &[Expr],
    window: Option<&str>,
    tail: &str,
    columns: &[String],
    order: Order,
) -> Arc<Plan> {
    let list: Vec<String> = list.iter().map(|one| item(one, window)).collect();
    let head = format!("SELECT {} FROM ", list.join(", "));
    let texts = vec![head, tail.to_string()];
    Plan::ordered(texts, vec![Arc::clone(plan)], columns.to_vec(), order)
}

/// Columns of a row each, or aggregates that give one row.
fn select(verb: &'static str, plan: &Arc<Plan>, columns: &[Expr]) -> Result<Arc<Plan>, FrameError> {
    let is_mixed = columns.iter().any(|column| column.contents().has_rows);
    match is_mixed {
        true => rows(verb, plan, columns),
        false => project(verb, plan, columns, None),
    }
}

/// Columns of a row each; aggregates are those of all rows.
fn rows(verb: &'static str, plan: &Arc<Plan>, columns: &[Expr]) -> Result<Arc<Plan>, FrameError> {
    project(verb, plan, columns, Some(""))
}

fn project(
    verb: &'static str,
    plan: &Arc<Plan>,
    columns: &[Expr],
    window: Option<&str>,
) -> Result<Arc<Plan>, FrameError> {
    if columns.is_empty() {
        return Err(FrameError::refused(verb, "a frame needs a column at least"));
    }
    for column in columns {
        check(verb, plan, column)?;
    }
    let names: Vec<String> = columns.iter().map(Expr::output_name).collect();
    // One row has no order.
    let (hidden, order) = match window {
        Some(_) => carried(plan.order(), columns, &names),
        None => (Vec::new(), Order::default()),
    };
    let list: Vec<Expr> = columns.iter().cloned().chain(hidden).collect();
    Ok(over(plan, &list, window, "", &names, order))
}

/// An order after its columns may have gone: hidden columns, and the order by what is there.
fn carried(order: &Order, columns: &[Expr], names: &[String]) -> (Vec<Expr>, Order) {
    let (mut hidden, mut hidden_names, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for key in &order.keys {
        let stays = |name: &str| {
            let is_it = |column: &&Expr| column.as_column() == Some(name);
            columns.iter().find(is_it).is_some()
        };
        if key.unsorted().as_column().is_some_and(stays) {
            keys.push(key.clone());
            continue;
        }
        let taken: Vec<String> = names.iter().chain(&hidden_names).cloned().collect();
        let name = free_name("__order", &taken);
        hidden.push(key.unsorted().named(name.clone()));
        keys.push(key.clone().replaced(col(&name)));
        hidden_names.push(name);
    }
    let order = Order {
        keys,
        hidden: hidden_names,
        is_written: false,
    };
    (hidden, order)
}

/// An expression with its name.
pub(crate) fn item(column: &Expr, window: Option<&str>) -> String {
    let sql = column.to_sql(None, window);
    let name = sql_text::name(&column.output_name());
    match sql == name {
        true => sql,
        false => format!("{sql} AS {name}"),
    }
}

/// The columns that [`all`](crate::all) stands for.
pub(crate) fn expand(columns: Vec<Expr>, plan: &Plan) -> Vec<Expr> {
    let one = |column: Expr| match column.is_all() {
        true => plan.columns().iter().map(col).collect(),
        false => vec![column],
    };
    columns.into_iter().flat_map(one).collect()
}

/// Whether an expression can be computed from a step.
pub(crate) fn check(verb: &'static str, plan: &Plan, column: &Expr) -> Result<(), FrameError> {
    if column.is_order() {
        let reason = "asc() and desc() make an order, which only `sort` and `over_ordered` take";
        return Err(FrameError::refused(verb, reason));
    }
    check_key(verb, plan, column)
}

fn check_key(verb: &'static str, plan: &Plan, column: &Expr) -> Result<(), FrameError> {
    if column.has_order_inside() {
        let reason = "asc() and desc() come last: `(col(\"a\") + 1).desc()`";
        return Err(FrameError::refused(verb, reason));
    }
    match column.unknown_column(plan.columns()) {
        Some(column) => Err(FrameError::NoSuchColumn {
            verb,
            column,
            columns: plan.columns().to_vec(),
        }),
        None => Ok(()),
    }
}

/// The names of expressions that are columns and nothing else.
pub(crate) fn plain_columns(
    verb: &'static str,
    plan: &Plan,
    columns: &[Expr],
) -> Result<Vec<String>, FrameError> {
    let mut names = Vec::new();
    for column in columns {
        check(verb, plan, column)?;
        match column.as_column() {
            Some(name) => names.push(name.to_string()),
            None => return Err(FrameError::refused(verb, "it takes names of columns")),
        }
    }
    Ok(names)
}

fn free_name(wanted: &str, columns: &[String]) -> String {
    let mut name = wanted.to_string();
    while columns.contains(&name) {
        name.push('_');
    }
    name
}
