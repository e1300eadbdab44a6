//! What cell host and relay say to each other, and how the cell host hands over its pipes.
//!
//! The process evcxr started connects to the relay's Unix socket and says
//! [`CellHostMessage::Hello`] with its ends of four pipes. Each process that runs cells has a
//! connection of its own, begins with [`CellHostMessage::Host`] and asks before it runs a cell; the
//! relay answers each of its messages. The lines evcxr itself reads never pass here.

use crate::PxError;
use crate::frame::{self, Frame};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};
use std::io::{IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// The pipes a cell host hands over: standard output, standard error, reports, standard input.
pub const PIPES: usize = 4;
/// Environment variable that tells the cell host where the relay listens.
pub const SOCKET_ENV: &str = "BIREME_CELL_SOCKET";
/// Environment variable that limits the memory of the process that runs cells, in bytes.
pub const MEMORY_ENV: &str = "BIREME_CELL_MEMORY";

/// The limit it sets, if it sets one.
pub fn memory_limit() -> Option<u64> {
    std::env::var_os(MEMORY_ENV)?.to_str()?.parse().ok()
}

/// What the cell host says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CellHostMessage {
    /// The process evcxr started connects; the pipes' read ends follow with one byte.
    Hello {
        /// The process.
        pid: u32,
    },
    /// The process that runs cells from now on connects; wants [`RelayMessage::Welcome`].
    Host {
        /// The process.
        pid: u32,
        /// How many runs its memory has seen to their end.
        generation: u64,
        /// How the process before it ended, if it died.
        death: Option<HostDeath>,
    },
    /// A compiled cell is there; wants [`RelayMessage::Go`], [`RelayMessage::Forward`] or
    /// [`RelayMessage::Abandon`].
    Starting {
        /// Its library.
        library: PathBuf,
        /// Why no snapshot was taken since the last cell, if none was.
        unsaved: Option<String>,
    },
    /// The cell could not be loaded; wants [`RelayMessage::Abandon`].
    LoadFailed {
        /// What the loader said.
        reason: String,
    },
    /// The cell returned and its output is flushed; wants [`RelayMessage::Forward`] or
    /// [`RelayMessage::RollBack`].
    Finished {
        /// Whether a snapshot waits that knows all there was before the cell.
        can_roll_back: bool,
    },
}

/// How a process that ran cells died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDeath {
    /// In the words of `std::process::ExitStatus`.
    pub status: String,
    /// Whether a cell was running.
    pub in_cell: bool,
}

/// What the relay answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RelayMessage {
    /// The relay knows of the process.
    Welcome,
    /// Run the cell.
    Go,
    /// Make evcxr forget the evaluation.
    Abandon,
    /// The cell panicked: leave, so that the snapshot goes on.
    RollBack,
    /// Lines of evcxr's own, to be passed on to it.
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
            expected: "four pipes",
            got: format!("{} file descriptors", pipes.len()),
        })
}
