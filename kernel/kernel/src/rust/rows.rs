//! Rows on their way to a Rust variable: gathered as the batches come, or by the engines, and taken by a
//! cell of our own at the end.

use super::row_file::RowFile;
use super::value;
use super::{RustCode, RustLink};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use async_trait::async_trait;
use bireme_jupyter::ExecuteContext;
use bireme_magics::host::RowSink;
use bireme_protocol::Fault;
use bireme_protocol::proto::SharedBatch;
use bireme_settings::Settings;
use std::sync::Arc;

/// Rows for one variable.
pub(crate) struct RustRows {
    link: Arc<RustLink>,
    context: ExecuteContext,
    settings: Settings,
    variable: String,
    file: RowFile,
}

impl RustRows {
    pub(crate) fn new(
        link: Arc<RustLink>,
        context: ExecuteContext,
        settings: Settings,
        variable: &str,
    ) -> Self {
        Self {
            link,
            context,
            settings,
            variable: variable.to_owned(),
            file: RowFile::default(),
        }
    }

    fn failed(&self, mut fault: Fault) -> Fault {
        let variable = &self.variable;
        fault.message = format!(
            "bind the rows to the Rust variable {variable}: {}",
            fault.message
        );
        fault
    }
}

#[async_trait]
impl RowSink for RustRows {
    fn write(&mut self, batch: &RecordBatch) -> Result<u64, Fault> {
        let written = self.file.write(batch);
        written.map_err(|fault| self.failed(fault))
    }

    fn file_places(&mut self, count: usize) -> Result<Vec<String>, Fault> {
        let files = self.file.file_places(count);
        files.map_err(|fault| self.failed(fault))
    }

    fn take(&mut self, schema: &Schema, batches: &[SharedBatch]) -> Result<(), Fault> {
        let taken = self.file.take(schema, batches);
        taken.map_err(|fault| self.failed(fault))
    }

    async fn finish(mut self: Box<Self>, schema: &Schema) -> Result<(), Fault> {
        // The files live until the cell has them.
        let files = self.file.finish(schema);
        let files = files.map_err(|fault| self.failed(fault))?;
        let code = RustCode {
            code: format!(
                "let {}: ::bireme::Table = match ::bireme::transfer::map({}, {}) \
                 {{ Ok(table) => table, Err(error) => panic!(\"{{error}}\") }};",
                self.variable,
                std::process::id(),
                files.descriptors(),
            ),
            label: format!("--to {}", self.variable),
            context: &self.context,
            settings: &self.settings,
            // It prints nothing, but what it costs is to be seen.
            is_quiet: false,
            queries: None,
        };
        let bound = self.link.evaluate(&code).await;
        bound
            .map(drop)
            .map_err(|error| value::unbound(&self.variable, &error))
    }
}
