//! What cell host and relay say to each other, and how the cell host hands over its pipes.
//!
//! The cell host connects to the relay's Unix socket, says [`CellHostMessage::Hello`] with the read
//! ends of three pipes, and asks before it runs a cell; the relay answers each message that wants an
//! answer. The lines evcxr itself reads never pass here.

use crate::PxError;
use crate::frame::{self, Frame};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};
use std::io::{IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

/// The pipes a cell host hands over: standard output, standard error, reports.
pub const PIPES: usize = 3;
/// Environment variable that tells the cell host where the relay listens.
pub const SOCKET_ENV: &str = "BIREME_CELL_SOCKET";

/// What the cell host says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CellHostMessage {
    /// Who connects; the pipes' read ends follow with one byte.
    Hello {
        /// The process.
        pid: u32,
    },
    /// A compiled cell is there; wants [`RelayMessage::Go`] or [`RelayMessage::Skip`].
    Starting,
    /// The cell could not be loaded; wants [`RelayMessage::Forward`].
    LoadFailed {
        /// What the loader said.
        reason: String,
    },
    /// The cell returned and its output is flushed; wants [`RelayMessage::Forward`].
    Finished,
}

/// What the relay answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RelayMessage {
    /// Run the cell.
    Go,
    /// Do not run the cell: it was interrupted while it was compiled.
    Skip,
    /// Lines of evcxr's own found in the output, to be passed on to it.
    Forward {
        /// Without newlines.
        lines: Vec<String>,
    },
}

/// Writes one message.
///
/// # Errors
/// When the peer is gone.
pub fn send<M: Serialize>(channel: &mut UnixStream, message: &M) -> Result<(), PxError> {
    let bytes = frame::encode(message, b"")?;
    channel
        .write_all(&bytes)
        .map_err(|error| PxError::io("write to the side channel", error))
}

/// Reads one message; `None` when the peer is gone.
///
/// # Errors
/// When the connection fails.
pub fn receive<M: serde::de::DeserializeOwned>(
    channel: &mut UnixStream,
) -> Result<Option<M>, PxError> {
    let frame: Option<Frame<M>> = frame::read_frame(channel)?;
    Ok(frame.map(|frame| frame.message))
}

/// Hands file descriptors to the peer.
///
/// # Errors
/// When the peer is gone.
pub fn send_pipes(channel: &UnixStream, pipes: &[RawFd; PIPES]) -> Result<(), PxError> {
    let byte = [IoSlice::new(b"p")];
    let rights = [ControlMessage::ScmRights(pipes)];
    sendmsg::<()>(channel.as_raw_fd(), &byte, &rights, MsgFlags::empty(), None)
        .map_err(|error| PxError::io("hand the output pipes to the relay", error))?;
    Ok(())
}

/// Takes the file descriptors [`send_pipes`] handed over.
///
/// # Errors
/// When the connection fails or the peer sent something else.
pub fn receive_pipes(channel: &UnixStream) -> Result<[OwnedFd; PIPES], PxError> {
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; PIPES]);
    let received = recvmsg::<()>(
        channel.as_raw_fd(),
        &mut data,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .map_err(|error| PxError::io("take the output pipes of the cell host", error))?;
    let mut pipes = Vec::new();
    let messages = received
        .cmsgs()
        .map_err(|error| PxError::io("take the output pipes of the cell host", error))?;
    for message in messages {
        if let ControlMessageOwned::ScmRights(descriptors) = message {
            for descriptor in descriptors {
                // SAFETY: the kernel made this descriptor for us with the message; nobody else owns it.
                pipes.push(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
    }
    pipes
        .try_into()
        .map_err(|pipes: Vec<OwnedFd>| PxError::OutOfStep {
            expected: "three pipes",
            got: format!("{} file descriptors", pipes.len()),
        })
}
