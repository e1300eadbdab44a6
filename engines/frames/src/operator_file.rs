//! A file of the spill directory as DataFusion's operators hold it: bytes in, bytes out. They are
//! kept in checked blocks, since what operators read back they decode without looking.

use crate::checked_block;
use crate::error::FramesError;
use crate::spill_file::SpillTempFile;
use bytes::Bytes;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::spill_file::{SpillFile, SpillWriter};
use futures::Stream;
use std::io::{self, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much a writer gathers before it claims disk and writes. It is not reserved, so it is small:
/// some operators have many writers at once.
const WRITE_BYTES: usize = 128 << 10;

/// A spill file of an operator.
pub(crate) struct OperatorFile {
    file: Arc<SpillTempFile>,
    /// Bytes the operator has written, without what blocks add.
    bytes: Arc<AtomicU64>,
}

impl OperatorFile {
    pub(crate) fn new(file: Arc<SpillTempFile>) -> Self {
        Self {
            file,
            bytes: Arc::default(),
        }
    }
}

impl SpillFile for OperatorFile {
    fn path(&self) -> Option<&Path> {
        Some(self.file.path())
    }

    fn size(&self) -> Option<u64> {
        Some(self.bytes.load(Ordering::Acquire))
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>> {
        let file = Arc::clone(&self.file);
        Ok(Box::pin(futures::stream::try_unfold(
            0_u64,
            move |offset| {
                let file = Arc::clone(&file);
                async move {
                    if offset >= file.len() {
                        return Ok(None);
                    }
                    let read = tokio::task::spawn_blocking(move || read_block(&file, offset));
                    let (bytes, next) = read
                        .await
                        .map_err(|error| DataFusionError::External(Box::new(error)))??;
                    Ok(Some((bytes, next)))
                }
            },
        )))
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        Ok(Box::new(Writer {
            file: Arc::clone(&self.file),
            bytes: Arc::clone(&self.bytes),
            pending: Vec::new(),
        }))
    }
}

fn read_block(file: &SpillTempFile, offset: u64) -> std::result::Result<(Bytes, u64), FramesError> {
    let block = checked_block::block_at(file, offset)?;
    let mut buffer = vec![0; block.len()];
    block.read(file, &mut buffer)?;
    Ok((Bytes::from(buffer), block.end()))
}

struct Writer {
    file: Arc<SpillTempFile>,
    bytes: Arc<AtomicU64>,
    pending: Vec<u8>,
}

impl Writer {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        checked_block::append(&self.file, &[&self.pending, bytes])?;
        self.pending.clear();
        Ok(())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pending.len() + bytes.len() > WRITE_BYTES {
            self.append(bytes)?;
        } else {
            self.pending.extend_from_slice(bytes);
        }
        self.bytes.fetch_add(bytes.len() as u64, Ordering::AcqRel);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.append(&[])
    }
}

impl SpillWriter for Writer {
    fn finish(&mut self) -> Result<()> {
        self.flush().map_err(DataFusionError::IoError)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A writer dropped before `finish` belongs to a query that failed; its file goes with it.
        if let Err(error) = self.flush() {
            tracing::debug!(%error, "flush spill file of a query that ended");
        }
    }
}
