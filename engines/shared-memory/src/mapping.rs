//! The reading side of shared memory: the whole of an arena, mapped once.

use crate::arena::Arena;
use crate::error::SharedMemoryError;
use crate::memory::Memory;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::stat::fstat;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// An arena as its readers see it, mostly another process's.
#[derive(Debug)]
pub struct Mapping {
    memory: Arc<Memory>,
    /// The arena of this process that it is of.
    arena: Option<u64>,
}

/// Told the offset of what is read no more.
pub type Released = Arc<dyn Fn(u64) + Send + Sync>;

impl Mapping {
    /// What an arena of this process writes to.
    pub fn of(arena: &Arena) -> Arc<Self> {
        Arc::new(Self {
            memory: Arc::clone(arena.memory()),
            arena: Some(arena.id()),
        })
    }

    /// Maps what came as a descriptor, to be read.
    ///
    /// # Errors
    /// Its size could change under its readers, or the system cannot map it.
    pub fn new(file: &OwnedFd) -> Result<Arc<Self>, SharedMemoryError> {
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
        let memory = Memory::to_read(file, bytes).map_err(failed("map", bytes))?;
        Ok(Arc::new(Self {
            memory: Arc::new(memory),
            arena: None,
        }))
    }

    pub(crate) fn arena(&self) -> Option<u64> {
        self.arena
    }

    /// How large it is.
    pub fn size(&self) -> u64 {
        self.memory.size()
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
        if end.is_none_or(|end| end > self.size()) {
            return Err(SharedMemoryError::Misplaced {
                offset,
                bytes,
                size: self.size(),
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

/// Bytes of an arena that stay as they are until this is dropped.
pub struct Block {
    mapping: Arc<Mapping>,
    offset: usize,
    bytes: usize,
    released: Released,
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the place was checked to lie within the memory, which the mapping keeps. Its writer,
        // a process of the same build and user, leaves it alone until it is released.
        unsafe { self.mapping.memory.read(self.offset, self.bytes) }
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
