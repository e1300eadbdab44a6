//! The segments of frames that an engine holds. Under pressure what was used least recently and
//! nobody reads goes to disk, ahead of need on a thread of its own; it comes back when it is read
//! and there is room. Which segments make a frame is the controller's to know.

use crate::budget::{Budget, Reclaim};
use crate::disk_copy::Compression;
use crate::error::FramesError;
use crate::frame_counters::FrameCounters;
use crate::frame_partition::{FramePartition, PartitionFacts, PartitionReader};
use crate::host_tier::HostTier;
use crate::partition_writer::PartitionWriter;
use crate::slab::Offers;
use crate::spill_directory::SpillDirectory;
use arrow::datatypes::SchemaRef;
use bireme_protocol::QueryId;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What is freed for a request, at least: one search for the coldest serves many requests.
const RECLAIM_BYTES_MIN: usize = 16 << 20;
/// Dropped segments that are remembered, so that a part of their query that comes late writes no
/// more: no query has so many that end at once.
const DROPPED_MAX: usize = 1024;
/// After a write that failed the disk is left alone for so long: else a full one is tried, and the
/// log told, by every request for memory.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The resident frames of an engine.
#[derive(Debug)]
pub struct FrameStore {
    budget: Arc<Budget>,
    spill: SpillDirectory,
    compression: Compression,
    host: HostTier,
    segments: RwLock<Segments>,
    counters: FrameCounters,
    /// Columns on their way that need not be copied to be kept.
    offers: Offers,
    /// Moments of use, in order.
    clock: AtomicU64,
    /// One at a time: two would look for the same memory.
    demoting: Mutex<()>,
    /// Why nothing could be written the last time.
    obstacle: Mutex<Option<Obstacle>>,
    pressure: Arc<Pressure>,
}

/// The partitions of a segment, by index.
type Partitions = BTreeMap<usize, Arc<FramePartition>>;

#[derive(Debug, Default)]
struct Segments {
    held: HashMap<QueryId, Partitions>,
    /// The last that were dropped, oldest first.
    dropped: VecDeque<QueryId>,
}

#[derive(Debug)]
struct Obstacle {
    reason: String,
    seen: Instant,
}

/// Wakes the thread that pushes frames down.
#[derive(Debug, Default)]
struct Pressure {
    is_high: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wanted {
    #[default]
    Nothing,
    Room,
    End,
}

/// What one segment holds here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSnapshot {
    /// The query that made it.
    pub id: QueryId,
    /// Its partitions here.
    pub partitions: usize,
    /// Their rows and bytes, together.
    pub facts: PartitionFacts,
}

