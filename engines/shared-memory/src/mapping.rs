//! The reading side of shared memory: the whole of an arena, mapped read-only once.

use crate::arena::Arena;
use crate::error::SharedMemoryError;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;
use std::ffi::c_void;
use std::fmt;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;

/// An arena as its readers see it, mostly another process's.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<c_void>,
    size: usize,
    /// The arena of this process that it is of.
    arena: Option<u64>,
}

/// Told the offset of what is read no more.
pub type Released = Arc<dyn Fn(u64) + Send + Sync>;

// SAFETY: the mapping is read-only and lives until it is dropped; any thread may read it.
unsafe impl Send for Mapping {}
// SAFETY: as above; nothing in it changes through a shared reference.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps an arena of this process.
    ///
    /// # Errors
    /// The system cannot map it.
    pub fn of(arena: &Arena) -> Result<Arc<Self>, SharedMemoryError> {
        let file = arena.descriptor().try_clone_to_owned();
        let file = file.map_err(|error| SharedMemoryError::System {
            action: "share",
            bytes: 0,
            source: Errno::try_from(error).unwrap_or(Errno::UnknownErrno),
        })?;
        Self::map(&file, Some(arena.id()))
    }

    /// Maps what came as a descriptor.
    ///
    /// # Errors
    /// Its size could change under its readers, or the system cannot map it.
    pub fn new(file: &OwnedFd) -> Result<Arc<Self>, SharedMemoryError> {
        Self::map(file, None)
    }

    fn map(file: &OwnedFd, arena: Option<u64>) -> Result<Arc<Self>, SharedMemoryError> {
        let failed = |action, bytes| {
            move |source| SharedMemoryError::System {
                action,
                bytes,
                source,
            }
        };
        let length = fstat(file).map_err(failed("look at", 0))?.st_size;
        let bytes = u64::try_from(length).unwrap_or(0);
        let seals = fcntl(file, FcntlArg::F_GET_SEALS).map_err(failed("look at", bytes))?;
        let seals = SealFlag::from_bits_truncate(seals);
        // What cannot shrink can be read to its end at any time without a bus error.
        if !seals.contains(SealFlag::F_SEAL_SHRINK) {
            return Err(SharedMemoryError::Unsealed { bytes });
        }
        let size = usize::try_from(bytes).ok().and_then(NonZeroUsize::new);
        let size = size.ok_or_else(|| failed("map", bytes)(Errno::EINVAL))?;
        // SAFETY: a new mapping at an address of the system's choice replaces nothing.
        let start = unsafe {
            mmap(
                None,
                size,
                ProtFlags::PROT_READ,
                MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE,
                file,
                0,
            )
        };
        Ok(Arc::new(Self {
            start: start.map_err(failed("map", bytes))?,
            size: size.get(),
            arena,
        }))
    }

    pub(crate) fn arena(&self) -> Option<u64> {
        self.arena
    }

    /// How large it is.
    pub fn size(&self) -> u64 {
        self.size as u64
    }

    /// What lies at a place. `released` is called with its offset when it is read no more.
    ///
    /// # Errors
    /// The place is not within the mapping.
    pub fn block(
        self: &Arc<Self>,
        offset: u64,
        bytes: u64,
        released: Released,
    ) -> Result<Block, SharedMemoryError> {
        let end = offset.checked_add(bytes);
        if end.is_none_or(|end| end > self.size as u64) {
            return Err(SharedMemoryError::Misplaced {
                offset,
                bytes,
                size: self.size as u64,
                reason: "it ends beyond the memory",
            });
        }
        Ok(Block {
            mapping: Arc::clone(self),
            offset: offset as usize,
            bytes: bytes as usize,
            released,
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is what mmap returned, and every block that reads it holds the mapping.
        unsafe { munmap(self.start, self.size) }.ok();
    }
}

/// Bytes of an arena that stay as they are until this is dropped.
pub struct Block {
    mapping: Arc<Mapping>,
    offset: usize,
    bytes: usize,
    released: Released,
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the place was checked to lie within the mapping.
        let start = unsafe { self.mapping.start.cast::<u8>().add(self.offset) };
        // SAFETY: the mapping outlives the block, cannot shrink, and holds initialised bytes. Its
        // writer, a process of the same build and user, leaves them alone until they are released.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.bytes) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        (self.released)(self.offset as u64);
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes at {})", self.bytes, self.offset)
    }
}
