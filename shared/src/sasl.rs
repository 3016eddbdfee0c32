//! SCRAM (RFC 5802, RFC 7677), both roles, without I/O. Stub; being written.

use serde::{Deserialize, Serialize};

/// What a client keeps instead of a password: good for one account, one salt and one hash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Credential {
    /// Salt the server gave, in base64.
    pub salt: String,
    /// Iterations the server gave.
    pub iterations: u32,
    /// RFC 5802 §3 ClientKey, in base64.
    pub client_key: String,
    /// RFC 5802 §3 ServerKey, in base64.
    pub server_key: String,
}
