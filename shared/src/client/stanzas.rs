//! What this client says, as elements. Every stanza is in `jabber:client` and none carries a
//! `from`: the relay writes it (RFC 6120 §8.1.2.1).

use super::rows::{OutboxRow, Owed, OwedRow};
use crate::id::{DeviceId, OriginId};
use crate::jid::BareJid;
use crate::wire::{Element, ns, stanza};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// RFC 7395 §3.4
pub(super) fn open(domain: &str) -> Element {
    Element::new(ns::FRAMING, "open").with_attr("to", domain).with_attr("version", "1.0")
}

/// RFC 7395 §3.6
pub(super) fn close() -> Element {
    Element::new(ns::FRAMING, "close")
}

/// XEP-0077 §3.1, example 4
pub(super) fn register(id: &str, username: &str, password: &str) -> Element {
    let field = |name, text| Element::new(ns::REGISTER, name).with_text(text);
    let query = Element::new(ns::REGISTER, "query")
        .with(field("username", username))
        .with(field("password", password));
    stanza::iq("set", id, query)
}

/// RFC 6120 §6.4.2 and §6.4.3: `auth` and `response`.
pub(super) fn sasl(name: &str, message: &[u8]) -> Element {
    Element::new(ns::SASL, name).with_text(STANDARD.encode(message))
}

/// RFC 6120 §7.7.1
pub(super) fn bind(id: &str, device: &DeviceId) -> Element {
    let resource = Element::new(ns::BIND, "resource").with_text(device.as_str());
    stanza::iq("set", id, Element::new(ns::BIND, "bind").with(resource))
}

/// An element of XEP-0198.
pub(super) fn sm(name: &str) -> Element {
    Element::new(ns::SM, name)
}

/// XEP-0280 §5
pub(super) fn enable_carbons(id: &str) -> Element {
    stanza::iq("set", id, Element::new(ns::CARBONS, "enable"))
}

/// RFC 6121 §2.1.3
pub(super) fn get_roster(id: &str) -> Element {
    stanza::iq("get", id, Element::new(ns::ROSTER, "query"))
}

/// XEP-0199 §4.2
pub(super) fn ping(id: &str, domain: &str) -> Element {
    stanza::iq("get", id, Element::new(ns::PING, "ping")).with_attr("to", domain)
}

/// RFC 6121 §4.2 and §4.5
pub(super) fn presence(available: bool) -> Element {
    let presence = Element::new(ns::CLIENT, "presence");
    if available { presence } else { presence.with_attr("type", "unavailable") }
}

/// A message of the outbox: the same on every transmission.
pub(super) fn message(row: &OutboxRow) -> Element {
    to(&row.to)
        .with_attr("id", row.origin.as_str())
        .with(Element::new(ns::CLIENT, "body").with_text(row.body.as_str()))
        .with(origin_id(row.origin.as_str()))
        .with(Element::new(ns::RECEIPTS, "request"))
        .with(Element::new(ns::MARKERS, "markable"))
        .with(Element::new(ns::CHAT_STATES, "active"))
        .with(Element::new(ns::ACCEPTED, "accept"))
}

/// A receipt (XEP-0184 §5.2) or displayed marker (XEP-0333 §4). Without `<store/>` a server
/// would drop it where its addressee is away.
pub(super) fn owed(row: &OwedRow) -> Element {
    let payload = match row.kind {
        Owed::Receipt => Element::new(ns::RECEIPTS, "received"),
        Owed::Displayed => Element::new(ns::MARKERS, "displayed"),
    };
    let origin = owed_origin(&row.key);
    to(&row.to)
        .with_attr("id", origin.as_str())
        .with(payload.with_attr("id", row.id.as_str()))
        .with(Element::new(ns::HINTS, "store"))
        .with(origin_id(origin.as_str()))
}

/// A confirmation's origin-id follows from what it confirms, so that one sent again, or by a
/// second device of the account, is recognised as a repeat.
fn owed_origin(key: &str) -> OriginId {
    let digest = Sha256::digest(key.as_bytes());
    OriginId(URL_SAFE_NO_PAD.encode(digest.get(..16).unwrap_or_default()))
}

/// XEP-0085 §5.1, kept nowhere (XEP-0334 §4.3)
pub(super) fn chat_state(peer: &BareJid, composing: bool) -> Element {
    let state = if composing { "composing" } else { "paused" };
    to(peer).with(Element::new(ns::CHAT_STATES, state)).with(Element::new(ns::HINTS, "no-store"))
}

fn to(peer: &BareJid) -> Element {
    stanza::message("chat").with_attr("to", peer.as_str())
}

fn origin_id(id: &str) -> Element {
    Element::new(ns::STANZA_ID, "origin-id").with_attr("id", id)
}
