//! Rows that another process has put into shared memory as a table of a statement: what `%scatter` of
//! a Rust variable reads.

use async_trait::async_trait;
use bireme_frames::SharedRows;
use bireme_operators::SharedRowsExec;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// Rows in shared memory that a statement reads.
#[derive(Debug)]
pub(crate) struct SharedTable {
    rows: Arc<SharedRows>,
}

impl SharedTable {
    /// Whether a table's name is the path of such rows: of a descriptor that a process holds open.
    pub(crate) fn is_path(name: &str) -> bool {
        SharedRows::is_path(name)
    }

    /// Opens them.
    ///
    /// # Errors
    /// They are not there, or could still change.
    pub(crate) fn open(path: &str) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(Self {
            rows: SharedRows::open(path)?,
        }))
    }
}

#[async_trait]
impl TableProvider for SharedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.rows.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = session.config().target_partitions();
        let rows = Arc::clone(&self.rows);
        let scan = SharedRowsExec::new(rows, projection.cloned(), partitions)?;
        Ok(Arc::new(scan))
    }
}
