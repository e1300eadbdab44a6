//! The memory pool of one query, which refuses once the query has ended. Every operator that
//! gathers rows reserves as it goes, so this is where it stops.

use crate::query_end::QueryEnd;
use bireme_frames::QueryBudget;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use std::fmt;

/// A query's part of the budget, until the query ends.
#[derive(Debug)]
pub(crate) struct StoppablePool {
    inner: QueryBudget,
    end: QueryEnd,
}

impl StoppablePool {
    pub(crate) fn new(inner: QueryBudget, end: QueryEnd) -> Self {
        Self { inner, end }
    }
}

impl fmt::Display for StoppablePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl MemoryPool for StoppablePool {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.end.check("reserve memory in")?;
        self.end
            .in_turn(|| self.inner.try_grow(reservation, additional))
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.inner.memory_limit()
    }
}
