//! Points in a plan where a query that has ended stops: between two batches of what makes many rows,
//! and inside joins.
//!
//! A join whose filter lets nothing pass can work for hours inside one poll: DataFusion returns
//! from it with the next row or not at all. Its filter is evaluated all along, so that is where we
//! look whether anybody still waits, and where other queries get their turn on this thread.

use crate::query_end::QueryEnd;
use crate::stand_in_exec::StandInExec;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The same plan, of the same shape, that stops with an error soon after its query has ended.
///
/// # Errors
/// A join cannot be rebuilt with its own parts.
pub(crate) fn with_stop_points(
    plan: Arc<dyn ExecutionPlan>,
    end: &QueryEnd,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if node.is::<CooperativeExec>() {
            let end = end.clone();
            let stops = StandInExec::new(node, move |batch| {
                end.check("produce rows in")?;
                batch
            });
            return Ok(Transformed::yes(Arc::new(stops) as _));
        }
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>()
            && let Some(filter) = join.filter()
        {
            let filter = Some(with_stop_point(filter, end));
            let join = NestedLoopJoinExecBuilder::from(join).with_filter(filter);
            return Ok(Transformed::yes(Arc::new(join.build()?) as _));
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>()
            && let Some(filter) = join.filter()
        {
            let filter = Some(with_stop_point(filter, end));
            return Ok(Transformed::yes(
                join.builder().with_filter(filter).build_exec()?,
            ));
        }
        Ok(Transformed::no(node))
    })
    .data()
}

fn with_stop_point(filter: &JoinFilter, end: &QueryEnd) -> JoinFilter {
    let expression = StopPoint {
        inner: Arc::clone(filter.expression()),
        end: end.clone(),
    };
    JoinFilter::new(
        Arc::new(expression),
        filter.column_indices().to_vec(),
        Arc::clone(filter.schema()),
    )
}

/// An expression that is an error once its query has ended.
#[derive(Clone, Debug)]
struct StopPoint {
    inner: Arc<dyn PhysicalExpr>,
    end: QueryEnd,
}

// As an expression it is what it wraps.
impl PartialEq for StopPoint {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for StopPoint {}

impl Hash for StopPoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for StopPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for StopPoint {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.end.check("filter rows in")?;
        self.end.in_turn(|| self.inner.evaluate(batch))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let [inner] = children.as_slice() else {
            let reason = format!("a stop point has one expression, not {}", children.len());
            return Err(DataFusionError::Internal(reason));
        };
        Ok(Arc::new(Self {
            inner: Arc::clone(inner),
            ..Self::clone(&self)
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
