//! Memory that begins and ends on a page, as files want it that are read and written past the page
//! cache.

/// What such files count in.
pub(crate) const ALIGNMENT: usize = 4096;

/// Aligned bytes.
#[derive(Debug)]
pub(crate) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// So many bytes, rounded up.
    pub(crate) fn zeroed(bytes: usize) -> Self {
        let length = bytes.next_multiple_of(ALIGNMENT);
        let memory = vec![0; length + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self {
            memory,
            start,
            length,
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
