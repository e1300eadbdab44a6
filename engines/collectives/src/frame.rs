//! The messages of collectives and the ids that tell them apart. Ids are minted by the head when
//! it plans a query and are encoded in the plan, so that two queries never wait on each other.

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use bireme_protocol::{Fault, QueryId};

/// One collective of one plan of one query: the tag of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId {
    /// The query it belongs to.
    pub query: QueryId,
    /// The plan, random per planning: a query planned twice runs twice.
    pub plan: u64,
    /// The node within the plan.
    pub index: u32,
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// Rows for a partition.
    Batch,
    /// No more rows come from this rank; `bytes` is how many batches it has sent to the receiver.
    Finish,
    /// The receiver of a partition has room for `bytes` more.
    Credit,
    /// Nobody wants a partition's rows any more.
    Stop,
    /// A partition waits for rows: full partitions nobody polls must make room.
    Hungry,
    /// The plan has failed; the body is the root cause.
    Abort,
    /// The plan has ended.
    Close,
}

/// What a message carries.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// Rows, as the sender has them or an in-process transport passes them.
    Batch(RecordBatch),
    /// Rows as an Arrow IPC stream of one batch, as they came over a wire or from a spill file.
    Encoded(Buffer),
    /// Why a plan failed.
    Fault(Box<Fault>),
}

/// A message between two ranks.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it belongs to.
    pub operation: OperationId,
    /// What it says.
    pub kind: FrameKind,
    /// The receiver's partition, where there is one.
    pub partition: u32,
    /// What it costs or gives of a partition's window, in bytes.
    pub bytes: u64,
    /// What it carries.
    pub body: Body,
}

impl Frame {
    /// A message without rows.
    pub fn signal(operation: OperationId, kind: FrameKind, partition: usize, bytes: u64) -> Self {
        Self {
            operation,
            kind,
            partition: u32::try_from(partition).unwrap_or(u32::MAX),
            bytes,
            body: Body::Empty,
        }
    }
}
