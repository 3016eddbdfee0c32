//! HT-SHA-256-NONE (draft-schmaus-kitten-sasl-ht): a client proves in one message that it holds a
//! token, and the server proves in its answer that it gave it. Both roles, without I/O.
//!
//! Without channel binding the two messages of a token are always the same two. So a server needs
//! no token to check them: [`TokenKeys`] hold a hash of the one and the whole of the other, and
//! nobody can authenticate with them. A message that was overheard can be sent again, which is
//! what TLS is there to prevent.

use super::{BASE64, SaslFault, decoded, hmac};
use base64::Engine as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Its registered name.
pub const MECHANISM: &str = "HT-SHA-256-NONE";

/// Bytes of a block of SHA-256: longer keys are hashed first (RFC 2104 §2).
const BLOCK_BYTES: usize = 64;

/// What a server keeps of a token, in base64.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenKeys {
    /// Hash of the proof that the client sends.
    pub stored_key: String,
    /// The proof that the server sends.
    pub responder: String,
}

impl TokenKeys {
    /// Makes the keys of a token.
    pub fn derive(token: &str) -> Self {
        Self {
            stored_key: BASE64.encode(Sha256::digest(mac(token, b"Initiator"))),
            responder: BASE64.encode(mac(token, b"Responder")),
        }
    }

    /// Whether a proof is this token's.
    pub fn match_proof(&self, proof: &[u8]) -> bool {
        decoded(&self.stored_key).is_ok_and(|key| bool::from(key.ct_eq(&Sha256::digest(proof))))
    }

    /// What the server answers a proof that is right.
    pub fn answer(&self) -> Result<Vec<u8>, SaslFault> {
        decoded(&self.responder)
    }
}

/// The client's only message.
pub fn initial_response(username: &str, token: &str) -> Vec<u8> {
    let mut message = username.as_bytes().to_vec();
    message.push(0);
    message.extend(mac(token, b"Initiator"));
    message
}

/// Who wants to authenticate, and his proof: the client's message taken apart.
pub fn read(message: &[u8]) -> Result<(&str, &[u8]), SaslFault> {
    let end = message.iter().position(|byte| *byte == 0).ok_or(SaslFault::MalformedRequest)?;
    let (name, proof) = (message.get(..end), message.get(end.saturating_add(1)..));
    let (Some(name), Some(proof)) = (name, proof) else { return Err(SaslFault::MalformedRequest) };
    let name = super::utf8(name)?;
    if name.is_empty() || proof.is_empty() {
        return Err(SaslFault::MalformedRequest);
    }
    Ok((name, proof))
}

/// Checks the server's answer: only who knows the token can have made it.
pub fn verify(token: &str, answer: &[u8]) -> Result<(), SaslFault> {
    let right = bool::from(mac(token, b"Responder").ct_eq(answer));
    if right { Ok(()) } else { Err(SaslFault::ServerNotTrusted) }
}

fn mac(token: &str, role: &[u8]) -> Vec<u8> {
    let token = token.as_bytes();
    if token.len() > BLOCK_BYTES {
        hmac::<Sha256>(&Sha256::digest(token), role)
    } else {
        hmac::<Sha256>(token, role)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_prove_that_they_know_the_token() {
        let keys = TokenKeys::derive("token");
        let message = initial_response("alice", "token");
        let (name, proof) = read(&message).unwrap();
        assert_eq!(name, "alice");
        assert!(keys.match_proof(proof));
        assert_eq!(verify("token", &keys.answer().unwrap()), Ok(()));
    }

    #[test]
    fn proofs_are_those_of_the_draft() {
        // HMAC-SHA-256("secret-token", "Initiator"), by another implementation.
        let expected = "3f6de92b45cddc50c601ad166458f7b5874565e399f3006b1afb03f0bb03ff88";
        let message = initial_response("u", "secret-token");
        let hex: String = message.iter().skip(2).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
        let long = initial_response("u", &"long".repeat(30));
        let hex: String = long.iter().skip(2).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5d103d16ba1c6cb53117fb5fb6dc1798683b6cc0ebb05fe827ad9c8430030290");
    }

    #[test]
    fn nobody_else_is_believed() {
        let keys = TokenKeys::derive("token");
        let other = initial_response("alice", "another");
        assert!(!keys.match_proof(read(&other).unwrap().1));
        assert!(!keys.match_proof(&keys.answer().unwrap()), "the server's proof is not the client's");
        assert!(!keys.match_proof(&decoded(&keys.stored_key).unwrap()), "nor is what the server keeps");
        for answer in [&b""[..], &keys.answer().unwrap()[1..], &mac("token", b"Initiator")] {
            assert_eq!(verify("token", answer), Err(SaslFault::ServerNotTrusted));
        }
    }

    #[test]
    fn what_is_no_message_is_malformed() {
        for message in [&b""[..], b"alice", b"\0proof", b"alice\0", b"\xff\0proof"] {
            assert_eq!(read(message), Err(SaslFault::MalformedRequest), "{message:?}");
        }
    }
}
