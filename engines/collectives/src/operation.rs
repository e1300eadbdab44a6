//! One operation on one rank: the handle plan nodes send and receive through.

use crate::counters::count;
use crate::credit::{Credit, Permit};
use crate::error::CollectivesError;
use crate::frame::{Body, Frame, FrameKind, OperationId};
use crate::plan_scope::ScopeShared;
use crate::receive::{Next, Outgoing, PARTITIONS_MAX, Receive};
use crate::receiver::Receiver;
use crate::spill_observer::SpillMove;
use crate::spill_queue;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bireme_frames::row_bytes;
use bireme_protocol::Fault;
use parking_lot::Mutex;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

/// What this rank knows of an operation from its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationSpec {
    /// The schema of the rows.
    pub schema: SchemaRef,
    /// Partitions received on each rank: `partitions[rank]`.
    pub partitions: Vec<usize>,
}

/// An operation on this rank. Clones are the same operation.
#[derive(Clone, Debug)]
pub struct Operation {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    id: OperationId,
    shared: Arc<ScopeShared>,
    spec: OnceLock<OperationSpec>,
    started: AtomicBool,
    credit: Credit,
    sent: Vec<AtomicU64>,
    receive: Mutex<Receive>,
    fail: OnceLock<FailHook>,
}

/// Fails the plan everywhere; set by the exchange.
struct FailHook(Box<dyn Fn(Fault) + Send + Sync>);

impl std::fmt::Debug for FailHook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FailHook")
    }
}

impl Operation {
    pub(crate) fn new(id: OperationId, shared: Arc<ScopeShared>) -> Self {
        let size = shared.communicator.size();
        Self {
            state: Arc::new(State {
                id,
                spec: OnceLock::new(),
                started: AtomicBool::new(false),
                credit: Credit::new(size),
                sent: (0..size).map(|_| AtomicU64::new(0)).collect(),
                receive: Mutex::new(Receive::new(id, &shared)),
                fail: OnceLock::new(),
                shared,
            }),
        }
    }

    pub(crate) fn open(
        &self,
        spec: OperationSpec,
        fail: impl Fn(Fault) + Send + Sync + 'static,
    ) -> Result<(), CollectivesError> {
        let size = self.state.shared.communicator.size();
        if spec.partitions.len() != size
            || spec.partitions.iter().any(|count| *count > PARTITIONS_MAX)
        {
            let reason = format!(
                "partitions {:?} on {size} engines, at most {PARTITIONS_MAX} each",
                spec.partitions
            );
            return Err(self.misused("open", reason));
        }
        if self.state.spec.get_or_init(|| spec.clone()) != &spec {
            return Err(self.misused("open", "it is open with another schema".to_string()));
        }
        self.state.fail.get_or_init(|| FailHook(Box::new(fail)));
        Ok(())
    }

    /// Its id.
    pub fn id(&self) -> OperationId {
        self.state.id
    }

    /// The rank of this engine.
    pub fn rank(&self) -> usize {
        self.state.shared.communicator.rank()
    }

    /// How many engines take part.
    pub fn size(&self) -> usize {
        self.state.shared.communicator.size()
    }

    /// Whether the caller is the first to start the sending side here.
    pub fn start(&self) -> bool {
        !self.state.started.swap(true, Ordering::AcqRel)
    }

