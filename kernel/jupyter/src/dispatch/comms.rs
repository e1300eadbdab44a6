//! The comms that are open, on either side's initiative.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::wire::{CommInfoReply, CommOpen, CommTarget};

/// Comms that may be open at a time; a front end that opens more is refused.
const COMMS_MAX: usize = 10_000;

/// Open comms by id.
#[derive(Default)]
pub(crate) struct CommRegistry {
    open: Mutex<BTreeMap<String, CommTarget>>,
}

impl CommRegistry {
    /// Remembers a comm. False if there are too many.
    pub(crate) fn insert(&self, open: &CommOpen) -> bool {
        let mut comms = self.lock();
        if comms.len() >= COMMS_MAX {
            tracing::warn!(limit = COMMS_MAX, "a comm was refused");
            return false;
        }
        let target = CommTarget {
            target_name: open.target_name.clone(),
        };
        comms.insert(open.comm_id.clone(), target);
        true
    }

    /// Forgets a comm. False if it was not open.
    pub(crate) fn remove(&self, comm_id: &str) -> bool {
        self.lock().remove(comm_id).is_some()
    }

    /// True if the comm is open.
    pub(crate) fn contains(&self, comm_id: &str) -> bool {
        self.lock().contains_key(comm_id)
    }

    /// The open comms, of one target or of all.
    pub(crate) fn info(&self, target_name: Option<&str>) -> CommInfoReply {
        let comms = self
            .lock()
            .iter()
            .filter(|(_, target)| target_name.is_none_or(|name| name == target.target_name))
            .map(|(id, target)| (id.clone(), target.clone()))
            .collect();
        CommInfoReply { comms }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, CommTarget>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