/// What a segment held that was forgotten.
#[derive(Debug)]
pub struct Forgotten(#[expect(dead_code, reason = "it is there to be dropped")] Partitions);

impl FrameStore {
    /// An empty store, which the budget asks for room from now on, and which writes to disk so.
    ///
    /// # Errors
    /// The system has no shared memory or no thread for it.
    pub fn new(
        budget: Arc<Budget>,
        spill: SpillDirectory,
        compression: Compression,
    ) -> Result<Arc<Self>, FramesError> {
        let pressure: Arc<Pressure> = Arc::default();
        let store = Arc::new(Self {
            host: HostTier::new(Arc::clone(&budget))?,
            budget,
            spill,
            compression,
            segments: RwLock::default(),
            counters: FrameCounters::default(),
            offers: Offers::default(),
            clock: AtomicU64::new(1),
            demoting: Mutex::default(),
            obstacle: Mutex::default(),
            pressure: Arc::clone(&pressure),
        });
        let reclaim: Arc<dyn Reclaim> = Arc::clone(&store) as _;
        store.budget.reclaim_from(Arc::downgrade(&reclaim));
        let demoter = Arc::downgrade(&store);
        std::thread::Builder::new()
            .name("bireme-demote".to_string())
            .spawn(move || demote_ahead(&demoter, &pressure))
            .map_err(|source| FramesError::Thread { source })?;
        Ok(store)
    }

    /// Begins to write a partition of a segment.
    ///
    /// # Errors
    /// It is written, or being written; or its segment was dropped.
    pub fn write(
        self: &Arc<Self>,
        segment: QueryId,
        partition: usize,
        schema: SchemaRef,
    ) -> Result<PartitionWriter, FramesError> {
        let made = Arc::new(FramePartition::new(segment, partition, schema));
        let mut segments = self.segments.write();
        if segments.dropped.contains(&segment) {
            return Err(FramesError::Dropped {
                segment: segment.short(),
                partition,
            });
        }
        let partitions = segments.held.entry(segment).or_default();
        if partitions.contains_key(&partition) {
            return Err(FramesError::WrittenTwice {
                segment: segment.short(),
                partition,
            });
        }
        partitions.insert(partition, Arc::clone(&made));
        drop(segments);
        Ok(PartitionWriter::new(Arc::clone(self), made))
    }

    /// Begins to read these columns of a partition of a segment, or all.
    ///
    /// # Errors
    /// It is not here, or has no such column.
    pub fn read(
        self: &Arc<Self>,
        segment: QueryId,
        partition: usize,
        columns: Option<&[usize]>,
    ) -> Result<PartitionReader, FramesError> {
        let segments = self.segments.read();
        let found = segments
            .held
            .get(&segment)
            .and_then(|partitions| partitions.get(&partition))
            .filter(|partition| partition.is_complete());
        match found {
            Some(found) => PartitionReader::new(Arc::clone(self), Arc::clone(found), columns),
            None => Err(FramesError::NotHeld {
                segment: segment.short(),
                partition,
            }),
        }
    }

    /// Forgets a segment. Its memory is free when its last reader lets go, and when what is returned is
    /// dropped, which takes a while for a large one.
    pub fn drop_segment(&self, segment: QueryId) -> Forgotten {
        let mut segments = self.segments.write();
        let partitions = segments.held.remove(&segment);
        if segments.dropped.len() == DROPPED_MAX {
            segments.dropped.pop_front();
        }
        segments.dropped.push_back(segment);
        // Files are removed and memory is given back without the lock.
        Forgotten(partitions.unwrap_or_default())
    }

    /// The segments with at least one whole partition here.
    pub fn segments(&self) -> Vec<QueryId> {
        let segments = self.segments.read();
        let is_held = |partitions: &BTreeMap<usize, Arc<FramePartition>>| {
            partitions.values().any(|partition| partition.is_complete())
        };
        let held = segments
            .held
            .iter()
            .filter(|(_, partitions)| is_held(partitions));
        held.map(|(segment, _)| *segment).collect()
    }

    /// What each segment holds.
    pub fn snapshot(&self) -> Vec<SegmentSnapshot> {
        let segments = self.segments.read();
        let snapshot = |(id, partitions): (&QueryId, &BTreeMap<usize, Arc<FramePartition>>)| {
            let mut facts = PartitionFacts::default();
            for partition in partitions.values() {
                let of_partition = partition.facts();
                facts.rows += of_partition.rows;
                facts.bytes += of_partition.bytes;
                facts.host_bytes += of_partition.host_bytes;
                facts.disk_bytes += of_partition.disk_bytes;
            }
            SegmentSnapshot {
                id: *id,
                partitions: partitions.len(),
                facts,
            }
        };
        segments.held.iter().map(snapshot).collect()
    }

    /// Counters since the engine started, by name.
    pub fn counted(&self) -> Vec<(String, u64)> {
        self.counters.read()
    }

    pub(crate) fn host(&self) -> &HostTier {
        &self.host
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(crate) fn offers(&self) -> &Offers {
        &self.offers
    }

    pub(crate) fn spill(&self) -> &SpillDirectory {
        &self.spill
    }

    pub(crate) fn counters(&self) -> &FrameCounters {
        &self.counters
    }

    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    /// A moment after all before.
    pub(crate) fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes back what an unfinished writer wrote.
    pub(crate) fn withdraw(&self, partition: &FramePartition) {
        let mut segments = self.segments.write();
        if let Some(partitions) = segments.held.get_mut(&partition.segment()) {
            partitions.remove(&partition.index());
            if partitions.is_empty() {
                segments.held.remove(&partition.segment());
            }
        }
    }

    /// Pushes colder frames down for so many bytes of this segment, if they would not fit.
    pub(crate) fn make_room(&self, bytes: usize, segment: QueryId) {
        let missing = self.budget.frames_missing(bytes);
        if missing > 0 {
            self.demote(missing.max(RECLAIM_BYTES_MIN), |partition, is_read| {
                partition.segment() != segment && !is_read
            });
        }
    }

    /// Pushes the coldest columns among these down until so many bytes are free. Who chooses is told
    /// the partition, and whether somebody reads the column.
    fn demote(&self, wanted: usize, among: impl Fn(&FramePartition, bool) -> bool) -> usize {
        let _one_at_a_time = self.demoting.lock();
        let mut coldest: Vec<(u64, usize, Arc<FramePartition>)> = {
            let segments = self.segments.read();
            let partitions = segments.held.values().flat_map(BTreeMap::values);
            let columns = partitions.flat_map(|partition| {
                let resident = partition.resident_columns();
                resident.map(move |column| (partition, column))
            });
            columns
                .filter(|(partition, column)| among(partition, column.is_read))
                .map(|(partition, one)| (one.last_used, one.column, Arc::clone(partition)))
                .collect()
        };
        coldest.sort_by_key(|(used, ..)| *used);
        let (mut freed, mut can_write) = (0, self.can_write());
        for (_, column, partition) in coldest {
            if freed >= wanted {
                break;
            }
            freed += partition.drop_clean(self, column, wanted - freed);
            if freed >= wanted || !can_write {
                continue;
            }
            match partition.demote(self, column, wanted, &mut freed) {
                Ok(()) => *self.obstacle.lock() = None,
                Err(error) => {
                    tracing::warn!(%error, segment = %partition.segment(), "push a frame to disk");
                    *self.obstacle.lock() = Some(Obstacle {
                        reason: error.to_string(),
                        seen: Instant::now(),
                    });
                    // What is there already may still leave.
                    can_write = false;
                }
            }
        }
        freed
    }

    /// Whether no write failed just now.
    fn can_write(&self) -> bool {
        let obstacle = self.obstacle.lock();
        obstacle
            .as_ref()
            .is_none_or(|one| one.seen.elapsed() >= RETRY_AFTER)
    }
}

impl Reclaim for FrameStore {
    fn reclaim(&self, bytes: usize, of_read: bool) -> usize {
        let wanted = bytes.max(RECLAIM_BYTES_MIN);
        let unread = self.demote(wanted, |partition, is_read| {
            partition.is_complete() && !is_read
        });
        if unread >= bytes || !of_read {
            return unread;
        }
        // Of frames that are being read, what nobody holds just now.
        unread + self.demote(bytes - unread, |_, _| true)
    }

    fn obstacle(&self) -> Option<String> {
        let obstacle = self.obstacle.lock();
        obstacle.as_ref().map(|one| one.reason.clone())
    }

    fn trim(&self, bytes: usize) {
        self.host.trim(bytes);
    }

    fn wake(&self) {
        let mut wanted = self.pressure.is_high.lock();
        if *wanted == Wanted::Nothing {
            *wanted = Wanted::Room;
            self.pressure.changed.notify_one();
        }
    }
}

impl Drop for FrameStore {
    fn drop(&mut self) {
        *self.pressure.is_high.lock() = Wanted::End;
        self.pressure.changed.notify_one();
    }
}

/// Pushes frames down before a request has to wait for it, and gives spare memory back once nobody has
/// asked for it for a while.
fn demote_ahead(store: &Weak<FrameStore>, pressure: &Pressure) {
    let mut next_trim = None;
    loop {
        let mut wanted = pressure.is_high.lock();
        while *wanted == Wanted::Nothing {
            match next_trim {
                Some(time) => {
                    if pressure.changed.wait_until(&mut wanted, time).timed_out() {
                        break;
                    }
                }
                None => pressure.changed.wait(&mut wanted),
            }
        }
        if *wanted == Wanted::End {
            return;
        }
        *wanted = Wanted::Nothing;
        drop(wanted);
        let Some(store) = store.upgrade() else {
            return;
        };
        let excess = store.budget.frames_in_excess();
        if excess > 0 {
            store.demote(excess, |one, is_read| one.is_complete() && !is_read);
        }
        next_trim = store.host.trim_unused().map(|left| Instant::now() + left);
    }
}
