//! The receiving side of an operation: queues, reservations, credits, and who is hungry. Messages
//! to send are collected under the lock and sent after it, because an in-process transport
//! delivers on the spot.

use crate::counters::count;
use crate::error::CollectivesError;
use crate::frame::{Body, Frame, FrameKind, OperationId};
use crate::partition::{Partition, Queued};
use crate::plan_scope::ScopeShared;
use crate::spill_queue::{SpillEntry, SpillQueue};
use bireme_frames::SpillTempFile;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// No operation has more partitions on one rank.
pub(crate) const PARTITIONS_MAX: usize = 16_384;
/// How long one "hungry" holds.
const HUNGRY_FOR: Duration = Duration::from_millis(100);
/// How often it is said again.
const HUNGRY_EVERY: Duration = Duration::from_millis(20);

/// Messages to send once the lock is gone: (rank, message).
pub(crate) type Outgoing = Vec<(usize, Frame)>;

/// What a consumer gets next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Rows, and the rank they came from.
    Rows(usize, Body),
    /// Rows that lie on disk.
    Spilled(Arc<SpillTempFile>, SpillEntry),
    /// There are no more.
    End,
}

/// What is to be written to disk.
#[derive(Debug)]
pub(crate) struct SpillOrder {
    pub(crate) partition: usize,
    pub(crate) queued: VecDeque<Queued>,
    pub(crate) bytes: u64,
    pub(crate) file: Option<Arc<SpillTempFile>>,
}

/// The receiving side of an operation.
#[derive(Debug)]
pub(crate) struct Receive {
    id: OperationId,
    partitions: Vec<Partition>,
    finished: Vec<bool>,
    received: Vec<u64>,
    reservation: MemoryReservation,
    /// Bytes that were taken although the budget refused them: to be spilled now.
    overdraft: u64,
    hungry_until: Option<Instant>,
    hungry_said: Option<Instant>,
}

impl Receive {
    pub(crate) fn new(id: OperationId, shared: &ScopeShared) -> Self {
        let size = shared.communicator.size();
        Self {
            id,
            partitions: Vec::new(),
            finished: vec![false; size],
            received: vec![0; size],
            reservation: MemoryConsumer::new(format!("Exchange[{}]", id.index))
                .with_can_spill(true)
                .register(&shared.pool),
            overdraft: 0,
            hungry_until: None,
            hungry_said: None,
        }
    }

    fn partition(&mut self, partition: usize) -> Option<&mut Partition> {
        if partition >= PARTITIONS_MAX {
            return None;
        }
        if self.partitions.len() <= partition {
            self.partitions
                .resize_with(partition + 1, Partition::default);
        }
        self.partitions.get_mut(partition)
    }

    fn signal(&self, kind: FrameKind, partition: usize, bytes: u64) -> Frame {
        Frame::signal(self.id, kind, partition, bytes)
    }

    fn all_finished(&self) -> bool {
        self.finished.iter().all(|finished| *finished)
    }

    fn free(&mut self, shared: &ScopeShared, bytes: u64) {
        let bytes = (bytes as usize).min(self.reservation.size());
        self.reservation.shrink(bytes);
        self.overdraft = self.overdraft.saturating_sub(bytes as u64);
        let buffered = &shared.counters.bytes_buffered;
        buffered.fetch_sub(bytes as u64, std::sync::atomic::Ordering::Relaxed);
    }

    /// Takes rows in. Memory that is refused is taken all the same, within the senders' windows,
    /// and spilled at once.
    pub(crate) fn rows(
        &mut self,
        shared: &ScopeShared,
        from: usize,
        partition_index: usize,
        window: u64,
        body: Body,
    ) -> Outgoing {
        self.received[from] += 1;
        let now = Instant::now();
        let hungry = self.hungry_until.is_some_and(|until| until > now);
        let Some(partition) = self.partition(partition_index) else {
            return Vec::new();
        };
        if partition.stopped {
            return Vec::new();
        }
        let absorb = hungry && partition.is_idle(now);
        partition.push(Queued {
            from,
            window,
            owed: !absorb,
            body,
        });
        if let Some(waker) = partition.waker.take() {
            waker.wake();
        }
        if self.reservation.try_grow(window as usize).is_err() {
            self.reservation.grow(window as usize);
            self.overdraft += window;
            shared.wake_sweeper.notify_one();
        }
        count(&shared.counters.bytes_buffered, window);
        if !absorb {
            return Vec::new();
        }
        vec![(
            from,
            self.signal(FrameKind::Credit, partition_index, window),
        )]
    }

