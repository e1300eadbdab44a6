//! The fixed head of a message on a wire, and the greeting a connection begins with. Every length
//! is checked before anything is allocated for it.

use crate::error::CollectivesError;
use crate::frame::{FrameKind, OperationId};
use bireme_protocol::QueryId;
use uuid::Uuid;

/// Bytes of a head.
pub(crate) const HEADER_BYTES: usize = 64;
/// No message is larger.
pub(crate) const BODY_BYTES_MAX: u64 = 2 << 30;
/// Bytes of a greeting.
pub(crate) const GREETING_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"bireme x";
const VERSION: u32 = 1;

/// The head of a message: what it is, and how many bytes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) operation: OperationId,
    pub(crate) kind: FrameKind,
    pub(crate) partition: u32,
    pub(crate) bytes: u64,
    pub(crate) body_bytes: u64,
    /// Where the body lies in the sender's arena; it follows the head if nowhere.
    pub(crate) offset: Option<u64>,
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = kind_code(self.kind);
        bytes[1] = u8::from(self.offset.is_some());
        bytes[4..8].copy_from_slice(&self.partition.to_le_bytes());
        bytes[8..24].copy_from_slice(self.operation.query.as_bytes());
        bytes[24..32].copy_from_slice(&self.operation.plan.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.operation.index.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.offset.unwrap_or(0).to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(
        peer: usize,
        bytes: &[u8; HEADER_BYTES],
    ) -> Result<Self, CollectivesError> {
        let malformed = |reason: String| CollectivesError::Malformed { peer, reason };
        let kind = kind_of(bytes[0])
            .ok_or_else(|| malformed(format!("{} is no kind of message", bytes[0])))?;
        let query = Uuid::from_bytes(array(bytes, 8)).simple().to_string();
        let query: QueryId = query
            .parse()
            .map_err(|error: uuid::Error| malformed(error.to_string()))?;
        let body_bytes = u64::from_le_bytes(array(bytes, 48));
        if body_bytes > BODY_BYTES_MAX {
            let reason = format!("{body_bytes} bytes follow, {BODY_BYTES_MAX} are allowed");
            return Err(malformed(reason));
        }
        Ok(Self {
            operation: OperationId {
                query,
                plan: u64::from_le_bytes(array(bytes, 24)),
                index: u32::from_le_bytes(array(bytes, 32)),
            },
            kind,
            partition: u32::from_le_bytes(array(bytes, 4)),
            bytes: u64::from_le_bytes(array(bytes, 40)),
            body_bytes,
            offset: (bytes[1] != 0).then(|| u64::from_le_bytes(array(bytes, 56))),
        })
    }
}

/// Who connects: its rank, the size of its cluster, and its build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) rank: u32,
    pub(crate) size: u32,
    pub(crate) build: u64,
}

impl Greeting {
    pub(crate) fn to_bytes(self) -> [u8; GREETING_BYTES] {
        let mut bytes = [0; GREETING_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.rank.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.size.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.build.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; GREETING_BYTES]) -> Result<Self, String> {
        if bytes[0..8] != MAGIC {
            return Err("it does not speak our protocol".to_string());
        }
        let version = u32::from_le_bytes(array(bytes, 8));
        if version != VERSION {
            return Err(format!("it speaks version {version}, this is {VERSION}"));
        }
        Ok(Self {
            rank: u32::from_le_bytes(array(bytes, 12)),
            size: u32::from_le_bytes(array(bytes, 16)),
            build: u64::from_le_bytes(array(bytes, 24)),
        })
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

const KINDS: [FrameKind; 7] = [
    FrameKind::Batch,
    FrameKind::Finish,
    FrameKind::Credit,
    FrameKind::Stop,
    FrameKind::Hungry,
    FrameKind::Abort,
    FrameKind::Close,
];

fn kind_code(kind: FrameKind) -> u8 {
    let position = KINDS.iter().position(|one| *one == kind);
    position.map_or(0, |position| position as u8 + 1)
}

fn kind_of(code: u8) -> Option<FrameKind> {
    KINDS.get(usize::from(code).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_greetings_come_back() {
        for kind in KINDS {
            let header = Header {
                operation: OperationId {
                    query: QueryId::random(),
                    plan: u64::MAX - 1,
                    index: 7,
                },
                kind,
                partition: 3,
                bytes: 1 << 40,
                body_bytes: 12,
                offset: (kind == FrameKind::Batch).then_some(1 << 35),
            };
            assert_eq!(Header::from_bytes(1, &header.to_bytes()).unwrap(), header);
        }
        let greeting = Greeting {
            rank: 1,
            size: 5,
            build: 9,
        };
        assert_eq!(Greeting::from_bytes(&greeting.to_bytes()), Ok(greeting));
    }

    #[test]
    fn garbage_and_excess_are_refused() {
        assert!(Header::from_bytes(0, &[0xff; HEADER_BYTES]).is_err());
        assert!(Greeting::from_bytes(&[0; GREETING_BYTES]).is_err());
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = 1;
        bytes[48..56].copy_from_slice(&(BODY_BYTES_MAX + 1).to_le_bytes());
        let refused = Header::from_bytes(0, &bytes).unwrap_err().to_string();
        assert!(refused.contains("are allowed"), "{refused}");
    }
}
