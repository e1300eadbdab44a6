//! Requests that are answered later: when enough engines are up, when an engine is idle, when any
//! engine has come.

use crate::clock::Moment;
use crate::message::{Definition, Reply};
use bireme_protocol::proto::ClusterStatus;

/// Requests of one kind that wait at most.
pub(crate) const WAITING_MAX: usize = 256;

/// Waits until so many engines are up.
#[derive(Debug)]
pub(crate) struct EngineWait {
    pub(crate) engines: u32,
    pub(crate) until: Moment,
    pub(crate) reply: Reply<ClusterStatus>,
}

/// Waits until the ranks from `engines` on hold no rows and run no query.
#[derive(Debug)]
pub(crate) struct Resize {
    pub(crate) engines: u32,
    /// How many there were to be before.
    pub(crate) before: u32,
    /// Queries may take so long to end.
    pub(crate) until: Moment,
    /// Rows of frames may take so long to reach other engines.
    pub(crate) moved_until: Moment,
    pub(crate) reply: Reply<()>,
}

/// A definition that waits for an engine to plan it.
#[derive(Debug)]
pub(crate) struct WaitingDefinition {
    pub(crate) definition: Definition,
    pub(crate) until: Moment,
}

/// All that wait.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) engines: Vec<EngineWait>,
    pub(crate) resizes: Vec<Resize>,
    pub(crate) definitions: Vec<WaitingDefinition>,
}

impl Waiting {
    pub(crate) fn deadline(&self, now: Moment) -> Option<Moment> {
        let engines = self.engines.iter().map(|wait| wait.until);
        let resizes = self.resizes.iter().map(|resize| match resize.until <= now {
            true => resize.moved_until,
            false => resize.until,
        });
        let definitions = self.definitions.iter().map(|waiting| waiting.until);
        engines.chain(resizes).chain(definitions).min()
    }
}
