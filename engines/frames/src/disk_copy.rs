//! Bytes of frames in a spill file: several are written at once, compressed where that is wanted and
//! makes them fewer, and checked when they are read. They go past the page cache: a frame leaves
//! memory because there is little.

use crate::aligned::ALIGNMENT;
use crate::error::FramesError;
use crate::spill_file::SpillTempFile;
use arrow::buffer::Buffer;
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;
use twox_hash::XxHash64;

/// Where the checksum begins. It is not zero, so that a hole in a file is no copy.
const SEED: u64 = 0x6269_7265_6d65_6672;
/// Arrow's buffers begin on this.
const BUFFER_ALIGNMENT: usize = 64;

/// How frames are compressed on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are in memory.
    None,
    /// [LZ4 blocks](https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md).
    #[default]
    Lz4,
}

/// Bytes in a spill file. Clones are the same bytes.
#[derive(Clone, Debug)]
pub(crate) struct DiskCopy {
    file: Arc<SpillTempFile>,
    offset: u64,
    /// Bytes there.
    stored: usize,
    checksum: u64,
    is_compressed: bool,
}

impl DiskCopy {
    /// Appends these to a file that nobody else appends to meanwhile, in one write.
    pub(crate) fn write_all(
        file: &Arc<SpillTempFile>,
        pieces: &[Buffer],
        compression: Compression,
    ) -> Result<Vec<Self>, FramesError> {
        let stored: Vec<(Cow<'_, [u8]>, bool)> = pieces
            .iter()
            .map(|piece| compressed(piece.as_slice(), compression))
            .collect();
        let padded = |bytes: &[u8]| bytes.len().next_multiple_of(BUFFER_ALIGNMENT);
        let total = stored.iter().map(|(bytes, _)| padded(bytes)).sum();
        let mut block = file.block(total);
        let mut rest: &mut [u8] = block.as_mut();
        for (bytes, _) in &stored {
            let (place, behind) = rest.split_at_mut(padded(bytes));
            let (place, gap) = place.split_at_mut(bytes.len());
            place.copy_from_slice(bytes);
            gap.fill(0);
            rest = behind;
        }
        rest.fill(0);
        let mut offset = file.append_direct(&block)?;
        let copies = stored.into_iter().map(|(bytes, is_compressed)| {
            let copy = Self {
                file: Arc::clone(file),
                offset,
                stored: bytes.len(),
                checksum: XxHash64::oneshot(SEED, &bytes),
                is_compressed,
            };
            offset += padded(&bytes) as u64;
            copy
        });
        Ok(copies.collect())
    }

    /// Bytes on disk.
    pub(crate) fn stored(&self) -> usize {
        self.stored
    }

    /// The bytes that were written, in this order, each so many. What was written together is read
    /// together. It blocks.
    ///
    /// # Errors
    /// The disk fails, or gives other bytes than were written.
    pub(crate) fn read_all(copies: &[(Self, usize)]) -> Result<Vec<Buffer>, FramesError> {
        let mut buffers = Vec::with_capacity(copies.len());
        for together in copies.chunk_by(|(one, _), (next, _)| one.is_before(next)) {
            let (Some((first, _)), Some((last, _))) = (together.first(), together.last()) else {
                continue;
            };
            let start = first.offset - first.offset % ALIGNMENT as u64;
            let within = |offset: u64| usize::try_from(offset - start).unwrap_or(usize::MAX);
            let mut block = first.file.block(within(last.offset) + last.stored);
            first.file.read_direct(&mut block, start)?;
            let block = Buffer::from(Bytes::from_owner(block));
            for (copy, bytes) in together {
                let stored = block.slice_with_length(within(copy.offset), copy.stored);
                buffers.push(copy.plain(stored, *bytes)?);
            }
        }
        Ok(buffers)
    }

    /// Whether another copy begins where this one ends.
    fn is_before(&self, next: &Self) -> bool {
        let padded = self.stored.next_multiple_of(BUFFER_ALIGNMENT) as u64;
        Arc::ptr_eq(&self.file, &next.file) && self.offset + padded == next.offset
    }

    fn plain(&self, stored: Buffer, bytes: usize) -> Result<Buffer, FramesError> {
        if XxHash64::oneshot(SEED, &stored) != self.checksum {
            return Err(self.file.corrupt(self.offset, "its checksum is another"));
        }
        if !self.is_compressed {
            return Ok(stored);
        }
        let mut plain = self.file.block(bytes);
        match lz4_flex::block::decompress_into(&stored, &mut plain.as_mut()[..bytes]) {
            Ok(read) if read == bytes => {
                let plain = Buffer::from(Bytes::from_owner(plain));
                Ok(plain.slice_with_length(0, bytes))
            }
            Ok(_) | Err(_) => Err(self
                .file
                .corrupt(self.offset, "it is not what was compressed")),
        }
    }
}

/// The bytes as they go to disk, and whether they are compressed there.
fn compressed(bytes: &[u8], compression: Compression) -> (Cow<'_, [u8]>, bool) {
    match compression {
        Compression::Lz4 => {
            let compressed = lz4_flex::block::compress(bytes);
            match compressed.len() < bytes.len() {
                true => (Cow::Owned(compressed), true),
                false => (Cow::Borrowed(bytes), false),
            }
        }
        Compression::None => (Cow::Borrowed(bytes), false),
    }
}
