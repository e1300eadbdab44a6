//! The memory pool of a join that is given its build side in memory: the join reserves again what
//! was reserved while the side was gathered, so it draws on that reservation.

use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::RuntimeEnv;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A pool in front of another, with a reservation to hand over.
#[derive(Debug)]
pub(crate) struct HandedPool {
    behind: Arc<dyn MemoryPool>,
    handed: Mutex<Option<MemoryReservation>>,
}

impl HandedPool {
    /// A pool in front of a task's, and the task's context with it.
    pub(crate) fn in_front_of(context: &Arc<TaskContext>) -> (Arc<Self>, Arc<TaskContext>) {
        let pool = Arc::new(Self {
            behind: Arc::clone(context.memory_pool()),
            handed: Mutex::new(None),
        });
        let mut runtime = RuntimeEnv::clone(&context.runtime_env());
        runtime.memory_pool = Arc::clone(&pool) as _;
        let fronted = TaskContext::new(
            context.task_id(),
            context.session_id(),
            context.session_config().clone(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            Arc::new(runtime),
        );
        (pool, Arc::new(fronted))
    }

    /// Hands a reservation over.
    pub(crate) fn hand_over(&self, reservation: MemoryReservation) {
        *self.handed.lock() = Some(reservation);
    }

    /// Gives back what was handed over and not drawn.
    pub(crate) fn release(&self) {
        *self.handed.lock() = None;
    }
}

impl fmt::Display for HandedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.behind.fmt(f)
    }
}

impl MemoryPool for HandedPool {
    fn name(&self) -> &str {
        self.behind.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.behind.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.behind.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.behind.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.behind.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let handed = self.handed.lock();
        let Some(handed) = handed.as_ref() else {
            return self.behind.try_grow(reservation, additional);
        };
        // What was gathered fits, with room for its table: it is no longer asked whether it may.
        handed.shrink(handed.size().min(additional));
        self.behind.grow(reservation, additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.behind.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.behind.memory_limit()
    }
}
