//! Messages, presence and IQs (RFC 6120 §8) as thin readings of a tree: what we do not know
//! passes through untouched.

use super::error::StanzaError;
use super::{Element, ns};
use crate::id::{OriginId, StanzaSeq};
use crate::jid::{BareJid, Jid};
use crate::limits::ID_BYTES_MAX;
use crate::time::Millis;

/// The three stanzas (RFC 6120 §8.1). Everything else at stream level is a nonza.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Push.
    Message,
    /// Broadcast.
    Presence,
    /// Ask and answer.
    Iq,
}

/// Which stanza an element is, if it is one.
pub fn kind(element: &Element) -> Option<Kind> {
    if element.ns != ns::CLIENT {
        return None;
    }
    match element.name.as_str() {
        "message" => Some(Kind::Message),
        "presence" => Some(Kind::Presence),
        "iq" => Some(Kind::Iq),
        _ => None,
    }
}

/// An empty message.
pub fn message(kind: &str) -> Element {
    Element::new(ns::CLIENT, "message").with_attr("type", kind)
}

/// An IQ request with its one child (RFC 6120 §8.2.3).
pub fn iq(kind: &str, id: &str, child: Element) -> Element {
    Element::new(ns::CLIENT, "iq").with_attr("type", kind).with_attr("id", id).with(child)
}

/// The answer to an IQ request, addressed back to whoever sent it.
pub fn iq_result(request: &Element, child: Option<Element>) -> Element {
    let mut result = returned(request, "result");
    if let Some(child) = child {
        result.push(child);
    }
    result
}

/// The error answer to a stanza; `None` where RFC 6120 §8.3.1 forbids one (an error or a result).
pub fn error_reply(stanza: &Element, error: StanzaError) -> Option<Element> {
    if matches!(stanza.attr("type"), Some("error" | "result")) {
        return None;
    }
    Some(returned(stanza, "error").with(error.element()))
}

/// The same with an application-specific condition (RFC 6120 §8.3.4).
pub fn error_reply_with(stanza: &Element, error: StanzaError, condition: Element) -> Option<Element> {
    if matches!(stanza.attr("type"), Some("error" | "result")) {
        return None;
    }
    Some(returned(stanza, "error").with(error.element().with(condition)))
}

fn returned(stanza: &Element, kind: &str) -> Element {
    let mut reply = Element::new(ns::CLIENT, &stanza.name).with_attr("type", kind);
    for (from, to) in [("from", "to"), ("to", "from"), ("id", "id")] {
        if let Some(value) = stanza.attr(from) {
            reply.set_attr(to, value);
        }
    }
    reply
}

/// The sender's own id for this message, if it gave one (XEP-0359 §3.2).
pub fn origin_id(message: &Element) -> Option<OriginId> {
    let id = message.child(ns::STANZA_ID, "origin-id")?.attr("id")?;
    (!id.is_empty() && id.len() <= ID_BYTES_MAX).then(|| OriginId(id.to_owned()))
}

/// The id that this account's archive gave the message (XEP-0359 §3.1). Whether it may be
/// trusted depends on who sent it and is for the caller to know.
pub fn stanza_id<'a>(message: &'a Element, by: &BareJid) -> Option<&'a str> {
    message
        .children()
        .find(|child| child.is(ns::STANZA_ID, "stanza-id") && child.attr("by") == Some(by.as_str()))
        .and_then(|child| child.attr("id"))
}

/// Stamps a message with its place in the log of `by`.
pub fn set_stanza_id(message: &mut Element, by: &BareJid, seq: StanzaSeq) {
    message.push(
        Element::new(ns::STANZA_ID, "stanza-id")
            .with_attr("by", by.as_str())
            .with_attr("id", seq.to_string()),
    );
}

/// Says when the relay first had a message that comes late (XEP-0203 §2).
pub fn set_delay(message: &mut Element, by: &str, at: Millis) {
    message.push(Element::new(ns::DELAY, "delay").with_attr("from", by).with_attr("stamp", at.to_stamp()));
}

/// When a late message was first received, by its own words.
pub fn delay(message: &Element) -> Option<Millis> {
    Millis::from_stamp(message.child(ns::DELAY, "delay")?.attr("stamp")?)
}

/// The address in an attribute: absent, malformed or good.
pub fn address(stanza: &Element, attribute: &str) -> Result<Option<Jid>, StanzaError> {
    match stanza.attr(attribute) {
        None => Ok(None),
        Some(text) => Jid::parse(text).map(Some).map_err(|_| StanzaError::JID_MALFORMED),
    }
}

/// The text of a message, if it has one.
pub fn body(message: &Element) -> Option<String> {
    message.child(ns::CLIENT, "body").map(Element::text)
}
