//! How a plan ended on this engine. The first ending counts: it holds the root cause.

use crate::error::CollectivesError;
use crate::frame::OperationId;
use bireme_protocol::Fault;
use std::sync::OnceLock;

/// How a plan ended.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// It is over: its result is complete, or nobody wants it any more.
    Closed,
    /// It has failed.
    Failed(Box<Fault>),
}

/// Set once.
#[derive(Debug, Default)]
pub(crate) struct EndingCell(OnceLock<Ending>);

impl EndingCell {
    /// Whether this ending is the first.
    pub(crate) fn set(&self, ending: Ending) -> bool {
        self.0.set(ending).is_ok()
    }

    pub(crate) fn get(&self) -> Option<&Ending> {
        self.0.get()
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    /// An error if the plan has ended.
    pub(crate) fn check(
        &self,
        action: &'static str,
        operation: OperationId,
    ) -> Result<(), CollectivesError> {
        match self.get() {
            None => Ok(()),
            Some(Ending::Closed) => Err(CollectivesError::Ended {
                action,
                index: operation.index,
                query: operation.query.short(),
            }),
            Some(Ending::Failed(fault)) => Err(CollectivesError::Failed {
                fault: fault.clone(),
            }),
        }
    }
}
