//! What a partition has spilled: a file of encoded batches, first in first out, read while it is
//! appended to. The caller does the blocking calls where blocking is allowed.

use crate::error::CollectivesError;
use crate::frame::Body;
use crate::partition::Queued;
use arrow::buffer::{Buffer, MutableBuffer};
use bireme_frames::{SpillDirectory, SpillTempFile};
use std::collections::VecDeque;
use std::sync::Arc;

/// One spilled batch.
#[derive(Debug)]
pub(crate) struct SpillEntry {
    pub(crate) from: usize,
    pub(crate) window: u64,
    pub(crate) owed: bool,
    offset: u64,
    length: usize,
}

impl SpillEntry {
    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.length as u64
    }
}

/// The spilled batches of a partition, oldest first.
#[derive(Debug)]
pub(crate) struct SpillQueue {
    file: Arc<SpillTempFile>,
    entries: VecDeque<SpillEntry>,
}

impl SpillQueue {
    pub(crate) fn new(file: Arc<SpillTempFile>) -> Self {
        Self {
            file,
            entries: VecDeque::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn file(&self) -> Arc<SpillTempFile> {
        Arc::clone(&self.file)
    }

    pub(crate) fn extend(&mut self, entries: Vec<SpillEntry>) {
        self.entries.extend(entries);
    }

    pub(crate) fn entries_mut(&mut self) -> impl Iterator<Item = &mut SpillEntry> {
        self.entries.iter_mut()
    }

    pub(crate) fn pop(&mut self) -> Option<SpillEntry> {
        self.entries.pop_front()
    }
}

/// Appends the batches to the file, or to a new one. It blocks.
pub(crate) fn write(
    directory: &SpillDirectory,
    file: Option<Arc<SpillTempFile>>,
    queued: VecDeque<Queued>,
) -> Result<(Arc<SpillTempFile>, Vec<SpillEntry>), CollectivesError> {
    let file = match file {
        Some(file) => file,
        None => directory.create()?,
    };
    let mut entries = Vec::with_capacity(queued.len());
    for item in queued {
        let bytes = encoded(item.body)?;
        let offset = file.append_checked(bytes.as_slice())?;
        entries.push(SpillEntry {
            from: item.from,
            window: item.window,
            owed: item.owed,
            offset,
            length: bytes.len(),
        });
    }
    Ok((file, entries))
}

/// Reads a batch back, still encoded. It blocks.
pub(crate) fn read(file: &SpillTempFile, entry: &SpillEntry) -> Result<Buffer, CollectivesError> {
    let mut buffer = MutableBuffer::from_len_zeroed(entry.length);
    file.read_checked(buffer.as_slice_mut(), entry.offset)?;
    Ok(buffer.into())
}

fn encoded(body: Body) -> Result<Buffer, CollectivesError> {
    match body {
        Body::Encoded(buffer) => Ok(buffer),
        Body::Batch(batch) => {
            let pieces = bireme_frames::encode_batch(&batch)?;
            let total = pieces.iter().map(Buffer::len).sum();
            let mut joined = MutableBuffer::with_capacity(total);
            for piece in pieces {
                joined.extend_from_slice(piece.as_slice());
            }
            Ok(joined.into())
        }
        Body::Empty | Body::Fault(_) => Ok(Buffer::from_vec(Vec::<u8>::new())),
    }
}
