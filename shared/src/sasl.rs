//! SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802, RFC 7677), both roles, without I/O.
//!
//! A server keeps [`ServerKeys`], from which nobody can authenticate; a client keeps a
//! [`Credential`], which is good for one salt only. Neither keeps a password.
//!
//! [`ht`]: the mechanism for tokens.
//!
//! Deliberately absent: channel binding. A browser cannot see its TLS session, so a client here
//! says `n`, and the server refuses `p=` (RFC 5802 §6).
//!
//! Passwords are prepared by SASLprep (RFC 4013) where the tables are compiled in (`prep`). Where
//! they are not, the caller gives the password in normal form NFKC, which every browser can
//! make; the rest of SASLprep that changes a text is done here.

use crate::limits::{ID_BYTES_MAX, PASSWORD_BYTES_MAX, SCRAM_ITERATIONS, SCRAM_ITERATIONS_MAX};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use pbkdf2::pbkdf2_hmac;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub mod ht;

/// The mechanisms spoken here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mechanism {
    /// RFC 5802; what RFC 6120 §13.8 makes mandatory.
    ScramSha1,
    /// RFC 7677.
    ScramSha256,
}

/// Why an authentication does not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SaslFault {
    /// The peer gave up.
    Aborted,
    /// Client: the stored credential is for another salt or hash; the password is needed.
    CredentialStale,
    /// The token is not good any more; the password may be.
    CredentialsExpired,
    /// Not base64.
    IncorrectEncoding,
    /// To act for somebody else is not possible.
    InvalidAuthzid,
    /// A mechanism nobody offered.
    InvalidMechanism,
    /// A message of the exchange makes no sense.
    MalformedRequest,
    /// Wrong name or wrong password.
    NotAuthorized,
    /// Client: the server did not prove that it knows the account, or asked for parameters that
    /// would give the password away.
    ServerNotTrusted,
    /// Our own fault; another try may succeed.
    TemporaryAuthFailure,
}

impl SaslFault {
    /// The element inside `<failure/>` (RFC 6120 §6.5).
    pub fn condition(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::CredentialsExpired => "credentials-expired",
            Self::IncorrectEncoding => "incorrect-encoding",
            Self::InvalidAuthzid => "invalid-authzid",
            Self::InvalidMechanism => "invalid-mechanism",
            Self::MalformedRequest => "malformed-request",
            Self::NotAuthorized | Self::CredentialStale | Self::ServerNotTrusted => "not-authorized",
            Self::TemporaryAuthFailure => "temporary-auth-failure",
        }
    }
}

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

/// What a server keeps of an account for one mechanism (RFC 5802 §3), in base64.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServerKeys {
    /// The account's salt.
    pub salt: String,
    /// How often the password was hashed.
    pub iterations: u32,
    /// StoredKey: checks a proof.
    pub stored_key: String,
    /// ServerKey: proves that the server knows the account.
    pub server_key: String,
}

impl ServerKeys {
    /// Makes the keys of a password. Whether it may be one ([`acceptable`]) is for the caller to
    /// ask first.
    pub fn derive(mechanism: Mechanism, password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = mechanism.salted_password(password, salt, iterations);
        let stored_key = mechanism.hash(&mechanism.hmac(&salted, b"Client Key"));
        Self {
            salt: BASE64.encode(salt),
            iterations,
            stored_key: BASE64.encode(stored_key),
            server_key: BASE64.encode(mechanism.hmac(&salted, b"Server Key")),
        }
    }
}

impl Mechanism {
    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// The mechanism of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::ScramSha1, Self::ScramSha256].into_iter().find(|mechanism| mechanism.name() == name)
    }

    fn hash_bytes(self) -> usize {
        match self {
            Self::ScramSha1 => 20,
            Self::ScramSha256 => 32,
        }
    }

    fn hash(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::ScramSha1 => Sha1::digest(data).to_vec(),
            Self::ScramSha256 => Sha256::digest(data).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        match self {
            Self::ScramSha1 => hmac::<Sha1>(key, data),
            Self::ScramSha256 => hmac::<Sha256>(key, data),
        }
    }

    fn salted_password(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        let password = prepared(password);
        let mut salted = vec![0; self.hash_bytes()];
        match self {
            Self::ScramSha1 => pbkdf2_hmac::<Sha1>(password.as_bytes(), salt, iterations, &mut salted),
            Self::ScramSha256 => pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, iterations, &mut salted),
        }
        salted
    }
}

