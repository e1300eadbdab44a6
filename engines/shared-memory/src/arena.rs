//! The writing side of shared memory: a file without a name, as large as it may ever get and empty
//! until it is written. Free memory is kept for the next message up to a limit; the rest goes back
//! to the system at once.

use crate::error::SharedMemoryError;
use crate::memory::Memory;
use crate::ranges::Ranges;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::uio::pwritev;
use nix::unistd::ftruncate;
use std::collections::HashMap;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Everything begins and ends on this: pages are given back whole, and Arrow's alignment holds.
const GRANULE: u64 = 4096;
/// Pieces written in one call, at most; the system's own limit.
const PIECES_MAX: usize = 1024;
/// Arenas that this process has made.
static MADE: AtomicU64 = AtomicU64::new(0);
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_SEAL);

/// Where something lies in an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Where it begins.
    pub offset: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
}

/// Memory that this process writes and others read. Dropping it gives the memory back once the
/// last [`crate::Mapping`] of it is gone too.
#[derive(Debug)]
pub struct Arena {
    /// No other of this process has it.
    id: u64,
    file: OwnedFd,
    memory: Arc<Memory>,
    size: u64,
    /// Free memory kept for the next message, at most this much.
    keep: u64,
    /// Free and held by the system for us.
    warm: Ranges,
    /// Free and not backed by memory.
    cold: Ranges,
    taken: HashMap<u64, u64>,
    in_use: u64,
}

impl Arena {
    /// Makes an arena that may grow to `size` bytes and keeps up to `keep` bytes of free memory.
    /// It takes no memory until it is written.
    ///
    /// # Errors
    /// The system has no anonymous files, or a limit of the process is below `size`.
    pub fn new(name: &str, size: u64, keep: u64) -> Result<Self, SharedMemoryError> {
        let size = size.next_multiple_of(GRANULE);
        let failed = |action| {
            move |source| SharedMemoryError::System {
                action,
                bytes: size,
                source,
            }
        };
        // Growing a file beyond the limit is a signal that ends the process.
        let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE).map_err(failed("limit"))?;
        if limit < size {
            return Err(SharedMemoryError::Limited { bytes: size, limit });
        }
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = memfd_create(name, flags).map_err(failed("make"))?;
        let length = i64::try_from(size).map_err(|_| failed("size")(Errno::EOVERFLOW))?;
        ftruncate(&file, length).map_err(failed("size"))?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS)).map_err(failed("seal"))?;
        let memory = Memory::to_write(&file, size).map_err(failed("map"))?;
        Ok(Self {
            id: MADE.fetch_add(1, Ordering::Relaxed),
            file,
            memory: Arc::new(memory),
            size,
            keep,
            warm: Ranges::default(),
            cold: Ranges::whole(size),
            taken: HashMap::new(),
            in_use: 0,
        })
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The file, to be sent to those who read.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Bytes that were written and not released.
    pub fn in_use(&self) -> u64 {
        self.in_use
    }

    /// Bytes of free memory that is kept.
    pub fn kept(&self) -> u64 {
        self.warm.total()
    }

    /// Copies the pieces, one behind the other, to a place of their own; `None` when there is no
    /// room for them.
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn write(&mut self, pieces: &[&[u8]]) -> Result<Option<Place>, SharedMemoryError> {
        let bytes: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let length = bytes.max(1).next_multiple_of(GRANULE);
        let offset = if let Some(offset) = self.warm.take(length) {
            // SAFETY: the place lies within the file, and the arena gives it to nobody else.
            unsafe { self.memory.write(offset as usize, pieces) };
            offset
        } else if let Some(offset) = self.cold.take(length) {
            // Pages that are not there yet the system makes faster this way, and it can say no.
            if let Err(source) = write_all(&self.file, offset, pieces) {
                self.cool(offset, length);
                return Err(SharedMemoryError::System {
                    action: "write",
                    bytes,
                    source,
                });
            }
            offset
        } else {
            return Ok(None);
        };
        self.taken.insert(offset, length);
        self.in_use += length;
        Ok(Some(Place { offset, bytes }))
    }

    /// Frees what lies at this offset: nobody reads it any more.
    ///
    /// # Errors
    /// Nothing lies there.
    pub fn release(&mut self, offset: u64) -> Result<(), SharedMemoryError> {
        let Some(length) = self.taken.remove(&offset) else {
            return Err(SharedMemoryError::Misplaced {
                offset,
                bytes: 0,
                size: self.size,
                reason: "nothing to release begins there",
            });
        };
        self.in_use -= length;
        self.give_back(offset, length);
        Ok(())
    }

    /// Gives all free memory back to the system.
    pub fn trim(&mut self) {
        for (offset, length) in self.warm.take_all() {
            self.cool(offset, length);
        }
    }

    /// Gives so much free memory back to the system, or all there is. Tells how much.
    pub fn trim_by(&mut self, bytes: u64) -> u64 {
        let wanted = bytes.min(self.warm.total()).next_multiple_of(GRANULE);
        let mut given = 0;
        while given < wanted
            && let Some((offset, length)) = self.warm.take_part(wanted - given)
        {
            self.cool(offset, length);
            given += length;
        }
        given
    }

    fn give_back(&mut self, offset: u64, length: u64) {
        if self.warm.total() + length <= self.keep {
            self.warm.add(offset, length);
        } else {
            self.cool(offset, length);
        }
    }

    /// The range stays usable if the system will not take its memory back.
    fn cool(&mut self, offset: u64, length: u64) {
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if let (Ok(start), Ok(span)) = (i64::try_from(offset), i64::try_from(length)) {
            fallocate(&self.file, hole, start, span).ok();
        }
        self.cold.add(offset, length);
    }
}

/// Writes the pieces, one behind the other.
pub(crate) fn write_all(file: &OwnedFd, offset: u64, pieces: &[&[u8]]) -> nix::Result<()> {
    let mut at = i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
    let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest: &mut [IoSlice<'_>] = &mut slices;
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        let some = &rest[..rest.len().min(PIECES_MAX)];
        let written = match pwritev(file, some, at) {
            Err(Errno::EINTR) => continue,
            Ok(0) => return Err(Errno::ENOSPC),
            other => other?,
        };
        at += i64::try_from(written).map_err(|_| Errno::EOVERFLOW)?;
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}
