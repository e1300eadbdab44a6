//! One file of the spill directory: claimed from the budget before it is written, appended and
//! read at offsets, removed on drop. DataFusion's operators use it as their spill file.

use crate::error::FramesError;
use crate::spill_directory::Shared;
use bytes::Bytes;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::spill_file::{SpillFile, SpillWriter};
use futures::Stream;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How much a stream reads at once.
const READ_BYTES: u64 = 1 << 20;
/// How much a writer gathers before it claims disk and writes.
const WRITE_BYTES: usize = 256 << 10;

/// A file of the spill directory. Dropping the last reference removes it and gives its disk back.
#[derive(Debug)]
pub struct SpillTempFile {
    path: PathBuf,
    file: File,
    size: AtomicU64,
    shared: Arc<Shared>,
}

impl SpillTempFile {
    pub(crate) fn new(path: PathBuf, file: File, shared: Arc<Shared>) -> Arc<Self> {
        shared.counters.files_live.fetch_add(1, Ordering::Relaxed);
        shared.counters.files.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            path,
            file,
            size: AtomicU64::new(0),
            shared,
        })
    }

    /// Bytes in the file.
    pub fn len(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends and returns the offset the bytes begin at. One writer at a time; it blocks.
    pub fn append(&self, bytes: &[u8]) -> std::result::Result<u64, FramesError> {
        let length = bytes.len() as u64;
        self.shared.budget.reserve_disk(length)?;
        let offset = self.len();
        let begun = Instant::now();
        let written = self.file.write_all_at(bytes, offset);
        let counters = &self.shared.counters;
        counters.write_nanoseconds.fetch_add(
            u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
        if let Err(source) = written {
            self.shared.budget.release_disk(length);
            return Err(self.error("append to", length, source));
        }
        counters.bytes_written.fetch_add(length, Ordering::Relaxed);
        self.size.store(offset + length, Ordering::Release);
        Ok(offset)
    }

    /// Reads exactly the buffer's length at the offset. It blocks.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::result::Result<(), FramesError> {
        let begun = Instant::now();
        let length = buffer.len() as u64;
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|source| self.error("read", length, source))?;
        let counters = &self.shared.counters;
        counters.bytes_read.fetch_add(length, Ordering::Relaxed);
        counters.read_nanoseconds.fetch_add(
            u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
        Ok(())
    }

    /// Empties the file and gives its disk back.
    pub fn clear(&self) -> std::result::Result<(), FramesError> {
        self.file
            .set_len(0)
            .map_err(|source| self.error("truncate", self.len(), source))?;
        self.shared
            .budget
            .release_disk(self.size.swap(0, Ordering::AcqRel));
        Ok(())
    }

    fn error(&self, action: &'static str, bytes: u64, source: io::Error) -> FramesError {
        FramesError::SpillFile {
            action,
            path: self.path.clone(),
            bytes,
            source,
        }
    }
}

impl Drop for SpillTempFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "remove spill file");
        }
        self.shared
            .budget
            .release_disk(self.size.load(Ordering::Acquire));
        self.shared
            .counters
            .files_live
            .fetch_sub(1, Ordering::Relaxed);
    }
}

/// The file as DataFusion's operators hold it.
pub(crate) struct OperatorFile(pub(crate) Arc<SpillTempFile>);

impl SpillFile for OperatorFile {
    fn path(&self) -> Option<&Path> {
        Some(&self.0.path)
    }

    fn size(&self) -> Option<u64> {
        Some(self.0.len())
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>> {
        let file = Arc::clone(&self.0);
        Ok(Box::pin(futures::stream::try_unfold(
            0_u64,
            move |offset| {
                let file = Arc::clone(&file);
                async move {
                    let length = (file.len() - offset).min(READ_BYTES);
                    if length == 0 {
                        return Ok(None);
                    }
                    let read = move || {
                        let mut buffer = vec![0; length as usize];
                        file.read_at(&mut buffer, offset)?;
                        Ok::<_, FramesError>(buffer)
                    };
                    let buffer = tokio::task::spawn_blocking(read)
                        .await
                        .map_err(|error| DataFusionError::External(Box::new(error)))??;
                    Ok(Some((Bytes::from(buffer), offset + length)))
                }
            },
        )))
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        Ok(Box::new(Writer {
            file: Arc::clone(&self.0),
            pending: Vec::new(),
        }))
    }
}

struct Writer {
    file: Arc<SpillTempFile>,
    pending: Vec<u8>,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pending.len() + bytes.len() > WRITE_BYTES {
            self.flush()?;
        }
        if bytes.len() >= WRITE_BYTES {
            self.file.append(bytes)?;
        } else {
            self.pending.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.file.append(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
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
