//! The opening of a connection: greetings, then READY commands with socket type and identity.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::{Received, read, write_command};

/// A peer that has not introduced itself by then is dropped.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Length of a greeting.
const GREETING_BYTES: usize = 64;
/// Longest identity that the protocol allows.
const IDENTITY_BYTES_MAX: usize = 255;

/// The kind of a ZeroMQ socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketType {
    /// Shell, control and stdin of a kernel.
    Router,
    /// Shell, control and stdin of a client.
    Dealer,
    /// IOPub of a kernel.
    XPub,
    /// IOPub of a client.
    Sub,
    /// Heartbeat of a kernel.
    Rep,
}

impl SocketType {
    fn name(self) -> &'static str {
        match self {
            Self::Router => "ROUTER",
            Self::Dealer => "DEALER",
            Self::XPub => "XPUB",
            Self::Sub => "SUB",
            Self::Rep => "REP",
        }
    }

    fn accepts(self, peer: &str) -> bool {
        match self {
            Self::Router => matches!(peer, "DEALER" | "REQ" | "ROUTER"),
            Self::Dealer => matches!(peer, "ROUTER" | "REP" | "DEALER"),
            Self::XPub => matches!(peer, "SUB" | "XSUB"),
            Self::Sub => matches!(peer, "PUB" | "XPUB"),
            Self::Rep => matches!(peer, "REQ" | "DEALER"),
        }
    }
}

/// Who is on the other side.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The identity it asks for; empty if it leaves that to us.
    pub(crate) identity: Bytes,
}

/// Exchanges greetings and READY.
pub(crate) async fn handshake(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    socket_type: SocketType,
    identity: &[u8],
) -> io::Result<Peer> {
    let exchange = async {
        writer.write_all(&greeting()).await?;
        let mut theirs = [0; GREETING_BYTES];
        reader.read_exact(&mut theirs).await?;
        check_greeting(&theirs)?;
        let ready = ready(socket_type, identity);
        write_command(writer, &ready, HANDSHAKE_DEADLINE).await?;
        match read(reader).await? {
            Received::Command(command) => read_ready(&command, socket_type),
            Received::Message(_) => Err(refused("a message came before READY")),
        }
    };
    timeout(HANDSHAKE_DEADLINE, exchange).await?
}

/// Signature, version 3.0, mechanism NULL, not a server.
///
/// Minor version 0 makes libzmq send subscriptions as messages.
fn greeting() -> [u8; GREETING_BYTES] {
    let mut greeting = [0; GREETING_BYTES];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

fn check_greeting(greeting: &[u8; GREETING_BYTES]) -> io::Result<()> {
    if greeting[0] != 0xff || greeting[9] & 1 == 0 || greeting[10] < 3 {
        return Err(refused("the peer does not speak zmtp 3"));
    }
    if &greeting[12..17] != b"NULL\0" {
        return Err(refused(
            "the peer wants another security mechanism than NULL",
        ));
    }
    Ok(())
}

fn ready(socket_type: SocketType, identity: &[u8]) -> Vec<u8> {
    let mut body = b"\x05READY".to_vec();
    put_property(&mut body, "Socket-Type", socket_type.name().as_bytes());
    if socket_type == SocketType::Dealer {
        put_property(&mut body, "Identity", identity);
    }
    body
}

fn put_property(body: &mut Vec<u8>, name: &str, value: &[u8]) {
    body.extend(u8::try_from(name.len()));
    body.extend_from_slice(name.as_bytes());
    body.extend(
        (value.len() as u64)
            .to_be_bytes()
            .get(4..)
            .unwrap_or_default(),
    );
    body.extend_from_slice(value);
}

fn read_ready(command: &[u8], socket_type: SocketType) -> io::Result<Peer> {
    let mut rest = command
        .strip_prefix(b"\x05READY")
        .ok_or_else(|| refused("the first command is not READY"))?;
    let mut peer = Peer {
        identity: Bytes::new(),
    };
    let mut is_accepted = false;
    while !rest.is_empty() {
        let (name, value, behind) =
            split_property(rest).ok_or_else(|| refused("a READY property is cut off"))?;
        rest = behind;
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            is_accepted = std::str::from_utf8(value).is_ok_and(|peer| socket_type.accepts(peer));
        } else if name.eq_ignore_ascii_case(b"Identity") {
            if value.len() > IDENTITY_BYTES_MAX {
                return Err(refused("the identity is longer than 255 bytes"));
            }
            peer.identity = Bytes::copy_from_slice(value);
        }
    }
    if is_accepted {
        Ok(peer)
    } else {
        Err(refused("the peer's socket type does not fit"))
    }
}

/// Splits a property into its name, its value, and what follows.
fn split_property(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name_length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*name_length))?;
    let (value_length, rest) = rest.split_first_chunk::<4>()?;
    let value_length = usize::try_from(u32::from_be_bytes(*value_length)).ok()?;
    let (value, rest) = rest.split_at_checked(value_length)?;
    Some((name, value, rest))
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_peers_introduce_themselves() {
        let (left, right) = tokio::io::duplex(1024);
        let (mut left_read, mut left_write) = tokio::io::split(left);
        let (mut right_read, mut right_write) = tokio::io::split(right);
        let router = handshake(&mut left_read, &mut left_write, SocketType::Router, b"");
        let dealer = handshake(&mut right_read, &mut right_write, SocketType::Dealer, b"me");
        let (router, dealer) = tokio::join!(router, dealer);
        assert_eq!(router.unwrap().identity, Bytes::from("me"));
        assert_eq!(dealer.unwrap().identity, Bytes::new());
    }

    #[tokio::test]
    async fn socket_types_that_do_not_fit_are_refused() {
        let (left, right) = tokio::io::duplex(1024);
        let (mut left_read, mut left_write) = tokio::io::split(left);
        let (mut right_read, mut right_write) = tokio::io::split(right);
        let publisher = handshake(&mut left_read, &mut left_write, SocketType::XPub, b"");
        let dealer = handshake(&mut right_read, &mut right_write, SocketType::Dealer, b"");
        let (publisher, dealer) = tokio::join!(publisher, dealer);
        assert!(publisher.is_err() && dealer.is_err());
    }

    #[test]
    fn a_cut_off_ready_is_refused() {
        let whole = ready(SocketType::Dealer, b"identity");
        for length in 0..whole.len() {
            let verdict = read_ready(&whole[..length], SocketType::Router);
            let is_boundary = length == whole.len() - (1 + 8 + 4 + 8);
            assert_eq!(
                verdict.is_ok(),
                is_boundary,
                "cut at {length} of {}",
                whole.len()
            );
        }
    }
}
