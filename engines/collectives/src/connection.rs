//! The sending end of a connection to another rank: messages go over the socket, rows through an
//! arena of shared memory once the other side says that it has mapped it. What it has read it says
//! on the same socket. Where there is no shared memory all goes over the socket.

use crate::frame_header::{GREETING_BYTES, Greeting, Header};
use crate::releases::{MAPPED, RECORD_BYTES};
use arrow::buffer::Buffer;
use bireme_shared_memory::{Arena, send_with_descriptor};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// How long one message may take to be taken by the other side.
pub(crate) const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// Address space of an arena: more than rows can be under way, and no memory until they are.
const ARENA_BYTES: u64 = 64 << 30;
/// Free memory that stays with a connection for its next message while it is busy.
const ARENA_KEEPS: u64 = 16 << 20;
/// Bodies smaller than this are cheaper on the socket.
const INLINE_BELOW: u64 = 16 << 10;
/// Pieces smaller than this are gathered into one write.
const GATHER_BELOW: usize = 8 << 10;

/// A message on its way: its head, and its body in pieces.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) header: Header,
    pub(crate) body: Vec<Buffer>,
}

/// A connection that this rank opened.
#[derive(Debug)]
pub(crate) struct Connection {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    arena: Option<Arena>,
    is_mapped: bool,
    record: [u8; RECORD_BYTES],
    filled: usize,
}

impl Connection {
    /// Connects and greets.
    pub(crate) async fn open(path: &Path, greeting: Greeting, share: bool) -> io::Result<Self> {
        let stream = UnixStream::connect(path).await?;
        let arena = if share { arena() } else { None };
        let greeted = greet(&stream, greeting, arena.as_ref());
        tokio::time::timeout(WRITE_WITHIN, greeted).await??;
        let (read, write) = stream.into_split();
        Ok(Self {
            read,
            write,
            arena,
            is_mapped: false,
            record: [0; RECORD_BYTES],
            filled: 0,
        })
    }

    /// Writes a message.
    pub(crate) async fn send(&mut self, message: &Message) -> io::Result<()> {
        self.take_records()?;
        let offset = self.place(message);
        let header = Header {
            offset,
            ..message.header
        };
        let body = if offset.is_some() {
            &[]
        } else {
            &message.body[..]
        };
        let written = write_all(&mut self.write, header.to_bytes().to_vec(), body);
        tokio::time::timeout(WRITE_WITHIN, written).await?
    }

    /// Where the body was put in the arena, if it was.
    fn place(&mut self, message: &Message) -> Option<u64> {
        let arena = self.arena.as_mut().filter(|_| self.is_mapped)?;
        if message.header.body_bytes < INLINE_BELOW {
            return None;
        }
        let pieces: Vec<&[u8]> = message.body.iter().map(Buffer::as_slice).collect();
        match arena.write(&pieces) {
            Ok(place) => place.map(|place| place.offset),
            Err(error) => {
                tracing::warn!(%error, "rows go over the socket");
                None
            }
        }
    }

    /// Waits until the other side has said what it has read, or is gone.
    pub(crate) async fn watch(&mut self) -> io::Result<()> {
        self.read.readable().await?;
        self.take_records()
    }

    fn take_records(&mut self) -> io::Result<()> {
        loop {
            match self.read.try_read(&mut self.record[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => self.filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.filled == RECORD_BYTES {
                self.filled = 0;
                self.take_record(u64::from_le_bytes(self.record))?;
            }
        }
    }

    fn take_record(&mut self, record: u64) -> io::Result<()> {
        if record == MAPPED {
            self.is_mapped = true;
            return Ok(());
        }
        match &mut self.arena {
            Some(arena) => arena.release(record).map_err(io::Error::other),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Whether it holds memory that no message needs.
    pub(crate) fn can_trim(&self) -> bool {
        self.arena.as_ref().is_some_and(|arena| arena.kept() > 0)
    }

    /// Gives that back.
    pub(crate) fn trim(&mut self) {
        if let Some(arena) = &mut self.arena {
            arena.trim();
        }
    }
}

fn arena() -> Option<Arena> {
    match Arena::new("bireme exchange", ARENA_BYTES, ARENA_KEEPS) {
        Ok(arena) => Some(arena),
        Err(error) => {
            tracing::warn!(%error, "rows go over sockets");
            None
        }
    }
}

async fn greet(stream: &UnixStream, greeting: Greeting, arena: Option<&Arena>) -> io::Result<()> {
    let bytes: [u8; GREETING_BYTES] = greeting.to_bytes();
    let mut sent = 0;
    while sent < bytes.len() {
        let rest = &bytes[sent..];
        let descriptor = arena.filter(|_| sent == 0).map(Arena::descriptor);
        let send = || send_with_descriptor(stream, rest, descriptor);
        sent += stream.async_io(Interest::WRITABLE, send).await?;
    }
    Ok(())
}

async fn write_all(write: &mut OwnedWriteHalf, head: Vec<u8>, pieces: &[Buffer]) -> io::Result<()> {
    let mut gathered = head;
    for piece in pieces {
        if piece.len() < GATHER_BELOW {
            gathered.extend_from_slice(piece.as_slice());
            continue;
        }
        write.write_all(&gathered).await?;
        gathered.clear();
        write.write_all(piece.as_slice()).await?;
    }
    write.write_all(&gathered).await
}
