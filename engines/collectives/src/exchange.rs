//! The service of an engine that all collectives of all queries go through: it finds the plan a
//! message belongs to, keeps early messages until this engine has its part of the plan, and ends
//! plans on all ranks.

use crate::communicator::{Communicator, Inbox};
use crate::counters::{LiveCounters, QueryCounters};
use crate::ending::{Ending, EndingCell};
use crate::error::CollectivesError;
use crate::frame::{Body, Frame, FrameKind, OperationId};
use crate::operation::{Operation, OperationSpec};
use crate::plan_end::PlanEnd;
use crate::plan_scope::{PlanKey, PlanScope, ScopeShared};
use crate::spill_observer::{SpillMove, SpillObserver};
use crate::sweeper;
use bireme_frames::SpillDirectory;
use bireme_protocol::{ErrorCode, Fault, QueryId};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Ended plans that are remembered, so that late messages for them are dropped.
const ENDED_MAX: usize = 4096;
/// Ended queries whose counters can still be asked for.
const HISTORY_MAX: usize = 256;
/// Plans that may be known from early messages alone.
const UNCLAIMED_MAX: usize = 1024;
/// How long messages wait for this engine's part of their plan.
const UNCLAIMED_FOR: Duration = Duration::from_secs(30);
/// How long a sender waits for room, unless told otherwise. Rows may wait for as long as the node
/// that reads them computes: this ends only what would never end.
const ROOM_WITHIN: Duration = Duration::from_secs(3600);
/// How long a failed plan that nobody closes is remembered with its root cause.
const FAILED_FOR: Duration = Duration::from_secs(120);

/// One per engine: holds the communicator and every open operation.
#[derive(Debug)]
pub struct Exchange {
    communicator: Arc<dyn Communicator>,
    spill: SpillDirectory,
    spill_observer: SpillObserver,
    room_within: Duration,
    plans: Mutex<Plans>,
    wake_sweeper: Arc<Notify>,
    sweeper: OnceLock<AbortOnDropHandle<()>>,
}

#[derive(Debug, Default)]
struct Plans {
    open: HashMap<PlanKey, Arc<PlanScope>>,
    ended: HashSet<PlanKey>,
    ended_order: VecDeque<PlanKey>,
    history: VecDeque<(QueryId, QueryCounters, Option<Fault>)>,
    /// Of all plans that have ended.
    total: QueryCounters,
}

/// Ends a plan on every engine when it is dropped. The head's root node holds it.
#[derive(Debug)]
pub struct PlanGuard {
    exchange: Weak<Exchange>,
    key: PlanKey,
}

impl Exchange {
    /// Starts the service on the current tokio runtime. What does not fit in the budget of the
    /// spill directory goes there.
    pub fn start(communicator: Arc<dyn Communicator>, spill: SpillDirectory) -> Arc<Self> {
        Self::start_with_deadline(communicator, spill, ROOM_WITHIN)
    }

    /// The same with another deadline for senders that wait for room.
    pub fn start_with_deadline(
        communicator: Arc<dyn Communicator>,
        spill: SpillDirectory,
        room_within: Duration,
    ) -> Arc<Self> {
        let exchange = Arc::new(Self {
            communicator: Arc::clone(&communicator),
            spill,
            spill_observer: SpillObserver::default(),
            room_within,
            plans: Mutex::default(),
            wake_sweeper: Arc::new(Notify::new()),
            sweeper: OnceLock::new(),
        });
        let weak = Arc::downgrade(&exchange);
        communicator.attach(Weak::<Self>::clone(&weak));
        let wake = Arc::clone(&exchange.wake_sweeper);
        exchange.sweeper.get_or_init(|| sweeper::start(weak, wake));
        exchange
    }

    /// Tells of all rows that go to disk and come back from now on; there is one listener.
    pub fn on_spill(&self, observe: impl Fn(SpillMove) + Send + Sync + 'static) {
        self.spill_observer.set(Box::new(observe));
    }

    /// This engine's rank.
    pub fn rank(&self) -> usize {
        self.communicator.rank()
    }

    /// How many engines take part.
    pub fn size(&self) -> usize {
        self.communicator.size()
    }

    /// The spill directory, and through it the budget.
    pub fn spill_directory(&self) -> &SpillDirectory {
        &self.spill
    }

