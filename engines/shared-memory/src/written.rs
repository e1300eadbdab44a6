//! A record batch that this process copies into an arena and reads where it lies from then on. Its
//! values were looked at when it was made, and are not looked at again.

use crate::arena::{Arena, Place};
use crate::error::SharedMemoryError;
use crate::mapping::{Mapping, Released};
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::FileDecoder;
use arrow::ipc::writer::StreamEncoder;
use arrow::ipc::{Block, MessageHeader, root_as_message};
use bytes::Bytes;
use std::sync::Arc;

/// The end of an Arrow IPC stream. Arrow's decoder gives a batch without columns, whose body has no
/// bytes, only when something follows it.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Where a message tells how long its head is, behind four bytes that begin it.
const LENGTH_AT: usize = 4;

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
        let batch = decode_unseen(&buffer);
        let batch = batch.ok_or_else(|| misplaced("there is no batch"))?;
        Ok((buffer, batch))
    }
}

/// The batch in a stream that [`EncodedBatch`] has made, its values unseen: Arrow's own decoder of
/// streams looks at them also when it is told not to.
fn decode_unseen(bytes: &Buffer) -> Option<RecordBatch> {
    let mut rest = bytes.clone();
    let mut decoder: Option<FileDecoder> = None;
    loop {
        let length: [u8; 4] = rest.get(LENGTH_AT..LENGTH_AT + 4)?.try_into().ok()?;
        let head = LENGTH_AT + 4 + usize::try_from(i32::from_le_bytes(length)).ok()?;
        let message = root_as_message(rest.get(LENGTH_AT + 4..head)?).ok()?;
        let body = usize::try_from(message.bodyLength()).ok()?;
        let block = Block::new(0, i32::try_from(head).ok()?, message.bodyLength());
        let whole = rest.slice_with_length(0, head.checked_add(body)?);
        match message.header_type() {
            MessageHeader::Schema => {
                let schema = Arc::new(fb_to_schema(message.header_as_schema()?));
                let fresh = FileDecoder::new(schema, message.version());
                // SAFETY: Arrow's encoder wrote these bytes for a batch that exists, nobody but this
                // process writes to an arena, and an arena leaves a place alone until it is released.
                decoder = Some(unsafe { fresh.with_skip_validation(true) });
            }
            MessageHeader::DictionaryBatch => {
                decoder.as_mut()?.read_dictionary(&block, &whole).ok()?;
            }
            _ => return decoder?.read_record_batch(&block, &whole).ok()?,
        }
        rest = rest.slice(whole.len());
    }
}
