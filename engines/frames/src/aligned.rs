//! Memory that begins and ends on a page, as files want it that are read and written past the page
//! cache. Memory that was used before is used again: the first touch of a page costs more than what
//! is then read into it.

use parking_lot::Mutex;
use std::sync::Arc;

/// What such files count in.
pub(crate) const ALIGNMENT: usize = 4096;
/// Memory kept for the next use, at most: a few reads ahead of each partition.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// A block serves requests that leave less than this part of them unused: who reads may keep it long.
const WASTE_PART: usize = 4;

/// Blocks that wait for their next use.
#[derive(Debug, Default)]
pub(crate) struct AlignedPool {
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    blocks: Vec<Vec<u8>>,
    bytes: usize,
}

/// Aligned bytes. Their memory goes back to its pool.
#[derive(Debug)]
pub(crate) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
    pool: Arc<AlignedPool>,
}

impl AlignedPool {
    /// So many bytes, rounded up, with anything in them.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Aligned {
        let length = bytes.next_multiple_of(ALIGNMENT);
        let size = length + ALIGNMENT;
        let memory = self.free.lock().take(size);
        let memory = memory.unwrap_or_else(|| vec![0; size]);
        Aligned {
            start: memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT),
            memory,
            length,
            pool: Arc::clone(self),
        }
    }
}

impl Free {
    /// The smallest block that is large enough, and not much larger.
    fn take(&mut self, size: usize) -> Option<Vec<u8>> {
        let fitting = self.blocks.iter().enumerate().filter(|(_, block)| {
            let fits = size..=size + size / WASTE_PART;
            fits.contains(&block.len())
        });
        let (index, _) = fitting.min_by_key(|(_, block)| block.len())?;
        let block = self.blocks.swap_remove(index);
        self.bytes -= block.len();
        Some(block)
    }

    fn give_back(&mut self, block: Vec<u8>) {
        if self.bytes + block.len() <= KEPT_BYTES_MAX {
            self.bytes += block.len();
            self.blocks.push(block);
        }
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl AsMut<[u8]> for Aligned {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        self.pool.free.lock().give_back(memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_little_of_it_is_kept() {
        let pool = Arc::new(AlignedPool::default());
        let block = pool.take(100_000);
        assert_eq!(block.as_ref().len() % ALIGNMENT, 0);
        assert_eq!(block.as_ref().as_ptr() as usize % ALIGNMENT, 0);
        let address = block.as_ref().as_ptr() as usize;
        drop(block);
        let again = pool.take(90_000);
        assert_eq!(again.as_ref().as_ptr() as usize, address);
        assert!(again.as_ref().len() >= 90_000);
        drop(again);
        let tiny = pool.take(100);
        assert_ne!(
            tiny.as_ref().as_ptr() as usize,
            address,
            "a block is not wasted"
        );
        let blocks: Vec<Aligned> = (0..20).map(|_| pool.take(1 << 20)).collect();
        drop(blocks);
        assert!(pool.free.lock().bytes <= KEPT_BYTES_MAX);
        assert!(pool.free.lock().bytes > KEPT_BYTES_MAX / 2);
    }
}
