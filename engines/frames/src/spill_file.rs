//! One file of the spill directory: claimed from the budget before it is written, appended and
//! read at offsets, removed on drop. Between two uses it is closed, so that joins that spill to many
//! files at once do not run out of open ones. Large blocks may go past the page cache, which would
//! take memory where there is little, and copy once more.

use crate::aligned::Aligned;
use crate::error::FramesError;
use crate::spill_directory::Shared;
use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A file of the spill directory. Dropping the last reference removes it and gives its disk back.
#[derive(Debug)]
pub struct SpillTempFile {
    path: PathBuf,
    size: AtomicU64,
    shared: Arc<Shared>,
}

impl SpillTempFile {
    pub(crate) fn new(path: PathBuf, shared: Arc<Shared>) -> Arc<Self> {
        shared.counters.files_live.fetch_add(1, Ordering::Relaxed);
        shared.counters.files.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            path,
            size: AtomicU64::new(0),
            shared,
        })
    }

    /// Memory for what is read from the file or written to it in large blocks.
    pub(crate) fn block(&self, bytes: usize) -> Aligned {
        self.shared.blocks.take(bytes)
    }

    /// Bytes in the file.
    pub fn len(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends and returns the offset the bytes begin at. One writer at a time; it blocks. On an
    /// error the file is as it was.
    pub fn append(&self, bytes: &[u8]) -> std::result::Result<u64, FramesError> {
        self.append_parts(&[bytes])
    }

    /// Appends several parts as one.
    pub(crate) fn append_parts(&self, parts: &[&[u8]]) -> std::result::Result<u64, FramesError> {
        self.append_to(parts, |options| self.open(options))
    }

    /// Appends aligned bytes past the page cache, where the file system can. Files that are written
    /// so are written only so: every block begins aligned.
    pub(crate) fn append_direct(&self, bytes: &Aligned) -> std::result::Result<u64, FramesError> {
        self.directly(|open| self.append_to(&[bytes.as_ref()], |options| open(options)))
    }

    fn append_to(
        &self,
        parts: &[&[u8]],
        open: impl FnOnce(&mut OpenOptions) -> io::Result<File>,
    ) -> std::result::Result<u64, FramesError> {
        let length = parts.iter().map(|part| part.len() as u64).sum();
        self.shared.budget.reserve_disk(length)?;
        let offset = self.len();
        let begun = Instant::now();
        let written =
            open(OpenOptions::new().write(true)).and_then(|file| write_all(&file, parts, offset));
        let counters = &self.shared.counters;
        counters
            .write_nanoseconds
            .fetch_add(nanoseconds_since(begun), Ordering::Relaxed);
        if let Err(source) = written {
            self.shared.budget.release_disk(length);
            return Err(self.error("append to", length, source));
        }
        counters.bytes_written.fetch_add(length, Ordering::Relaxed);
        self.size.store(offset + length, Ordering::Release);
        Ok(offset)
    }

    fn open(&self, options: &mut OpenOptions) -> io::Result<File> {
        options.open(&self.path)
    }

    /// Does something with a file that is opened to go past the page cache. Some file systems have no
    /// such way, which shows when the file is opened or when it is used: they are used as always.
    fn directly<T>(
        &self,
        mut act: impl FnMut(
            &dyn Fn(&mut OpenOptions) -> io::Result<File>,
        ) -> std::result::Result<T, FramesError>,
    ) -> std::result::Result<T, FramesError> {
        let is_direct = &self.shared.is_direct;
        if is_direct.load(Ordering::Relaxed) {
            let direct = OFlag::O_DIRECT.bits();
            let done = act(&|options| self.open(options.clone().custom_flags(direct)));
            match done {
                Err(FramesError::SpillFile { source, .. })
                    if source.kind() == io::ErrorKind::InvalidInput =>
                {
                    tracing::info!(path = %self.path.display(), "no direct I/O for spill files here");
                    is_direct.store(false, Ordering::Relaxed);
                }
                done => return done,
            }
        }
        act(&|options| self.open(options))
    }

    /// Reads exactly the buffer's length at the offset. It blocks.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::result::Result<(), FramesError> {
        self.read_from(buffer, offset, |options| self.open(options))
    }

    /// Reads aligned bytes at an aligned offset past the page cache. It blocks.
    pub(crate) fn read_direct(
        &self,
        buffer: &mut Aligned,
        offset: u64,
    ) -> std::result::Result<(), FramesError> {
        self.directly(|open| self.read_from(buffer.as_mut(), offset, |options| open(options)))
    }

    fn read_from(
        &self,
        buffer: &mut [u8],
        offset: u64,
        open: impl FnOnce(&mut OpenOptions) -> io::Result<File>,
    ) -> std::result::Result<(), FramesError> {
        let begun = Instant::now();
        let length = buffer.len() as u64;
        open(OpenOptions::new().read(true))
            .and_then(|file| file.read_exact_at(buffer, offset))
            .map_err(|source| self.error("read", length, source))?;
        let counters = &self.shared.counters;
        counters.bytes_read.fetch_add(length, Ordering::Relaxed);
        counters
            .read_nanoseconds
            .fetch_add(nanoseconds_since(begun), Ordering::Relaxed);
        Ok(())
    }

    /// Empties the file and gives its disk back.
    pub fn clear(&self) -> std::result::Result<(), FramesError> {
        self.open(OpenOptions::new().write(true))
            .and_then(|file| file.set_len(0))
            .map_err(|source| self.error("truncate", self.len(), source))?;
        self.shared
            .budget
            .release_disk(self.size.swap(0, Ordering::AcqRel));
        Ok(())
    }

    /// The error of a block that is not what was written.
    pub(crate) fn corrupt(&self, offset: u64, reason: &str) -> FramesError {
        FramesError::CorruptSpill {
            path: self.path.clone(),
            offset,
            reason: reason.to_string(),
        }
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

fn write_all(file: &File, parts: &[&[u8]], offset: u64) -> io::Result<()> {
    let mut at = offset;
    for part in parts {
        if let Err(error) = file.write_all_at(part, at) {
            // A full disk gets back what was written of it.
            let _ = file.set_len(offset);
            return Err(error);
        }
        at += part.len() as u64;
    }
    Ok(())
}

fn nanoseconds_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
