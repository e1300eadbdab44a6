//! Bytes of a frame in a spill file: compressed where that is wanted and makes them fewer, checked
//! when they are read.

use crate::error::FramesError;
use crate::spill_file::SpillTempFile;
use arrow::buffer::{Buffer, MutableBuffer};
use std::sync::Arc;

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
    is_compressed: bool,
}

impl DiskCopy {
    /// Appends to a file that nobody else appends to meanwhile.
    pub(crate) fn write(
        file: Arc<SpillTempFile>,
        bytes: &[u8],
        compression: Compression,
    ) -> Result<Self, FramesError> {
        let compressed = match compression {
            Compression::Lz4 => Some(lz4_flex::block::compress(bytes)),
            Compression::None => None,
        };
        let compressed = compressed.filter(|compressed| compressed.len() < bytes.len());
        let stored = compressed.as_deref().unwrap_or(bytes);
        Ok(Self {
            offset: file.append_checked(stored)?,
            file,
            stored: stored.len(),
            is_compressed: compressed.is_some(),
        })
    }

    /// Bytes on disk.
    pub(crate) fn stored(&self) -> usize {
        self.stored
    }

    /// The bytes that were written, so many of them. It blocks.
    pub(crate) fn read(&self, bytes: usize) -> Result<Buffer, FramesError> {
        let mut stored = MutableBuffer::from_len_zeroed(self.stored);
        self.file.read_checked(stored.as_slice_mut(), self.offset)?;
        if !self.is_compressed {
            return Ok(stored.into());
        }
        let mut plain = MutableBuffer::from_len_zeroed(bytes);
        let read = lz4_flex::block::decompress_into(stored.as_slice(), plain.as_slice_mut());
        match read {
            Ok(read) if read == bytes => Ok(plain.into()),
            Ok(_) | Err(_) => Err(self
                .file
                .corrupt(self.offset, "it is not what was compressed")),
        }
    }
}
