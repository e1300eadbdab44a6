//! What can go wrong in planning and running collectives.

use datafusion::error::DataFusionError;
use std::io;
use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum OperatorsError {
    /// The session of a task has no exchange.
    #[error(
        "run {node} of query {query}: this session has no exchange; set sessions up with \
         configure_session or WorkerSessions"
    )]
    NoExchange {
        /// The node.
        node: &'static str,
        /// The query.
        query: String,
    },
    /// A task runs on another engine than its number says.
    #[error(
        "run {node} of query {query}: task {task} of {tasks} is on engine {rank} of {engines}; \
         task i must run on engine i, this is a defect"
    )]
    Misrouted {
        /// The node.
        node: &'static str,
        /// The query.
        query: String,
        /// The task.
        task: usize,
        /// How many tasks there are.
        tasks: usize,
        /// Where it runs.
        rank: usize,
        /// How many engines there are.
        engines: usize,
    },
    /// A plan was run a second time.
    #[error("run query {query}: this plan has been run before; plan the query again")]
    RunTwice {
        /// The query.
        query: String,
    },
    /// The session of a task knows no frames.
    #[error("run {node}: this session has no frame store, this is a defect")]
    NoFrames {
        /// The node.
        node: &'static str,
    },
    /// The session of a head cannot note what it writes.
    #[error("run {node}: this session has no journal of files, this is a defect")]
    NoJournal {
        /// The node.
        node: &'static str,
    },
    /// Files of a query cannot be written.
    #[error("{action} {}: {source}", path.display())]
    Sink {
        /// make, write to, remove.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not all files that engines have written are there.
    #[error(
        "write to {}: engines have written {written} files there, {found} are there; all engines \
         must see the same directory",
        path.display()
    )]
    SinkFiles {
        /// The file or directory.
        path: PathBuf,
        /// What the engines say.
        written: u64,
        /// What was found.
        found: u64,
    },
    /// What the catalog tells of a frame does not fit together.
    #[error("read frame {name}: {reason}; make it anew")]
    Frame {
        /// The frame.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A frame cannot be laid out as was asked.
    #[error(
        "lay out frame {name} by {columns}: {reason}; keep it without a layout first, then make a \
         frame of that with one"
    )]
    Layout {
        /// The frame.
        name: String,
        /// The columns.
        columns: String,
        /// Why not.
        reason: String,
    },
    /// A message of the codec is not what it should be.
    #[error("{action} {what}: {reason}")]
    Codec {
        /// encode, decode.
        action: &'static str,
        /// What.
        what: String,
        /// Why not.
        reason: String,
    },
}

impl From<OperatorsError> for DataFusionError {
    fn from(error: OperatorsError) -> Self {
        Self::External(Box::new(error))
    }
}
