//! Identities: each kind of id is its own type, so that one can't be taken for another.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub struct $name(pub String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

text_id! {
    /// The sender's own name for a message, minted before its first transmission and kept over
    /// every retry (XEP-0359 §3.2).
    OriginId
}
text_id! {
    /// One of an account's devices: its chosen resource.
    DeviceId
}
text_id! {
    /// What names a stream for resumption (XEP-0198 §3 `id`). A secret: whoever holds it and
    /// has authenticated as its owner may take the session over.
    SmId
}

/// A message's place in its account's log, and its stanza-id (XEP-0359 §3.1). The first is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct StanzaSeq(pub u64);

impl StanzaSeq {
    /// Reads a stanza-id as it stands in a stanza: the number, written as we write it.
    pub fn parse(text: &str) -> Option<Self> {
        let seq = Self(text.parse().ok()?);
        (seq.0 > 0 && seq.to_string() == text).then_some(seq)
    }

    /// The place before this one.
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The place after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for StanzaSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One transport connection, named by the driver. Never reused while the engine lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LinkId(pub u64);
