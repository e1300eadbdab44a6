//! The one budget of an engine. It is DataFusion's memory pool, so operators, collectives and
//! frames draw on the same bytes, and it counts the disk tier for the spill directory. A request
//! that does not fit first makes frames leave memory. Spilling is left to the requester: being
//! refused is what makes it spill.

use crate::bytes_text::bytes_text;
use crate::error::FramesError;
use crate::host_ledger::{HostLedger, Refusal, Request};
use crate::query_budget::QueryBudget;
use crate::snapshot::{BudgetSnapshot, ConsumerSnapshot, QuerySnapshot, TierSnapshot};
use crate::tier::Tier;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// The name of work that belongs to no query.
const NO_QUERY: &str = "";
/// Above this part of the limit frames begin to leave memory, before a request has to wait.
const DEMOTE_PERCENT: usize = 85;
/// Until this much is used.
const DEMOTED_PERCENT: usize = 80;
/// What was on disk comes back to memory only while less than this is used.
const SPARE_PERCENT: usize = 75;
/// How often a request makes frames leave memory before it is refused: others may take what was
/// freed.
const RECLAIMS_MAX: usize = 4;

/// Something that gives host memory back on demand.
pub trait Reclaim: fmt::Debug + Send + Sync {
    /// Frees about so many bytes, if it can, and says how many. What is being read stays unless `of_read`.
    fn reclaim(&self, bytes: usize, of_read: bool) -> usize;

    /// Why the last attempt to write frames to disk failed, if it did.
    fn obstacle(&self) -> Option<String>;

    /// Memory is short, or some is spare: begin to free it, on another thread, now or after a while.
    fn wake(&self);

    /// Gives so much spare memory back to the system, at once.
    fn trim(&self, bytes: usize);
}

/// How much of the memory a frame may fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameRoom {
    /// All but what is kept free for the next request.
    Most,
    /// What nobody is likely to need soon.
    Spare,
}

impl FrameRoom {
    fn percent(self) -> usize {
        match self {
            Self::Most => DEMOTE_PERCENT,
            Self::Spare => SPARE_PERCENT,
        }
    }
}

/// What an engine may hold and what it holds.
#[derive(Debug)]
pub struct Budget {
    host_limit: AtomicUsize,
    host: Mutex<HostLedger>,
    disk_limit: u64,
    disk_used: AtomicU64,
    disk_peak: AtomicU64,
    disk_refused: AtomicU64,
    frames: OnceLock<Weak<dyn Reclaim>>,
}

impl Budget {
    /// A budget of so many bytes of host memory and of disk.
    pub fn new(host_limit: usize, disk_limit: u64) -> Arc<Self> {
        Arc::new(Self {
            host_limit: AtomicUsize::new(host_limit),
            host: Mutex::default(),
            disk_limit,
            disk_used: AtomicU64::new(0),
            disk_peak: AtomicU64::new(0),
            disk_refused: AtomicU64::new(0),
            frames: OnceLock::new(),
        })
    }

    /// Asks this for memory from now on before it refuses any. The first one stays.
    pub fn reclaim_from(&self, frames: Weak<dyn Reclaim>) {
        if self.frames.set(frames).is_err() {
            tracing::error!(
                "two frame stores share a budget: the second is never asked for memory"
            );
        }
    }

    /// Claims memory for a frame, if there is room.
    pub fn reserve_frames(&self, bytes: usize, room: FrameRoom) -> bool {
        let mut host = self.host.lock();
        let most = part(self.host_limit(), room.percent());
        let fits = host.total().saturating_add(bytes) <= most;
        if fits {
            host.add_frames(bytes);
            self.make_way(host);
        }
        fits
    }

    /// Gives memory of a frame back.
    pub fn release_frames(&self, bytes: usize) {
        self.host.lock().subtract_frames(bytes);
    }

    /// Memory that a frame has given back stays with this process, or is used again: so many bytes were
    /// spare before, and so many are now. Whether they are the first.
    pub(crate) fn spare_changed(&self, before: usize, now: usize) -> bool {
        let mut host = self.host.lock();
        let had_none = host.spare == 0;
        host.spare = (host.spare + now).saturating_sub(before);
        had_none && host.spare > 0
    }

    /// Has spare memory given back after a while. Nobody may hold a lock here: who lets go of the frames
    /// last gives all of their memory back.
    pub(crate) fn tell_spare(&self) {
        if let Some(frames) = self.frames.get().and_then(Weak::upgrade) {
            frames.wake();
        }
    }

    /// Free memory that has not been given back to the system. Nobody holds it.
    pub fn spare(&self) -> usize {
        self.host.lock().spare
    }

    /// Has spare memory given back that stands in the way of what is held.
    fn make_way(&self, host: MutexGuard<'_, HostLedger>) {
        let excess = host.spare_in_excess(self.host_limit());
        drop(host);
        if excess > 0
            && let Some(frames) = self.frames.get().and_then(Weak::upgrade)
        {
            frames.trim(excess);
        }
    }