/// HMAC with a key no longer than a block: padding it with zeros is what RFC 2104 §2 does.
fn hmac<D: EagerHash>(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut block = hmac::digest::Key::<Hmac<D>>::default();
    block.iter_mut().zip(key).for_each(|(padded, byte)| *padded = *byte);
    Hmac::<D>::new(&block).chain_update(data).finalize().into_bytes().to_vec()
}

/// Whether a text may be a password: not empty, not endless, nothing that cannot be typed.
pub fn acceptable(password: &str) -> bool {
    let prepared = prepared(password);
    !prepared.is_empty() && password.len() <= PASSWORD_BYTES_MAX && !prepared.chars().any(char::is_control)
}

/// RFC 4013. What it prohibits stays as it is: an account cannot be made with it, and no account
/// can be opened with it.
#[cfg(feature = "prep")]
fn prepared(password: &str) -> String {
    stringprep::saslprep(password).map_or_else(|_| password.to_owned(), std::borrow::Cow::into_owned)
}

/// RFC 4013 §2.1 for text in NFKC: odd spaces become plain ones, invisible characters vanish.
#[cfg(not(feature = "prep"))]
fn prepared(password: &str) -> String {
    let invisible = |c: &char| {
        matches!(c, '\u{ad}' | '\u{34f}' | '\u{1806}' | '\u{180b}'..='\u{180d}' | '\u{200b}'..='\u{200d}')
            || matches!(c, '\u{2060}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
    };
    let spaced = |c: char| if c.is_whitespace() && !c.is_control() { ' ' } else { c };
    password.chars().filter(|c| !invisible(c)).map(spaced).collect()
}

/// An authentication as the server sees it, between the two messages of the client. It can be
/// stored: the server may sleep meanwhile.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServerExchange {
    mechanism: Mechanism,
    gs2_header: String,
    client_first_bare: String,
    server_first: String,
    nonce: String,
}

impl ServerExchange {
    /// Answers client-first with server-first. `nonce` is fresh, random and printable without a
    /// comma.
    pub fn begin(
        mechanism: Mechanism,
        client_first: &[u8],
        nonce: &str,
        keys: &ServerKeys,
    ) -> Result<(Self, Vec<u8>), SaslFault> {
        let first = ClientFirst::parse(client_first)?;
        let nonce = format!("{}{nonce}", first.nonce);
        let server_first = format!("r={nonce},s={},i={}", keys.salt, keys.iterations);
        let exchange = Self {
            mechanism,
            gs2_header: first.gs2_header.to_owned(),
            client_first_bare: first.bare.to_owned(),
            server_first: server_first.clone(),
            nonce,
        };
        Ok((exchange, server_first.into_bytes()))
    }

    /// The mechanism it began with: which of an account's keys finish it.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Checks client-final. The answer is server-final, the server's own proof.
    pub fn finish(&self, client_final: &[u8], keys: &ServerKeys) -> Result<Vec<u8>, SaslFault> {
        let text = utf8(client_final)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(SaslFault::MalformedRequest)?;
        let mut attributes = without_proof.split(',');
        let binding = decoded(attribute(attributes.next(), 'c')?)?;
        let nonce = attribute(attributes.next(), 'r')?;
        let proof = decoded(proof)?;
        // RFC 5802 §5.1: what was said about channel binding must be what was heard.
        if binding != self.gs2_header.as_bytes() || nonce != self.nonce {
            return Err(SaslFault::NotAuthorized);
        }
        let auth = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let (stored_key, server_key) = (decoded(&keys.stored_key)?, decoded(&keys.server_key)?);
        let signature = self.mechanism.hmac(&stored_key, auth.as_bytes());
        if proof.len() != signature.len() {
            return Err(SaslFault::NotAuthorized);
        }
        let client_key = xor(&proof, &signature);
        if !bool::from(self.mechanism.hash(&client_key).ct_eq(&stored_key)) {
            return Err(SaslFault::NotAuthorized);
        }
        let verifier = self.mechanism.hmac(&server_key, auth.as_bytes());
        Ok(format!("v={}", BASE64.encode(verifier)).into_bytes())
    }
}

