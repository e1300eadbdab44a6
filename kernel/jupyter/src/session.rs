//! The sender's side of every message: session id, message ids, dates, signatures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use crate::signing::Signer;
use crate::wire::{Header, JsonMap, Outgoing, PROTOCOL_VERSION, Parent};

/// One process's identity on a connection.
pub(crate) struct Session {
    id: String,
    username: String,
    signer: Arc<Signer>,
    sent: AtomicU64,
}

impl Session {
    pub(crate) fn new(username: &str, signer: Arc<Signer>) -> Self {
        Self {
            id: Uuid::new_v4().to_string(),
            username: username.to_owned(),
            signer,
            sent: AtomicU64::new(0),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// A header for a new message.
    pub(crate) fn header(&self, msg_type: &str) -> Header {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        Header {
            msg_id: format!("{}_{number}", self.id),
            session: self.id.clone(),
            username: self.username.clone(),
            date: format!("{:.6}", jiff::Timestamp::now()),
            msg_type: msg_type.to_owned(),
            version: PROTOCOL_VERSION.to_owned(),
            subshell_id: None,
        }
    }

    /// The frames of a new message.
    pub(crate) fn message(
        &self,
        identities: &[Bytes],
        msg_type: &str,
        parent: &Parent,
        content: impl Serialize,
    ) -> Vec<Bytes> {
        self.message_with(identities, msg_type, parent, content, &JsonMap::new(), &[])
    }

    /// The frames of a new message with metadata and attachments.
    pub(crate) fn message_with(
        &self,
        identities: &[Bytes],
        msg_type: &str,
        parent: &Parent,
        content: impl Serialize,
        metadata: &JsonMap,
        buffers: &[Bytes],
    ) -> Vec<Bytes> {
        let header = &self.header(msg_type);
        Outgoing {
            identities,
            header,
            parent,
            metadata,
            content,
            buffers,
        }
        .into_frames(&self.signer)
    }
}
