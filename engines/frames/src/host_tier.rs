//! The host tier of frames: sparse shared memory, written once per batch and read in place. What
//! lies there is reserved in the budget until the last reader lets go. What goes there, and what has
//! to leave, is the frame store's to say.

use crate::budget::{Budget, FrameRoom};
use crate::error::FramesError;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use bireme_shared_memory::{Arena, EncodedBatch, Mapping, Place, Released, SharedMemoryError};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Arenas that are written at once: a write holds its arena.
const ARENAS: usize = 4;
/// An arena is sparse: its size is address space, with room for gaps between what lies in it.
const ARENA_BYTES_MIN: u64 = 4 << 30;
const ROOM_FACTOR: u64 = 4;
/// Memory goes back to the system in pages.
const GRANULE: usize = 4096;
/// What frames give back stays with this process for the next frame, up to this part of the budget and
/// so many bytes: a page that the system has to find and clear first takes several times as long to
/// write.
const SPARE_PART: u64 = 2;
const SPARE_BYTES_MAX: u64 = 4 << 30;
/// Until nobody has asked for it for so long.
const SPARE_FOR: Duration = Duration::from_secs(10);

/// The memory of resident partitions.
#[derive(Debug)]
pub(crate) struct HostTier {
    arenas: Vec<Arc<SharedArena>>,
    budget: Arc<Budget>,
    /// When a frame last took or gave back memory.
    last_used: Arc<Mutex<Instant>>,
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
        let spare = (budget.host_limit() as u64 / SPARE_PART).min(SPARE_BYTES_MAX);
        let arena = |_| SharedArena::new(size, spare / ARENAS as u64);
        let arenas: Result<Vec<_>, _> = (0..ARENAS).map(arena).collect();
        let arenas = arenas.map_err(|source| FramesError::HostTier {
            bytes: size,
            source,
        })?;
        Ok(Self {
            arenas,
            budget,
            last_used: Arc::new(Mutex::new(Instant::now())),
        })
    }

    /// Gives so much spare memory back to the system.
    pub(crate) fn trim(&self, bytes: usize) {
        let mut left = bytes as u64;
        for arena in &self.arenas {
            if left == 0 {
                return;
            }
            let given = arena.change(&self.budget, |arena| arena.trim_by(left));
            left = left.saturating_sub(given);
        }
    }

    /// Gives all of it back once nobody has asked for it for a while. Gives the time until then; none
    /// if there is no more.
    pub(crate) fn trim_unused(&self) -> Option<Duration> {
        if self.budget.spare() == 0 {
            return None;
        }
        let unused_for = self.last_used.lock().elapsed();
        if unused_for < SPARE_FOR {
            return Some(SPARE_FOR - unused_for);
        }
        self.trim(usize::MAX);
        None
    }

    /// Copies a batch to memory of its own, if the budget has room for it. `spread` chooses the arena.
    pub(crate) fn keep(
        &self,
        batch: &EncodedBatch,
        spread: usize,
    ) -> Result<Option<(Buffer, RecordBatch)>, FramesError> {
        self.place(batch.bytes(), spread, FrameRoom::Most, |arena, room| {
            let written = arena.change(&self.budget, |arena| arena.write_batch(batch))?;
            let read = |written| {
                arena
                    .mapping
                    .batch(written, arena.released(&self.budget, room))
            };
            written.map(read).transpose()
        })
    }

    /// Copies what was read from disk to memory of its own, if there is room to spare.
    pub(crate) fn store(
        &self,
        encoded: &Buffer,
        spread: usize,
    ) -> Result<Option<Buffer>, FramesError> {
        self.place(encoded.len(), spread, FrameRoom::Spare, |arena, room| {
            let written = arena.change(&self.budget, |arena| arena.write(&[encoded.as_slice()]))?;
            let read = |Place { offset, bytes }| {
                let released = arena.released(&self.budget, room);
                let block = arena.mapping.block(offset, bytes, released)?;
                Ok(Buffer::from(Bytes::from_owner(block)))
            };
            written.map(read).transpose()
        })
    }

    fn place<T>(
        &self,
        bytes: usize,
        spread: usize,
        room: FrameRoom,
        write: impl FnOnce(&Arc<SharedArena>, Reserved) -> Result<Option<T>, SharedMemoryError>,
    ) -> Result<Option<T>, FramesError> {
        let held = bytes.max(1).next_multiple_of(GRANULE);
        if !self.budget.reserve_frames(held, room) {
            return Ok(None);
        }
        *self.last_used.lock() = Instant::now();
        let reserved = Reserved {
            budget: Arc::clone(&self.budget),
            bytes: held,
            last_used: Arc::clone(&self.last_used),
        };
        write(&self.arenas[spread % ARENAS], reserved).map_err(|source| FramesError::HostTier {
            bytes: bytes as u64,
            source,
        })
    }
}

/// Room in the budget, given back when this goes.
struct Reserved {
    budget: Arc<Budget>,
    bytes: usize,
    last_used: Arc<Mutex<Instant>>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.release_frames(self.bytes);
        *self.last_used.lock() = Instant::now();
    }
}

impl SharedArena {
    fn new(size: u64, spare: u64) -> Result<Arc<Self>, SharedMemoryError> {
        let arena = Arena::new("bireme frames", size, spare)?;
        let mapping = Mapping::of(&arena);
        Ok(Arc::new(Self {
            arena: Mutex::new(arena),
            mapping,
        }))
    }

    /// Does something with the arena, and tells the budget what that changes of its spare memory.
    fn change<T>(&self, budget: &Budget, change: impl FnOnce(&mut Arena) -> T) -> T {
        let mut arena = self.arena.lock();
        let before = arena.kept();
        let changed = change(&mut arena);
        let now = arena.kept();
        // Under the lock: what two changes make of it is told in their order.
        let is_first = before != now && budget.spare_changed(before as usize, now as usize);
        drop(arena);
        if is_first {
            budget.tell_spare();
        }
        changed
    }

    /// Frees a place, and then the room in the budget, when nobody reads it any more.
    fn released(self: &Arc<Self>, budget: &Arc<Budget>, room: Reserved) -> Released {
        let (arena, budget) = (Arc::clone(self), Arc::clone(budget));
        Arc::new(move |offset| {
            // It goes with this, which is called once.
            let _room = &room;
            if let Err(error) = arena.change(&budget, |arena| arena.release(offset)) {
                tracing::error!(%error, "release memory of a frame");
            }
        })
    }
}