/// Who wants to authenticate, and as whom he wants to act: authcid and authzid of client-first.
pub fn names(client_first: &[u8]) -> Result<(String, Option<String>), SaslFault> {
    let first = ClientFirst::parse(client_first)?;
    let authzid = first.authzid.map(unescaped).transpose().map_err(|_| SaslFault::InvalidAuthzid)?;
    Ok((unescaped(first.username)?, authzid))
}

/// client-first (RFC 5802 §7), taken apart.
struct ClientFirst<'a> {
    gs2_header: &'a str,
    authzid: Option<&'a str>,
    bare: &'a str,
    username: &'a str,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, SaslFault> {
        let text = utf8(message)?;
        let mut parts = text.splitn(3, ',');
        let (flag, authzid, bare) = (parts.next(), parts.next(), parts.next());
        let (Some(flag), Some(authzid), Some(bare)) = (flag, authzid, bare) else {
            return Err(SaslFault::MalformedRequest);
        };
        // `p=` asks for a channel binding that was never offered; `y` says that the client could
        // and saw no offer, which is true.
        if !matches!(flag, "n" | "y") {
            return Err(SaslFault::MalformedRequest);
        }
        let authzid = match authzid {
            "" => None,
            named => Some(attribute(Some(named), 'a')?),
        };
        let header_bytes = text.len() - bare.len();
        let gs2_header = text.get(..header_bytes).ok_or(SaslFault::MalformedRequest)?;
        // A leading `m=` is an extension nobody here knows (RFC 5802 §5.1: then fail).
        let mut attributes = bare.split(',');
        let username = attribute(attributes.next(), 'n')?;
        let nonce = attribute(attributes.next(), 'r')?;
        let printable = nonce.bytes().all(|b| matches!(b, 0x21..=0x7e));
        if username.is_empty() || nonce.is_empty() || nonce.len() > ID_BYTES_MAX || !printable {
            return Err(SaslFault::MalformedRequest);
        }
        Ok(Self { gs2_header, authzid, bare, username, nonce })
    }
}

