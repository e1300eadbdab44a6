//! The one budget of an engine. It is DataFusion's memory pool, so operators, collectives and
//! frames draw on the same bytes, and it counts the disk tier for the spill directory. Spilling
//! itself is left to the requester: being refused is what makes it spill.

use crate::bytes_text::bytes_text;
use crate::error::FramesError;
use crate::snapshot::{BudgetSnapshot, ConsumerSnapshot, QuerySnapshot, TierSnapshot};
use crate::tier::Tier;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Above this part of the host limit a spillable consumer is held to its share; below it the
/// first to ask gets, so that one query alone can use the machine.
const PRESSURE_PERCENT: usize = 75;

/// The name of work that belongs to no query.
const NO_QUERY: &str = "";

/// What an engine may hold and what it holds.
#[derive(Debug)]
pub struct Budget {
    host_limit: AtomicUsize,
    host: Mutex<Host>,
    disk_limit: u64,
    disk_used: AtomicU64,
    disk_peak: AtomicU64,
    disk_refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Host {
    used: usize,
    peak: usize,
    refused: u64,
    overcommitted_peak: usize,
    consumers: HashMap<usize, Consumer>,
    queries: HashMap<Arc<str>, Query>,
}

#[derive(Debug)]
struct Consumer {
    name: String,
    query: Arc<str>,
    can_spill: bool,
    used: usize,
    peak: usize,
    registrations: usize,
}

#[derive(Debug, Default)]
struct Query {
    used: usize,
    peak: usize,
    unspillable: usize,
    active_spillers: usize,
    consumers: usize,
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
        })
    }

    /// The limit of host memory in bytes.
    pub fn host_limit(&self) -> usize {
        self.host_limit.load(Ordering::Relaxed)
    }

    /// Changes the limit of host memory. What is held beyond a lower one stays held.
    pub fn set_host_limit(&self, bytes: usize) {
        self.host_limit.store(bytes, Ordering::Relaxed);
    }

    /// The limit of disk in bytes.
    pub fn disk_limit(&self) -> u64 {
        self.disk_limit
    }

    /// Host memory reserved now.
    pub fn host_used(&self) -> usize {
        self.host.lock().used
    }

    /// Disk reserved now.
    pub fn disk_used(&self) -> u64 {
        self.disk_used.load(Ordering::Relaxed)
    }

    /// The same budget as a pool whose reservations are counted for this query, so that queries
    /// get equal shares under pressure and errors and `%memory` name the query.
    pub fn for_query(self: &Arc<Self>, query: impl Into<Arc<str>>) -> QueryBudget {
        QueryBudget {
            budget: Arc::clone(self),
            query: query.into(),
        }
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
            used: host.used as u64,
            peak: host.peak as u64,
            refused: host.refused,
        };
        BudgetSnapshot {
            tiers: vec![host_tier, self.disk_snapshot()],
            queries,
            consumers,
            overcommitted: host.used.saturating_sub(self.host_limit()) as u64,
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
        }
    }

    fn register_for(&self, query: &Arc<str>, consumer: &MemoryConsumer) {
        let mut host = self.host.lock();
        host.queries.entry(Arc::clone(query)).or_default().consumers += 1;
        let entry = host
            .consumers
            .entry(consumer.id())
            .or_insert_with(|| Consumer {
                name: consumer.name().to_string(),
                query: Arc::clone(query),
                can_spill: consumer.can_spill(),
                used: 0,
                peak: 0,
                registrations: 0,
            });
        entry.registrations += 1;
    }

    /// `None` if the request is granted, else the consumer's share when that was what refused it.
    fn refusal(&self, host: &Host, id: usize, additional: usize) -> Option<Refusal> {
        let total = host.used.saturating_add(additional);
        let limit = self.host_limit();
        if total > limit {
            return Some(Refusal::Limit);
        }
        let consumer = host.consumers.get(&id)?;
        let under_pressure = total > limit / 100 * PRESSURE_PERCENT;
        if !consumer.can_spill || !under_pressure {
            return None;
        }
        let query = host.queries.get(&consumer.query)?;
        let others = host
            .queries
            .iter()
            .filter(|(name, query)| query.used > 0 && **name != consumer.query)
            .count();
        let query_share = limit / (others + 1);
        let spillers = query.active_spillers + usize::from(consumer.used == 0);
        let share = query_share.saturating_sub(query.unspillable) / spillers.max(1);
        // Whoever asks alone may use all there is: nobody is starved by it.
        let alone = others == 0 && spillers == 1;
        let wanted = consumer.used.saturating_add(additional);
        (!alone && wanted > share).then_some(Refusal::Share(share))
    }

    fn refused_error(
        &self,
        host: &Host,
        reservation: &MemoryReservation,
        additional: usize,
        refusal: Refusal,
    ) -> DataFusionError {
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
            Refusal::Limit => String::new(),
        };
        let largest = host
            .consumers
            .values()
            .max_by_key(|consumer| consumer.used)
            .filter(|consumer| consumer.used > 0)
            .map_or_else(String::new, |largest| {
                format!("; {} holds the most, {}", largest.name, text(largest.used))
            });
        DataFusionError::ResourcesExhausted(format!(
            "reserve {} of host memory for {name}{of_query}: it holds {held}{share}, {} of {} \
             remain{largest}; raise memory.host_limit, use more engines, or let fewer queries run \
             at once",
            text(additional),
            text(self.host_limit().saturating_sub(host.used)),
            text(self.host_limit()),
        ))
    }
}

