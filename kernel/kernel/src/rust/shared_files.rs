//! Files in memory that this process holds open for others to fill or read: cells and engines open them
//! by the path of a descriptor. What is filled is sealed before anybody reads it.

use bireme_protocol::{ErrorCode, Fault};
use bireme_shared_memory::seal;
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::os::fd::AsRawFd;

/// Files in memory, for as long as this lives.
#[derive(Default)]
pub(crate) struct SharedFiles {
    files: Vec<File>,
}

impl SharedFiles {
    /// So many empty files.
    pub(crate) fn new(count: usize) -> Result<Self, Fault> {
        let files = (0..count).map(|_| memory());
        let files = files.collect::<Result<_, _>>()?;
        Ok(Self { files })
    }

    /// All of them, in order.
    pub(crate) fn files(&self) -> &[File] {
        &self.files
    }

    /// Puts one in front of the others.
    pub(crate) fn with_first(mut self, file: File) -> Self {
        self.files.insert(0, file);
        self
    }

    /// Their descriptors, as text of Rust.
    pub(crate) fn descriptors(&self) -> String {
        let descriptors: Vec<String> = self
            .files
            .iter()
            .map(|file| file.as_raw_fd().to_string())
            .collect();
        format!("&[{}]", descriptors.join(", "))
    }

    /// Where other processes find them.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.files.iter().map(path).collect()
    }

    /// Ends all writing to them.
    pub(crate) fn seal(&self) -> Result<(), Fault> {
        for file in &self.files {
            seal(file).map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

/// An empty file in memory.
pub(crate) fn memory() -> Result<File, Fault> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("bireme rows", flags);
    Ok(File::from(memory.map_err(|error| failed(&error))?))
}

/// Where other processes find a file.
pub(crate) fn path(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

fn failed(error: &dyn std::error::Error) -> Fault {
    let message = format!("hand rows over in memory: {error}");
    Fault::new(ErrorCode::ExecutionError, message)
}
