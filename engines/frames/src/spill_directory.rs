//! The directory an engine spills to: opened once, private to the user, emptied of what a killed
//! engine left, counted against the disk limit. It is DataFusion's temp file factory, so that its
//! operators spill here too.

use crate::aligned::AlignedPool;
use crate::budget::Budget;
use crate::error::FramesError;
use crate::operator_file::OperatorFile;
use crate::spill_file::SpillTempFile;
use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::spill_file::{SpillFile, TempFileFactory};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const FILE_PREFIX: &str = "spill-";

/// What has moved to and from disk since the engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpillCounters {
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes read back.
    pub bytes_read: u64,
    /// Files made.
    pub files: u64,
    /// Files there now.
    pub files_live: u64,
    /// Nanoseconds spent writing.
    pub write_nanoseconds: u64,
    /// Nanoseconds spent reading.
    pub read_nanoseconds: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_written: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) files: AtomicU64,
    pub(crate) files_live: AtomicU64,
    pub(crate) write_nanoseconds: AtomicU64,
    pub(crate) read_nanoseconds: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Shared {
    path: PathBuf,
    next: AtomicU64,
    pub(crate) budget: Arc<Budget>,
    pub(crate) counters: Counters,
    /// Whether the file system lets large blocks go past the page cache, as far as is known.
    pub(crate) is_direct: AtomicBool,
    /// Memory that large blocks are written from and read into.
    pub(crate) blocks: Arc<AlignedPool>,
    /// Held while files may be here. It ends with the process, however that ends.
    _lock: File,
}

/// The spill directory of an engine. Clones are the same directory.
#[derive(Clone, Debug)]
pub struct SpillDirectory {
    shared: Arc<Shared>,
}

impl SpillDirectory {
    /// Makes the directory if need be, takes it for this user and process alone, and removes what
    /// an earlier engine left in it.
    pub fn open(
        path: impl Into<PathBuf>,
        budget: Arc<Budget>,
    ) -> std::result::Result<Self, FramesError> {
        let path = path.into();
        let lock = prepare(&path).map_err(|source| FramesError::OpenSpillDirectory {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            shared: Arc::new(Shared {
                path,
                next: AtomicU64::new(0),
                budget,
                counters: Counters::default(),
                is_direct: AtomicBool::new(true),
                blocks: Arc::default(),
                _lock: lock,
            }),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The budget its files are counted in.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.shared.budget
    }

    /// Makes an empty file.
    pub fn create(&self) -> std::result::Result<Arc<SpillTempFile>, FramesError> {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let path = self.shared.path.join(format!("{FILE_PREFIX}{number}"));
        match create_file(&path) {
            Ok(_) => Ok(SpillTempFile::new(path, Arc::clone(&self.shared))),
            Err(source) => Err(FramesError::SpillFile {
                action: "create",
                path,
                bytes: 0,
                source,
            }),
        }
    }

    /// What has moved so far.
    pub fn counters(&self) -> SpillCounters {
        let counters = &self.shared.counters;
        SpillCounters {
            bytes_written: counters.bytes_written.load(Ordering::Relaxed),
            bytes_read: counters.bytes_read.load(Ordering::Relaxed),
            files: counters.files.load(Ordering::Relaxed),
            files_live: counters.files_live.load(Ordering::Relaxed),
            write_nanoseconds: counters.write_nanoseconds.load(Ordering::Relaxed),
            read_nanoseconds: counters.read_nanoseconds.load(Ordering::Relaxed),
        }
    }

    /// A disk manager whose files are made here, for `RuntimeEnvBuilder`.
    pub fn disk_manager(&self) -> DiskManagerBuilder {
        DiskManagerBuilder::default().with_mode(DiskManagerMode::Custom(Arc::new(self.clone())))
    }
}

impl TempFileFactory for SpillDirectory {
    fn create_temp_file(&self, _description: &str) -> Result<Arc<dyn SpillFile>> {
        Ok(Arc::new(OperatorFile::new(self.create()?)))
    }
}

fn prepare(path: &Path) -> io::Result<File> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)?;
    fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE))?;
    // Before anything is removed: it may be another engine's.
    let lock = lock(path)?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(FILE_PREFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    // Fails here rather than under the first query in need.
    let probe = path.join(format!("{FILE_PREFIX}probe"));
    create_file(&probe)?;
    fs::remove_file(probe)?;
    Ok(lock)
}

fn lock(path: &Path) -> io::Result<File> {
    let directory = File::open(path)?;
    match directory.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let reason = "another engine uses it";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, reason));
        }
        Err(TryLockError::Error(error)) => {
            // Some network file systems lock no directories. They are used as they are.
            tracing::warn!(path = %path.display(), %error, "lock spill directory");
        }
    }
    Ok(directory)
}

fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
}
