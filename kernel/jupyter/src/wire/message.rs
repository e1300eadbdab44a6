//! A message as frames: identities, delimiter, signature, four JSON objects, buffers.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#the-wire-protocol>
//!
//! Reading never fails because of a field; only a message that is not one at all is refused.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::header::EMPTY_OBJECT;
use super::{Header, JsonMap, Parent};
use crate::signing::{SignatureError, Signer};

/// Stands between the routing frames and the message.
const DELIMITER: &[u8] = b"<IDS|MSG>";

/// Frames of a message behind the delimiter, without buffers.
const FRAMES_MIN: usize = 5;

/// Why frames are not a message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// No delimiter.
    #[error("no <IDS|MSG> delimiter in {frames} frames")]
    NoDelimiter {
        /// How many frames there were.
        frames: usize,
    },
    /// Too few frames behind the delimiter.
    #[error("{frames} frames behind the delimiter, at least 5 are needed")]
    Short {
        /// How many there were.
        frames: usize,
    },
    /// Not signed by the owner of the key.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The header is not a JSON object.
    #[error("the header is not a JSON object: {source}")]
    Header {
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

/// A message that arrived.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Routing frames; for a ROUTER the first is the peer.
    pub identities: Vec<Bytes>,
    /// The header, kept with its frame for the answer.
    pub request: Parent,
    /// The header of the message that this one answers; empty fields if there is none.
    pub parent_header: Header,
    /// Metadata; empty if unreadable.
    pub metadata: JsonMap,
    /// Content; an empty object if unreadable.
    pub content: Value,
    /// Binary attachments.
    pub buffers: Vec<Bytes>,
}

impl Incoming {
    /// Reads a message from its frames and checks its signature.
    pub fn from_frames(mut frames: Vec<Bytes>, signer: &Signer) -> Result<Self, MessageError> {
        let delimiter = frames
            .iter()
            .position(|frame| frame.as_ref() == DELIMITER)
            .ok_or(MessageError::NoDelimiter {
                frames: frames.len(),
            })?;
        let mut message = frames.split_off(delimiter + 1);
        frames.truncate(delimiter);
        if message.len() < FRAMES_MIN {
            return Err(MessageError::Short {
                frames: message.len(),
            });
        }
        let buffers = message.split_off(FRAMES_MIN);
        signer.verify(&message[0], &message[1..])?;
        let header: Header = serde_json::from_slice(&message[1])
            .map_err(|source| MessageError::Header { source })?;
        Ok(Self {
            identities: frames,
            request: Parent::new(header, message[1].clone()),
            parent_header: read_or_default(&message[2]),
            metadata: read_or_default(&message[3]),
            content: serde_json::from_slice(&message[4])
                .ok()
                .filter(Value::is_object)
                .unwrap_or_else(|| Value::Object(JsonMap::new())),
            buffers,
        })
    }

    /// The message's type.
    pub fn msg_type(&self) -> &str {
        &self.request.header().msg_type
    }

    /// The content as a typed request; fields that are absent or wrong take their defaults.
    pub fn content_as<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        T::deserialize(&self.content)
    }
}

fn read_or_default<T: DeserializeOwned + Default>(frame: &[u8]) -> T {
    serde_json::from_slice(frame).unwrap_or_default()
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing<'a, C> {
    /// Routing frames, or the topic on IOPub.
    pub identities: &'a [Bytes],
    /// The header.
    pub header: &'a Header,
    /// The request that it answers.
    pub parent: &'a Parent,
    /// Metadata.
    pub metadata: &'a JsonMap,
    /// Content, which must serialize to an object.
    pub content: C,
    /// Binary attachments.
    pub buffers: &'a [Bytes],
}

impl<C: Serialize> Outgoing<'_, C> {
    /// Writes and signs the frames.
    pub fn into_frames(self, signer: &Signer) -> Vec<Bytes> {
        let parts = [
            to_frame(self.header),
            self.parent.frame().clone(),
            to_frame(self.metadata),
            to_frame(&self.content),
        ];
        let mut frames = Vec::with_capacity(self.identities.len() + 6 + self.buffers.len());
        frames.extend_from_slice(self.identities);
        frames.push(Bytes::from_static(DELIMITER));
        frames.push(Bytes::from(signer.sign(&parts)));
        frames.extend(parts);
        frames.extend_from_slice(self.buffers);
        frames
    }
}

/// Writes an object; one that cannot be written (a map with keys that are not text) becomes empty
/// rather than leaving the client without an answer.
fn to_frame(value: &impl Serialize) -> Bytes {
    match serde_json::to_vec(value) {
        Ok(json) => Bytes::from(json),
        Err(error) => {
            tracing::error!(%error, "a message part could not be written as json");
            EMPTY_OBJECT
        }
    }
}
