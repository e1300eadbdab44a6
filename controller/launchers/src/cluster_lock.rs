//! The lock that makes a cluster the only one of its home. It is held by the launcher's open file,
//! so it is free the moment the launcher is gone, however it ended.

use crate::error::LauncherError;
use bireme_settings::Home;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the lock is tried: its file may be replaced under us, and [`ClusterLock::holder`]
/// takes it for an instant.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(5);

/// The held lock. Dropping it removes the file and lets the next launcher in.
#[derive(Debug)]
pub struct ClusterLock {
    path: PathBuf,
    file: Flock<File>,
}

impl ClusterLock {
    /// Takes the lock of a home and writes this process's id into it.
    ///
    /// # Errors
    /// [`LauncherError::AlreadyRunning`] when another process holds it.
    pub fn take(home: &Home) -> Result<Self, LauncherError> {
        let path = home.lock_file();
        let mut pid = 0;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(PAUSE);
            }
            let file = open(&path)?;
            let mut locked = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => locked,
                Err((mut file, Errno::EWOULDBLOCK)) => {
                    pid = read_pid(&mut file);
                    continue;
                }
                Err((_, errno)) => return Err(LauncherError::file("lock", path, errno.into())),
            };
            if is_at(&locked, &path) {
                write_pid(&mut locked).map_err(|e| LauncherError::file("write", &path, e))?;
                return Ok(Self { path, file: locked });
            }
        }
        Err(LauncherError::AlreadyRunning {
            home: home.root().to_path_buf(),
            pid,
        })
    }

    /// The process that holds the lock of a home, if one does.
    ///
    /// # Errors
    /// The file cannot be read or tried.
    pub fn holder(home: &Home) -> Result<Option<u32>, LauncherError> {
        let path = home.lock_file();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LauncherError::file("open", path, error)),
        };
        let pid = read_pid(&mut file);
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(None),
            Err((_, Errno::EWOULDBLOCK)) => Ok(Some(pid)),
            Err((_, errno)) => Err(LauncherError::file("try the lock", path, errno.into())),
        }
    }
}

impl Drop for ClusterLock {
    fn drop(&mut self) {
        // Only while the lock is held, so that nobody else's file is removed.
        if is_at(&self.file, &self.path)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "lock file stays");
        }
    }
}

fn open(path: &Path) -> Result<File, LauncherError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| LauncherError::file("open", path, error))
}

/// Whether the open file is still the one the path names.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
        _ => false,
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &mut File) -> u32 {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) => text.trim().parse().unwrap_or_default(),
        Err(_) => 0,
    }
}