    /// Notes that a rank sends no more. An error if batches are missing.
    pub(crate) fn finish(&mut self, from: usize, sent: u64) -> Result<(), String> {
        if self.received[from] != sent {
            return Err(format!(
                "engine {from} sent {sent} batches, {} came",
                self.received[from]
            ));
        }
        self.finished[from] = true;
        if self.all_finished() {
            self.wake_all();
        }
        Ok(())
    }

    pub(crate) fn wake_all(&mut self) {
        for partition in &mut self.partitions {
            if let Some(waker) = partition.waker.take() {
                waker.wake();
            }
        }
    }

    /// Makes the consumer of a partition. There is one at most.
    pub(crate) fn take(&mut self, partition: usize) -> Result<(), String> {
        let taken = match self.partition(partition) {
            None => return Err(format!("there are at most {PARTITIONS_MAX} partitions")),
            Some(partition) => std::mem::replace(&mut partition.taken, true),
        };
        if taken {
            return Err(format!("partition {partition} has been taken before"));
        }
        Ok(())
    }

    /// What the consumer of a partition gets next.
    pub(crate) fn poll(
        &mut self,
        shared: &ScopeShared,
        index: usize,
        context: &mut Context<'_>,
    ) -> (Poll<Next>, Outgoing) {
        let all_finished = self.all_finished();
        let Some(partition) = self.partition(index) else {
            return (Poll::Ready(Next::End), Vec::new());
        };
        partition.last_poll = Some(Instant::now());
        partition.waker = None;
        if let Some(spill) = &mut partition.spill
            && let Some(entry) = spill.pop()
        {
            let file = spill.file();
            let outgoing = if entry.owed {
                let credit = partition.consumed(entry.from, entry.window);
                self.credit(index, entry.from, credit)
            } else {
                Vec::new()
            };
            return (Poll::Ready(Next::Spilled(file, entry)), outgoing);
        }
        if partition.spilling {
            partition.waker = Some(context.waker().clone());
            return (Poll::Pending, Vec::new());
        }
        // Drained: the file goes, and its disk with it.
        partition.spill = None;
        if let Some(queued) = partition.pop() {
            let credit = if queued.owed {
                partition.consumed(queued.from, queued.window)
            } else {
                None
            };
            self.free(shared, queued.window);
            let outgoing = self.credit(index, queued.from, credit);
            return (Poll::Ready(Next::Rows(queued.from, queued.body)), outgoing);
        }
        if all_finished {
            return (Poll::Ready(Next::End), Vec::new());
        }
        partition.waker = Some(context.waker().clone());
        partition.hungry_since.get_or_insert_with(Instant::now);
        (Poll::Pending, Vec::new())
    }

    fn credit(&self, partition: usize, to: usize, bytes: Option<u64>) -> Outgoing {
        bytes
            .map(|bytes| (to, self.signal(FrameKind::Credit, partition, bytes)))
            .into_iter()
            .collect()
    }

    /// The consumer of a partition is gone: drop what waits and tell every rank.
    pub(crate) fn stop(&mut self, shared: &ScopeShared, index: usize) -> Outgoing {
        let all_finished = self.all_finished();
        let Some(partition) = self.partition(index) else {
            return Vec::new();
        };
        partition.stopped = true;
        partition.waker = None;
        let freed = partition.clear();
        self.free(shared, freed);
        if all_finished {
            return Vec::new();
        }
        let size = self.finished.len();
        let stop = |rank| (rank, self.signal(FrameKind::Stop, index, 0));
        (0..size).map(stop).collect()
    }

