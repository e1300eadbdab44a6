//! The host tier of frames: sparse shared memory, written once per batch and read in place. What
//! lies there is reserved in the budget until the last reader lets go. What goes there, and what has
//! to leave, is the frame store's to say.

use crate::budget::{Budget, FrameRoom};
use crate::error::FramesError;
use arrow::buffer::Buffer;
use bireme_shared_memory::{Arena, Mapping};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// Arenas that are written at once: a write holds its arena.
const ARENAS: usize = 4;
/// An arena is sparse: its size is address space, with room for gaps between what lies in it.
const ARENA_BYTES_MIN: u64 = 4 << 30;
const ROOM_FACTOR: u64 = 4;
/// Memory goes back to the system in pages.
const GRANULE: usize = 4096;

/// The memory of resident partitions.
#[derive(Debug)]
pub(crate) struct HostTier {
    arenas: Vec<Arc<SharedArena>>,
    budget: Arc<Budget>,
}

#[derive(Debug)]
struct SharedArena {
    arena: Mutex<Arena>,
    mapping: Arc<Mapping>,
}

impl HostTier {
    /// Makes the tier; it takes no memory until it is written.
    pub(crate) fn new(budget: Arc<Budget>) -> Result<Self, FramesError> {
        let size = (budget.host_limit() as u64)
            .saturating_mul(ROOM_FACTOR)
            .max(ARENA_BYTES_MIN);
        let arenas: Result<Vec<_>, _> = (0..ARENAS).map(|_| SharedArena::new(size)).collect();
        let arenas = arenas.map_err(|source| FramesError::HostTier {
            bytes: size,
            source,
        })?;
        Ok(Self { arenas, budget })
    }

    /// Copies the pieces to memory of their own, if the budget has room for them. `spread` chooses
    /// the arena.
    pub(crate) fn store(
        &self,
        pieces: &[Buffer],
        spread: usize,
        room: FrameRoom,
    ) -> Result<Option<Buffer>, FramesError> {
        let bytes: usize = pieces.iter().map(Buffer::len).sum();
        let held = bytes.max(1).next_multiple_of(GRANULE);
        if !self.budget.reserve_frames(held, room) {
            return Ok(None);
        }
        let stored = self.arenas[spread % ARENAS].store(pieces, {
            let budget = Arc::clone(&self.budget);
            move || budget.release_frames(held)
        });
        match stored {
            Ok(Some(buffer)) => Ok(Some(buffer)),
            Ok(None) => {
                self.budget.release_frames(held);
                Ok(None)
            }
            Err(source) => {
                self.budget.release_frames(held);
                Err(FramesError::HostTier {
                    bytes: bytes as u64,
                    source,
                })
            }
        }
    }
}

impl SharedArena {
    fn new(size: u64) -> Result<Arc<Self>, bireme_shared_memory::SharedMemoryError> {
        let arena = Arena::new("bireme frames", size, 0)?;
        let mapping = Mapping::of(&arena)?;
        Ok(Arc::new(Self {
            arena: Mutex::new(arena),
            mapping,
        }))
    }

    fn store(
        self: &Arc<Self>,
        pieces: &[Buffer],
        freed: impl Fn() + Send + Sync + 'static,
    ) -> Result<Option<Buffer>, bireme_shared_memory::SharedMemoryError> {
        let slices: Vec<&[u8]> = pieces.iter().map(Buffer::as_slice).collect();
        let Some(place) = self.arena.lock().write(&slices)? else {
            return Ok(None);
        };
        let arena = Arc::clone(self);
        let released = move |offset| {
            if let Err(error) = arena.arena.lock().release(offset) {
                tracing::error!(%error, "release memory of a frame");
            }
            freed();
        };
        let block = self
            .mapping
            .block(place.offset, place.bytes, Arc::new(released))?;
        Ok(Some(Buffer::from(Bytes::from_owner(block))))
    }
}
