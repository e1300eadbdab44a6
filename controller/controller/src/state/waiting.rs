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

/// Waits until no query runs on the ranks from `engines` on.
#[derive(Debug)]
pub(crate) struct Resize {
    pub(crate) engines: u32,
    pub(crate) until: Moment,
    /// The same for frames that are on their way to other engines.
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
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let engines = self.engines.iter().map(|wait| wait.until);
        let resizes = self.resizes.iter().map(|resize| resize.until);
        let definitions = self.definitions.iter().map(|waiting| waiting.until);
        engines.chain(resizes).chain(definitions).min()
    }
}
