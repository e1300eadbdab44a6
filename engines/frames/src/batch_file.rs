//! Record batches in a file of the spill directory: each is one checked block that stands alone,
//! with its dictionaries, so that batches are read back in any order. When to write and how many
//! bytes to hold is left to the caller.

use crate::checked_block;
use crate::compact_views::compact_views;
use crate::error::FramesError;
use crate::spill_directory::SpillDirectory;
use crate::spill_file::SpillTempFile;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::{IpcWriteOptions, StreamEncoder};
use std::sync::Arc;

/// The end of an Arrow IPC stream. The decoder gives a batch without columns, whose body has no
/// bytes, only when something follows it.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Whether rows are compressed before they are written (`memory.spill_compression`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpillCompression {
    /// As they are.
    #[default]
    None,
    /// LZ4 frames, a buffer each.
    Lz4,
}

/// Where a batch is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEntry {
    /// Where its block begins.
    pub offset: u64,
    /// Bytes it takes in the file.
    pub stored_bytes: u64,
    /// Its rows.
    pub rows: usize,
}

/// A file of batches of one schema. Dropping it removes the file.
#[derive(Debug)]
pub struct BatchFile {
    file: Arc<SpillTempFile>,
    schema: SchemaRef,
    compression: SpillCompression,
}

impl BatchFile {
    /// An empty file.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(
        directory: &SpillDirectory,
        schema: SchemaRef,
        compression: SpillCompression,
    ) -> Result<Self, FramesError> {
        Ok(Self {
            file: directory.create()?,
            schema,
            compression,
        })
    }

    /// The file behind it.
    pub fn file(&self) -> &Arc<SpillTempFile> {
        &self.file
    }

    /// Appends a batch, without what its string views refer to and do not use. One writer at a
    /// time; it blocks.
    ///
    /// # Errors
    /// The disk or its limit is full, or the batch has a type that Arrow cannot encode. The file
    /// is then as it was.
    pub fn append(&self, batch: &RecordBatch) -> Result<BatchEntry, FramesError> {
        let pieces = self
            .encode(batch)
            .map_err(|source| self.codec("encode", batch.num_rows(), source))?;
        let pieces: Vec<&[u8]> = pieces.iter().map(Buffer::as_slice).collect();
        let before = self.file.len();
        let offset = checked_block::append(&self.file, &pieces)?;
        Ok(BatchEntry {
            offset,
            stored_bytes: self.file.len() - before,
            rows: batch.num_rows(),
        })
    }

    /// Reads a batch back. It blocks.
    ///
    /// # Errors
    /// The disk fails, or gives other bytes than were written.
    pub fn read(&self, entry: &BatchEntry) -> Result<RecordBatch, FramesError> {
        let block = checked_block::block_at(&self.file, entry.offset)?;
        let mut bytes = MutableBuffer::from_len_zeroed(block.len());
        block.read(&self.file, bytes.as_slice_mut())?;
        self.decode(bytes.into())
            .map_err(|source| self.codec("decode", entry.rows, source))
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Vec<Buffer>, ArrowError> {
        let compression = match self.compression {
            SpillCompression::None => None,
            SpillCompression::Lz4 => Some(CompressionType::LZ4_FRAME),
        };
        let options = IpcWriteOptions::default().try_with_compression(compression)?;
        let batch = compact_views(batch)?;
        let mut encoder = StreamEncoder::try_new_with_options(&self.schema, options)?;
        let mut pieces = encoder.encode(&batch)?;
        pieces.push(Buffer::from_vec(END.to_vec()));
        Ok(pieces)
    }

    fn decode(&self, mut bytes: Buffer) -> Result<RecordBatch, ArrowError> {
        let batch = StreamDecoder::new().decode(&mut bytes)?;
        let batch = batch.ok_or_else(|| ArrowError::IpcError("it holds no batch".to_string()))?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().to_vec();
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }

    fn codec(&self, action: &'static str, rows: usize, source: ArrowError) -> FramesError {
        FramesError::BatchCodec {
            action,
            rows,
            columns: self.schema.fields().len(),
            path: self.file.path().to_path_buf(),
            source,
        }
    }
}
