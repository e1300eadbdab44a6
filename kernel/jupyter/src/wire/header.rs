//! The header of a message, and the header of the request that a message answers.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#message-header>

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::lenient;

/// Version of the messaging protocol that this framework speaks.
pub const PROTOCOL_VERSION: &str = "5.5";

/// The frame of an empty JSON object.
pub(crate) const EMPTY_OBJECT: Bytes = Bytes::from_static(b"{}");

/// Names a message and its sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    /// Unique per message.
    #[serde(deserialize_with = "lenient::or_default")]
    pub msg_id: String,
    /// Unique per client or kernel process.
    #[serde(deserialize_with = "lenient::or_default")]
    pub session: String,
    /// Who sent it.
    #[serde(deserialize_with = "lenient::or_default")]
    pub username: String,
    /// When, in ISO 8601.
    #[serde(deserialize_with = "lenient::or_default")]
    pub date: String,
    /// What kind of message.
    #[serde(deserialize_with = "lenient::or_default")]
    pub msg_type: String,
    /// Protocol version of the sender.
    #[serde(deserialize_with = "lenient::or_default")]
    pub version: String,
    /// The subshell that a request is meant for.
    #[serde(
        deserialize_with = "lenient::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub subshell_id: Option<String>,
}

/// The request that a message answers: its header, and that header's frame byte for byte.
///
/// Clients put fields of their own into headers and expect them back, so the frame is returned as
/// it came and is never written anew.
#[derive(Clone, Debug)]
pub struct Parent {
    header: Header,
    frame: Bytes,
}

impl Parent {
    /// The parent of a message that nobody asked for.
    pub fn none() -> Self {
        Self {
            header: Header::default(),
            frame: EMPTY_OBJECT,
        }
    }

    pub(crate) fn new(header: Header, frame: Bytes) -> Self {
        Self { header, frame }
    }

    /// The request's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The id of the request; empty if there is none.
    pub fn msg_id(&self) -> &str {
        &self.header.msg_id
    }

    pub(crate) fn frame(&self) -> &Bytes {
        &self.frame
    }
}
