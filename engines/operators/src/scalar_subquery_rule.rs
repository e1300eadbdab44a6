//! A subquery in the place of a value gives one row or none; one that gives more is an error.
//!
//! DataFusion checks it in a node of its own that cannot be distributed, so datafusion-distributed
//! turns that off, and what is left is a join that repeats rows without a word. Here the subquery
//! becomes an aggregate, which has one row and fails if it saw more.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::string::expr_fn::concat;
use datafusion::functions_aggregate::count::count;
use datafusion::functions_aggregate::first_last::first_value;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery, col, lit, when};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use std::sync::Arc;

const ROWS: &str = "__bireme_rows";
const VALUE: &str = "__bireme_single";

/// Makes uncorrelated scalar subqueries fail when they give several rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScalarSubqueryRule;

impl OptimizerRule for ScalarSubqueryRule {
    fn name(&self) -> &str {
        "bireme_scalar_subquery"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        plan.map_expressions(|expr| {
            expr.transform_up(|part| match part {
                Expr::ScalarSubquery(subquery) if may_give_more(&subquery) => {
                    Ok(Transformed::yes(Expr::ScalarSubquery(single(subquery)?)))
                }
                part => Ok(Transformed::no(part)),
            })
        })
    }
}

/// Correlated subqueries are DataFusion's: it decorrelates those that give one row, and no others.
fn may_give_more(subquery: &Subquery) -> bool {
    subquery.outer_ref_columns.is_empty()
        && subquery.subquery.max_rows().is_none_or(|rows| rows > 1)
}

fn single(subquery: Subquery) -> Result<Subquery> {
    let schema = subquery.subquery.schema();
    let Some(column) = schema.columns().into_iter().next() else {
        let reason = "a subquery in the place of a value has no column";
        return Err(DataFusionError::Plan(reason.to_string()));
    };
    let value_type = schema.field(0).data_type().clone();
    let name = column.name.clone();
    let said = concat(vec![
        lit("a subquery in the place of a value gave "),
        cast(col(ROWS), DataType::Utf8),
        lit(" rows, not one: LIMIT 1 or an aggregate gives one"),
    ]);
    // A cast that cannot succeed is an error with the text it was given.
    let fail = cast(cast(said, DataType::Int64), value_type);
    let value = when(col(ROWS).lt_eq(lit(1_i64)), col(VALUE)).otherwise(fail)?;
    let plan = LogicalPlanBuilder::from(Arc::unwrap_or_clone(subquery.subquery))
        .aggregate(
            Vec::<Expr>::new(),
            vec![
                count(lit(1_i64)).alias(ROWS),
                first_value(Expr::Column(column), Vec::new()).alias(VALUE),
            ],
        )?
        .project(vec![value.alias(name)])?
        .build()?;
    Ok(Subquery {
        subquery: Arc::new(plan),
        ..subquery
    })
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), data_type))
}
