//! The shells of a kernel: the main one, and subshells that a front end creates (JEP 91).
//!
//! Each has a queue of cells of its own and runs them in order, beside the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::execute_queue::ExecuteQueue;

/// Subshells that may exist at a time.
const SUBSHELLS_MAX: usize = 64;

/// All shells.
#[derive(Default)]
pub(crate) struct Subshells {
    main: Arc<ExecuteQueue>,
    others: Mutex<Vec<Subshell>>,
}

struct Subshell {
    id: String,
    queue: Arc<ExecuteQueue>,
    /// Ends its worker.
    ending: CancellationToken,
}

/// A subshell that was just created and needs a worker.
pub(crate) struct NewSubshell {
    pub(crate) id: String,
    pub(crate) queue: Arc<ExecuteQueue>,
    pub(crate) ending: CancellationToken,
}

impl Subshells {
    /// The queue of the main shell.
    pub(crate) fn main(&self) -> &Arc<ExecuteQueue> {
        &self.main
    }

    /// The queue of a subshell, or of the main shell for `None`.
    pub(crate) fn queue(&self, id: Option<&str>) -> Option<Arc<ExecuteQueue>> {
        let Some(id) = id else {
            return Some(Arc::clone(&self.main));
        };
        let others = self.lock();
        others
            .iter()
            .find(|one| one.id == id)
            .map(|one| Arc::clone(&one.queue))
    }

    /// The queues of all shells.
    pub(crate) fn queues(&self) -> Vec<Arc<ExecuteQueue>> {
        let others = self.lock();
        let others = others.iter().map(|one| Arc::clone(&one.queue));
        std::iter::once(Arc::clone(&self.main))
            .chain(others)
            .collect()
    }

    /// Creates a subshell whose worker ends with `ending`; `None` if there are too many.
    pub(crate) fn create(&self, ending: CancellationToken) -> Option<NewSubshell> {
        let mut others = self.lock();
        if others.len() >= SUBSHELLS_MAX {
            return None;
        }
        let id = Uuid::new_v4().simple().to_string();
        let queue = Arc::<ExecuteQueue>::default();
        let subshell = Subshell {
            id: id.clone(),
            queue: Arc::clone(&queue),
            ending: ending.clone(),
        };
        others.push(subshell);
        Some(NewSubshell { id, queue, ending })
    }

    /// Removes a subshell, ends its worker, and returns its queue; `None` if it does not exist.
    pub(crate) fn delete(&self, id: &str) -> Option<Arc<ExecuteQueue>> {
        let mut others = self.lock();
        let index = others.iter().position(|one| one.id == id)?;
        let subshell = others.remove(index);
        subshell.ending.cancel();
        Some(subshell.queue)
    }

    /// The ids of the subshells, oldest first.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.lock().iter().map(|one| one.id.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Subshell>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
