//! One column of one batch of a partition, wherever it is: in memory, on disk, or in both. Who may
//! push it down and when is the frame store's to say.

use crate::batch_codec::{decode_batch, encode_batch};
use crate::budget::FrameRoom;
use crate::disk_copy::DiskCopy;
use crate::error::FramesError;
use crate::host_tier::HostTier;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
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

/// The column in memory. It refers to `encoded`, which refers to the host tier.
#[derive(Debug)]
struct Resident {
    column: ArrayRef,
    encoded: Buffer,
    /// References to `encoded` while nobody reads.
    references: usize,
}

/// What became of a column that was to go down. Nothing, if it was not in memory or somebody reads
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demoted {
    /// Bytes that left memory.
    pub(crate) freed: usize,
    /// Bytes that were not on disk before, as they are there.
    pub(crate) written: usize,
}

/// What a chunk holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) bytes: usize,
    pub(crate) in_memory: usize,
    pub(crate) on_disk: usize,
}

impl Chunk {
    /// Keeps a batch of one column: in memory if there is room, else on disk, where `write` puts it.
    pub(crate) fn keep(
        column: &RecordBatch,
        host: &HostTier,
        spread: usize,
        write: impl FnOnce(&[u8]) -> Result<DiskCopy, FramesError>,
    ) -> Result<Self, FramesError> {
        let pieces = encode_batch(column)?;
        let bytes = pieces.iter().map(Buffer::len).sum();
        let state = match host.store(&pieces, spread, FrameRoom::Most)? {
            Some(encoded) => State {
                resident: Some(Resident::new(encoded, &column.schema())?),
                copy: None,
            },
            None => State {
                resident: None,
                copy: Some(write(&joined(&pieces, bytes))?),
            },
        };
        Ok(Self {
            bytes,
            state: Mutex::new(state),
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

    /// The column, if it is in memory.
    pub(crate) fn resident(&self) -> Option<ArrayRef> {
        let state = self.state.lock();
        let resident = state.resident.as_ref()?;
        Some(Arc::clone(&resident.column))
    }

    /// Reads the column from disk, and keeps it in memory if there is room to spare. It blocks. Gives
    /// the bytes that were read, none when it was in memory by now.
    pub(crate) fn restore(
        &self,
        schema: &SchemaRef,
        host: &HostTier,
        spread: usize,
    ) -> Result<(ArrayRef, usize), FramesError> {
        let copy = match &*self.state.lock() {
            State {
                resident: Some(resident),
                ..
            } => return Ok((Arc::clone(&resident.column), 0)),
            State {
                copy: Some(copy), ..
            } => copy.clone(),
            State { .. } => return Err(lost()),
        };
        let encoded = copy.read(self.bytes)?;
        let kept = host.store(std::slice::from_ref(&encoded), spread, FrameRoom::Spare)?;
        let Some(kept) = kept else {
            return Ok((only_column(encoded, schema)?, copy.stored()));
        };
        let resident = Resident::new(kept, schema)?;
        let column = Arc::clone(&resident.column);
        self.state.lock().resident = Some(resident);
        Ok((column, copy.stored()))
    }

    /// Makes the column leave memory, if nobody reads it. It blocks while it writes; a reader that
    /// comes meanwhile does not, and keeps the column in memory. One thread may do so at a time.
    pub(crate) fn demote(
        &self,
        write: impl FnOnce(&[u8]) -> Result<DiskCopy, FramesError>,
    ) -> Result<Demoted, FramesError> {
        let mut written = 0;
        if let Some(encoded) = self.without_copy() {
            let copy = write(encoded.as_slice())?;
            written = copy.stored();
            self.state.lock().copy = Some(copy);
        }
        let mut state = self.state.lock();
        let has_copy = state.copy.is_some();
        let left = state
            .resident
            .take_if(|resident| has_copy && !resident.is_read());
        drop(state);
        let freed = if left.is_some() { self.bytes } else { 0 };
        Ok(Demoted { freed, written })
    }

    /// The bytes of a column that nobody reads and that is in memory alone.
    fn without_copy(&self) -> Option<Buffer> {
        let state = self.state.lock();
        let resident = state.resident.as_ref()?;
        (state.copy.is_none() && !resident.is_read()).then(|| resident.encoded.clone())
    }
}

impl Resident {
    fn new(encoded: Buffer, schema: &SchemaRef) -> Result<Self, FramesError> {
        let column = only_column(encoded.clone(), schema)?;
        let references = encoded.strong_count();
        Ok(Self {
            column,
            encoded,
            references,
        })
    }

    /// Whether somebody holds the column or a part of it.
    fn is_read(&self) -> bool {
        Arc::strong_count(&self.column) > 1 || self.encoded.strong_count() > self.references
    }
}

fn only_column(encoded: Buffer, schema: &SchemaRef) -> Result<ArrayRef, FramesError> {
    let batch = decode_batch(encoded, schema)?;
    let column = batch.columns().first().cloned();
    column.ok_or_else(lost)
}

fn joined(pieces: &[Buffer], bytes: usize) -> Vec<u8> {
    let mut joined = Vec::with_capacity(bytes);
    pieces
        .iter()
        .for_each(|piece| joined.extend_from_slice(piece));
    joined
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