    /// Runs a task until it is done or the plan ends, whichever is first.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let shared = &self.state.shared;
        let cancel = shared.cancel.clone();
        shared.tasks.spawn(async move {
            cancel.run_until_cancelled(task).await;
        });
    }

    /// Sends rows to a partition of a rank, waiting while it has no room. Returns the bytes they
    /// take, or `None` if nobody wants them. The wait ends with the plan, or at its own deadline.
    pub async fn send(
        &self,
        to: usize,
        partition: usize,
        batch: RecordBatch,
    ) -> Result<Option<u64>, CollectivesError> {
        let rows = batch.num_rows() as u64;
        let bytes = row_bytes(&batch).max(1) as u64;
        if self.wait_for_room(to, partition, bytes).await? == Permit::Discard {
            return Ok(None);
        }
        let counters = &self.state.shared.counters;
        count(&counters.rows_sent, rows);
        self.state.sent[to].fetch_add(1, Ordering::AcqRel);
        if to == self.rank() {
            count(&counters.rows_received, rows);
            self.take_rows(to, partition, bytes, Body::Batch(batch));
            return Ok(Some(bytes));
        }
        count(&counters.messages_sent, 1);
        let mut frame = Frame::signal(self.state.id, FrameKind::Batch, partition, bytes);
        frame.body = Body::Batch(batch);
        let wired = self.state.shared.communicator.send(to, frame).await?;
        count(&counters.bytes_sent, wired.max(bytes));
        Ok(Some(bytes))
    }

    async fn wait_for_room(
        &self,
        to: usize,
        partition: usize,
        bytes: u64,
    ) -> Result<Permit, CollectivesError> {
        let mut since = None;
        loop {
            let changed = self.state.credit.changed().notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            self.state.shared.ending.check("send on", self.state.id)?;
            let permit = self.state.credit.take(to, partition, bytes);
            if permit != Permit::Wait {
                if let Some(since) = since {
                    let waited = Instant::saturating_duration_since(&Instant::now(), since);
                    let nanoseconds = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
                    count(&self.state.shared.counters.wait_nanoseconds, nanoseconds);
                }
                return Ok(permit);
            }
            let since = *since.get_or_insert_with(Instant::now);
            let within = self.state.shared.room_within;
            let left = within.saturating_sub(since.elapsed());
            if tokio::time::timeout(left, changed).await.is_err() {
                return Err(CollectivesError::NoRoom {
                    bytes,
                    partition,
                    peer: to,
                    index: self.state.id.index,
                    query: self.state.id.query.short(),
                    seconds: within.as_secs_f64(),
                });
            }
        }
    }

    /// Whether anybody on any rank still wants rows.
    pub fn is_wanted(&self) -> bool {
        self.state.spec.get().is_none_or(|spec| {
            let mut ranks = spec.partitions.iter().enumerate();
            ranks.any(|(rank, partitions)| self.state.credit.stopped(rank) < *partitions)
        })
    }

    /// Tells every rank that no more rows come from here. Every rank says so once.
    pub async fn finish(&self) -> Result<(), CollectivesError> {
        for to in 0..self.size() {
            let sent = self.state.sent[to].load(Ordering::Acquire);
            let frame = Frame::signal(self.state.id, FrameKind::Finish, 0, sent);
            if to == self.rank() {
                self.apply(to, frame);
            } else {
                self.state.shared.communicator.send(to, frame).await?;
            }
        }
        Ok(())
    }

    /// Fails the plan on every rank with this root cause.
    pub fn fail(&self, fault: Fault) {
        if let Some(FailHook(fail)) = self.state.fail.get() {
            fail(fault.on_engine(u32::try_from(self.rank()).unwrap_or(u32::MAX)));
        }
    }

    /// The rows of a partition of this rank. There is one receiver per partition; dropping it
    /// tells every rank to send no more to it.
    pub fn receive(&self, partition: usize) -> Result<Receiver, CollectivesError> {
        let Some(spec) = self.state.spec.get() else {
            return Err(self.misused("receive from", "it is not open".to_string()));
        };
        if partition >= spec.partitions[self.rank()] {
            let reason = format!(
                "partition {partition} of {} on this engine",
                spec.partitions[self.rank()]
            );
            return Err(self.misused("receive from", reason));
        }
        let mut receive = self.state.receive.lock();
        receive
            .take(partition)
            .map_err(|reason| receive.misused("receive from", reason))?;
        drop(receive);
        let schema = Arc::clone(&spec.schema);
        Ok(Receiver::new(self.clone(), schema, partition))
    }

    fn misused(&self, action: &'static str, reason: String) -> CollectivesError {
        self.state.receive.lock().misused(action, reason)
    }

    fn take_rows(&self, from: usize, partition: usize, window: u64, body: Body) {
        let outgoing = {
            let mut receive = self.state.receive.lock();
            // Checked under the lock: what comes after the end's release must not stay.
            if self.state.shared.has_ended() {
                return;
            }
            receive.rows(&self.state.shared, from, partition, window, body)
        };
        self.emit(outgoing);
    }

    /// Acts on a message from a rank, which may be this one.
    pub(crate) fn apply(&self, from: usize, frame: Frame) {
        let partition = frame.partition as usize;
        let counters = &self.state.shared.counters;
        match frame.kind {
            FrameKind::Batch => {
                count(&counters.messages_received, 1);
                count(&counters.bytes_received, frame.bytes);
                self.take_rows(from, partition, frame.bytes, frame.body);
            }
            FrameKind::Finish => {
                let finished = self.state.receive.lock().finish(from, frame.bytes);
                if let Err(reason) = finished
                    && !self.state.shared.has_ended()
                {
                    self.fail(Fault::internal(format!(
                        "finish operation {} of query {}: {reason}",
                        self.state.id.index,
                        self.state.id.query.short()
                    )));
                }
            }
            FrameKind::Credit if partition < PARTITIONS_MAX => {
                self.state.credit.give(from, partition, frame.bytes);
            }
            FrameKind::Stop if partition < PARTITIONS_MAX => {
                self.state.credit.stop(from, partition);
            }
            FrameKind::Hungry => {
                self.state.receive.lock().hear_hungry(Instant::now());
                self.state.shared.wake_sweeper.notify_one();
            }
            // The exchange acts on the rest.
            _ => {}
        }
    }

    fn emit(&self, outgoing: Outgoing) {
        for (to, frame) in outgoing {
            if to == self.rank() {
                self.apply(to, frame);
            } else if let Err(error) = self.state.shared.communicator.post(to, frame) {
                // The transport tells the exchange when a rank is gone; that fails the plan.
                tracing::debug!(to, %error, "post a message");
            }
        }
    }

    pub(crate) fn poll_next(
        &self,
        partition: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<Next, CollectivesError>> {
        let (next, outgoing) = {
            let mut receive = self.state.receive.lock();
            self.state
                .shared
                .ending
                .check("receive from", self.state.id)?;
            receive.poll(&self.state.shared, partition, context)
        };
        self.emit(outgoing);
        next.map(Ok)
    }

    pub(crate) fn count_rows_received(&self, rows: usize) {
        count(&self.state.shared.counters.rows_received, rows as u64);
    }

    pub(crate) fn stop_partition(&self, partition: usize) {
        if self.state.shared.has_ended() {
            return;
        }
        let outgoing = self
            .state
            .receive
            .lock()
            .stop(&self.state.shared, partition);
        self.emit(outgoing);
    }

    /// Does what is due: hungry signals, credit for partitions nobody polls, spilling.
    pub(crate) fn sweep(&self, now: Instant) {
        if self.state.shared.has_ended() {
            return;
        }
        let outgoing = self.state.receive.lock().sweep(self.rank(), now);
        self.emit(outgoing);
        // One order at a time: the overdraft stands until its bytes are written.
        if let Some(order) = self.state.receive.lock().order_spill(now) {
            let operation = self.clone();
            let write = move || operation.write_spill(order);
            self.state.shared.tasks.spawn_blocking(write);
        }
    }

    fn write_spill(&self, order: crate::receive::SpillOrder) {
        let shared = &self.state.shared;
        if shared.has_ended() {
            let mut receive = self.state.receive.lock();
            receive.drop_spilled(shared, order.partition, order.bytes);
            return;
        }
        let (started, begun) = (SystemTime::now(), Instant::now());
        match spill_queue::write(&shared.spill, order.file, order.queued) {
            Ok((file, entries)) => {
                let written: u64 = entries.iter().map(spill_queue::SpillEntry::bytes).sum();
                count(&shared.counters.bytes_spilled, written);
                let took = begun.elapsed();
                self.tell_moved(order.partition, false, written, (started, took));
                let mut receive = self.state.receive.lock();
                if shared.has_ended() {
                    receive.drop_spilled(shared, order.partition, order.bytes);
                } else {
                    receive.spilled(shared, order.partition, order.bytes, file, entries);
                }
            }
            Err(error) => {
                self.state
                    .receive
                    .lock()
                    .drop_spilled(shared, order.partition, order.bytes);
                self.fail(Fault::from(&error));
            }
        }
        shared.wake_sweeper.notify_one();
    }

    /// Tells that rows of a partition went to disk or came back.
    pub(crate) fn tell_moved(
        &self,
        partition: usize,
        is_back: bool,
        bytes: u64,
        (started, took): (SystemTime, Duration),
    ) {
        let shared = &self.state.shared;
        shared.spill_observer.tell(SpillMove {
            query: shared.key.query,
            operation: self.state.id.index,
            partition,
            is_back,
            bytes,
            started,
            took,
        });
    }

    /// Frees all it holds and wakes all who wait: the plan has ended.
    pub(crate) fn release(&self) {
        self.state.receive.lock().release(&self.state.shared);
        self.state.credit.changed().notify_waiters();
    }
}
