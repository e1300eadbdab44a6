//! Rows on their way to a Rust variable: written to memory that only this process and the cell's
//! know, as the batches come, and read by a cell of our own at the end.

use super::value;
use super::{RustCode, RustLink};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use async_trait::async_trait;
use bireme::transfer::{TableWriter, TransferError};
use bireme_jupyter::ExecuteContext;
use bireme_magics::host::RowSink;
use bireme_protocol::{ErrorCode, Fault};
use bireme_settings::Settings;
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// Rows for one variable.
pub(crate) struct RustRows {
    link: Arc<RustLink>,
    context: ExecuteContext,
    settings: Settings,
    variable: String,
    writer: Option<TableWriter<BufWriter<File>>>,
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
            writer: None,
        }
    }

    fn begin(&mut self, schema: &Schema) -> Result<(), Fault> {
        let memory = rustix::fs::memfd_create("bireme rows", rustix::fs::MemfdFlags::CLOEXEC);
        let memory = memory.map_err(|error| self.failed(&TransferError::Io(error.into())))?;
        let out = BufWriter::new(File::from(memory));
        let writer = TableWriter::new(out, schema).map_err(|error| self.failed(&error))?;
        self.writer = Some(writer);
        Ok(())
    }

    fn failed(&self, error: &TransferError) -> Fault {
        let message = format!(
            "bind the rows to the Rust variable {}: {error}",
            self.variable
        );
        Fault::new(ErrorCode::ExecutionError, message)
    }
}

#[async_trait]
impl RowSink for RustRows {
    fn write(&mut self, batch: &RecordBatch) -> Result<u64, Fault> {
        if self.writer.is_none() {
            self.begin(&batch.schema())?;
        }
        let Some(writer) = &mut self.writer else {
            return Ok(0);
        };
        let written = writer.write(batch).map(|()| writer.bytes());
        written.map_err(|error| self.failed(&error))
    }

    async fn finish(mut self: Box<Self>, schema: &Schema) -> Result<(), Fault> {
        if self.writer.is_none() {
            self.begin(schema)?;
        }
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let out = writer.finish().map_err(|error| self.failed(&error))?;
        // It lives until the cell has read it.
        let memory = out.get_ref();
        let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
        let code = RustCode {
            code: format!(
                "let {}: ::bireme::Table = match ::bireme::transfer::read({path:?}) \
                 {{ Ok(table) => table, Err(error) => panic!(\"{{error}}\") }};",
                self.variable
            ),
            label: format!("--to {}", self.variable),
            context: &self.context,
            settings: &self.settings,
            // It prints nothing, but what it costs is to be seen.
            is_quiet: false,
        };
        let bound = self.link.evaluate(&code).await;
        bound
            .map(drop)
            .map_err(|error| value::unbound(&self.variable, &error))
    }
}
