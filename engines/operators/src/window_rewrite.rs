//! `avg(x) over (partition by k)` without an order is one value per group: it is planned as
//! group-by and null-safe join, which spill and never hold a whole partition. The input is read
//! twice, so only inputs that give the same rows twice are rewritten, and only functions and keys
//! for which group-by and join agree with the window.

use crate::aggregate_parts::{self, column_of};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, Join, JoinConstraint, LogicalPlan, Projection, SubqueryAlias,
    Window, WindowFunctionDefinition,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use std::sync::Arc;

/// Aggregates whose value does not depend on the order of rows.
const UNORDERED: [&str; 12] = [
    "avg",
    "bool_and",
    "bool_or",
    "count",
    "max",
    "median",
    "min",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
];

/// Plans aggregates over partitions without an order as group-by and join.
#[derive(Clone, Copy, Debug, Default)]
pub struct WindowRewrite;

/// The aggregates of one list of partition keys.
struct Group {
    keys: Vec<Expr>,
    /// Name of the window's column, and the aggregate that gives it.
    values: Vec<(String, Expr)>,
}

impl OptimizerRule for WindowRewrite {
    fn name(&self) -> &str {
        "bireme_window_rewrite"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match rewrite(&plan)? {
            Some(rewritten) => Ok(Transformed::yes(rewritten)),
            None => Ok(Transformed::no(plan)),
        }
    }
}

const KEY_PREFIX: &str = "__bireme_key_";

fn rewrite(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    // Windows with different keys stand in a chain; all of them see the same rows.
    let mut windows = Vec::new();
    let mut base = plan;
    while let LogicalPlan::Window(window) = base {
        windows.push(window);
        base = &window.input;
    }
    if windows.is_empty() || !gives_the_same_twice(base)? {
        return Ok(None);
    }
    let mut groups: Vec<Group> = Vec::new();
    let mut kept: Vec<Vec<Expr>> = Vec::new();
    for window in &windows {
        let mut rest = Vec::new();
        for expr in &window.window_expr {
            match as_aggregate(expr, base.schema())? {
                Some((keys, value)) => {
                    add(&mut groups, keys, (expr.schema_name().to_string(), value))
                }
                None => rest.push(expr.clone()),
            }
        }
        kept.push(rest);
    }
    if groups.is_empty() {
        return Ok(None);
    }
    let mut joined = base.clone();
    for (number, group) in groups.iter().enumerate() {
        joined = join(joined, base, group, number)?;
    }
    for rest in kept.into_iter().rev().filter(|rest| !rest.is_empty()) {
        joined = LogicalPlan::Window(Window::try_new(rest, Arc::new(joined))?);
    }
    let rewritten = restore(plan.schema(), joined, &groups)?;
    let same = rewritten
        .schema()
        .logically_equivalent_names_and_types(plan.schema());
    Ok(same.then_some(rewritten))
}

fn add(groups: &mut Vec<Group>, keys: Vec<Expr>, value: (String, Expr)) {
    match groups.iter_mut().find(|group| group.keys == keys) {
        Some(group) => group.values.push(value),
        None => groups.push(Group {
            keys,
            values: vec![value],
        }),
    }
}

/// The keys and the aggregate of a window expression that is one value per group.
fn as_aggregate(expr: &Expr, base: &DFSchema) -> Result<Option<(Vec<Expr>, Expr)>> {
    let Expr::WindowFunction(window) = expr else {
        return Ok(None);
    };
    let WindowFunction { fun, params } = window.as_ref();
    let WindowFunctionDefinition::AggregateUDF(function) = fun else {
        return Ok(None);
    };
    let frame = &params.window_frame;
    let whole = frame.start_bound.is_unbounded() && frame.end_bound.is_unbounded();
    let plain = params.order_by.is_empty() && !params.distinct && params.null_treatment.is_none();
    if !whole || !plain || params.partition_by.is_empty() || !UNORDERED.contains(&function.name()) {
        return Ok(None);
    }
    let filter = params.filter.iter().map(AsRef::as_ref);
    let used = params.args.iter().chain(&params.partition_by).chain(filter);
    for part in used {
        let known = part
            .column_refs()
            .into_iter()
            .all(|column| base.has_column(column));
        if !known || !is_repeatable(part)? {
            return Ok(None);
        }
    }
    for key in &params.partition_by {
        if !groups_as_it_joins(&key.get_type(base)?) {
            return Ok(None);
        }
    }
    let aggregate = AggregateFunction::new_udf(
        Arc::clone(function),
        params.args.clone(),
        false,
        params.filter.clone(),
        Vec::new(),
        None,
    );
    let keys = params.partition_by.clone();
    Ok(Some((keys, Expr::AggregateFunction(aggregate))))
}

