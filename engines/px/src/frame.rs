//! Frames: how messages travel between kernel, Rust host and cell host.
//!
//! A frame is two little-endian `u32` lengths, then a JSON header of the first length, then raw
//! body bytes of the second. Only [`crate::host_protocol::HostEvent::Output`] has a body: the bytes a cell wrote, as it
//! wrote them. [`FrameDecoder`] serves asynchronous readers (feed it whatever arrived),
//! [`read_frame`] blocking ones.

use crate::PxError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{ErrorKind, Read};

/// The largest header: a display bundle with images in it.
pub const HEADER_LIMIT: usize = 128 << 20;
/// The largest body; output is cut into smaller pieces long before.
pub const BODY_LIMIT: usize = 4 << 20;
/// Bytes of the two lengths.
const PREFIX: usize = 8;

/// One message with its body.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame<M> {
    /// The decoded header.
    pub message: M,
    /// Raw bytes; empty for most messages.
    pub body: Vec<u8>,
}

/// Encodes a message and its body as one frame.
///
/// # Errors
/// When the message is larger than a frame may be, or is not JSON.
pub fn encode<M: Serialize>(message: &M, body: &[u8]) -> Result<Vec<u8>, PxError> {
    let mut bytes = vec![0; PREFIX];
    serde_json::to_writer(&mut bytes, message).map_err(|source| PxError::Encode { source })?;
    let header = bytes.len() - PREFIX;
    check(header, HEADER_LIMIT)?;
    check(body.len(), BODY_LIMIT)?;
    bytes[..4].copy_from_slice(&(header as u32).to_le_bytes());
    bytes[4..PREFIX].copy_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// Takes bytes as they arrive and gives back whole frames.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    start: usize,
}

impl FrameDecoder {
    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start >= self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// When the lengths exceed the limits or the header does not parse: the stream is unusable.
    pub fn next_frame<M: DeserializeOwned>(&mut self) -> Result<Option<Frame<M>>, PxError> {
        let waiting = &self.buffer[self.start..];
        let Some(prefix) = waiting.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let (header, body) = lengths(prefix)?;
        let Some(frame) = waiting.get(PREFIX..PREFIX + header + body) else {
            return Ok(None);
        };
        let message = parse(&frame[..header])?;
        let body = frame[header..].to_vec();
        self.start += PREFIX + header + body.len();
        Ok(Some(Frame { message, body }))
    }

    /// Bytes of a frame that is not whole yet.
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.start
    }
}

/// Reads one frame from a blocking reader; `None` when the peer closed between two frames.
///
/// # Errors
/// When the connection fails or ends inside a frame, or the frame is not valid.
pub fn read_frame<M: DeserializeOwned>(
    reader: &mut impl Read,
) -> Result<Option<Frame<M>>, PxError> {
    let mut prefix = [0; PREFIX];
    match fill(reader, &mut prefix)? {
        0 => return Ok(None),
        PREFIX => {}
        got => {
            return Err(PxError::Truncated {
                got,
                wanted: PREFIX,
            });
        }
    }
    let (header, body) = lengths(&prefix)?;
    let mut bytes = vec![0; header + body];
    let got = fill(reader, &mut bytes)?;
    if got < bytes.len() {
        let wanted = bytes.len();
        return Err(PxError::Truncated { got, wanted });
    }
    let message = parse(&bytes[..header])?;
    let body = bytes.split_off(header);
    Ok(Some(Frame { message, body }))
}

/// Reads until the buffer is full or the stream ends; gives the bytes read.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, PxError> {
    let mut got = 0;
    while got < buffer.len() {
        match reader.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(PxError::io("read a frame", error)),
        }
    }
    Ok(got)
}

fn lengths(prefix: &[u8; PREFIX]) -> Result<(usize, usize), PxError> {
    let [a, b, c, d, e, f, g, h] = *prefix;
    let header = u32::from_le_bytes([a, b, c, d]) as usize;
    let body = u32::from_le_bytes([e, f, g, h]) as usize;
    check(header, HEADER_LIMIT)?;
    check(body, BODY_LIMIT)?;
    Ok((header, body))
}

fn check(size: usize, limit: usize) -> Result<(), PxError> {
    if size > limit {
        return Err(PxError::FrameTooLarge { size, limit });
    }
    Ok(())
}

fn parse<M: DeserializeOwned>(header: &[u8]) -> Result<M, PxError> {
    serde_json::from_slice(header).map_err(|source| PxError::BadHeader {
        size: header.len(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut stream = encode(&"one".to_string(), b"\xff\x00body").unwrap();
        stream.extend(encode(&"two".to_string(), b"").unwrap());
        for cut in 0..stream.len() {
            let mut decoder = FrameDecoder::default();
            let mut frames: Vec<Frame<String>> = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames.len(), 2, "cut at {cut}");
            assert_eq!(frames[0].body, b"\xff\x00body");
            assert_eq!(frames[1].message, "two");
            assert_eq!(decoder.waiting(), 0);
        }
    }

    #[test]
    fn a_blocking_reader_tells_the_end_from_a_cut() {
        let stream = encode(&1u8, b"xyz").unwrap();
        let mut whole = &stream[..];
        let frame: Frame<u8> = read_frame(&mut whole).unwrap().unwrap();
        assert_eq!(frame.body, b"xyz");
        assert!(read_frame::<u8>(&mut whole).unwrap().is_none());
        let error = read_frame::<u8>(&mut &stream[..stream.len() - 1]).unwrap_err();
        assert!(error.to_string().contains("closed the connection"));
    }

    #[test]
    fn a_stream_of_something_else_is_refused() {
        let mut decoder = FrameDecoder::default();
        decoder.push(b"GET / HTTP/1.1\r\n");
        let error = decoder.next_frame::<u8>().unwrap_err();
        assert!(matches!(error, PxError::FrameTooLarge { .. }));
    }
}
