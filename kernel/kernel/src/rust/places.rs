//! Where rows lie in shared memory, in the words of cells and in those of engines.

use bireme::layout::{ArrayPlace, BatchPlace, BufferPlace};
use bireme_protocol::proto::{SharedArray, SharedBatch, SharedBuffer};

/// In the words of engines.
pub(crate) fn for_engines(batch: &BatchPlace) -> SharedBatch {
    SharedBatch {
        part: small(batch.part),
        rows: batch.rows,
        columns: batch.columns.iter().map(shared_array).collect(),
    }
}

fn shared_array(array: &ArrayPlace) -> SharedArray {
    SharedArray {
        length: array.length,
        nulls: array.nulls.as_ref().map(shared_buffer),
        buffers: array.buffers.iter().map(shared_buffer).collect(),
        children: array.children.iter().map(shared_array).collect(),
    }
}

fn shared_buffer(buffer: &BufferPlace) -> SharedBuffer {
    SharedBuffer {
        file: small(buffer.file),
        offset: buffer.offset,
        length: buffer.length,
    }
}

/// There is no such file or part then, which is what its reader says.
fn small(word: u64) -> u32 {
    u32::try_from(word).unwrap_or(u32::MAX)
}

/// In the words of cells; the first file there holds what lies where.
pub(crate) fn for_cells(batch: &SharedBatch) -> BatchPlace {
    BatchPlace {
        part: batch.part.into(),
        rows: batch.rows,
        columns: batch.columns.iter().map(array_place).collect(),
    }
}

fn array_place(array: &SharedArray) -> ArrayPlace {
    ArrayPlace {
        length: array.length,
        nulls: array.nulls.as_ref().map(buffer_place),
        buffers: array.buffers.iter().map(buffer_place).collect(),
        children: array.children.iter().map(array_place).collect(),
    }
}

fn buffer_place(buffer: &SharedBuffer) -> BufferPlace {
    BufferPlace {
        file: u64::from(buffer.file) + 1,
        offset: buffer.offset,
        length: buffer.length,
    }
}
