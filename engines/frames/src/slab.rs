//! Memory that another process has filled, sealed and handed over. An engine that keeps the rows in it
//! as a frame takes it over as it is: it counts in the budget from then on, once and whole, and is free
//! when the last column in it has left memory. Which columns do is the partition's to say.

use crate::budget::{Budget, FrameRoom};
use arrow::array::ArrayRef;
use arrow::buffer::Buffer;
use bireme_shared_memory::{Block, Mapping, SharedMemoryError, open_sealed};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Of less the rows are copied: a mapping of its own would cost more.
const TAKEN_BYTES_MIN: usize = 256 << 10;
/// Of more than this part of the budget the rows are copied too: it leaves memory as a whole.
const TAKEN_PART: usize = 8;
/// Pages are the system's unit.
const PAGE: usize = 4096;
/// Memory of this process that was taken over at once: the system limits how many mappings a process
/// has, to 65530 by default.
const TAKEN_MAX: usize = 16_384;
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// A file in memory that nobody writes any more.
#[derive(Debug)]
pub(crate) struct Slab {
    mapping: Arc<Mapping>,
    bytes: usize,
    held: Mutex<Option<Held>>,
}

/// What is reserved for a slab; given back when this goes.
#[derive(Debug)]
struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.release_frames(self.bytes);
        TAKEN.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Slab {
    /// Maps what is handed over under a path.
    pub(crate) fn open(path: &str) -> Result<Arc<Self>, SharedMemoryError> {
        let mapping = Mapping::new(&open_sealed(path)?)?;
        let bytes = usize::try_from(mapping.size()).unwrap_or(usize::MAX);
        Ok(Arc::new(Self {
            mapping,
            bytes,
            held: Mutex::default(),
        }))
    }

    /// All of it. Who holds this or a part of it can be told from who holds another.
    pub(crate) fn bytes(self: &Arc<Self>) -> Result<Buffer, SharedMemoryError> {
        let nobody_waits = Arc::new(|_| {});
        let block = self.mapping.block(0, self.bytes as u64, nobody_waits)?;
        let of_slab = OfSlab {
            block,
            _slab: Arc::clone(self),
        };
        Ok(Buffer::from(Bytes::from_owner(of_slab)))
    }

    /// Whether it is worth being taken over.
    fn is_suitable(&self, budget: &Budget) -> bool {
        (TAKEN_BYTES_MIN..=budget.host_limit() / TAKEN_PART).contains(&self.bytes)
    }

    /// What has to be reserved for it still.
    fn missing(&self) -> usize {
        match *self.held.lock() {
            Some(_) => 0,
            None => self.bytes.next_multiple_of(PAGE),
        }
    }

    /// Reserves it, unless it is; false if there is no room.
    fn hold(&self, budget: &Arc<Budget>) -> bool {
        let mut held = self.held.lock();
        if held.is_some() {
            return true;
        }
        let bytes = self.bytes.next_multiple_of(PAGE);
        if TAKEN.load(Ordering::Acquire) >= TAKEN_MAX
            || !budget.reserve_frames(bytes, FrameRoom::Most)
        {
            return false;
        }
        TAKEN.fetch_add(1, Ordering::AcqRel);
        *held = Some(Held {
            budget: Arc::clone(budget),
            bytes,
        });
        true
    }

    /// Lets go of it; gives the bytes that are free if nobody else holds it.
    pub(crate) fn let_go(self: Arc<Self>) -> usize {
        Arc::into_inner(self).map_or(0, |slab| slab.bytes)
    }
}

struct OfSlab {
    block: Block,
    _slab: Arc<Slab>,
}

impl AsRef<[u8]> for OfSlab {
    fn as_ref(&self) -> &[u8] {
        self.block.as_ref()
    }
}

/// A column whose memory can be taken over.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) column: ArrayRef,
    /// All of the slab, as only this column refers to it.
    pub(crate) memory: Buffer,
    /// References to it while nobody reads the column.
    pub(crate) references: usize,
    pub(crate) slab: Arc<Slab>,
}

impl Offer {
    /// What has to be reserved to accept it; none if it is to be copied.
    pub(crate) fn missing(&self, budget: &Budget) -> Option<usize> {
        self.slab.is_suitable(budget).then(|| self.slab.missing())
    }

    /// Reserves what it needs; false if there is no room.
    pub(crate) fn accept(&self, budget: &Arc<Budget>) -> bool {
        self.slab.is_suitable(budget) && self.slab.hold(budget)
    }
}

/// Columns on their way through a plan whose memory can be taken over where they end up unchanged.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    open: Mutex<HashMap<usize, Offer>>,
}

impl Offers {
    /// Offers a column. Gives what it is withdrawn by.
    pub(crate) fn add(&self, offer: Offer) -> usize {
        let key = key(&offer.column);
        self.open.lock().insert(key, offer);
        key
    }

    pub(crate) fn withdraw(&self, keys: &[usize]) {
        let mut open = self.open.lock();
        keys.iter().for_each(|key| drop(open.remove(key)));
    }

    /// The offer of just this column, once.
    pub(crate) fn take(&self, column: &ArrayRef) -> Option<Offer> {
        self.open.lock().remove(&key(column))
    }
}

/// While a column is offered, no other has its address.
fn key(column: &ArrayRef) -> usize {
    Arc::as_ptr(column).cast::<()>().addr()
}
