//! A frame as a table of a statement.

use async_trait::async_trait;
use bireme_operators::{FrameScanExec, ResidentFrame, Scope};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// A frame that a statement reads.
#[derive(Debug)]
pub(crate) struct FrameTable {
    frame: Arc<ResidentFrame>,
}

impl FrameTable {
    pub(crate) fn new(frame: ResidentFrame) -> Self {
        Self {
            frame: Arc::new(frame),
        }
    }
}

#[async_trait]
impl TableProvider for FrameTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.frame.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let frame = Arc::clone(&self.frame);
        let scan = FrameScanExec::new(frame, projection.cloned(), Scope::AllEngines)?;
        Ok(Arc::new(scan))
    }

    fn statistics(&self) -> Option<Statistics> {
        let facts = self.frame.facts(None);
        Some(Statistics {
            num_rows: Precision::Exact(facts.rows as usize),
            total_byte_size: Precision::Exact(facts.bytes as usize),
            column_statistics: self.frame.column_statistics().to_vec(),
        })
    }
}