    /// Opens this engine's part of an operation, or finds it open.
    pub fn open(
        self: &Arc<Self>,
        id: OperationId,
        spec: OperationSpec,
    ) -> Result<Operation, CollectivesError> {
        let key = PlanKey::from(id);
        let scope = self.scope(key).ok_or_else(|| self.ended(id))?;
        self.claim(&scope);
        scope.shared.ending.check("open", id)?;
        let operation = scope.operation(id);
        let weak = Arc::downgrade(self);
        operation.open(spec, move |fault| {
            if let Some(exchange) = weak.upgrade() {
                exchange.fail_plan(key, fault);
            }
        })?;
        Ok(operation)
    }

    /// Why a plan that has ended cannot be taken part in: its root cause, if it failed, so that a late
    /// part of it does not report another.
    fn ended(&self, id: OperationId) -> CollectivesError {
        match self.fault(id.query) {
            Some(fault) => CollectivesError::Failed {
                fault: Box::new(fault),
            },
            None => CollectivesError::Ended {
                action: "open",
                index: id.index,
                query: id.query.short(),
            },
        }
    }

    /// A guard that ends the plan on every engine when it is dropped.
    pub fn guard(self: &Arc<Self>, query: QueryId, plan: u64) -> PlanGuard {
        let key = PlanKey { query, plan };
        if let Some(scope) = self.scope(key) {
            self.claim(&scope);
        }
        PlanGuard {
            exchange: Arc::downgrade(self),
            key,
        }
    }

    /// Tells when the plan has ended on this engine, well or not.
    pub fn end_of(&self, query: QueryId, plan: u64) -> PlanEnd {
        let key = PlanKey { query, plan };
        PlanEnd::new(key, self.scope(key).map(|scope| Arc::clone(&scope.shared)))
    }

    /// Ends every operation of the query on every engine and frees what it holds.
    pub fn close_query(&self, query: QueryId) {
        for key in self.plans_of(query) {
            self.close_plan(key, true);
        }
    }

    /// Fails every operation of the query on every engine with this root cause.
    pub fn abort_query(&self, query: QueryId, fault: Fault) {
        for key in self.plans_of(query) {
            self.fail_plan(key, fault.clone());
        }
    }

    /// What this engine has moved for the query so far; zeros for a query it does not know.
    pub fn counters(&self, query: QueryId) -> QueryCounters {
        let mut sum = QueryCounters::default();
        let plans = self.plans.lock();
        for (_, counters, _) in plans.history.iter().filter(|(of, ..)| *of == query) {
            sum.add(counters);
        }
        for scope in plans.open.values() {
            if scope.shared.key.query == query {
                sum.add(&scope.shared.counters.read());
            }
        }
        sum
    }

    /// What this engine has moved for all queries.
    pub fn total(&self) -> QueryCounters {
        let plans = self.plans.lock();
        let mut sum = plans.total;
        for scope in plans.open.values() {
            sum.add(&scope.shared.counters.read());
        }
        sum
    }

    /// Why the query failed, if an engine said so.
    pub fn fault(&self, query: QueryId) -> Option<Fault> {
        let plans = self.plans.lock();
        let open = plans.open.values();
        let live = open.filter(|scope| scope.shared.key.query == query);
        let mut faults = live.filter_map(|scope| match scope.shared.ending.get() {
            Some(Ending::Failed(fault)) => Some((**fault).clone()),
            _ => None,
        });
        faults.next().or_else(|| {
            let history = plans.history.iter().rev();
            history
                .filter(|(of, ..)| *of == query)
                .find_map(|(.., fault)| fault.clone())
        })
    }

    /// How many plans are open here, failed ones that nobody has closed among them.
    pub fn open_plans(&self) -> usize {
        self.plans.lock().open.len()
    }

    fn plans_of(&self, query: QueryId) -> Vec<PlanKey> {
        let plans = self.plans.lock();
        let keys = plans.open.keys().copied();
        keys.filter(|key| key.query == query).collect()
    }

    /// Takes this engine's part in a plan. A rank that is gone already is missed from then on.
    fn claim(&self, scope: &PlanScope) {
        if scope.claim() {
            self.communicator.reach_all();
        }
    }

