//! The optimizer rule for filters of several conditions: comparisons that cost next to nothing come
//! first, each of them made of all rows.
//!
//! DataFusion takes `a AND b AND c` from the left. Where at most a fifth of the rows have met what came before, it copies
//! these rows, with all their columns, for each condition that follows. For a pattern that pays; to compare
//! a number with a constant takes less than the copy, and those copies were most of what TPC-H's query 6 took.

use datafusion::arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, IsNotNullExpr, IsNullExpr, Literal,
};
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use std::sync::Arc;

type Condition = Arc<dyn PhysicalExpr>;

/// Puts the conditions of each filter in order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FilterRule;

impl PhysicalOptimizerRule for FilterRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(filter) = node.downcast_ref::<FilterExec>() else {
                return Ok(Transformed::no(node));
            };
            let schema = filter.input().schema();
            let Some(predicate) = in_order(filter.predicate(), &schema) else {
                return Ok(Transformed::no(node));
            };
            let filter = FilterExecBuilder::from(filter).with_predicate(predicate);
            Ok(Transformed::yes(Arc::new(filter.build()?) as _))
        })
        .data()
    }

    fn name(&self) -> &str {
        "FilterRule"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The same conditions with the cheap ones first; none when nothing changes.
fn in_order(predicate: &Condition, schema: &Schema) -> Option<Condition> {
    let conditions = split_conjunction(predicate);
    let is_first = conditions.first().is_some_and(|one| is_cheap(one, schema));
    let conditions = conditions.into_iter().cloned();
    let (cheap, dear): (Vec<_>, Vec<_>) = conditions.partition(|one| is_cheap(one, schema));
    if cheap.is_empty() || (cheap.len() == 1 && is_first) {
        return None;
    }
    // `a AND (b AND c)`: what each finds is not looked at before the next.
    let cheap = cheap.into_iter().rev();
    let cheap = cheap.reduce(|rest, condition| both(condition, rest))?;
    // `(cheap AND d) AND e`: fewer and fewer rows are left.
    Some(dear.into_iter().fold(cheap, both))
}

fn both(one: Condition, other: Condition) -> Condition {
    Arc::new(BinaryExpr::new(one, Operator::And, other))
}

/// Whether it compares a column of numbers, dates or times with a constant or another such column, or asks whether
/// there is a value: that cannot fail either.
fn is_cheap(condition: &Condition, schema: &Schema) -> bool {
    let of = condition
        .downcast_ref::<IsNotNullExpr>()
        .map(IsNotNullExpr::arg);
    let of = of.or_else(|| condition.downcast_ref::<IsNullExpr>().map(IsNullExpr::arg));
    if let Some(of) = of {
        return of.is::<Column>();
    }
    let Some(comparison) = condition.downcast_ref::<BinaryExpr>() else {
        return false;
    };
    let is_number = |side: &Condition| {
        let is_leaf = side.is::<Column>() || side.is::<Literal>();
        is_leaf && side.data_type(schema).is_ok_and(|of| of.is_primitive())
    };
    let (left, right) = (comparison.left(), comparison.right());
    let is_of_column = left.is::<Column>() || right.is::<Column>();
    is_compared(*comparison.op()) && is_of_column && is_number(left) && is_number(right)
}

fn is_compared(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::common::DFSchema;
    use datafusion::logical_expr::{col, lit};
    use datafusion::prelude::{Expr, SessionContext};

    fn schema() -> Schema {
        let field = |name, of| Field::new(name, of, true);
        Schema::new(vec![
            field("day", DataType::Date32),
            field("price", DataType::Decimal128(15, 2)),
            field("n", DataType::Int64),
            field("text", DataType::Utf8),
        ])
    }

    fn ordered(condition: &Expr) -> Option<String> {
        let schema = schema();
        let named = DFSchema::try_from(schema.clone()).unwrap();
        let predicate = SessionContext::new().create_physical_expr(condition.clone(), &named);
        let predicate = predicate.unwrap();
        in_order(&predicate, &schema).map(|predicate| nested(&predicate))
    }

    /// As it is nested, which its own text does not tell.
    fn nested(condition: &Condition) -> String {
        let and = condition.downcast_ref::<BinaryExpr>();
        match and.filter(|and| *and.op() == Operator::And) {
            Some(and) => format!("({} AND {})", nested(and.left()), nested(and.right())),
            None => condition.to_string(),
        }
    }

    #[test]
    fn cheap_conditions_come_first_and_are_not_cut_to_those_before() {
        let like = col("text").like(lit("%a%"));
        let cheap = |name: &str| col(name).gt(lit(1_i64));
        let all = like.clone().and(cheap("n")).and(col("n").lt(col("n")));
        assert_eq!(
            ordered(&all.and(col("text").eq(lit("b")))).unwrap(),
            "(((n@2 > 1 AND n@2 < n@2) AND text@3 LIKE %a%) AND text@3 = b)"
        );
        let three = cheap("n").and(cheap("n").or(like.clone())).and(cheap("n"));
        assert_eq!(
            ordered(&three.and(cheap("n"))).unwrap(),
            "((n@2 > 1 AND (n@2 > 1 AND n@2 > 1)) AND n@2 > 1 OR text@3 LIKE %a%)"
        );
        let all = like.and(col("text").is_null());
        assert_eq!(
            ordered(&all).unwrap(),
            "(text@3 IS NULL AND text@3 LIKE %a%)"
        );
    }

    #[test]
    fn what_may_fail_or_takes_long_is_not_cheap() {
        let quotient = (lit(1_i64) / col("n")).gt(lit(0_i64));
        let text = col("text").gt(lit("a"));
        let one = col("n").eq(lit(1_i64));
        for dear in [quotient, text] {
            assert_eq!(ordered(&one.clone().and(dear.clone())), None);
            assert_eq!(ordered(&dear), None);
        }
    }
}
