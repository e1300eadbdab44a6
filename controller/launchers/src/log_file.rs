//! A log bounded in size: when a file is full it is renamed and a new one begun, and only so many
//! old ones are kept.

use crate::cluster_lock::is_at;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Old files kept: `name.log.1`, `name.log.2`.
const OLD_FILES: u32 = 2;

/// An open log.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl LogFile {
    /// A file is renamed when it has reached this size.
    pub const BYTES_MAX: u64 = 8 << 20;

    /// Opens a log to append to.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, Self::BYTES_MAX)
    }

    /// Opens a log whose files have at most about `bytes_max` bytes.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn with_limit(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let file = open(path)?;
        let bytes = file.metadata()?.len();
        let mut log = Self {
            path: path.to_path_buf(),
            file,
            bytes,
            bytes_max,
        };
        log.rotate_when_full()?;
        Ok(log)
    }

    /// Appends what a process wrote.
    ///
    /// # Errors
    /// The disk is full, or the directory is gone.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.rotate_when_full()?;
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// The file, for a process that writes to it by itself.
    pub(crate) fn into_file(self) -> File {
        self.file
    }

    /// Begins the log at `path` anew if this process's standard error goes there and it is full.
    ///
    /// # Errors
    /// The files cannot be renamed or opened; the old one goes on.
    pub fn bound_stderr(path: &Path, bytes_max: u64) -> io::Result<()> {
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        if stderr.metadata()?.len() < bytes_max || !is_at(&stderr, path) {
            return Ok(());
        }
        let log = Self::with_limit(path, bytes_max)?;
        Ok(nix::unistd::dup2_stderr(log.file)?)
    }

    fn rotate_when_full(&mut self) -> io::Result<()> {
        if self.bytes < self.bytes_max {
            return Ok(());
        }
        for number in (1..OLD_FILES).rev() {
            rename_if_there(&self.old(number), &self.old(number + 1))?;
        }
        rename_if_there(&self.path, &self.old(1))?;
        self.file = open(&self.path)?;
        self.bytes = 0;
        Ok(())
    }

    fn old(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
