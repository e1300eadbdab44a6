//! The receiving end of connections from other ranks: who may connect, and what their messages say.
//! Rows that lie in the sender's arena are read where they are.

use crate::communicator::Inbox;
use crate::connection::WRITE_WITHIN;
use crate::error::CollectivesError;
use crate::frame::{Body, Frame, FrameKind};
use crate::frame_header::{GREETING_BYTES, Greeting, HEADER_BYTES, Header};
use crate::link::OnLost;
use crate::releases::{MAPPED, Releases};
use arrow::buffer::{Buffer, MutableBuffer};
use bireme_protocol::Fault;
use bireme_shared_memory::{Mapping, receive_with_descriptor};
use bytes::Bytes;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, OnceLock, Weak};
use tokio::io::{AsyncReadExt, BufReader, Interest};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

const READ_BUFFER_BYTES: usize = 64 << 10;
/// Connections beyond one per rank that may be open while engines restart.
const SPARE_CONNECTIONS: usize = 16;

/// Where messages go.
#[derive(Clone)]
pub(crate) struct Destination {
    pub(crate) greeting: Greeting,
    pub(crate) inbox: Arc<OnceLock<Weak<dyn Inbox>>>,
    pub(crate) on_lost: OnLost,
}

/// A rank that has connected, and the memory it shares.
struct Peer {
    rank: usize,
    mapping: Option<Arc<Mapping>>,
    released: Arc<dyn Fn(u64) + Send + Sync>,
}

/// Accepts connections until it is dropped.
pub(crate) async fn accept(listener: UnixListener, destination: Destination) {
    let connections_max = destination.greeting.size as usize + SPARE_CONNECTIONS;
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if readers.len() < connections_max => {
                    readers.spawn(read(stream, destination.clone()));
                }
                Ok(_) => tracing::warn!("refuse a connection: too many are open"),
                Err(error) => {
                    tracing::warn!(%error, "accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            },
            Some(_) = readers.join_next(), if !readers.is_empty() => {}
        }
    }
}

async fn read(stream: UnixStream, destination: Destination) {
    let (rank, memory) = match greet(&stream, destination.greeting).await {
        Ok(greeted) => greeted,
        Err(reason) => {
            tracing::warn!(%reason, "refuse a connection");
            return;
        }
    };
    let (from, to) = stream.into_split();
    let releases = Arc::new(Releases::default());
    let mapping = memory.and_then(|memory| map(rank, &memory));
    if mapping.is_some() {
        releases.push(MAPPED);
    }
    let queue = Arc::clone(&releases);
    let peer = Peer {
        rank,
        mapping,
        released: Arc::new(move |offset| queue.push(offset)),
    };
    // Ends with the connection.
    let mut telling = JoinSet::new();
    telling.spawn(releases.write(to));
    let mut from = BufReader::with_capacity(READ_BUFFER_BYTES, from);
    let error = loop {
        match peer.read_frame(&mut from).await {
            Ok(frame) => match destination.inbox.get().and_then(Weak::upgrade) {
                Some(inbox) => inbox.deliver(rank, frame),
                None => return,
            },
            Err(error) => break error,
        }
    };
    (destination.on_lost)(rank, &error);
}

/// Without a mapping the other side is not told of one, and sends its rows over the socket.
fn map(rank: usize, memory: &OwnedFd) -> Option<Arc<Mapping>> {
    match Mapping::new(memory) {
        Ok(mapping) => Some(mapping),
        Err(error) => {
            tracing::warn!(rank, %error, "rows come over the socket");
            None
        }
    }
}

async fn greet(stream: &UnixStream, ours: Greeting) -> Result<(usize, Option<OwnedFd>), String> {
    // The directory is private; the peer's user is checked all the same.
    let own = fs::metadata("/proc/self").map_err(|error| error.to_string())?;
    let credentials = stream.peer_cred();
    let user = credentials.map_err(|error| error.to_string())?.uid();
    if user != own.uid() {
        return Err(format!("it comes from user {user}"));
    }
    let greeted = tokio::time::timeout(WRITE_WITHIN, receive_greeting(stream)).await;
    let (bytes, memory) = greeted
        .map_err(|_| "no greeting came".to_string())?
        .map_err(|error| error.to_string())?;
    let theirs = Greeting::from_bytes(&bytes)?;
    if theirs.size != ours.size || theirs.rank >= ours.size || theirs.rank == ours.rank {
        return Err(format!(
            "it says it is rank {} of {}, this is rank {} of {}",
            theirs.rank, theirs.size, ours.rank, ours.size
        ));
    }
    if theirs.build != ours.build {
        return Err(format!("engine {} is of another build", theirs.rank));
    }
    Ok((theirs.rank as usize, memory))
}

async fn receive_greeting(
    stream: &UnixStream,
) -> io::Result<([u8; GREETING_BYTES], Option<OwnedFd>)> {
    let mut bytes = [0; GREETING_BYTES];
    let (mut filled, mut memory) = (0, None);
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        let receive = || receive_with_descriptor(stream, rest);
        let (received, descriptor) = stream.async_io(Interest::READABLE, receive).await?;
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += received;
        memory = memory.or(descriptor);
    }
    Ok((bytes, memory))
}

impl Peer {
    async fn read_frame(
        &self,
        from: &mut BufReader<OwnedReadHalf>,
    ) -> Result<Frame, CollectivesError> {
        let mut bytes = [0; HEADER_BYTES];
        let read = from.read_exact(&mut bytes).await;
        read.map_err(|source| self.failed(source))?;
        let header = Header::from_bytes(self.rank, &bytes)?;
        let body = match header.offset {
            Some(offset) => self.shared_body(&header, offset)?,
            None => self.read_body(&header, from).await?,
        };
        let body = match header.kind {
            FrameKind::Batch => Body::Encoded(body),
            FrameKind::Abort => {
                let text = String::from_utf8_lossy(body.as_slice());
                Body::Fault(Box::new(Fault::from_json(&text)))
            }
            _ => Body::Empty,
        };
        Ok(Frame {
            operation: header.operation,
            kind: header.kind,
            partition: header.partition,
            bytes: header.bytes,
            body,
        })
    }

    fn shared_body(&self, header: &Header, offset: u64) -> Result<Buffer, CollectivesError> {
        let malformed = |reason: String| CollectivesError::Malformed {
            peer: self.rank,
            reason,
        };
        let Some(mapping) = &self.mapping else {
            return Err(malformed("it names memory that was not shared".to_string()));
        };
        let block = mapping.block(offset, header.body_bytes, Arc::clone(&self.released));
        let block = block.map_err(|error| malformed(error.to_string()))?;
        Ok(Buffer::from(Bytes::from_owner(block)))
    }

    async fn read_body(
        &self,
        header: &Header,
        from: &mut BufReader<OwnedReadHalf>,
    ) -> Result<Buffer, CollectivesError> {
        let mut body = MutableBuffer::from_len_zeroed(header.body_bytes as usize);
        tokio::time::timeout(WRITE_WITHIN, from.read_exact(body.as_slice_mut()))
            .await
            .map_err(|elapsed| self.failed(elapsed.into()))?
            .map_err(|source| self.failed(source))?;
        Ok(body.into())
    }

    fn failed(&self, source: io::Error) -> CollectivesError {
        CollectivesError::Peer {
            action: "receive from",
            peer: self.rank,
            source: Arc::new(source),
        }
    }
}
