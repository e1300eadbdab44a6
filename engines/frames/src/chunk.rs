//! One column of one batch of a partition, wherever it is: in memory, on disk, or in both. Who may
//! push it down and when is the frame store's to say.

use crate::batch_codec::{decode_batch, encoded_batch};
use crate::disk_copy::DiskCopy;
use crate::error::FramesError;
use crate::host_tier::HostTier;
use crate::slab::{Offer, Slab};
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use bireme_shared_memory::EncodedBatch;
use parking_lot::Mutex;
use std::sync::Arc;

/// A column of a batch.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// In memory, as bytes.
    bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    resident: Option<Resident>,
    copy: Option<DiskCopy>,
}

/// The column in memory.
#[derive(Debug)]
struct Resident {
    /// It refers to `memory`.
    column: ArrayRef,
    /// The bytes that go to disk, in the host tier; or all of the slab.
    memory: Buffer,
    /// References to `memory` while nobody reads.
    references: usize,
    /// Where it lies if another process has written it.
    slab: Option<Arc<Slab>>,
}

/// What has left memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Left {
    /// Bytes of the column.
    pub(crate) bytes: usize,
    /// Bytes that are free now. Those of a slab are when its last column has left.
    pub(crate) freed: usize,
}

/// Where a column is read from.
#[derive(Debug)]
pub(crate) enum Place {
    Memory(ArrayRef),
    Disk(DiskCopy),
}

/// What a chunk holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) bytes: usize,
    pub(crate) in_memory: usize,
    pub(crate) on_disk: usize,
}

impl Chunk {
    /// Keeps a column in memory if there is room. If not, its bytes are given back,
    /// which go to disk before anybody reads the chunk.
    pub(crate) fn keep(
        encoded: &EncodedBatch,
        host: &HostTier,
        spread: usize,
    ) -> Result<(Self, Option<Buffer>), FramesError> {
        let bytes = encoded.bytes();
        let resident = match host.keep(encoded, spread)? {
            Some((memory, values)) => Some(Resident::new(only(values)?, memory)),
            None => None,
        };
        let homeless = resident.is_none().then(|| joined(encoded.pieces(), bytes));
        let state = State {
            resident,
            copy: None,
        };
        let chunk = Self {
            bytes,
            state: Mutex::new(state),
        };
        Ok((chunk, homeless))
    }