/// Types whose values are equal in a join exactly when they are one group. Floats are not among
/// them: zeros have signs.
fn groups_as_it_joins(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => groups_as_it_joins(values),
        other => {
            other.is_integer()
                || other.is_string()
                || matches!(
                    other,
                    DataType::Boolean
                        | DataType::Date32
                        | DataType::Date64
                        | DataType::Timestamp(..)
                        | DataType::Decimal128(..)
                )
        }
    }
}

/// Whether the plan gives the same rows when it runs twice in one query.
fn gives_the_same_twice(plan: &LogicalPlan) -> Result<bool> {
    let mut same = true;
    plan.apply(|node| {
        same &= match node {
            LogicalPlan::TableScan(scan) => scan.fetch.is_none(),
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Join(_) => true,
            _ => false,
        };
        node.apply_expressions(|expr| {
            same &= is_repeatable(expr)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if same {
            TreeNodeRecursion::Continue
        } else {
            TreeNodeRecursion::Stop
        })
    })?;
    Ok(same)
}

fn is_repeatable(expr: &Expr) -> Result<bool> {
    let changes = expr.exists(|part| {
        Ok(part.is_volatile_node()
            || matches!(
                part,
                Expr::ScalarSubquery(_)
                    | Expr::InSubquery(_)
                    | Expr::Exists(_)
                    | Expr::SetComparison(_)
                    | Expr::OuterReferenceColumn(..)
            ))
    })?;
    Ok(!changes)
}

fn table(number: usize) -> String {
    format!("__bireme_window_{number}")
}

fn key_name(position: usize) -> String {
    format!("{KEY_PREFIX}{position}")
}

/// Whether a column is a key of the groups that a rewritten window joins with.
pub(crate) fn is_key(column: &str) -> bool {
    column.starts_with(KEY_PREFIX)
}

fn value_name(position: usize) -> String {
    format!("__bireme_value_{position}")
}

/// Joins the rows with the values of their groups. Every row has exactly one.
fn join(
    rows: LogicalPlan,
    base: &LogicalPlan,
    group: &Group,
    number: usize,
) -> Result<LogicalPlan> {
    let values = group.values.iter().map(|(_, value)| value.clone());
    // Equal aggregates under two names are computed once.
    let mut distinct: Vec<Expr> = Vec::new();
    let positions: Vec<_> = values
        .map(|value| aggregate_parts::position(&mut distinct, value))
        .collect();
    let aggregate = Aggregate::try_new(Arc::new(base.clone()), group.keys.clone(), distinct)?;
    let column = |index: usize| column_of(&aggregate, index);
    let keys = group.keys.len();
    let mut named: Vec<Expr> = (0..keys)
        .map(|position| column(position).alias(key_name(position)))
        .collect();
    for (position, value) in positions.iter().enumerate() {
        named.push(column(keys + value).alias(value_name(position)));
    }
    let named = Projection::try_new(named, Arc::new(LogicalPlan::Aggregate(aggregate.clone())))?;
    let named = Arc::new(LogicalPlan::Projection(named));
    let named = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(named, table(number))?);
    let on = group.keys.iter().enumerate().map(|(position, key)| {
        let right = Column::new(Some(table(number)), key_name(position));
        (key.clone(), Expr::Column(right))
    });
    Ok(LogicalPlan::Join(Join::try_new(
        Arc::new(rows),
        Arc::new(named),
        on.collect(),
        None,
        JoinType::Inner,
        JoinConstraint::On,
        NullEquality::NullEqualsNull,
        false,
    )?))
}

/// The columns as the windows gave them.
fn restore(schema: &DFSchema, joined: LogicalPlan, groups: &[Group]) -> Result<LogicalPlan> {
    let columns = schema.iter().map(|(qualifier, field)| {
        let found = groups.iter().enumerate().find_map(|(number, group)| {
            let mut values = group.values.iter();
            let position = values.position(|(name, _)| qualifier.is_none() && name == field.name());
            position.map(|position| (number, position))
        });
        match found {
            Some((number, position)) => {
                Expr::Column(Column::new(Some(table(number)), value_name(position)))
                    .alias(field.name())
            }
            None => Expr::Column(Column::from((qualifier, field))),
        }
    });
    let columns = columns.collect();
    let projection = Projection::try_new(columns, Arc::new(joined))?;
    Ok(LogicalPlan::Projection(projection))
}
