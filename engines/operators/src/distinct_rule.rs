//! Aggregates of distinct values are planned as two levels of groups: the values of each group first, then
//! the group. Groups spill and lie on all engines, where DataFusion's accumulator of distinct values does neither.
//!
//! DataFusion does so itself where one column has all distinct values and what else there is are sums and extremes.
//! With more than that, the first level is of grouping sets: one for each column of distinct values, and
//! one for all other aggregates. Integers alone are left to DataFusion then where there are keys to group by.

use crate::aggregate_parts::{column_of, position};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::Column;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::functions::expr_fn::coalesce;
use datafusion::functions_aggregate::min_max::max_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Expr, ExprSchemable, GroupingSet, LogicalPlan, Projection, cast, lit,
    when,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Its place is right before this rule, after subqueries have become joins.
pub(crate) const BEFORE: &str = "single_distinct_aggregation_to_group_by";

/// Aggregates that leave missing values out, and that depend on which values there are.
const OF_DISTINCT: [&str; 3] = ["avg", "count", "sum"];
/// Aggregates of aggregates of parts are the aggregate of all. `count` is one too, by a sum.
const OF_PARTS: [&str; 8] = [
    "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "max", "min", "sum",
];
/// Others that hold a few numbers of each group. Those that hold its rows stay as they are.
const OF_ROWS: [&str; 8] = [
    "avg",
    "corr",
    "covar_pop",
    "covar_samp",
    "stddev",
    "stddev_pop",
    "var",
    "var_pop",
];
const KEY_PREFIX: &str = "__bireme_distinct_";
/// As many keys as the number of a grouping set has bits.
const KEYS_MAX: usize = 64;

/// Plans aggregates of distinct values as two levels of groups.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DistinctRule;

impl OptimizerRule for DistinctRule {
    fn name(&self) -> &str {
        "bireme_distinct"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else {
            return Ok(Transformed::no(plan));
        };
        let Some(levels) = Levels::of(aggregate)? else {
            return Ok(Transformed::no(plan));
        };
        Ok(Transformed::yes(levels.plan(aggregate)?))
    }
}

/// What the first level gives to one aggregate of the second.
enum Given {
    /// Each value once: the column of this number among `keys`.
    Values(usize),
    /// The aggregate of this number among `parts`.
    Part(usize),
}

struct Levels {
    /// What the first level groups by: the `groups` keys of the aggregate, then distinct values.
    keys: Vec<Expr>,
    groups: usize,
    /// Aggregates of the first level.
    parts: Vec<Expr>,
    /// What there is for each aggregate, and the function over it.
    calls: Vec<(Given, Arc<AggregateUDF>)>,
    /// Whether what the first level gives of parts of a group can be put together.
    in_parts: bool,
    /// Whether DataFusion counts the distinct values of all groups in one table: no other way is as fast.
    in_one_table: bool,
}

impl Levels {
    /// None for aggregates without distinct values that could be many, and those that must hold their rows.
    fn of(aggregate: &Aggregate) -> Result<Option<Self>> {
        let keys = aggregate.group_expr.clone();
        let mut levels = Self {
            groups: keys.len(),
            keys,
            parts: Vec::new(),
            calls: Vec::new(),
            in_parts: true,
            in_one_table: !aggregate.group_expr.is_empty(),
        };
        if matches!(levels.keys.first(), Some(Expr::GroupingSet(_))) {
            return Ok(None);
        }
        for expr in &aggregate.aggr_expr {
            let Some(call) = call_of(expr) else {
                return Ok(None);
            };
            if !levels.add(call, aggregate)? {
                return Ok(None);
            }
        }
        let keys = levels.groups + 1..=KEYS_MAX;
        let is_worth =
            keys.contains(&levels.keys.len()) && !(levels.in_sets() && levels.in_one_table);
        Ok(is_worth.then_some(levels))
    }

    /// Whether the aggregate can be made in two levels.
    fn add(&mut self, call: &AggregateFunction, aggregate: &Aggregate) -> Result<bool> {
        let (name, params) = (call.func.name(), &call.params);
        if !params.order_by.is_empty() || params.null_treatment.is_some() {
            return Ok(false);
        }
        if params.distinct && OF_DISTINCT.contains(&name) {
            let [value] = params.args.as_slice() else {
                return Ok(false);
            };
            let value = match &params.filter {
                Some(filter) => when(filter.as_ref().clone(), value.clone()).end()?,
                None => value.clone(),
            };
            let value_type = value.get_type(aggregate.input.schema())?;
            if !RowConverter::supports_fields(&[SortField::new(value_type.clone())]) {
                return Ok(false);
            }
            self.in_one_table &= name == "count" && value_type.is_integer();
            let key = position(&mut self.keys, value);
            self.calls
                .push((Given::Values(key), Arc::clone(&call.func)));
            return Ok(true);
        }
        let function = match name {
            "count" if !params.distinct => sum_udaf(),
            _ if OF_PARTS.contains(&name) && (!params.distinct || is_extreme(name)) => {
                Arc::clone(&call.func)
            }
            _ if OF_ROWS.contains(&name) && !params.distinct => {
                self.in_parts = false;
                // Of the one value that there is.
                max_udaf()
            }
            _ => return Ok(false),
        };
        let part = AggregateFunction::new_udf(
            Arc::clone(&call.func),
            params.args.clone(),
            false,
            params.filter.clone(),
            Vec::new(),
            None,
        );
        let part = position(&mut self.parts, Expr::AggregateFunction(part));
        self.calls.push((Given::Part(part), function));
        Ok(true)
    }