    /// Host memory that frames hold.
    pub fn frames_used(&self) -> usize {
        self.host.lock().frames
    }

    /// What has to be freed before so many bytes of a frame fit.
    pub fn frames_missing(&self, bytes: usize) -> usize {
        let most = part(self.host_limit(), DEMOTE_PERCENT);
        let total = self.host.lock().total();
        total.saturating_add(bytes).saturating_sub(most)
    }

    /// What frames should give back now that memory is short.
    pub fn frames_in_excess(&self) -> usize {
        let host = self.host.lock();
        let most = part(self.host_limit(), DEMOTED_PERCENT);
        host.total().saturating_sub(most).min(host.frames)
    }

    fn obstacle(&self) -> Option<String> {
        let frames = self.frames.get().and_then(Weak::upgrade);
        frames.and_then(|frames| frames.obstacle())
    }

    fn reclaim(&self, bytes: usize, of_read: bool) -> usize {
        let frames = self.frames.get().and_then(Weak::upgrade);
        frames.map_or(0, |frames| frames.reclaim(bytes, of_read))
    }

    /// Begins to free memory if it is short and frames hold some.
    fn look_ahead(&self, host: &HostLedger) {
        let most = part(self.host_limit(), DEMOTE_PERCENT);
        if host.frames > 0
            && host.total() > most
            && let Some(frames) = self.frames.get().and_then(Weak::upgrade)
        {
            frames.wake();
        }
    }

    /// The limit of host memory in bytes.
    pub fn host_limit(&self) -> usize {
        self.host_limit.load(Ordering::Relaxed)
    }

    /// Changes the limit of host memory. Of what is held beyond a lower one, frames go to disk.
    pub fn set_host_limit(&self, bytes: usize) {
        self.host_limit.store(bytes, Ordering::Relaxed);
        let host = self.host.lock();
        self.look_ahead(&host);
        self.make_way(host);
    }

    /// The limit of disk in bytes.
    pub fn disk_limit(&self) -> u64 {
        self.disk_limit
    }

    /// Host memory reserved now.
    pub fn host_used(&self) -> usize {
        self.host.lock().total()
    }

    /// Disk reserved now.
    pub fn disk_used(&self) -> u64 {
        self.disk_used.load(Ordering::Relaxed)
    }

    /// The same budget as a pool whose reservations are counted for this query, so that queries
    /// get equal shares under pressure and errors and `%memory` name the query.
    pub fn for_query(self: &Arc<Self>, query: impl Into<Arc<str>>) -> QueryBudget {
        QueryBudget::new(Arc::clone(self), query.into())
    }

