//! What can go wrong between engines, and how an error of a query becomes the one root cause that
//! all ranks report.

use arrow::error::ArrowError;
use bireme_frames::FramesError;
use bireme_protocol::{ErrorCode, Fault};
use datafusion::error::DataFusionError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// An error of this crate.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CollectivesError {
    /// The plan has failed somewhere; all its ranks report this.
    #[error("{fault}")]
    Failed {
        /// The root cause.
        fault: Box<Fault>,
    },
    /// The plan has ended; what it received is gone.
    #[error("{action} operation {index} of query {query}: the query has ended")]
    Ended {
        /// open, send on, receive from.
        action: &'static str,
        /// The node within the plan.
        index: u32,
        /// The query.
        query: String,
    },
    /// An operation was used in a way it does not allow.
    #[error("{action} operation {index} of query {query}: {reason}; this is a defect")]
    Misused {
        /// open, send on, receive from.
        action: &'static str,
        /// The node within the plan.
        index: u32,
        /// The query.
        query: String,
        /// What is wrong.
        reason: String,
    },
    /// What arrived is no message of ours.
    #[error("read a message from engine {peer}: {reason}")]
    Malformed {
        /// Who sent it.
        peer: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The socket of this engine cannot be opened.
    #[error("listen for engines on {}: {source}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Another engine cannot be reached.
    #[error("{action} engine {peer}: {source}")]
    Peer {
        /// connect within 1.5 s to, send to, receive from.
        action: &'static str,
        /// Which engine.
        peer: usize,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Another engine takes nothing.
    #[error("send to engine {peer}: it took nothing for {seconds} s, {queued} messages wait")]
    Stuck {
        /// Which engine.
        peer: usize,
        /// For how long.
        seconds: u64,
        /// How many messages wait.
        queued: usize,
    },
    /// The consumer of a partition takes nothing.
    #[error(
        "send {bytes} bytes to partition {partition} of engine {peer} in operation {index} of \
         query {query}: it made no room within {seconds:.1} s, so whatever reads it stands still; \
         run the query again, with EXPLAIN ANALYZE if it happens again"
    )]
    NoRoom {
        /// Bytes of the batch.
        bytes: u64,
        /// To which of its partitions.
        partition: usize,
        /// Which engine.
        peer: usize,
        /// The node within the plan.
        index: u32,
        /// The query.
        query: String,
        /// For how long.
        seconds: f64,
    },
    /// There is no such rank.
    #[error("send to engine {peer}: there are {size} engines")]
    NoSuchPeer {
        /// Which engine.
        peer: usize,
        /// How many there are.
        size: usize,
    },
    /// What was received could not be spilled or read back.
    #[error("{source}")]
    Spill {
        /// What the spill directory said.
        source: Arc<FramesError>,
    },
    /// A background task of the exchange ended badly.
    #[error("{action}: a background task ended: {reason}")]
    Task {
        /// What it was doing.
        action: &'static str,
        /// How it ended.
        reason: String,
    },
}

impl From<FramesError> for CollectivesError {
    fn from(source: FramesError) -> Self {
        Self::Spill {
            source: Arc::new(source),
        }
    }
}

impl From<Fault> for CollectivesError {
    fn from(fault: Fault) -> Self {
        Self::Failed {
            fault: Box::new(fault),
        }
    }
}

impl From<&CollectivesError> for Fault {
    fn from(error: &CollectivesError) -> Self {
        let code = match error {
            CollectivesError::Failed { fault } => return (**fault).clone(),
            CollectivesError::Ended { .. } => ErrorCode::Cancelled,
            CollectivesError::Peer { .. } | CollectivesError::Stuck { .. } => ErrorCode::EngineLost,
            CollectivesError::NoRoom { .. } => ErrorCode::TimedOut,
            CollectivesError::Listen { .. } => ErrorCode::Unavailable,
            CollectivesError::Spill { source } => code_of(source),
            CollectivesError::Misused { .. }
            | CollectivesError::Malformed { .. }
            | CollectivesError::NoSuchPeer { .. }
            | CollectivesError::Task { .. } => ErrorCode::Internal,
        };
        Fault::new(code, error.to_string())
    }
}

impl From<CollectivesError> for DataFusionError {
    fn from(error: CollectivesError) -> Self {
        Self::External(Box::new(error))
    }
}

fn code_of(error: &FramesError) -> ErrorCode {
    match error {
        FramesError::DiskLimit { .. } => ErrorCode::DiskFull,
        FramesError::SpillFile { source, .. } if is_full(source) => ErrorCode::DiskFull,
        FramesError::Misplaced { .. } => ErrorCode::Internal,
        _ => ErrorCode::ExecutionError,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The root cause behind an error of a query: the fault that was broadcast if there was one, else
/// one made of the error itself.
pub fn fault_of(error: &DataFusionError) -> Fault {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(source) = next {
        if let Some(error) = source.downcast_ref::<CollectivesError>() {
            return Fault::from(error);
        }
        if let Some(fault) = source.downcast_ref::<Fault>() {
            return fault.clone();
        }
        if let Some(error) = source.downcast_ref::<FramesError>() {
            return Fault::new(code_of(error), error.to_string());
        }
        if let Some(error) = source.downcast_ref::<io::Error>()
            && is_full(error)
        {
            return Fault::new(ErrorCode::DiskFull, error.to_string());
        }
        next = match source.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Shared(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::ArrowError(inner, _)) => match inner.as_ref() {
                ArrowError::ExternalError(inner) => Some(inner.as_ref()),
                ArrowError::IoError(_, inner) => Some(inner),
                _ => None,
            },
            Some(DataFusionError::Context(_, inner)) => Some(inner.as_ref()),
            _ => source.source(),
        };
    }
    let code = match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => ErrorCode::OutOfMemory,
        DataFusionError::Internal(_) => ErrorCode::Internal,
        _ => ErrorCode::ExecutionError,
    };
    Fault::new(code, error.strip_backtrace())
}
