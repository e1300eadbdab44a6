//! Memory that one process hands over to another by the path of its descriptor, `/proc/PID/fd/N`:
//! filled by one, then sealed, so that nobody can write to it or make it shorter, then read by the
//! other, in which it stays when the first is gone.

use crate::arena::write_all;
use crate::error::SharedMemoryError;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, OwnedFd};

/// Nobody writes, its size stays, and that is for good.
const SEALED: SealFlag = SealFlag::F_SEAL_WRITE
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_SEAL);

/// Whether a path is one under which memory is handed over.
pub fn is_handed(path: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = path
        .strip_prefix("/proc/")
        .and_then(|rest| rest.split_once("/fd/"));
    numbers.is_some_and(|(process, descriptor)| is_number(process) && is_number(descriptor))
}

/// Ends all writing to a file in memory, for good.
///
/// # Errors
/// Somebody can still write to it, or it is no file in memory.
pub fn seal(file: impl AsFd) -> Result<(), SharedMemoryError> {
    let sealed = fcntl(file, FcntlArg::F_ADD_SEALS(SEALED));
    sealed.map(drop).map_err(|source| failed("seal", source))
}

/// Opens what another process has handed over.
///
/// # Errors
/// There is nothing, it is no file in memory, or somebody could still change it.
pub fn open_sealed(path: &str) -> Result<OwnedFd, SharedMemoryError> {
    let (file, seals) = opened(path, OFlag::O_RDONLY)?;
    if !seals.contains(SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK) {
        return Err(not_handed(
            path,
            "it is not sealed, it could change while it is read",
        ));
    }
    Ok(file)
}

/// Memory of another process that this one fills.
#[derive(Debug)]
pub struct Filling {
    file: OwnedFd,
}

impl Filling {
    /// Opens it.
    ///
    /// # Errors
    /// There is nothing, it is no file in memory, or it has been sealed.
    pub fn open(path: &str) -> Result<Self, SharedMemoryError> {
        let (file, seals) = opened(path, OFlag::O_WRONLY)?;
        if seals.intersects(SEALED) {
            return Err(not_handed(path, "it is sealed already"));
        }
        Ok(Self { file })
    }

    /// Writes the pieces, one behind the other.
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn write(&self, offset: u64, pieces: &[&[u8]]) -> Result<(), SharedMemoryError> {
        write_all(&self.file, offset, pieces).map_err(|source| SharedMemoryError::System {
            action: "write",
            bytes: pieces.iter().map(|piece| piece.len() as u64).sum(),
            source,
        })
    }
}

fn opened(path: &str, mode: OFlag) -> Result<(OwnedFd, SealFlag), SharedMemoryError> {
    if !is_handed(path) {
        return Err(not_handed(path, "it is no descriptor of a process"));
    }
    // A pipe or a terminal is not waited for.
    let flags = mode | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = open(path, flags, Mode::empty()).map_err(|source| match source {
        Errno::ENOENT => not_handed(path, "the process that held it has let go of it"),
        source => failed("open", source),
    })?;
    let seals = fcntl(&file, FcntlArg::F_GET_SEALS)
        .map_err(|_| not_handed(path, "it is no file in memory"))?;
    Ok((file, SealFlag::from_bits_truncate(seals)))
}

fn not_handed(path: &str, reason: &'static str) -> SharedMemoryError {
    SharedMemoryError::NotHanded {
        path: path.to_string(),
        reason,
    }
}

fn failed(action: &'static str, source: Errno) -> SharedMemoryError {
    SharedMemoryError::System {
        action,
        bytes: 0,
        source,
    }
}