    /// Claims disk before it is written. Give it back with [`Budget::release_disk`].
    pub fn reserve_disk(&self, bytes: u64) -> std::result::Result<(), FramesError> {
        let claim = self
            .disk_used
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |used| {
                used.checked_add(bytes)
                    .filter(|total| *total <= self.disk_limit)
            });
        match claim {
            Ok(before) => {
                self.disk_peak.fetch_max(before + bytes, Ordering::Relaxed);
                Ok(())
            }
            Err(used) => {
                self.disk_refused.fetch_add(1, Ordering::Relaxed);
                Err(FramesError::DiskLimit {
                    requested: bytes_text(bytes),
                    used: bytes_text(used),
                    limit: bytes_text(self.disk_limit),
                })
            }
        }
    }

    /// Gives disk back.
    pub fn release_disk(&self, bytes: u64) {
        self.disk_used.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// What is held now, for `%memory`.
    pub fn snapshot(&self) -> BudgetSnapshot {
        let host = self.host.lock();
        let mut queries: Vec<_> = host
            .queries
            .iter()
            .filter(|(_, query)| query.used > 0)
            .map(|(name, query)| QuerySnapshot {
                query: name.to_string(),
                used: query.used as u64,
                peak: query.peak as u64,
                consumers: query.consumers,
            })
            .collect();
        queries.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.query.cmp(&b.query)));
        let mut consumers: Vec<_> = host
            .consumers
            .values()
            .filter(|consumer| consumer.used > 0)
            .map(|consumer| ConsumerSnapshot {
                name: consumer.name.clone(),
                query: consumer.query.to_string(),
                used: consumer.used as u64,
                peak: consumer.peak as u64,
                can_spill: consumer.can_spill,
            })
            .collect();
        consumers.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.name.cmp(&b.name)));
        let host_tier = TierSnapshot {
            tier: Tier::Host,
            limit: self.host_limit() as u64,
            used: host.total() as u64,
            peak: host.peak as u64,
            refused: host.refused,
            frames: host.frames as u64,
        };
        BudgetSnapshot {
            tiers: vec![host_tier, self.disk_snapshot()],
            queries,
            consumers,
            overcommitted: host.total().saturating_sub(self.host_limit()) as u64,
            overcommitted_peak: host.overcommitted_peak as u64,
        }
    }

    fn disk_snapshot(&self) -> TierSnapshot {
        TierSnapshot {
            tier: Tier::Disk,
            limit: self.disk_limit,
            used: self.disk_used.load(Ordering::Relaxed),
            peak: self.disk_peak.load(Ordering::Relaxed),
            refused: self.disk_refused.load(Ordering::Relaxed),
            frames: 0,
        }
    }

    pub(crate) fn register_for(&self, query: &Arc<str>, consumer: &MemoryConsumer) {
        self.host.lock().register(query, consumer);
    }

    /// Says no, and why.
    fn refuse(
        &self,
        reservation: &MemoryReservation,
        additional: usize,
        refusal: Refusal,
    ) -> DataFusionError {
        // Never under the lock: whoever lets go of frames last gives their memory back.
        let obstacle = self.obstacle();
        let mut host = self.host.lock();
        host.refused += 1;
        let text = |bytes: usize| bytes_text(bytes as u64);
        let consumer = host.consumers.get(&reservation.consumer().id());
        let name = reservation.consumer().name();
        let query = consumer.map_or(NO_QUERY, |consumer| &consumer.query);
        let of_query = if query.is_empty() {
            String::new()
        } else {
            format!(" of query {query}")
        };
        let held = text(consumer.map_or(0, |consumer| consumer.used));
        let share = match refusal {
            Refusal::Share(share) => format!(", its share under pressure is {}", text(share)),
            Refusal::Limit | Refusal::Frames(_) | Refusal::Read => String::new(),
            Refusal::Spilling => ", the rest is for those that spill".to_string(),
        };
        let largest = host
            .consumers
            .values()
            .max_by_key(|consumer| consumer.used)
            .filter(|consumer| consumer.used > 0)
            .map_or_else(String::new, |largest| {
                format!("; {} holds the most, {}", largest.name, text(largest.used))
            });
        let frames = match host.frames {
            0 => String::new(),
            bytes if matches!(refusal, Refusal::Read) && obstacle.is_none() => {
                format!("; frames hold {} while they are read", text(bytes))
            }
            bytes => format!(
                "; frames hold {} that cannot leave memory{}",
                text(bytes),
                obstacle.map_or_else(String::new, |reason| format!(": {reason}"))
            ),
        };
        DataFusionError::ResourcesExhausted(format!(
            "reserve {} of host memory for {name}{of_query}: it holds {held}{share}, {} of {} \
             remain{largest}{frames}; raise memory.host_limit, use more engines, or let fewer queries run \
             at once",
            text(additional),
            text(self.host_limit().saturating_sub(host.total())),
            text(self.host_limit()),
        ))
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "budget(host {} of {}, disk {} of {})",
            bytes_text(self.host_used() as u64),
            bytes_text(self.host_limit() as u64),
            bytes_text(self.disk_used()),
            bytes_text(self.disk_limit),
        )
    }
}

impl MemoryPool for Budget {
    fn name(&self) -> &str {
        "budget"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.register_for(&Arc::from(NO_QUERY), consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.host.lock().forget(consumer.id());
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let mut host = self.host.lock();
        host.add(self.host_limit(), request(reservation, additional));
        self.look_ahead(&host);
        self.make_way(host);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        // The reservation is smaller by now.
        let held = reservation.size().saturating_add(shrink);
        self.host
            .lock()
            .subtract(reservation.consumer().id(), held, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let request = request(reservation, additional);
        // Set once frames have nothing more to give.
        let mut in_vain = None;
        for reclaims in 0.. {
            let mut host = self.host.lock();
            let missing = match host.refusal(self.host_limit(), request) {
                None => {
                    host.add(self.host_limit(), request);
                    self.look_ahead(&host);
                    self.make_way(host);
                    return Ok(());
                }
                Some(Refusal::Frames(missing)) if in_vain.is_none() && reclaims < RECLAIMS_MAX => {
                    missing
                }
                Some(refusal) => {
                    drop(host);
                    let refusal = match (refusal, in_vain) {
                        (Refusal::Frames(_), Some(in_vain)) => in_vain,
                        _ => refusal,
                    };
                    return Err(self.refuse(reservation, additional, refusal));
                }
            };
            let of_read = host.comes_before_readers(self.host_limit(), request);
            // Never under the lock: what leaves memory is counted, and takes a while to write.
            drop(host);
            // Another request may have made them give all they had while this one waited for its turn, so
            // that there is room now.
            if self.reclaim(missing, of_read) == 0 {
                in_vain = Some(match of_read {
                    true => Refusal::Limit,
                    false => Refusal::Read,
                });
            }
        }
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.host_used()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.host_limit())
    }
}

fn request(reservation: &MemoryReservation, additional: usize) -> Request {
    Request {
        id: reservation.consumer().id(),
        held: reservation.size(),
        additional,
    }
}

fn part(limit: usize, percent: usize) -> usize {
    limit / 100 * percent
}
