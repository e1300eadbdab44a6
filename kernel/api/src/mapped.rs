//! Memory that another process has written and nobody writes any more, read where it is. The calls
//! are the C library's own, which the standard library links in any case: cells link no crate for them.

use arrow_buffer::Buffer;
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::Arc;

const PROT_READ: c_int = 1;
const MAP_SHARED: c_int = 1;
const F_GET_SEALS: c_int = 1034;
/// Its size does not shrink, and nobody writes to it.
const SEALS: c_int = 0x0002 | 0x0008;

unsafe extern "C" {
    fn mmap(
        address: *mut c_void,
        length: usize,
        protection: c_int,
        flags: c_int,
        descriptor: c_int,
        offset: i64,
    ) -> *mut c_void;
    fn munmap(address: *mut c_void, length: usize) -> c_int;
    fn fcntl(descriptor: c_int, command: c_int, ...) -> c_int;
}

/// A file in memory, mapped whole.
struct Mapped {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: nobody writes to it, and it is mapped until it is dropped; any thread may read it.
unsafe impl Send for Mapped {}
// SAFETY: as above; nothing in it changes through a shared reference.
unsafe impl Sync for Mapped {}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: this is what mmap returned, and the last buffer that refers to it is gone.
        unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// The bytes of a file that is sealed: it stays in memory for as long as anybody refers to them.
///
/// # Errors
/// It is not sealed, so it could change while it is read; or it cannot be mapped.
pub(crate) fn map(file: &File) -> io::Result<Buffer> {
    let descriptor = file.as_raw_fd();
    // SAFETY: it reads a number of an open file.
    let seals = unsafe { fcntl(descriptor, F_GET_SEALS) };
    if seals < 0 || seals & SEALS != SEALS {
        let text = "its memory is not sealed, it could change while it is read";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length == 0 {
        return Ok(Buffer::from_vec(Vec::<u8>::new()));
    }
    let nowhere = std::ptr::null_mut();
    // SAFETY: a new mapping at an address of the system's choice replaces nothing.
    let start = unsafe { mmap(nowhere, length, PROT_READ, MAP_SHARED, descriptor, 0) };
    // What failed is at the last address.
    let failed = start.addr() == usize::MAX;
    let start = NonNull::new(start.cast::<u8>()).filter(|_| !failed);
    let start = start.ok_or_else(io::Error::last_os_error)?;
    let owner = Arc::new(Mapped { start, length });
    // SAFETY: so many bytes are mapped there and stay as they are until the owner goes.
    Ok(unsafe { Buffer::from_custom_allocation(start, length, owner) })
}