    /// Another rank has a hungry partition.
    pub(crate) fn hear_hungry(&mut self, now: Instant) {
        self.hungry_until = Some(now + HUNGRY_FOR);
    }

    /// What is due: say that a partition here is hungry; if one is anywhere, give credit for what
    /// lies in partitions nobody polls.
    pub(crate) fn sweep(&mut self, rank: usize, now: Instant) -> Outgoing {
        let mut outgoing = Vec::new();
        if !self.all_finished() && self.partitions.iter().any(|one| one.is_hungry(now)) {
            self.hungry_until = Some(now + HUNGRY_FOR);
            let said = self.hungry_said;
            if said.is_none_or(|said| now.saturating_duration_since(said) >= HUNGRY_EVERY) {
                self.hungry_said = Some(now);
                for peer in (0..self.finished.len()).filter(|peer| *peer != rank) {
                    outgoing.push((peer, self.signal(FrameKind::Hungry, 0, 0)));
                }
            }
        }
        if self.hungry_until.is_none_or(|until| until <= now) {
            return outgoing;
        }
        let id = self.id;
        for (index, partition) in self.partitions.iter_mut().enumerate() {
            if partition.stopped || !partition.is_idle(now) {
                continue;
            }
            let credit = partition.absorb().into_iter();
            outgoing.extend(
                credit.map(|(from, bytes)| {
                    (from, Frame::signal(id, FrameKind::Credit, index, bytes))
                }),
            );
        }
        outgoing
    }

    /// What must go to disk because the budget refused it: partitions nobody polls first, then
    /// the largest.
    pub(crate) fn order_spill(&mut self, now: Instant) -> Option<SpillOrder> {
        if self.overdraft == 0 || self.partitions.iter().any(|one| one.spilling) {
            return None;
        }
        let candidates = self.partitions.iter_mut().enumerate();
        let (index, partition) = candidates
            .filter(|(_, partition)| !partition.spilling && !partition.queue.is_empty())
            .max_by_key(|(_, partition)| (partition.is_idle(now), partition.queued_bytes))?;
        let file = partition.spill.as_ref().map(SpillQueue::file);
        let (queued, bytes) = partition.take_queue();
        partition.spilling = true;
        Some(SpillOrder {
            partition: index,
            queued,
            bytes,
            file,
        })
    }

    /// What was ordered is on disk now.
    pub(crate) fn spilled(
        &mut self,
        shared: &ScopeShared,
        index: usize,
        bytes: u64,
        file: Arc<SpillTempFile>,
        entries: Vec<SpillEntry>,
    ) {
        self.free(shared, bytes);
        let Some(partition) = self.partition(index) else {
            return;
        };
        partition.spilling = false;
        if !partition.stopped {
            let spill = partition.spill.get_or_insert_with(|| SpillQueue::new(file));
            spill.extend(entries);
        }
        if let Some(waker) = partition.waker.take() {
            waker.wake();
        }
    }

    /// What was ordered is not wanted any more, or could not be written.
    pub(crate) fn drop_spilled(&mut self, shared: &ScopeShared, index: usize, bytes: u64) {
        self.free(shared, bytes);
        if let Some(partition) = self.partition(index) {
            partition.spilling = false;
            if let Some(waker) = partition.waker.take() {
                waker.wake();
            }
        }
    }

    /// Drops everything and wakes everybody: the plan has ended.
    pub(crate) fn release(&mut self, shared: &ScopeShared) {
        let mut freed = 0;
        for partition in &mut self.partitions {
            freed += partition.clear();
        }
        self.free(shared, freed);
        self.wake_all();
    }

    /// For errors about one partition.
    pub(crate) fn misused(&self, action: &'static str, reason: String) -> CollectivesError {
        CollectivesError::Misused {
            action,
            index: self.id.index,
            query: self.id.query.short(),
            reason,
        }
    }
}