    /// Keeps a column in the memory that another process has written it to, for which there is room.
    pub(crate) fn take_over(offer: Offer, schema: &SchemaRef) -> Result<Self, FramesError> {
        let bytes = encoded_column(&offer.column, schema)?.bytes();
        let resident = Resident {
            column: offer.column,
            memory: offer.memory,
            references: offer.references,
            slab: Some(offer.slab),
        };
        Ok(Self {
            bytes,
            state: Mutex::new(State {
                resident: Some(resident),
                copy: None,
            }),
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn held(&self) -> Held {
        let state = self.state.lock();
        Held {
            bytes: self.bytes,
            in_memory: state.resident.as_ref().map_or(0, |_| self.bytes),
            on_disk: state.copy.as_ref().map_or(0, DiskCopy::stored),
        }
    }

    pub(crate) fn is_resident(&self) -> bool {
        self.state.lock().resident.is_some()
    }

    /// The column, if it is in memory.
    pub(crate) fn resident(&self) -> Option<ArrayRef> {
        let state = self.state.lock();
        let resident = state.resident.as_ref()?;
        Some(Arc::clone(&resident.column))
    }

    /// The column, or where it is on disk.
    pub(crate) fn place(&self) -> Result<Place, FramesError> {
        match &*self.state.lock() {
            State {
                resident: Some(resident),
                ..
            } => Ok(Place::Memory(Arc::clone(&resident.column))),
            State {
                copy: Some(copy), ..
            } => Ok(Place::Disk(copy.clone())),
            State { .. } => Err(lost()),
        }
    }

    /// The column from bytes that were read from disk; it stays in memory if there is room to spare.
    /// Gives the bytes that it takes there from now on too.
    pub(crate) fn restore(
        &self,
        encoded: Buffer,
        schema: &SchemaRef,
        host: &HostTier,
        spread: usize,
    ) -> Result<(ArrayRef, usize), FramesError> {
        // Another reader may have been faster.
        if let Some(column) = self.resident() {
            return Ok((column, 0));
        }
        let kept = host.store(&encoded, spread);
        // Without room, or a system that gives any, the bytes at hand do.
        let Ok(Some(kept)) = kept else {
            return Ok((only(decode_batch(encoded, schema)?)?, 0));
        };
        let resident = Resident::new(only(decode_batch(kept.clone(), schema)?)?, kept);
        let column = Arc::clone(&resident.column);
        let mut state = self.state.lock();
        if let Some(there) = &state.resident {
            return Ok((Arc::clone(&there.column), 0));
        }
        state.resident = Some(resident);
        Ok((column, self.bytes))
    }

    /// Tells where the column is on disk.
    pub(crate) fn set_copy(&self, copy: DiskCopy) {
        self.state.lock().copy = Some(copy);
    }

    /// Makes the column leave memory if it is on disk too and nobody reads it: a reader that has come
    /// since it was written keeps it.
    pub(crate) fn leave_memory(&self) -> Left {
        let mut state = self.state.lock();
        let has_copy = state.copy.is_some();
        let left = state
            .resident
            .take_if(|resident| has_copy && !resident.is_read());
        drop(state);
        let Some(mut resident) = left else {
            return Left::default();
        };
        let slab = resident.slab.take();
        drop(resident);
        Left {
            bytes: self.bytes,
            freed: slab.map_or(self.bytes, Slab::let_go),
        }
    }

    /// The bytes of a column that nobody reads and that is in memory alone.
    pub(crate) fn without_copy(&self, schema: &SchemaRef) -> Result<Option<Buffer>, FramesError> {
        let state = self.state.lock();
        let resident = state.resident.as_ref();
        let unread = resident.filter(|resident| state.copy.is_none() && !resident.is_read());
        let Some(resident) = unread else {
            return Ok(None);
        };
        Ok(Some(match resident.slab {
            None => resident.memory.clone(),
            Some(_) => joined(
                encoded_column(&resident.column, schema)?.pieces(),
                self.bytes,
            ),
        }))
    }
}

impl Resident {
    /// A column that lies in this memory of the host tier.
    fn new(column: ArrayRef, memory: Buffer) -> Self {
        let references = memory.strong_count();
        Self {
            column,
            memory,
            references,
            slab: None,
        }
    }

    /// Whether somebody holds the column or a part of it.
    fn is_read(&self) -> bool {
        Arc::strong_count(&self.column) > 1 || self.memory.strong_count() > self.references
    }
}

/// A column as it is kept.
pub(crate) fn encoded_column(
    column: &ArrayRef,
    schema: &SchemaRef,
) -> Result<EncodedBatch, FramesError> {
    let alone = RecordBatch::try_new(Arc::clone(schema), vec![Arc::clone(column)]);
    let alone = alone.map_err(|source| FramesError::Codec {
        action: "keep",
        rows: column.len(),
        columns: 1,
        source: Box::new(source),
    })?;
    encoded_batch(&alone)
}

fn only(batch: RecordBatch) -> Result<ArrayRef, FramesError> {
    batch.columns().first().cloned().ok_or_else(lost)
}

fn joined(pieces: &[Buffer], bytes: usize) -> Buffer {
    let mut joined = Vec::with_capacity(bytes);
    pieces
        .iter()
        .for_each(|piece| joined.extend_from_slice(piece));
    Buffer::from_vec(joined)
}

/// It is in memory or on disk, always: both are taken away together with the chunk only.
fn lost() -> FramesError {
    FramesError::Codec {
        action: "find",
        rows: 0,
        columns: 1,
        source: Box::new(arrow::error::ArrowError::MemoryError(
            "it is neither in memory nor on disk, this is a defect".to_string(),
        )),
    }
}
