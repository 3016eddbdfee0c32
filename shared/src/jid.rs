//! Addresses (RFC 7622, with the preparation of RFC 6122 that deployed servers share).
//!
//! **Invariant:** a [`BareJid`] or [`Jid`] that exists is prepared: equal accounts compare equal.

use crate::limits::JID_PART_BYTES_MAX;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a text is not an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JidFault {
    /// A part is empty or longer than 1023 bytes.
    Length,
    /// A part holds a character that it may not hold.
    Character,
}

/// `local@domain`, or `domain` alone for a server.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct BareJid(String);

/// A bare JID with or without a resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Jid {
    /// The account or server.
    pub bare: BareJid,
    /// The device, for a full JID.
    pub resource: Option<String>,
}

impl BareJid {
    /// Makes an account's address from its parts.
    pub fn new(local: &str, domain: &str) -> Result<Self, JidFault> {
        Ok(Self(format!("{}@{}", prepared_local(local)?, prepared_domain(domain)?)))
    }

    /// Reads an address that must not carry a resource.
    pub fn parse(text: &str) -> Result<Self, JidFault> {
        let jid = Jid::parse(text)?;
        if jid.resource.is_some() { Err(JidFault::Character) } else { Ok(jid.bare) }
    }

    /// The account's name at its domain; `None` for a server.
    pub fn local(&self) -> Option<&str> {
        self.0.split_once('@').map(|(local, _)| local)
    }

    /// The server.
    pub fn domain(&self) -> &str {
        self.0.split_once('@').map_or(&self.0, |(_, domain)| domain)
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The full JID of one of this account's devices.
    pub fn with_resource(&self, resource: &str) -> Jid {
        Jid { bare: self.clone(), resource: Some(resource.to_owned()) }
    }
}

impl Jid {
    /// Reads and prepares an address.
    pub fn parse(text: &str) -> Result<Self, JidFault> {
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(prepared_resource(resource)?)),
            None => (text, None),
        };
        let bare = match bare.split_once('@') {
            Some((local, domain)) => BareJid::new(local, domain)?,
            None => BareJid(prepared_domain(bare)?),
        };
        Ok(Self { bare, resource })
    }
}

impl From<BareJid> for Jid {
    fn from(bare: BareJid) -> Self {
        Self { bare, resource: None }
    }
}

impl fmt::Display for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resource {
            Some(resource) => write!(f, "{}/{resource}", self.bare),
            None => self.bare.fmt(f),
        }
    }
}

/// Prepares the name part of an account's address.
pub fn prepared_local(local: &str) -> Result<String, JidFault> {
    let local = stable(local, prep::local)?;
    // RFC 7622 §3.3.1
    let forbidden = |c: char| "\"&'/:<>@".contains(c) || c.is_whitespace() || c.is_control();
    if local.chars().any(forbidden) { Err(JidFault::Character) } else { sized(local) }
}

fn prepared_domain(domain: &str) -> Result<String, JidFault> {
    let domain = stable(domain, prep::domain)?;
    // RFC 7622 §3.2: the dot of the root is no part of it, once the preparation shows it.
    let domain = domain.strip_suffix('.').unwrap_or(&domain);
    let forbidden = |c: char| "\"&'/<>@".contains(c) || c.is_whitespace() || c.is_control();
    if domain.ends_with('.') || domain.chars().any(forbidden) {
        return Err(JidFault::Character);
    }
    sized(domain.to_owned())
}

/// Prepares a resource: case matters, control characters are refused.
pub fn prepared_resource(resource: &str) -> Result<String, JidFault> {
    let resource = stable(resource, prep::resource)?;
    if resource.chars().any(char::is_control) { Err(JidFault::Character) } else { sized(resource) }
}

/// The tables of RFC 3454 know Unicode 3.2, normalization knows today's: what a newer letter is
/// normalized to may have to be folded again (`🄐` to `(A)` to `(a)`). RFC 8264 §7: apply the
/// rules until they change nothing, three more times at most.
fn stable(text: &str, rules: fn(&str) -> Result<String, JidFault>) -> Result<String, JidFault> {
    let mut before = rules(text)?;
    for _ in 0..3 {
        let after = rules(&before)?;
        if after == before {
            return Ok(after);
        }
        before = after;
    }
    Err(JidFault::Character)
}

fn sized(part: String) -> Result<String, JidFault> {
    if part.is_empty() || part.len() > JID_PART_BYTES_MAX { Err(JidFault::Length) } else { Ok(part) }
}

#[cfg(feature = "prep")]
mod prep {
    use super::JidFault;

    fn prepared(result: Result<std::borrow::Cow<'_, str>, stringprep::Error>) -> Result<String, JidFault> {
        result.map(std::borrow::Cow::into_owned).map_err(|_| JidFault::Character)
    }

    pub(super) fn local(text: &str) -> Result<String, JidFault> {
        prepared(stringprep::nodeprep(text))
    }

    pub(super) fn domain(text: &str) -> Result<String, JidFault> {
        prepared(stringprep::nameprep(text))
    }

    pub(super) fn resource(text: &str) -> Result<String, JidFault> {
        prepared(stringprep::resourceprep(text))
    }
}

/// Without the tables: case folding only. Whoever lacks them meets addresses that a relay has
/// prepared already, or that a person typed, which the relay will prepare.
#[cfg(not(feature = "prep"))]
mod prep {
    use super::JidFault;

    pub(super) fn local(text: &str) -> Result<String, JidFault> {
        Ok(text.to_lowercase())
    }

    pub(super) fn domain(text: &str) -> Result<String, JidFault> {
        Ok(text.to_lowercase())
    }

    pub(super) fn resource(text: &str) -> Result<String, JidFault> {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart_and_prepared() {
        let jid = Jid::parse("Alice@LocalHost/Laptop/2").unwrap();
        assert_eq!(jid.bare.as_str(), "alice@localhost");
        assert_eq!((jid.bare.local(), jid.bare.domain()), (Some("alice"), "localhost"));
        assert_eq!(jid.resource.as_deref(), Some("Laptop/2"));
        assert_eq!(jid.to_string(), "alice@localhost/Laptop/2");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = "a".repeat(1024);
        for bad in
            ["", "@d", "a@", "a b@d", "a@d/", "a'b@d", "a\u{7}@d", "a@b@c", "a<b@d", "a@d..", ".", &long]
        {
            assert!(Jid::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_dot_at_the_end_of_a_domain_is_no_part_of_it() {
        assert_eq!(BareJid::parse("a@d."), BareJid::parse("a@d"));
        #[cfg(feature = "prep")]
        assert_eq!(BareJid::parse("a@d．"), BareJid::parse("a@d"), "nor is what is prepared to one");
    }

    #[cfg(feature = "prep")]
    #[test]
    fn a_letter_newer_than_the_tables_is_prepared_to_the_end() {
        assert_eq!(BareJid::parse("🄐@🄐").unwrap().as_str(), "(a)@(a)");
    }

    proptest::proptest! {
        #[test]
        fn preparing_twice_changes_nothing(text in "\\PC{1,24}") {
            if let Ok(once) = Jid::parse(&text) {
                let twice = Jid::parse(&once.to_string());
                proptest::prop_assert_eq!(twice, Ok(once));
            }
        }
    }
}