    /// Whether the first level is of grouping sets.
    fn in_sets(&self) -> bool {
        !self.in_parts || self.keys.len() > self.groups + 1
    }

    fn plan(&self, aggregate: &Aggregate) -> Result<LogicalPlan> {
        let in_sets = self.in_sets();
        let (input, keys) = self.named_keys(&aggregate.input)?;
        let keys = if in_sets {
            let sets = GroupingSet::GroupingSets(self.sets(&keys));
            vec![Expr::GroupingSet(sets)]
        } else {
            keys
        };
        let first = Aggregate::try_new(input, keys, self.parts.clone())?;
        // The number of the grouping set comes after the keys.
        let parts_begin = self.keys.len() + usize::from(in_sets);
        let mut values = Vec::new();
        let mut of_calls = Vec::new();
        for (given, function) in &self.calls {
            let (column, set) = match given {
                Given::Values(key) => (*key, self.set_of(Some(*key))?),
                Given::Part(part) => (parts_begin + part, self.set_of(None)?),
            };
            let is_in_set = || column_of(&first, self.keys.len()).eq(lit(set));
            let value = AggregateFunction::new_udf(
                Arc::clone(function),
                vec![column_of(&first, column)],
                false,
                in_sets.then(|| Box::new(is_in_set())),
                Vec::new(),
                None,
            );
            of_calls.push(position(&mut values, Expr::AggregateFunction(value)));
        }
        let groups = (0..self.groups).map(|key| column_of(&first, key)).collect();
        let first = Arc::new(LogicalPlan::Aggregate(first));
        let second = Aggregate::try_new(first, groups, values)?;
        named_as(aggregate, second, &of_calls)
    }

    /// The input with the keys that are not columns as such: a key and its cast would have one name.
    fn named_keys(&self, input: &Arc<LogicalPlan>) -> Result<(Arc<LogicalPlan>, Vec<Expr>)> {
        let mut columns: Vec<Expr> = input
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        let given = columns.len();
        let keys = self.keys.iter().enumerate().map(|(number, key)| {
            if matches!(key, Expr::Column(_)) {
                return key.clone();
            }
            let name = format!("{KEY_PREFIX}{number}");
            columns.push(key.clone().alias(&name));
            Expr::Column(Column::from_name(name))
        });
        let keys = keys.collect();
        if columns.len() == given {
            return Ok((Arc::clone(input), keys));
        }
        let named = Projection::try_new(columns, Arc::clone(input))?;
        Ok((Arc::new(LogicalPlan::Projection(named)), keys))
    }

    /// One set for each column of distinct values, and one without any; the first names the columns in order.
    fn sets(&self, keys: &[Expr]) -> Vec<Vec<Expr>> {
        let (groups, values) = keys.split_at(self.groups);
        let with = |value: &Expr| groups.iter().chain([value]).cloned().collect();
        let mut sets: Vec<Vec<Expr>> = values.iter().map(with).collect();
        sets.push(groups.to_vec());
        sets
    }

    /// The number of the set that has no more than the groups and this key: its bits tell which keys it has not,
    /// the last key's is the lowest.
    fn set_of(&self, key: Option<usize>) -> Result<ScalarValue> {
        let keys = self.keys.len();
        let absent = (self.groups..keys).filter(|other| Some(*other) != key);
        let bits = absent.fold(0_u64, |bits, other| bits | 1 << (keys - 1 - other));
        ScalarValue::UInt64(Some(bits)).cast_to(&Aggregate::grouping_id_type(keys, 0))
    }
}

/// Extremes of distinct values are those of all.
fn is_extreme(name: &str) -> bool {
    matches!(name, "max" | "min")
}

/// Names and types as the aggregate had them. There are no rows, and no sum, where it counted none.
fn named_as(aggregate: &Aggregate, second: Aggregate, of_calls: &[usize]) -> Result<LogicalPlan> {
    let groups = aggregate.group_expr.len();
    let columns = aggregate.schema.iter().enumerate();
    let columns = columns.map(|(index, (qualifier, field))| {
        let of_call = index
            .checked_sub(groups)
            .map(|call| groups + of_calls[call]);
        let mut value = column_of(&second, of_call.unwrap_or(index));
        if is_count(aggregate.aggr_expr.get(index.wrapping_sub(groups))) {
            value = coalesce(vec![value, lit(0_i64)]);
        }
        if value.get_type(&second.schema)? != *field.data_type() {
            value = cast(value, field.data_type().clone());
        }
        Ok(value.alias_qualified(qualifier.cloned(), field.name()))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let second = Arc::new(LogicalPlan::Aggregate(second));
    Ok(LogicalPlan::Projection(Projection::try_new(
        columns, second,
    )?))
}

fn is_count(expr: Option<&Expr>) -> bool {
    let call = expr.and_then(call_of);
    call.is_some_and(|call| call.func.name() == "count" && !call.params.distinct)
}

/// The aggregate, which has another name if a value of it was cast.
fn call_of(expr: &Expr) -> Option<&AggregateFunction> {
    match expr {
        Expr::AggregateFunction(call) => Some(call),
        Expr::Alias(alias) => call_of(&alias.expr),
        _ => None,
    }
}
