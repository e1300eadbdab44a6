//! One plan of one query on this engine: its operations, the tasks that feed them, and how it
//! ended. Ending it frees everything it holds.

use crate::communicator::Communicator;
use crate::counters::LiveCounters;
use crate::ending::{Ending, EndingCell};
use crate::frame::{Body, Frame, FrameKind, OperationId};
use crate::operation::Operation;
use crate::spill_observer::SpillObserver;
use bireme_frames::SpillDirectory;
use bireme_protocol::{Fault, QueryId};
use datafusion::execution::memory_pool::MemoryPool;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Which plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PlanKey {
    pub(crate) query: QueryId,
    pub(crate) plan: u64,
}

impl From<OperationId> for PlanKey {
    fn from(id: OperationId) -> Self {
        Self {
            query: id.query,
            plan: id.plan,
        }
    }
}

/// What the operations of a plan share.
#[derive(Debug)]
pub(crate) struct ScopeShared {
    pub(crate) key: PlanKey,
    pub(crate) communicator: Arc<dyn Communicator>,
    pub(crate) pool: Arc<dyn MemoryPool>,
    pub(crate) spill: SpillDirectory,
    pub(crate) spill_observer: SpillObserver,
    pub(crate) counters: LiveCounters,
    pub(crate) ending: EndingCell,
    pub(crate) cancel: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) wake_sweeper: Arc<Notify>,
    /// How long a sender waits for room.
    pub(crate) room_within: Duration,
}

/// A plan and its operations.
#[derive(Debug)]
pub(crate) struct PlanScope {
    pub(crate) shared: Arc<ScopeShared>,
    operations: Mutex<HashMap<u32, Operation>>,
    /// Whether this engine has its part of the plan, rather than only early messages for it.
    claimed: AtomicBool,
    pub(crate) created: Instant,
}

impl PlanScope {
    pub(crate) fn new(shared: ScopeShared) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::new(shared),
            operations: Mutex::default(),
            claimed: AtomicBool::new(false),
            created: Instant::now(),
        })
    }

    /// Notes that this engine has its part of the plan. Returns whether that is new.
    pub(crate) fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Acquire)
    }

    /// The operation, made if it is new here.
    pub(crate) fn operation(&self, id: OperationId) -> Operation {
        let mut operations = self.operations.lock();
        operations
            .entry(id.index)
            .or_insert_with(|| Operation::new(id, Arc::clone(&self.shared)))
            .clone()
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.operations.lock().values().cloned().collect()
    }

    /// Ends the plan here. Returns whether it was still running.
    pub(crate) fn end(&self, ending: Ending) -> bool {
        let closes = matches!(ending, Ending::Closed);
        let first = self.shared.ending.set(ending);
        if first {
            self.shared.cancel.cancel();
            self.shared.tasks.close();
        }
        for operation in self.operations() {
            operation.release();
        }
        if closes {
            // Operations hold what they share with the plan, never the plan: this ends them.
            self.operations.lock().clear();
        }
        first
    }

    /// Tells every other rank how the plan ended.
    pub(crate) fn broadcast(&self, kind: FrameKind, fault: Option<&Fault>) {
        let communicator = &self.shared.communicator;
        let operation = OperationId {
            query: self.shared.key.query,
            plan: self.shared.key.plan,
            index: 0,
        };
        for peer in (0..communicator.size()).filter(|peer| *peer != communicator.rank()) {
            let frame = Frame {
                operation,
                kind,
                partition: 0,
                bytes: 0,
                body: fault.map_or(Body::Empty, |fault| Body::Fault(Box::new(fault.clone()))),
            };
            if let Err(error) = communicator.post(peer, frame) {
                tracing::debug!(peer, %error, ?kind, "tell how a plan ended");
            }
        }
    }
}

impl ScopeShared {
    /// Whether operations of the plan may still be used.
    pub(crate) fn has_ended(&self) -> bool {
        self.ending.is_set()
    }
}
