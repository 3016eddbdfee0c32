//! One message to several recipients (XEP-0033, R60): addressed to the domain, with
//! `<addresses/>` that say who is meant.
//!
//! Each recipient gets an ordinary message: one row in the sender's log with a place and a
//! stanza-id of its own, all of one stanza in one batch. Why not one row for all: a row is what
//! is transferred, bounced, shown by the archive as a conversation with somebody, and recognised
//! when it comes again (an origin-id is known per recipient). One row for several would need a
//! state per recipient for each of these; what it would save is bytes.
//!
//! What is wrong with an address is found before anything is appended, and then nobody is sent
//! anything: a bad JID or a `uri` is `jid-malformed`, another server `remote-server-not-found`, no
//! address at all `bad-request`, too many `not-acceptable`. What a recipient refuses (there is none
//! of that name, its queue is full, one side has blocked the other) comes back from that recipient
//! alone. Several addresses of one account get one copy. The sender's device is told once (R07), with
//! the stanza-id of the first recipient's row.

use super::rates::Verdict;
use super::{LogStore, RelayEngine};
use crate::id::DeviceId;
use crate::jid::Jid;
use crate::limits::{MULTICAST_BYTES_MAX, MULTICAST_RECIPIENTS_MAX};
use crate::wire::error::StanzaError;
use crate::wire::{Element, ns, stanza};

impl RelayEngine {
    /// Whether a message asks the domain to pass it on.
    pub(super) fn is_multicast(&self, message: &Element) -> bool {
        let to = stanza::address(message, "to").ok().flatten();
        let server =
            to.is_some_and(|to| to.resource.is_none() && to.bare.as_str() == self.config.account.domain());
        // RFC 6120 §8.3.1: an error is answered by nothing.
        server && message.attr("type") != Some("error") && addresses(message).is_some()
    }

    /// Passes a message on to everybody it names, or to nobody.
    pub(super) fn multicast(&mut self, id: &DeviceId, message: Element, log: &dyn LogStore) {
        let recipients = match self.recipients(&message) {
            Ok(recipients) => recipients,
            Err(error) => return self.refuse(id, &message, error),
        };
        let (limits, now) = (self.config.limits, self.now);
        // One of them was counted when it came.
        if self.rates.add_copies(recipients.len().saturating_sub(1), &limits, now) != Verdict::Within {
            return self.refuse(id, &message, StanzaError::RATE_EXCEEDED);
        }
        let mut first = true;
        for to in recipients {
            let mut copy = message.clone().with_attr("to", to.to_string());
            readdress(&mut copy, &to);
            if !std::mem::take(&mut first) {
                copy.remove_children(|child| child.ns == ns::ACCEPTED);
            }
            self.message_out(id, copy, log);
        }
    }

    /// Who is to get it, each account once, in the order in which they are named.
    fn recipients(&self, message: &Element) -> Result<Vec<Jid>, StanzaError> {
        let named = addresses(message).into_iter().flat_map(Element::children);
        let mut recipients: Vec<Jid> = Vec::new();
        for address in named.filter(|address| address.is(ns::ADDRESS, "address")) {
            let kind = address.attr("type").ok_or(StanzaError::BAD_REQUEST)?;
            if !is_recipient(kind) || is_delivered(address) {
                continue;
            }
            if address.attr("uri").is_some() {
                return Err(StanzaError::JID_MALFORMED);
            }
            let to = stanza::address(address, "jid")?.ok_or(StanzaError::BAD_REQUEST)?;
            if to.bare.domain() != self.config.account.domain() {
                return Err(StanzaError::REMOTE_SERVER_NOT_FOUND);
            }
            match recipients.iter_mut().find(|other| other.bare == to.bare) {
                Some(other) if *other != to => other.resource = None,
                Some(_) => {}
                None => recipients.push(to),
            }
            if recipients.len() > MULTICAST_RECIPIENTS_MAX {
                return Err(StanzaError::NOT_ACCEPTABLE);
            }
        }
        if recipients.is_empty() {
            return Err(StanzaError::BAD_REQUEST);
        }
        if message.attr("type") == Some("groupchat") {
            return Err(StanzaError::SERVICE_UNAVAILABLE);
        }
        if message.to_frame().len().saturating_mul(recipients.len()) > MULTICAST_BYTES_MAX {
            return Err(StanzaError::NOT_ACCEPTABLE);
        }
        Ok(recipients)
    }
}

fn addresses(message: &Element) -> Option<&Element> {
    message.child(ns::ADDRESS, "addresses")
}

fn is_recipient(kind: &str) -> bool {
    matches!(kind, "to" | "cc" | "bcc")
}

fn is_delivered(address: &Element) -> bool {
    matches!(address.attr("delivered"), Some("true" | "1"))
}

/// The addresses as one recipient may see them: nobody else's blind copy, and marks on those who
/// have it, so that nobody passes it on to them again (XEP-0033 §4.5, §5).
fn readdress(copy: &mut Element, to: &Jid) {
    let Some(addresses) = addresses(copy) else { return };
    let mut seen = Element::new(ns::ADDRESS, "addresses");
    for address in addresses.children() {
        let kind = address.attr("type").unwrap_or_default();
        let jid = stanza::address(address, "jid").ok().flatten();
        let own = jid.is_some_and(|jid| jid.bare == to.bare);
        match kind {
            "bcc" if !own => {}
            "to" | "cc" => seen.push(address.clone().with_attr("delivered", "true")),
            _ => seen.push(address.clone()),
        }
    }
    copy.remove_children(|child| child.is(ns::ADDRESS, "addresses"));
    copy.push(seen);
}
