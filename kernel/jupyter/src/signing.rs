//! Signs messages and checks signatures, and refuses a message that was seen before.
//!
//! A signature is HMAC-SHA256 over header, parent header, metadata and content, in lower-case hex.
//! It is compared in constant time. The history of digests is bounded, as in ipykernel.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::error::{JupyterError, Result};

/// How many signatures are remembered to recognise a replay.
const DIGEST_HISTORY_MAX: usize = 65_536;

/// Length of a signature in bytes.
const DIGEST_BYTES: usize = 32;

type Digest = [u8; DIGEST_BYTES];

/// Why a message was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not 64 hex digits.
    #[error("the signature is not 64 hex digits")]
    Malformed,
    /// Made with another key, or the message was changed.
    #[error("the signature does not fit the message")]
    Mismatch,
    /// The same message came before.
    #[error("the message was seen before")]
    Replayed,
}

/// Signs and verifies with the key of one connection.
pub struct Signer {
    /// `None` if the connection file has an empty key: then nothing is signed.
    mac: Option<Hmac<Sha256>>,
    seen: Mutex<DigestHistory>,
}

impl Signer {
    /// Makes a signer for the scheme and key of a connection file.
    pub fn new(scheme: &str, key: &str) -> Result<Self> {
        let mac = if key.is_empty() {
            None
        } else if scheme == "hmac-sha256" {
            Some(new_mac(key)?)
        } else {
            return Err(JupyterError::SignatureScheme {
                scheme: scheme.to_owned(),
            });
        };
        Ok(Self {
            mac,
            seen: Mutex::default(),
        })
    }

    /// Signs the four JSON frames; empty when the connection is not signed.
    pub fn sign(&self, frames: &[Bytes]) -> String {
        match &self.mac {
            Some(mac) => to_hex(&digest(mac, frames)),
            None => String::new(),
        }
    }

    /// Checks the signature of the four JSON frames and remembers it.
    pub fn verify(&self, signature: &[u8], frames: &[Bytes]) -> Result<(), SignatureError> {
        let Some(mac) = &self.mac else {
            return Ok(());
        };
        let claimed = from_hex(signature).ok_or(SignatureError::Malformed)?;
        let mut mac = mac.clone();
        frames.iter().for_each(|frame| mac.update(frame));
        mac.verify_slice(&claimed)
            .map_err(|_| SignatureError::Mismatch)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.insert(claimed) {
            Ok(())
        } else {
            Err(SignatureError::Replayed)
        }
    }
}

/// The last digests, oldest forgotten first.
#[derive(Default)]
struct DigestHistory {
    order: VecDeque<Digest>,
    known: HashSet<Digest>,
}

impl DigestHistory {
    /// Remembers a digest; false if it is known already.
    fn insert(&mut self, digest: Digest) -> bool {
        if !self.known.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > DIGEST_HISTORY_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

fn new_mac(key: &str) -> Result<Hmac<Sha256>> {
    Hmac::new_from_slice(key.as_bytes()).map_err(|_| JupyterError::SignatureScheme {
        scheme: "hmac-sha256".to_owned(),
    })
}

fn digest(mac: &Hmac<Sha256>, frames: &[Bytes]) -> Digest {
    let mut mac = mac.clone();
    frames.iter().for_each(|frame| mac.update(frame));
    mac.finalize().into_bytes().into()
}

fn to_hex(digest: &Digest) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    digest
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn from_hex(text: &[u8]) -> Option<Digest> {
    if text.len() != 2 * DIGEST_BYTES {
        return None;
    }
    let mut digest = [0; DIGEST_BYTES];
    for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_value(pair[0])? << 4 | hex_value(pair[1])?;
    }
    Some(digest)
}

fn hex_value(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Bytes> {
        ["{\"msg_id\":\"1\"}", "{}", "{}", "{\"code\":\"1\"}"]
            .map(Bytes::from)
            .to_vec()
    }

    #[test]
    fn a_signature_is_accepted_once() {
        let signer = Signer::new("hmac-sha256", "secret").unwrap();
        let signature = signer.sign(&frames());
        assert_eq!(signature.len(), 64);
        assert_eq!(signer.verify(signature.as_bytes(), &frames()), Ok(()));
        let again = signer.verify(signature.as_bytes(), &frames());
        assert_eq!(again, Err(SignatureError::Replayed));
    }

    #[test]
    fn a_changed_message_or_another_key_is_refused() {
        let signer = Signer::new("hmac-sha256", "secret").unwrap();
        let other = Signer::new("hmac-sha256", "Secret").unwrap();
        let verdict = signer.verify(other.sign(&frames()).as_bytes(), &frames());
        assert_eq!(verdict, Err(SignatureError::Mismatch));
        let mut changed = frames();
        changed[3] = Bytes::from("{}");
        let verdict = signer.verify(signer.sign(&frames()).as_bytes(), &changed);
        assert_eq!(verdict, Err(SignatureError::Mismatch));
        assert_eq!(
            signer.verify(b"xyz", &frames()),
            Err(SignatureError::Malformed)
        );
    }

    #[test]
    fn the_known_answer_of_rfc_4231_is_produced() {
        let signer = Signer::new("hmac-sha256", "Jefe").unwrap();
        let signature =
            signer.sign(&[Bytes::from("what do ya want "), Bytes::from("for nothing?")]);
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature, expected);
    }

    #[test]
    fn an_empty_key_means_no_signatures_and_another_scheme_is_refused() {
        let signer = Signer::new("", "").unwrap();
        assert_eq!(signer.sign(&frames()), "");
        assert_eq!(signer.verify(b"", &frames()), Ok(()));
        assert!(Signer::new("hmac-md5", "key").is_err());
    }

    #[test]
    fn the_history_of_digests_is_bounded() {
        let mut history = DigestHistory::default();
        for number in 0..=DIGEST_HISTORY_MAX as u64 {
            let mut digest = [0; DIGEST_BYTES];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            assert!(history.insert(digest));
        }
        assert_eq!(history.known.len(), DIGEST_HISTORY_MAX);
        assert!(history.insert([0; DIGEST_BYTES]), "the oldest is forgotten");
    }
}
