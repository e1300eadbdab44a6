//! One batch of a partition, wherever it is: in memory, on disk, or in both. Who may push it down
//! and when is the frame store's to say.

use crate::batch_codec::{decode_batch, encode_batch};
use crate::budget::FrameRoom;
use crate::error::FramesError;
use crate::host_tier::HostTier;
use crate::spill_file::SpillTempFile;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use std::sync::Arc;

/// A batch of a partition.
#[derive(Debug)]
pub(crate) struct Chunk {
    rows: usize,
    /// As bytes, in memory and on disk alike.
    bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    resident: Option<Resident>,
    copy: Option<DiskCopy>,
}

/// The batch in memory. Its columns refer to `encoded`, which refers to the host tier.
#[derive(Debug)]
struct Resident {
    columns: Vec<ArrayRef>,
    encoded: Buffer,
    /// References to `encoded` while nobody reads.
    references: usize,
}

/// The batch in a spill file.
#[derive(Clone, Debug)]
pub(crate) struct DiskCopy {
    file: Arc<SpillTempFile>,
    offset: u64,
}

/// What became of a batch that was to go down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demoted {
    /// It was not in memory.
    Absent,
    /// Somebody reads it.
    InUse,
    /// It is on disk alone; `written` of its bytes were not there before.
    Freed { bytes: usize, written: usize },
}

impl Chunk {
    /// Keeps a batch: in memory if there is room, else on disk, where `write` puts it.
    pub(crate) fn keep(
        batch: &RecordBatch,
        host: &HostTier,
        spread: usize,
        write: impl FnOnce(&[u8]) -> Result<DiskCopy, FramesError>,
    ) -> Result<Self, FramesError> {
        let pieces = encode_batch(batch)?;
        let bytes = pieces.iter().map(Buffer::len).sum();
        let state = match host.store(&pieces, spread, FrameRoom::Most)? {
            Some(encoded) => State {
                resident: Some(Resident::new(encoded, &batch.schema())?),
                copy: None,
            },
            None => State {
                resident: None,
                copy: Some(write(&joined(&pieces, bytes))?),
            },
        };
        Ok(Self {
            rows: batch.num_rows(),
            bytes,
            state: Mutex::new(state),
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes in memory and on disk.
    pub(crate) fn held(&self) -> (usize, usize) {
        let state = self.state.lock();
        let bytes = |there: bool| if there { self.bytes } else { 0 };
        (bytes(state.resident.is_some()), bytes(state.copy.is_some()))
    }

    /// The batch, if it is in memory.
    pub(crate) fn resident(&self, schema: &SchemaRef) -> Result<Option<RecordBatch>, FramesError> {
        let columns = match &self.state.lock().resident {
            Some(resident) => resident.columns.clone(),
            None => return Ok(None),
        };
        with_columns(schema, columns, self.rows).map(Some)
    }

    /// Reads the batch from disk, and keeps it in memory if there is room to spare. It blocks. Gives
    /// the bytes that were read, none when it was in memory by now.
    pub(crate) fn restore(
        &self,
        schema: &SchemaRef,
        host: &HostTier,
        spread: usize,
    ) -> Result<(RecordBatch, usize), FramesError> {
        let copy = match &*self.state.lock() {
            State {
                resident: Some(resident),
                ..
            } => {
                return Ok((
                    with_columns(schema, resident.columns.clone(), self.rows)?,
                    0,
                ));
            }
            State {
                copy: Some(copy), ..
            } => copy.clone(),
            State { .. } => return Err(lost(self)),
        };
        let encoded = copy.read(self.bytes)?;
        let resident = match host.store(std::slice::from_ref(&encoded), spread, FrameRoom::Spare)? {
            Some(kept) => kept,
            None => return Ok((decode_batch(encoded, schema)?, self.bytes)),
        };
        let resident = Resident::new(resident, schema)?;
        let batch = with_columns(schema, resident.columns.clone(), self.rows)?;
        self.state.lock().resident = Some(resident);
        Ok((batch, self.bytes))
    }

    /// Makes the batch leave memory, if nobody reads it. It blocks while it writes.
    pub(crate) fn demote(
        &self,
        write: impl FnOnce(&[u8]) -> Result<DiskCopy, FramesError>,
    ) -> Result<Demoted, FramesError> {
        let mut state = self.state.lock();
        let Some(resident) = &state.resident else {
            return Ok(Demoted::Absent);
        };
        if resident.is_read() {
            return Ok(Demoted::InUse);
        }
        let mut written = 0;
        if state.copy.is_none() {
            let copy = write(resident.encoded.as_slice())?;
            state.copy = Some(copy);
            written = self.bytes;
        }
        state.resident = None;
        Ok(Demoted::Freed {
            bytes: self.bytes,
            written,
        })
    }
}

impl Resident {
    fn new(encoded: Buffer, schema: &SchemaRef) -> Result<Self, FramesError> {
        let columns = decode_batch(encoded.clone(), schema)?.columns().to_vec();
        let references = encoded.strong_count();
        Ok(Self {
            columns,
            encoded,
            references,
        })
    }

    /// Whether somebody holds a column or a part of one.
    fn is_read(&self) -> bool {
        let is_shared = |column: &ArrayRef| Arc::strong_count(column) > 1;
        self.encoded.strong_count() > self.references || self.columns.iter().any(is_shared)
    }
}

impl DiskCopy {
    /// Appends to a file that nobody else appends to meanwhile.
    pub(crate) fn write(file: Arc<SpillTempFile>, bytes: &[u8]) -> Result<Self, FramesError> {
        let offset = file.append_checked(bytes)?;
        Ok(Self { file, offset })
    }

    fn read(&self, bytes: usize) -> Result<Buffer, FramesError> {
        let mut buffer = MutableBuffer::from_len_zeroed(bytes);
        self.file.read_checked(buffer.as_slice_mut(), self.offset)?;
        Ok(buffer.into())
    }
}

fn with_columns(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, FramesError> {
    let count = columns.len();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|source| {
        FramesError::Codec {
            action: "decode",
            rows,
            columns: count,
            source: Box::new(source),
        }
    })
}

fn joined(pieces: &[Buffer], bytes: usize) -> Vec<u8> {
    let mut joined = Vec::with_capacity(bytes);
    pieces
        .iter()
        .for_each(|piece| joined.extend_from_slice(piece));
    joined
}

/// It is in memory or on disk, always: both are taken away together with the chunk only.
fn lost(chunk: &Chunk) -> FramesError {
    FramesError::Codec {
        action: "find",
        rows: chunk.rows,
        columns: 0,
        source: Box::new(arrow::error::ArrowError::MemoryError(
            "it is neither in memory nor on disk, this is a defect".to_string(),
        )),
    }
}
