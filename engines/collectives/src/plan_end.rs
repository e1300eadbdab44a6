//! Whether a plan has ended on this engine, for those who work for it without exchanging rows.

use crate::error::CollectivesError;
use crate::frame::OperationId;
use crate::plan_scope::{PlanKey, ScopeShared};
use std::sync::Arc;

/// The end of a plan, from before it comes to long after.
#[derive(Clone, Debug)]
pub struct PlanEnd {
    key: PlanKey,
    /// `None` if it had ended before anybody asked.
    shared: Option<Arc<ScopeShared>>,
}

impl PlanEnd {
    pub(crate) fn new(key: PlanKey, shared: Option<Arc<ScopeShared>>) -> Self {
        Self { key, shared }
    }

    /// Whether it has come.
    pub fn has_come(&self) -> bool {
        let shared = self.shared.as_ref();
        shared.is_none_or(|shared| shared.has_ended())
    }

    /// Once it has come an error: what made the plan fail, or that it is over.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self, action: &'static str) -> Result<(), CollectivesError> {
        let Some(shared) = &self.shared else {
            return Err(CollectivesError::Ended {
                action,
                index: 0,
                query: self.key.query.short(),
            });
        };
        let whole = OperationId {
            query: self.key.query,
            plan: self.key.plan,
            index: 0,
        };
        shared.ending.check(action, whole)
    }
}
