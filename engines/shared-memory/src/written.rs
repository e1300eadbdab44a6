//! A record batch that this process copies into an arena and reads where it lies from then on. Its
//! values were looked at when it was made, and are not looked at again.

use crate::arena::{Arena, Place};
use crate::error::SharedMemoryError;
use crate::mapping::{Mapping, Released};
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamEncoder;
use bytes::Bytes;
use std::sync::Arc;

/// The end of an Arrow IPC stream. The decoder gives a batch without columns, whose body has no
/// bytes, only when something follows it.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// A batch as an Arrow IPC stream of its own, in pieces that share its memory.
#[derive(Debug)]
pub struct EncodedBatch {
    pieces: Vec<Buffer>,
}

/// Where an encoded batch was written, and to which arena.
#[derive(Debug)]
pub struct WrittenBatch {
    place: Place,
    arena: u64,
}

impl EncodedBatch {
    /// Encodes a batch.
    ///
    /// # Errors
    /// Arrow cannot write a type of its columns.
    pub fn new(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let mut encoder = StreamEncoder::try_new(&batch.schema())?;
        let mut pieces = encoder.encode(batch)?;
        pieces.push(Buffer::from_vec(END.to_vec()));
        Ok(Self { pieces })
    }

    /// Its bytes, to be written one piece behind the other.
    pub fn pieces(&self) -> &[Buffer] {
        &self.pieces
    }

    /// The pieces themselves.
    pub fn into_pieces(self) -> Vec<Buffer> {
        self.pieces
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(Buffer::len).sum()
    }
}

impl Arena {
    /// Copies a batch to a place of its own; `None` when there is no room for it.
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn write_batch(
        &mut self,
        batch: &EncodedBatch,
    ) -> Result<Option<WrittenBatch>, SharedMemoryError> {
        let slices: Vec<&[u8]> = batch.pieces.iter().map(Buffer::as_slice).collect();
        let arena = self.id();
        let place = self.write(&slices)?;
        Ok(place.map(|place| WrittenBatch { place, arena }))
    }
}

impl Mapping {
    /// The bytes of a batch that was written to the arena of this mapping, and the batch in them.
    /// `released` is called with its offset when neither is read any more.
    ///
    /// # Errors
    /// It was written to another arena.
    pub fn batch(
        self: &Arc<Self>,
        written: WrittenBatch,
        released: Released,
    ) -> Result<(Buffer, RecordBatch), SharedMemoryError> {
        let Place { offset, bytes } = written.place;
        let misplaced = |reason| SharedMemoryError::Misplaced {
            offset,
            bytes,
            size: self.size(),
            reason,
        };
        if self.arena() != Some(written.arena) {
            return Err(misplaced("the batch lies in another arena"));
        }
        let block = self.block(offset, bytes, released)?;
        let buffer = Buffer::from(Bytes::from_owner(block));
        // SAFETY: these bytes are what Arrow's encoder wrote for a batch that exists, nobody but this
        // process writes to an arena, and an arena leaves a place alone until it is released.
        let mut decoder = unsafe { StreamDecoder::new().with_skip_validation(true) };
        let batch = decoder.decode(&mut buffer.clone()).ok().flatten();
        let batch = batch.ok_or_else(|| misplaced("there is no batch"))?;
        Ok((buffer, batch))
    }
}
