//! What plan nodes need of an engine to read and write frames: its own store, and a way to the
//! partitions of others. It is an extension of a session's configuration.

use bireme_frames::FrameStore;
use bireme_protocol::QueryId;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use std::fmt;
use std::sync::Arc;

use crate::error::OperatorsError;

/// Reads partitions that other engines hold.
pub trait RemoteFrames: fmt::Debug + Send + Sync {
    /// These columns, or all, of a partition of a segment on another engine. Their schema is given.
    fn fetch(
        &self,
        rank: u32,
        part: RemotePart,
        schema: SchemaRef,
    ) -> Result<SendableRecordBatchStream>;
}

/// What is read of another engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePart {
    /// The segment.
    pub segment: QueryId,
    /// Its partition on that engine.
    pub partition: usize,
    /// The columns, if not all.
    pub columns: Option<Vec<usize>>,
}

/// The frames an engine can reach.
#[derive(Debug)]
pub struct Frames {
    store: Arc<FrameStore>,
    rank: u32,
    remote: Arc<dyn RemoteFrames>,
}

impl Frames {
    /// The frames as the engine of this rank sees them.
    pub fn new(store: Arc<FrameStore>, rank: u32, remote: Arc<dyn RemoteFrames>) -> Self {
        Self {
            store,
            rank,
            remote,
        }
    }

    /// What the engine holds itself.
    pub fn store(&self) -> &Arc<FrameStore> {
        &self.store
    }

    /// The engine's rank.
    pub fn rank(&self) -> u32 {
        self.rank
    }

    /// The other engines.
    pub fn remote(&self) -> &Arc<dyn RemoteFrames> {
        &self.remote
    }

    /// The frames of a session.
    pub(crate) fn of(context: &TaskContext, node: &'static str) -> Result<Arc<Self>> {
        let frames = context.session_config().get_extension::<Self>();
        Ok(frames.ok_or(OperatorsError::NoFrames { node })?)
    }
}
