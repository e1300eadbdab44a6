//! Why an engine process cannot start or go on. What happens to a query is a Fault instead.

use bireme_protocol::Fault;
use thiserror::Error;

/// Why an engine ended.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A runtime, a directory or a socket could not be made.
    #[error("start engine {rank}: {what}")]
    Start {
        /// The engine's rank.
        rank: u32,
        /// What could not be made.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A part of the engine refused to start.
    #[error("start engine {rank}: {fault}")]
    Refused {
        /// The engine's rank.
        rank: u32,
        /// What the part said.
        fault: Box<Fault>,
    },
}
