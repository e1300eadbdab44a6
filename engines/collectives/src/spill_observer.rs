//! Tells whoever keeps a timeline when rows that waited for their consumer went to disk, and when
//! they came back.

use bireme_protocol::QueryId;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

/// Rows of one partition that moved between memory and disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpillMove {
    /// The query.
    pub query: QueryId,
    /// The node within the plan.
    pub operation: u32,
    /// The partition of it that receives the rows.
    pub partition: usize,
    /// Whether they came back.
    pub is_back: bool,
    /// How much, as encoded on disk.
    pub bytes: u64,
    /// When the first byte moved.
    pub started: SystemTime,
    /// How long it took to the last.
    pub took: Duration,
}

type Observe = Box<dyn Fn(SpillMove) + Send + Sync>;

/// Who is told, once there is somebody.
#[derive(Clone, Default)]
pub(crate) struct SpillObserver(Arc<OnceLock<Observe>>);

impl SpillObserver {
    /// The first who asks is told.
    pub(crate) fn set(&self, observe: Observe) {
        self.0.get_or_init(|| observe);
    }

    pub(crate) fn tell(&self, moved: SpillMove) {
        if let Some(observe) = self.0.get() {
            observe(moved);
        }
    }
}

impl fmt::Debug for SpillObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_set = self.0.get().is_some();
        f.debug_tuple("SpillObserver").field(&is_set).finish()
    }
}
