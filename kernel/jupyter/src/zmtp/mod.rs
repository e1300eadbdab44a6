//! ZMTP 3.0, the wire protocol of ZeroMQ, with the NULL mechanism: as much of it as Jupyter needs.
//!
//! We speak it ourselves because no Rust library bounds its queues in bytes, tells when what was
//! sent has left, or survives a peer's PING; all three decide whether outputs arrive.
//! Transports are TCP and Unix sockets. CURVE is not spoken.
//!
//! Specification: <https://rfc.zeromq.org/spec/23/>

mod endpoint;
mod frame;
mod handshake;

pub(crate) use endpoint::{Endpoint, Listener, ReadHalf, WriteHalf, connect};
pub(crate) use frame::{Received, read, write_command, write_message};
pub(crate) use handshake::{Peer, SocketType, handshake};

/// The answer to a peer's `PING`: the context it sent, behind its time to live.
pub(crate) fn pong(command: &[u8]) -> Option<bytes::Bytes> {
    let context = command.strip_prefix(b"\x04PING")?.get(2..)?;
    Some([b"\x04PONG".as_slice(), context].concat().into())
}