/// What a client proves itself with.
#[derive(Clone, Copy, Debug)]
pub enum Secret<'a> {
    /// What a person typed.
    Password(&'a str),
    /// What was kept of it.
    Credential(&'a Credential),
}

/// An authentication as the client sees it.
#[derive(Clone, Debug)]
pub struct ClientExchange {
    mechanism: Mechanism,
    nonce: String,
    client_first_bare: String,
    server_signature: Option<Vec<u8>>,
}

/// "No channel binding, no other name to act for" (RFC 5802 §7 gs2-header).
const GS2_HEADER: &str = "n,,";

impl ClientExchange {
    /// Starts with client-first. `nonce` is fresh, random and printable without a comma.
    pub fn begin(mechanism: Mechanism, username: &str, nonce: &str) -> (Self, Vec<u8>) {
        let escaped = username.replace('=', "=3D").replace(',', "=2C");
        let client_first_bare = format!("n={escaped},r={nonce}");
        let message = format!("{GS2_HEADER}{client_first_bare}").into_bytes();
        (Self { mechanism, nonce: nonce.to_owned(), client_first_bare, server_signature: None }, message)
    }

    /// Answers server-first with client-final, and gives what may be kept once the server has
    /// proved itself ([`ClientExchange::verify`]).
    pub fn respond(
        &mut self,
        server_first: &[u8],
        secret: Secret<'_>,
    ) -> Result<(Vec<u8>, Credential), SaslFault> {
        let text = utf8(server_first)?;
        let mut attributes = text.split(',');
        let nonce = attribute(attributes.next(), 'r')?;
        let salt = attribute(attributes.next(), 's')?;
        let iterations = attribute(attributes.next(), 'i')?;
        let iterations: u32 = iterations.parse().map_err(|_| SaslFault::MalformedRequest)?;
        let fresh = nonce.strip_prefix(self.nonce.as_str()).is_some_and(|server| !server.is_empty());
        // Few iterations would let whoever answers guess the password offline.
        if !fresh || !(SCRAM_ITERATIONS..=SCRAM_ITERATIONS_MAX).contains(&iterations) {
            return Err(SaslFault::ServerNotTrusted);
        }
        let credential = self.credential(salt, iterations, secret)?;
        let client_key = decoded(&credential.client_key)?;
        let server_key = decoded(&credential.server_key)?;

        let without_proof = format!("c={},r={nonce}", BASE64.encode(GS2_HEADER));
        let auth = format!("{},{text},{without_proof}", self.client_first_bare);
        let stored_key = self.mechanism.hash(&client_key);
        let proof = xor(&client_key, &self.mechanism.hmac(&stored_key, auth.as_bytes()));
        self.server_signature = Some(self.mechanism.hmac(&server_key, auth.as_bytes()));
        Ok((format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes(), credential))
    }

    fn credential(&self, salt: &str, iterations: u32, secret: Secret<'_>) -> Result<Credential, SaslFault> {
        match secret {
            Secret::Credential(kept) => {
                let hash_bytes = decoded(&kept.client_key)?.len();
                let same = kept.salt == salt && kept.iterations == iterations;
                if same && hash_bytes == self.mechanism.hash_bytes() {
                    Ok(kept.clone())
                } else {
                    Err(SaslFault::CredentialStale)
                }
            }
            Secret::Password(password) => {
                let bytes = decoded(salt)?;
                if bytes.is_empty() {
                    return Err(SaslFault::ServerNotTrusted);
                }
                let salted = self.mechanism.salted_password(password, &bytes, iterations);
                Ok(Credential {
                    salt: salt.to_owned(),
                    iterations,
                    client_key: BASE64.encode(self.mechanism.hmac(&salted, b"Client Key")),
                    server_key: BASE64.encode(self.mechanism.hmac(&salted, b"Server Key")),
                })
            }
        }
    }

    /// Checks server-final: only a server that has the account's keys can have made it.
    pub fn verify(&self, server_final: &[u8]) -> Result<(), SaslFault> {
        let text = utf8(server_final)?;
        if text.starts_with("e=") {
            return Err(SaslFault::NotAuthorized);
        }
        let claimed = decoded(attribute(text.split(',').next(), 'v')?)?;
        match &self.server_signature {
            Some(expected) if bool::from(expected.as_slice().ct_eq(&claimed)) => Ok(()),
            _ => Err(SaslFault::ServerNotTrusted),
        }
    }
}

fn utf8(message: &[u8]) -> Result<&str, SaslFault> {
    std::str::from_utf8(message).map_err(|_| SaslFault::MalformedRequest)
}

fn decoded(text: &str) -> Result<Vec<u8>, SaslFault> {
    BASE64.decode(text).map_err(|_| SaslFault::MalformedRequest)
}

fn attribute(field: Option<&str>, name: char) -> Result<&str, SaslFault> {
    field
        .and_then(|field| field.strip_prefix(name))
        .and_then(|rest| rest.strip_prefix('='))
        .ok_or(SaslFault::MalformedRequest)
}

/// RFC 5802 §5.1: `=2C` is a comma, `=3D` an equals sign, and no other `=` may stand in a name.
fn unescaped(name: &str) -> Result<String, SaslFault> {
    let mut pieces = name.split('=');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        if let Some(rest) = piece.strip_prefix("2C") {
            plain.push(',');
            plain.push_str(rest);
        } else if let Some(rest) = piece.strip_prefix("3D") {
            plain.push('=');
            plain.push_str(rest);
        } else {
            return Err(SaslFault::MalformedRequest);
        }
    }
    Ok(plain)
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(a, b)| a ^ b).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]
mod tests;
