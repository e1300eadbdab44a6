//! Rows of frames on their way out of this engine, into memory that another process holds open.

use crate::error::FramesError;
use arrow::array::{Array, ArrayData, MutableArrayData, RecordBatch};
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use bireme_protocol::proto::{SharedArray, SharedBatch, SharedBuffer, SharedPart};
use bireme_shared_memory::Filling;

/// Where a buffer begins: a multiple of this.
const ALIGNMENT: u64 = 64;
const ZEROS: [u8; ALIGNMENT as usize] = [0; ALIGNMENT as usize];

/// Writes batches one behind the other.
#[derive(Debug)]
pub struct SharedWriter {
    path: String,
    memory: Filling,
    at: u64,
}

impl SharedWriter {
    /// Begins to write at a place in the memory under this path.
    ///
    /// # Errors
    /// There is none, or it may not be written to any more.
    pub fn open(path: &str, at: u64) -> Result<Self, FramesError> {
        let memory = Filling::open(path).map_err(|error| failed(path, &error))?;
        Ok(Self {
            path: path.to_string(),
            memory,
            at,
        })
    }

    /// Writes a batch; tells where it lies. It blocks.
    ///
    /// # Errors
    /// There is no memory left.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<SharedPart, FramesError> {
        let begin = self.at.next_multiple_of(ALIGNMENT);
        let mut placing = Placing {
            at: begin,
            buffers: Vec::new(),
        };
        let columns = batch.columns().iter();
        let columns = columns.map(|column| placing.array(&column.to_data()));
        let columns = columns.collect::<Result<_, _>>();
        let columns = columns.map_err(|error| failed(&self.path, &error))?;
        let mut pieces: Vec<&[u8]> = Vec::with_capacity(2 * placing.buffers.len());
        let mut at = begin;
        for (offset, buffer) in &placing.buffers {
            pieces.push(&ZEROS[..(offset - at) as usize]);
            pieces.push(buffer.as_slice());
            at = offset + buffer.len() as u64;
        }
        self.memory
            .write(begin, &pieces)
            .map_err(|error| failed(&self.path, &error))?;
        self.at = at;
        Ok(SharedPart {
            batches: vec![SharedBatch {
                part: 0,
                rows: batch.num_rows() as u64,
                columns,
            }],
            end: at,
        })
    }
}

struct Placing {
    at: u64,
    buffers: Vec<(u64, Buffer)>,
}

impl Placing {
    fn array(&mut self, data: &ArrayData) -> Result<SharedArray, ArrowError> {
        let is_sliced = data.offset() != 0 || data.nulls().is_some_and(|nulls| nulls.offset() != 0);
        let data = match is_sliced {
            true => {
                let mut copy = MutableArrayData::new(vec![data], false, data.len());
                copy.try_extend(0, 0, data.len())?;
                copy.freeze()
            }
            false => data.clone(),
        };
        let nulls = data.nulls().map(|nulls| nulls.buffer().clone());
        let children = data.child_data().iter();
        Ok(SharedArray {
            length: data.len() as u64,
            nulls: nulls.map(|nulls| self.buffer(nulls)),
            buffers: data
                .buffers()
                .iter()
                .map(|one| self.buffer(one.clone()))
                .collect(),
            children: children
                .map(|child| self.array(child))
                .collect::<Result<_, _>>()?,
        })
    }

    fn buffer(&mut self, buffer: Buffer) -> SharedBuffer {
        let offset = self.at.next_multiple_of(ALIGNMENT);
        let length = buffer.len() as u64;
        self.at = offset + length;
        self.buffers.push((offset, buffer));
        SharedBuffer {
            file: 0,
            offset,
            length,
        }
    }
}

fn failed(path: &str, reason: &dyn std::error::Error) -> FramesError {
    FramesError::SharedRows {
        path: path.to_string(),
        reason: reason.to_string(),
    }
}