#[derive(Clone, Copy)]
enum Refusal {
    Limit,
    Share(usize),
}

impl Host {
    fn add(&mut self, id: usize, additional: usize, limit: usize) {
        self.used = self.used.saturating_add(additional);
        self.peak = self.peak.max(self.used);
        self.overcommitted_peak = self.overcommitted_peak.max(self.used.saturating_sub(limit));
        let Some(consumer) = self.consumers.get_mut(&id) else {
            return;
        };
        let was_idle = consumer.used == 0;
        consumer.used = consumer.used.saturating_add(additional);
        consumer.peak = consumer.peak.max(consumer.used);
        let Some(query) = self.queries.get_mut(&consumer.query) else {
            return;
        };
        query.used = query.used.saturating_add(additional);
        query.peak = query.peak.max(query.used);
        if !consumer.can_spill {
            query.unspillable = query.unspillable.saturating_add(additional);
        } else if was_idle && additional > 0 {
            query.active_spillers += 1;
        }
    }

    fn subtract(&mut self, id: usize, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
        let Some(consumer) = self.consumers.get_mut(&id) else {
            return;
        };
        let was_active = consumer.used > 0;
        consumer.used = consumer.used.saturating_sub(bytes);
        let Some(query) = self.queries.get_mut(&consumer.query) else {
            return;
        };
        query.used = query.used.saturating_sub(bytes);
        if !consumer.can_spill {
            query.unspillable = query.unspillable.saturating_sub(bytes);
        } else if was_active && consumer.used == 0 {
            query.active_spillers = query.active_spillers.saturating_sub(1);
        }
    }

    fn forget(&mut self, id: usize) {
        let Some(consumer) = self.consumers.get_mut(&id) else {
            return;
        };
        consumer.registrations -= 1;
        let gone = consumer.registrations == 0;
        let name = Arc::clone(&consumer.query);
        if gone {
            self.consumers.remove(&id);
        }
        if let Some(query) = self.queries.get_mut(&name) {
            query.consumers = query.consumers.saturating_sub(1);
            if query.consumers == 0 {
                self.queries.remove(&name);
            }
        }
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
        let id = reservation.consumer().id();
        self.host.lock().add(id, additional, self.host_limit());
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.host
            .lock()
            .subtract(reservation.consumer().id(), shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut host = self.host.lock();
        let id = reservation.consumer().id();
        match self.refusal(&host, id, additional) {
            None => {
                host.add(id, additional, self.host_limit());
                Ok(())
            }
            Some(refusal) => {
                host.refused += 1;
                Err(self.refused_error(&host, reservation, additional, refusal))
            }
        }
    }

    fn reserved(&self) -> usize {
        self.host_used()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.host_limit())
    }
}

/// A [`Budget`] seen by one query. The bytes are the budget's own.
#[derive(Debug)]
pub struct QueryBudget {
    budget: Arc<Budget>,
    query: Arc<str>,
}

impl QueryBudget {
    /// The budget behind it.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }
}

impl fmt::Display for QueryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for query {}", self.budget, self.query)
    }
}

impl MemoryPool for QueryBudget {
    fn name(&self) -> &str {
        self.budget.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.budget.register_for(&self.query, consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.budget.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.budget.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.budget.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.budget.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.budget.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.budget.memory_limit()
    }
}
