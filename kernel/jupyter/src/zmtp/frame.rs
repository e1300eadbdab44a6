//! Frames on a connection: reading whole messages, writing them so that a stalled peer is noticed.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// More frames of the same message follow.
const MORE: u8 = 1;
/// The length has eight bytes instead of one.
const LONG: u8 = 2;
/// The frame is a command of the protocol.
const COMMAND: u8 = 4;

/// Largest message that is read; a longer one ends its connection.
const MESSAGE_BYTES_MAX: u64 = 128 << 20;
/// Most frames in a message that is read.
const MESSAGE_FRAMES_MAX: usize = 4096;
/// Frames up to this length are copied together into one write.
const COPY_BYTES_MAX: usize = 16 << 10;

/// What a peer sent.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message for the application.
    Message(Vec<Bytes>),
    /// A command of the protocol.
    Command(Bytes),
}

/// Reads the next message or command.
pub(crate) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Received> {
    let mut frames = Vec::new();
    let mut bytes_left = MESSAGE_BYTES_MAX;
    loop {
        let flags = reader.read_u8().await?;
        if flags & !(MORE | LONG | COMMAND) != 0 {
            return Err(malformed("reserved flags are set"));
        }
        let length = if flags & LONG == 0 {
            u64::from(reader.read_u8().await?)
        } else {
            reader.read_u64().await?
        };
        bytes_left = bytes_left
            .checked_sub(length)
            .ok_or_else(|| malformed("the message is longer than 128 MiB"))?;
        let body = read_body(reader, length).await?;
        if flags & COMMAND != 0 {
            return Ok(Received::Command(body));
        }
        frames.push(body);
        if flags & MORE == 0 {
            return Ok(Received::Message(frames));
        }
        if frames.len() == MESSAGE_FRAMES_MAX {
            return Err(malformed("the message has more than 4096 frames"));
        }
    }
}

/// Reads `length` bytes, allocating as they come: a length alone must not cost memory.
async fn read_body(reader: &mut (impl AsyncRead + Unpin), length: u64) -> io::Result<Bytes> {
    let mut body = Vec::new();
    let read = reader.take(length).read_to_end(&mut body).await?;
    if read as u64 == length {
        Ok(body.into())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Writes a message. Fails when the peer takes nothing at all for `stall`.
pub(crate) async fn write_message(
    writer: &mut (impl AsyncWrite + Unpin),
    frames: &[Bytes],
    stall: Duration,
) -> io::Result<()> {
    let mut gathered = Vec::with_capacity(1024);
    for (index, frame) in frames.iter().enumerate() {
        let more = if index + 1 < frames.len() { MORE } else { 0 };
        put_header(&mut gathered, more, frame.len());
        if frame.len() <= COPY_BYTES_MAX {
            gathered.extend_from_slice(frame);
        } else {
            write_all(writer, &gathered, stall).await?;
            gathered.clear();
            write_all(writer, frame, stall).await?;
        }
    }
    write_all(writer, &gathered, stall).await
}

/// Writes a command of the protocol.
pub(crate) async fn write_command(
    writer: &mut (impl AsyncWrite + Unpin),
    body: &[u8],
    stall: Duration,
) -> io::Result<()> {
    let mut frame = Vec::with_capacity(body.len() + 9);
    put_header(&mut frame, COMMAND, body.len());
    frame.extend_from_slice(body);
    write_all(writer, &frame, stall).await
}

fn put_header(out: &mut Vec<u8>, flags: u8, length: usize) {
    if let Ok(short) = u8::try_from(length) {
        out.extend_from_slice(&[flags, short]);
    } else {
        out.push(flags | LONG);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

async fn write_all(
    writer: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
    stall: Duration,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = timeout(stall, writer.write(bytes)).await??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
    }
    Ok(())
}

fn malformed(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn messages_of_every_size_survive_the_round_trip() {
        for length in [0, 1, 255, 256, COPY_BYTES_MAX, COPY_BYTES_MAX + 1, 3 << 20] {
            let frames = vec![
                Bytes::from(vec![7; length]),
                Bytes::new(),
                Bytes::from("end"),
            ];
            let mut wire = Vec::new();
            write_message(&mut wire, &frames, STALL).await.unwrap();
            match read(&mut wire.as_slice()).await.unwrap() {
                Received::Message(read) => assert_eq!(read, frames),
                Received::Command(command) => panic!("read a command: {command:?}"),
            }
        }
    }

    #[tokio::test]
    async fn garbage_and_lies_about_the_length_are_errors() {
        let reserved = read(&mut b"\xf0\x01x".as_slice()).await;
        assert_eq!(reserved.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let huge = read(&mut b"\x02\xff\xff\xff\xff\xff\xff\xff\xff".as_slice()).await;
        assert_eq!(huge.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let short = read(&mut b"\x00\x05abc".as_slice()).await;
        assert_eq!(short.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_noticed() {
        let (mut writer, _reader) = tokio::io::duplex(16);
        let written = write_message(
            &mut writer,
            &[Bytes::from(vec![0; 64])],
            Duration::from_millis(20),
        )
        .await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
