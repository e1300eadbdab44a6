//! [`RowFile`]: rows in memory that this process holds open for a cell, in the format of
//! [`bireme::transfer`]: written as the batches of a query come, or by the engines that hold them.

use super::places;
use super::shared_files::{self, SharedFiles};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use bireme::transfer::{TableWriter, TransferError};
use bireme_protocol::proto::SharedBatch;
use bireme_protocol::{ErrorCode, Fault};
use std::fs::File;
use std::io::BufWriter;

/// Rows on their way to a cell; they are there until it is dropped, and where the cell maps them.
#[derive(Default)]
pub(crate) struct RowFile {
    writer: Option<TableWriter<BufWriter<File>>>,
    /// What engines fill; what lies where comes first once it is known.
    filled: SharedFiles,
}

impl RowFile {
    /// Takes rows; tells the bytes taken so far.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<u64, Fault> {
        let writer = self.writer(&batch.schema())?;
        let written = writer.write(batch).map(|()| writer.bytes());
        written.map_err(|error| failed(&error))
    }

    /// Files for engines to write rows to.
    pub(crate) fn file_places(&mut self, count: usize) -> Result<Vec<String>, Fault> {
        self.filled = SharedFiles::new(count)?;
        Ok(self.filled.paths())
    }

    /// Takes what engines have written to the files.
    pub(crate) fn take(&mut self, schema: &Schema, batches: &[SharedBatch]) -> Result<(), Fault> {
        let writer = self.writer(schema)?;
        for batch in batches {
            let taken = writer.write_place(&places::for_cells(batch));
            taken.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Ends the rows; gives what holds them.
    pub(crate) fn finish(&mut self, schema: &Schema) -> Result<SharedFiles, Fault> {
        self.writer(schema)?;
        let Some(writer) = self.writer.take() else {
            return Err(Fault::internal("rows were handed over twice"));
        };
        let written = writer.finish().map_err(|error| failed(&error))?;
        let heads = written.into_inner();
        let heads = heads.map_err(|error| failed(&TransferError::Io(error.into_error())))?;
        let files = std::mem::take(&mut self.filled).with_first(heads);
        files.seal()?;
        Ok(files)
    }

    fn writer(&mut self, schema: &Schema) -> Result<&mut TableWriter<BufWriter<File>>, Fault> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let heads = BufWriter::new(shared_files::memory()?);
                TableWriter::new(heads, schema).map_err(|error| failed(&error))?
            }
        };
        Ok(self.writer.insert(writer))
    }
}

fn failed(error: &TransferError) -> Fault {
    Fault::new(
        ErrorCode::ExecutionError,
        format!("hand rows to Rust: {error}"),
    )
}
