//! Shared memory where this process sees it. Which places may be read or written is its users' to know.

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

/// So much is mapped around a page that is read, by Linux's default.
const MAPPED_TOGETHER: usize = 64 << 10;
/// Pieces of at least so many bytes are written past the caches: whoever reads them finds them there no
/// more, and fetching what is overwritten would cost as much again.
#[cfg(target_arch = "x86_64")]
const PAST_CACHES_MIN: usize = 32 << 10;

/// A shared file, mapped as a whole.
#[derive(Debug)]
pub(crate) struct Memory {
    start: NonNull<c_void>,
    size: usize,
}

// SAFETY: the mapping lives until this is dropped, and no thread owns a part of it.
unsafe impl Send for Memory {}
// SAFETY: whoever writes to a place is alone with it, as `write` demands.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps a file that only others write.
    pub(crate) fn to_read(file: impl AsFd, bytes: u64) -> nix::Result<Self> {
        Self::map(file, bytes, ProtFlags::PROT_READ)
    }

    /// Maps a file that this process writes.
    pub(crate) fn to_write(file: impl AsFd, bytes: u64) -> nix::Result<Self> {
        Self::map(file, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
    }

    fn map(file: impl AsFd, bytes: u64, protection: ProtFlags) -> nix::Result<Self> {
        let size = usize::try_from(bytes).ok().and_then(NonZeroUsize::new);
        let size = size.ok_or(Errno::EINVAL)?;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the system's choice replaces nothing.
        let start = unsafe { mmap(None, size, protection, flags, file, 0) }?;
        let size = size.get();
        Ok(Self { start, size })
    }

    /// How large it is.
    pub(crate) fn size(&self) -> u64 {
        self.size as u64
    }

    /// The bytes at a place.
    ///
    /// # Safety
    /// The place lies within the memory, and nobody writes to it while they are used.
    pub(crate) unsafe fn read(&self, offset: usize, bytes: usize) -> &[u8] {
        // SAFETY: the caller says that this is within the mapping.
        let place = unsafe { self.start.cast::<u8>().add(offset) };
        // SAFETY: the mapping cannot shrink and holds initialised bytes, which the caller knows stay.
        unsafe { std::slice::from_raw_parts(place.as_ptr(), bytes) }
    }

    /// Copies pieces to a place, one behind the other.
    ///
    /// # Safety
    /// All fit in behind the offset, the memory was mapped to be written, and nobody else reads or writes
    /// there meanwhile.
    pub(crate) unsafe fn write(&self, offset: usize, pieces: &[&[u8]]) {
        let mut at = offset;
        for piece in pieces {
            // SAFETY: the caller says that this place is within the mapping and ours alone.
            let place = unsafe { self.start.cast::<u8>().add(at) };
            for page in (0..piece.len()).step_by(MAPPED_TOGETHER) {
                // SAFETY: as above.
                let page = unsafe { place.add(page) };
                // Reading maps several pages at once, writing would map them one by one.
                // SAFETY: as above.
                unsafe { page.read_volatile() };
            }
            // SAFETY: as above; the piece is other memory.
            unsafe { copy(piece, place) };
            at += piece.len();
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: this is what mmap returned, and whatever lies in it holds this.
        unsafe { munmap(self.start, self.size) }.ok();
    }
}

/// Copies bytes to a place that is large enough and does not overlap them.
///
/// # Safety
/// It is, and nobody else reads or writes there meanwhile.
unsafe fn copy(bytes: &[u8], place: NonNull<u8>) {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= PAST_CACHES_MIN {
        // SAFETY: as the caller says.
        return unsafe { copy_past_caches(bytes, place) };
    }
    // SAFETY: as the caller says.
    unsafe { place.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
}

/// The same for many bytes, with stores that every x86-64 has.
///
/// # Safety
/// As for `copy`.
#[cfg(target_arch = "x86_64")]
unsafe fn copy_past_caches(bytes: &[u8], place: NonNull<u8>) {
    use std::arch::x86_64::{__m128i, _mm_sfence, _mm_stream_si128};
    /// A line of the cache in parts that are stored at once.
    type Line = [__m128i; 4];
    const LINE: usize = size_of::<Line>();
    let front = place.align_offset(align_of::<Line>()).min(bytes.len());
    let (front, rest) = bytes.split_at(front);
    let (lines, back) = rest.as_chunks::<LINE>();
    // SAFETY: the first bytes go where the whole would.
    unsafe { place.copy_from_nonoverlapping(NonNull::from(front).cast(), front.len()) };
    // SAFETY: this is behind them, and aligned if there are lines.
    let mut to = unsafe { place.add(front.len()) }.cast::<__m128i>();
    for line in lines {
        // SAFETY: any bytes are numbers.
        let parts = unsafe { std::mem::transmute::<[u8; LINE], Line>(*line) };
        for part in parts {
            // SAFETY: the part goes where its bytes would in the whole.
            unsafe { _mm_stream_si128(to.as_ptr(), part) };
            // SAFETY: this is behind it.
            to = unsafe { to.add(1) };
        }
    }
    // SAFETY: the last bytes go behind all lines.
    unsafe {
        to.cast::<u8>()
            .copy_from_nonoverlapping(NonNull::from(back).cast(), back.len())
    };
    // Whoever is told of the place sees what was stored.
    // SAFETY: every x86-64 has the instruction.
    unsafe { _mm_sfence() };
}
