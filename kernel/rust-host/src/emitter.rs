//! Writes events to the kernel, one frame at a time, from any thread.
//!
//! Writing blocks while the kernel does not read, which slows a printing cell down instead of filling
//! memory. A kernel that is gone is noticed by the thread that reads its requests.

use bireme_px::frame;
use bireme_px::host_protocol::HostEvent;
use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// The way to the kernel.
#[derive(Debug)]
pub struct Emitter {
    kernel: Mutex<File>,
}

impl Emitter {
    /// Writes to the kernel's end of this process's original stdout.
    pub fn new(kernel: File) -> Emitter {
        Emitter {
            kernel: Mutex::new(kernel),
        }
    }

    /// Sends an event without a body.
    pub fn send(&self, event: &HostEvent) {
        self.send_with(event, b"");
    }

    /// Sends events without bodies.
    pub fn send_all(&self, events: impl IntoIterator<Item = HostEvent>) {
        events.into_iter().for_each(|event| self.send(&event));
    }

    /// Sends an event with its body.
    pub fn send_with(&self, event: &HostEvent, body: &[u8]) {
        match frame::encode(event, body) {
            Ok(bytes) => {
                let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = kernel.write_all(&bytes) {
                    tracing::warn!(%error, "the kernel does not take events any more");
                }
            }
            Err(error) => tracing::error!(%error, "an event was dropped"),
        }
    }
}
