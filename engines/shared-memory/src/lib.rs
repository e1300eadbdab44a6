//! Memory that processes of one host share without copying: an arena that one process writes, and
//! the read-only mapping through which others read it. Memory is an anonymous file (`memfd`), whose
//! descriptor goes over a Unix socket, so nothing lies in `/dev/shm` and nothing outlives its last
//! holder. What lies where is told by messages of the caller's own. Also what the
//! process's own allocator holds.

#![expect(
    unsafe_code,
    reason = "memory is mapped, descriptors come out of control messages, what was valid is read as it was, and the allocator is asked"
)]

mod arena;
mod descriptor;
mod error;
mod handed;
mod heap;
mod mapping;
mod memory;
mod ranges;
mod written;

pub use arena::{Arena, Place};
pub use descriptor::{receive_with_descriptor, send_with_descriptor};
pub use error::SharedMemoryError;
pub use handed::{Filling, is_handed, open_sealed, seal};
pub use heap::{give_back_freed, heap_live_bytes};
pub use mapping::{Block, Mapping, Released};
pub use written::{EncodedBatch, WrittenBatch};
