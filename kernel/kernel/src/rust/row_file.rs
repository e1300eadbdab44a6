//! [`RowFile`]: rows in memory that only this process and the cell's know, written as the batches
//! come, in the format of [`bireme::transfer`].

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use bireme::transfer::{TableWriter, TransferError};
use bireme_protocol::{ErrorCode, Fault};
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::AsRawFd;

/// Rows on their way to a cell; they are there until it is dropped.
#[derive(Default)]
pub(crate) struct RowFile {
    writer: Option<TableWriter<BufWriter<File>>>,
    written: Option<BufWriter<File>>,
}

impl RowFile {
    /// Takes rows; tells the bytes taken so far.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<u64, Fault> {
        let writer = self.writer(&batch.schema())?;
        let written = writer.write(batch).map(|()| writer.bytes());
        written.map_err(|error| failed(&error))
    }

    /// Ends the rows and tells where they can be read.
    pub(crate) fn finish(&mut self, schema: &Schema) -> Result<String, Fault> {
        self.writer(schema)?;
        let Some(writer) = self.writer.take() else {
            return Err(Fault::internal("rows were handed over twice"));
        };
        let written = writer.finish().map_err(|error| failed(&error))?;
        let descriptor = written.get_ref().as_raw_fd();
        self.written = Some(written);
        Ok(format!("/proc/{}/fd/{descriptor}", std::process::id()))
    }

    fn writer(&mut self, schema: &Schema) -> Result<&mut TableWriter<BufWriter<File>>, Fault> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => begin(schema).map_err(|error| failed(&error))?,
        };
        Ok(self.writer.insert(writer))
    }
}

fn begin(schema: &Schema) -> Result<TableWriter<BufWriter<File>>, TransferError> {
    let memory = rustix::fs::memfd_create("bireme rows", rustix::fs::MemfdFlags::CLOEXEC);
    let memory = memory.map_err(|error| TransferError::Io(error.into()))?;
    TableWriter::new(BufWriter::new(File::from(memory)), schema)
}

fn failed(error: &TransferError) -> Fault {
    Fault::new(
        ErrorCode::ExecutionError,
        format!("hand rows to Rust: {error}"),
    )
}
