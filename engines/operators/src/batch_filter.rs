//! Which batches of a frame a scan need not read: those that no row of which can meet the conditions
//! above it, by the bounds of their columns. The conditions are still checked row by row.

use bireme_frames::PartitionReader;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NegativeExpr,
    NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, conjunction};
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use std::fmt;
use std::sync::Arc;

/// Conditions by which batches are left out.
#[derive(Clone, Debug)]
pub(crate) struct BatchFilter {
    condition: Arc<dyn PhysicalExpr>,
    pruning: Arc<PruningPredicate>,
}

impl BatchFilter {
    /// Of those of these conditions, which are of columns of this schema, that bounds can tell
    /// something about; none if there is none.
    pub(crate) fn new(
        conditions: impl IntoIterator<Item = Arc<dyn PhysicalExpr>>,
        schema: &SchemaRef,
    ) -> Option<Self> {
        let useful = conditions.into_iter().filter(|condition| {
            is_plain(condition) && pruning(condition, schema).is_some_and(|one| !one.always_true())
        });
        let useful: Vec<_> = useful.collect();
        if useful.is_empty() {
            return None;
        }
        let condition = conjunction(useful);
        let pruning = Arc::new(pruning(&condition, schema)?);
        Some(Self { condition, pruning })
    }

    /// What has to hold for a row that is wanted.
    pub(crate) fn condition(&self) -> &Arc<dyn PhysicalExpr> {
        &self.condition
    }

    /// The batches that may hold such a row.
    pub(crate) fn batches(&self, reader: &PartitionReader) -> Result<Vec<usize>> {
        let kept = self.pruning.prune(&reader.bounds())?;
        let kept = kept.into_iter().enumerate().filter(|(_, is_kept)| *is_kept);
        Ok(kept.map(|(batch, _)| batch).collect())
    }
}

impl fmt::Display for BatchFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.condition)
    }
}

fn pruning(condition: &Arc<dyn PhysicalExpr>, schema: &SchemaRef) -> Option<PruningPredicate> {
    let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema));
    builder.try_build(Arc::clone(condition)).ok()
}

/// Whether a condition is made of columns and constants alone, so that it means the same on every
/// engine, before anything has run.
fn is_plain(condition: &Arc<dyn PhysicalExpr>) -> bool {
    let mut plain = true;
    let looked = condition.apply(|expr| {
        plain &= expr.is::<BinaryExpr>()
            || expr.is::<Column>()
            || expr.is::<Literal>()
            || expr.is::<CastExpr>()
            || expr.is::<InListExpr>()
            || expr.is::<IsNullExpr>()
            || expr.is::<IsNotNullExpr>()
            || expr.is::<NegativeExpr>()
            || expr.is::<NotExpr>();
        Ok(match plain {
            true => TreeNodeRecursion::Continue,
            false => TreeNodeRecursion::Stop,
        })
    });
    looked.is_ok() && plain
}
