//! Points inside joins where a query that has ended stops.
//!
//! A join whose filter lets nothing pass can work for hours inside one poll: DataFusion returns
//! from it with the next row or not at all. Its filter is evaluated all along, so that is where we
//! look whether anybody still waits, and where other queries get their turn on this thread.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};
use parking_lot::Mutex;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::sync::CancellationToken;

/// How often a long poll lets another thread take over what else is to be done.
const TURN_EVERY: Duration = Duration::from_millis(50);
/// How long the other thread has to take over.
const TURN_WITHIN: Duration = Duration::from_micros(500);

/// The same plan, whose joins stop with an error soon after `ended` is cancelled.
///
/// # Errors
/// A join cannot be rebuilt with its own parts.
pub fn with_stop_points(
    plan: Arc<dyn ExecutionPlan>,
    ended: &CancellationToken,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>()
            && let Some(filter) = join.filter()
        {
            let filter = Some(with_stop_point(filter, ended));
            let join = NestedLoopJoinExecBuilder::from(join).with_filter(filter);
            return Ok(Transformed::yes(Arc::new(join.build()?) as _));
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>()
            && let Some(filter) = join.filter()
        {
            let filter = Some(with_stop_point(filter, ended));
            return Ok(Transformed::yes(
                join.builder().with_filter(filter).build_exec()?,
            ));
        }
        Ok(Transformed::no(node))
    })
    .data()
}

fn with_stop_point(filter: &JoinFilter, ended: &CancellationToken) -> JoinFilter {
    let expression = StopPoint {
        inner: Arc::clone(filter.expression()),
        ended: ended.clone(),
        last_turn: Arc::new(Mutex::new(Instant::now())),
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
    ended: CancellationToken,
    last_turn: Arc<Mutex<Instant>>,
}

impl StopPoint {
    /// Evaluates, and now and then leaves the other work of this thread to another one meanwhile.
    fn evaluate_in_turns(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let is_turn = self.last_turn.try_lock().is_some_and(|mut last| {
            let is_turn = last.elapsed() >= TURN_EVERY;
            if is_turn {
                *last = Instant::now();
            }
            is_turn
        });
        if !is_turn || !may_give_way() {
            return self.inner.evaluate(batch);
        }
        tokio::task::block_in_place(|| {
            let value = self.inner.evaluate(batch);
            std::thread::sleep(TURN_WITHIN);
            value
        })
    }
}

/// Whether this thread is one of several that can take over for each other.
fn may_give_way() -> bool {
    Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
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
        if self.ended.is_cancelled() {
            return Err(DataFusionError::Execution(
                "filter a join: its query has ended".to_string(),
            ));
        }
        self.evaluate_in_turns(batch)
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