    /// The plan, made if it is new here; `None` if it has ended.
    fn scope(&self, key: PlanKey) -> Option<Arc<PlanScope>> {
        let mut plans = self.plans.lock();
        if plans.ended.contains(&key) {
            return None;
        }
        if let Some(scope) = plans.open.get(&key) {
            return Some(Arc::clone(scope));
        }
        let budget = self.spill.budget();
        let scope = PlanScope::new(ScopeShared {
            key,
            communicator: Arc::clone(&self.communicator),
            pool: Arc::new(budget.for_query(key.query.short())),
            spill: self.spill.clone(),
            spill_observer: self.spill_observer.clone(),
            counters: LiveCounters::default(),
            ending: EndingCell::default(),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
            wake_sweeper: Arc::clone(&self.wake_sweeper),
            room_within: self.room_within,
        });
        plans.open.insert(key, Arc::clone(&scope));
        drop(plans);
        self.wake_sweeper.notify_one();
        Some(scope)
    }

    fn close_plan(&self, key: PlanKey, tell: bool) {
        let open = self.plans.lock().open.get(&key).map(Arc::clone);
        let Some(scope) = open else {
            self.plans.lock().remember_ended(key);
            return;
        };
        scope.end(Ending::Closed);
        let fault = match scope.shared.ending.get() {
            Some(Ending::Failed(fault)) => Some((**fault).clone()),
            _ => None,
        };
        let counters = scope.shared.counters.read();
        {
            // All at once: whoever finds the plan ended also finds why.
            let mut plans = self.plans.lock();
            plans.remember_ended(key);
            if plans.open.remove(&key).is_none() {
                return;
            }
            if plans.history.len() == HISTORY_MAX {
                plans.history.pop_front();
            }
            plans.history.push_back((key.query, counters, fault));
            plans.total.add(&counters);
        }
        if tell {
            scope.broadcast(FrameKind::Close, None);
        }
    }

    fn fail_plan(&self, key: PlanKey, fault: Fault) {
        let fault = fault.of_query(key.query.to_string());
        let scope = self.plans.lock().open.get(&key).map(Arc::clone);
        let Some(scope) = scope else { return };
        if scope.end(Ending::Failed(Box::new(fault.clone()))) {
            tracing::debug!(query = %key.query, %fault, "a collective failed");
            scope.broadcast(FrameKind::Abort, Some(&fault));
        }
    }

    /// Does what is due for every plan. Returns whether there are any.
    pub(crate) fn sweep(&self, now: Instant) -> bool {
        let scopes: Vec<_> = self.plans.lock().open.values().map(Arc::clone).collect();
        let unclaimed = scopes.iter().filter(|scope| !scope.is_claimed()).count();
        for scope in &scopes {
            let age = now.saturating_duration_since(scope.created);
            let key = scope.shared.key;
            if scope.shared.has_ended() {
                if age > FAILED_FOR {
                    self.close_plan(key, false);
                }
            } else if !scope.is_claimed() && (age > UNCLAIMED_FOR || unclaimed > UNCLAIMED_MAX) {
                self.fail_plan(key, self.unclaimed_fault(age, unclaimed));
            } else {
                for operation in scope.operations() {
                    operation.sweep(now);
                }
            }
        }
        !scopes.is_empty()
    }

    fn unclaimed_fault(&self, age: Duration, unclaimed: usize) -> Fault {
        Fault::new(
            ErrorCode::Internal,
            format!(
                "hold early messages on engine {}: its part of the plan did not come within {:.1} \
                 s, {unclaimed} plans wait",
                self.rank(),
                age.as_secs_f64()
            ),
        )
    }
}

impl Plans {
    fn remember_ended(&mut self, key: PlanKey) {
        if !self.ended.insert(key) {
            return;
        }
        self.ended_order.push_back(key);
        if self.ended_order.len() > ENDED_MAX
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }
}

impl Inbox for Exchange {
    fn deliver(&self, from: usize, frame: Frame) {
        let key = PlanKey::from(frame.operation);
        match frame.kind {
            FrameKind::Close => self.close_plan(key, false),
            FrameKind::Abort => {
                let fault = match frame.body {
                    Body::Fault(fault) => fault,
                    _ => Box::new(Fault::internal("a collective failed without a cause")),
                };
                if let Some(scope) = self.scope(key) {
                    scope.end(Ending::Failed(fault));
                }
            }
            _ => {
                if let Some(scope) = self.scope(key)
                    && !scope.shared.has_ended()
                {
                    scope.operation(frame.operation).apply(from, frame);
                }
            }
        }
    }

    fn lost(&self, _peer: usize, fault: Fault) {
        let keys: Vec<_> = self.plans.lock().open.keys().copied().collect();
        for key in keys {
            self.fail_plan(key, fault.clone());
        }
    }
}

impl Drop for PlanGuard {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.upgrade() {
            exchange.close_plan(self.key, true);
        }
    }
}
