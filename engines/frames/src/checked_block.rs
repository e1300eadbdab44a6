//! Blocks of a spill file, each with its length and checksum, so that what comes back from a disk
//! is what went there or an error: decoders of rows trust their bytes. What a block holds is left
//! to the writers.

use crate::error::FramesError;
use crate::spill_file::SpillTempFile;
use std::hash::Hasher;
use twox_hash::XxHash64;

/// What stands before the bytes of a block: length and checksum.
const HEADER_BYTES: usize = 16;
/// Where the checksum begins. It is not zero, so that a hole in a file is no block.
const SEED: u64 = 0x6269_7265_6d65_7370;

impl SpillTempFile {
    /// Appends bytes as one block with a checksum and returns the offset it begins at. One writer
    /// at a time; it blocks. On an error the file is as it was.
    ///
    /// # Errors
    /// The disk or its limit is full.
    pub fn append_checked(&self, bytes: &[u8]) -> Result<u64, FramesError> {
        append(self, &[bytes])
    }

    /// Reads the block at an offset, which has exactly the buffer's length. It blocks.
    ///
    /// # Errors
    /// The disk fails, or gives other bytes than were written.
    pub fn read_checked(&self, buffer: &mut [u8], offset: u64) -> Result<(), FramesError> {
        let block = block_at(self, offset)?;
        if block.len() != buffer.len() {
            return Err(self.corrupt(offset, "its length is another"));
        }
        block.read(self, buffer)
    }
}

/// Appends a block and returns the offset it begins at. It blocks.
pub(crate) fn append(file: &SpillTempFile, pieces: &[&[u8]]) -> Result<u64, FramesError> {
    let mut checksum = XxHash64::with_seed(SEED);
    let mut length: u64 = 0;
    for piece in pieces {
        checksum.write(piece);
        length += piece.len() as u64;
    }
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&length.to_le_bytes());
    header[8..].copy_from_slice(&checksum.finish().to_le_bytes());
    let mut parts = Vec::with_capacity(pieces.len() + 1);
    parts.push(header.as_slice());
    parts.extend_from_slice(pieces);
    file.append_parts(&parts)
}

/// The block at an offset. It blocks.
pub(crate) fn block_at(file: &SpillTempFile, offset: u64) -> Result<Block, FramesError> {
    let left = file.len().saturating_sub(offset);
    if left < HEADER_BYTES as u64 {
        return Err(file.corrupt(offset, "the file ends within its header"));
    }
    let mut header = [0; HEADER_BYTES];
    file.read_at(&mut header, offset)?;
    let half = |at: usize| {
        let bytes = header.get(at..).and_then(|bytes| bytes.first_chunk::<8>());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    let (length, checksum) = (half(0), half(8));
    if length > left - HEADER_BYTES as u64 {
        return Err(file.corrupt(offset, "the file ends within it"));
    }
    Ok(Block {
        offset,
        length,
        checksum,
    })
}

/// A block whose header was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    offset: u64,
    length: u64,
    checksum: u64,
}

impl Block {
    /// Bytes in it.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    /// Where the next one begins.
    pub(crate) fn end(&self) -> u64 {
        self.offset + HEADER_BYTES as u64 + self.length
    }

    /// Reads it into a buffer of its length. It blocks.
    pub(crate) fn read(&self, file: &SpillTempFile, buffer: &mut [u8]) -> Result<(), FramesError> {
        file.read_at(buffer, self.offset + HEADER_BYTES as u64)?;
        if XxHash64::oneshot(SEED, buffer) == self.checksum {
            Ok(())
        } else {
            Err(file.corrupt(self.offset, "its checksum is another"))
        }
    }
}
