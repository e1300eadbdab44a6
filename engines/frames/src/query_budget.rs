//! A budget as one query sees it: the same bytes, counted under its name.

use crate::budget::Budget;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use std::fmt;
use std::sync::Arc;

/// A [`Budget`] seen by one query. The bytes are the budget's own.
#[derive(Debug)]
pub struct QueryBudget {
    budget: Arc<Budget>,
    query: Arc<str>,
}

impl QueryBudget {
    pub(crate) fn new(budget: Arc<Budget>, query: Arc<str>) -> Self {
        Self { budget, query }
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
