//! What a cell shows: the handle through which a handler writes to the front ends.
//!
//! Every call returns at once and may be made from any thread. Order is kept: text that was printed
//! before a display arrives before it. Pacing, size limits and delivery are the publisher's.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::dispatch::CommRegistry;
use crate::publish::Publisher;
use crate::wire::{
    CellError, ClearOutput, CommClose, CommMessage, CommOpen, DisplayData, ExecuteResult, JsonMap,
    MimeBundle, Parent, StreamName, Transient,
};

/// Most bytes of what is shown at once: browsers choke on more, and a connection that takes it looks
/// stalled.
const BUNDLE_BYTES_MAX: usize = 10_000_000;

/// Writes outputs that belong to one request.
#[derive(Clone)]
pub struct Output {
    publisher: Arc<Publisher>,
    comms: Arc<CommRegistry>,
    parent: Arc<Parent>,
    is_silent: bool,
}

impl Output {
    pub(crate) fn new(
        publisher: Arc<Publisher>,
        comms: Arc<CommRegistry>,
        parent: Arc<Parent>,
        is_silent: bool,
    ) -> Self {
        Self {
            publisher,
            comms,
            parent,
            is_silent,
        }
    }

    /// The request that these outputs belong to.
    pub fn parent(&self) -> &Parent {
        &self.parent
    }

    /// Prints bytes; what is not UTF-8 is replaced. A character may be split over two calls.
    pub fn stream(&self, name: StreamName, bytes: &[u8]) {
        self.publisher.stream(&self.parent, name, bytes);
    }

    /// Prints to standard output.
    pub fn stdout(&self, text: impl AsRef<[u8]>) {
        self.stream(StreamName::Stdout, text.as_ref());
    }

    /// Prints to standard error.
    pub fn stderr(&self, text: impl AsRef<[u8]>) {
        self.stream(StreamName::Stderr, text.as_ref());
    }

    /// Shows the value of the cell. A silent cell has none.
    pub fn execute_result(&self, execution_count: u32, data: MimeBundle, metadata: JsonMap) {
        if self.is_silent {
            return;
        }
        let transient = Transient::default();
        self.send(
            "execute_result",
            ExecuteResult {
                execution_count,
                data: data.within(BUNDLE_BYTES_MAX),
                metadata,
                transient,
            },
        );
    }

    /// Shows something; with a `display_id` it can be updated later.
    pub fn display_data(&self, data: MimeBundle, metadata: JsonMap, display_id: Option<&str>) {
        let transient = Transient {
            display_id: display_id.map(str::to_owned),
        };
        self.send(
            "display_data",
            DisplayData {
                data: data.within(BUNDLE_BYTES_MAX),
                metadata,
                transient,
            },
        );
    }

    /// Replaces what was shown under `display_id`.
    pub fn update_display_data(&self, data: MimeBundle, metadata: JsonMap, display_id: &str) {
        let transient = Transient {
            display_id: Some(display_id.to_owned()),
        };
        let content = DisplayData {
            data: data.within(BUNDLE_BYTES_MAX),
            metadata,
            transient,
        };
        self.publisher.update(&self.parent, content, display_id);
    }

    /// Removes the cell's outputs, at once or when the next one comes.
    pub fn clear_output(&self, wait: bool) {
        self.send("clear_output", ClearOutput { wait });
    }

    /// Opens a comm from the kernel's side. False if too many are open.
    pub fn comm_open(&self, open: &CommOpen, metadata: &JsonMap, buffers: &[Bytes]) -> bool {
        let is_open = self.comms.insert(open);
        if is_open {
            self.publisher
                .publish_with(&self.parent, "comm_open", open, metadata, buffers);
        }
        is_open
    }

    /// Sends data on a comm.
    pub fn comm_msg(&self, message: &CommMessage, metadata: &JsonMap, buffers: &[Bytes]) {
        self.publisher
            .publish_with(&self.parent, "comm_msg", message, metadata, buffers);
    }

    /// Closes a comm from the kernel's side.
    pub fn comm_close(&self, close: &CommClose) {
        self.comms.remove(&close.comm_id);
        self.send("comm_close", close);
    }

    /// Waits until what was printed so far has left, which the pacing of floods may delay.
    pub async fn flush(&self) {
        // An error means that the publisher is gone, and everything it held with it.
        let _ = self.publisher.flush(&self.parent).await;
    }

    /// Shows a failure. Only the framework calls it, with what `execute` returned, so that there
    /// is exactly one and the reply says the same.
    pub(crate) fn error(&self, error: &CellError) {
        self.send("error", error);
    }

    pub(crate) fn send(&self, msg_type: &'static str, content: impl Serialize) {
        self.publisher.publish(&self.parent, msg_type, content);
    }
}
