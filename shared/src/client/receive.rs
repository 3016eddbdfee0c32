//! Stanzas from the relay. Each is counted, whatever it is; what it leaves in the stores goes
//! into the batch that holds the count.

use super::rows::{Direction, Markable, MessageKey, MessageRow, Op, Owed, PROVISIONAL, Status, Times};
use super::{ClientEngine, Event, stanzas};
use crate::bad::{self, Bug};
use crate::id::OriginId;
use crate::jid::{BareJid, Jid};
use crate::limits::ID_BYTES_MAX;
use crate::time::Millis;
use crate::wire::error::StanzaError;
use crate::wire::stanza::{self, Kind};
use crate::wire::{Element, ns};

/// Characters of a message that the list of conversations may show.
const PREVIEW_CHARS_MAX: usize = 200;

/// What surrounds a message: where it stands in the own log, and when the relay first had it.
struct Envelope {
    seq: Option<u64>,
    stanza_id: Option<String>,
    at: Millis,
}

impl ClientEngine {
    pub(super) fn stanza(&mut self, element: &Element) {
        if self.bound(element) {
            return;
        }
        self.count();
        match stanza::kind(element) {
            Some(Kind::Message) => {
                self.message(element);
                self.write_session();
            }
            // These leave no rows; the counter is written when somebody asks for it.
            Some(Kind::Iq) => self.iq(element),
            Some(Kind::Presence) | None => {}
        }
    }

    fn iq(&mut self, iq: &Element) {
        let own = &self.config.account;
        let from = stanza::address(iq, "from");
        let relay = from.is_ok_and(|from| {
            from.is_none_or(|jid| {
                jid.resource.is_none() && (jid.bare == *own || jid.bare.as_str() == own.domain())
            })
        });
        let asks = |kind, ns, name| iq.attr("type") == Some(kind) && iq.child(ns, name).is_some();
        // A roster push (RFC 6121 §2.1.6) is acknowledged and kept nowhere.
        let known = asks("get", ns::PING, "ping") || asks("set", ns::ROSTER, "query");
        let reply = match iq.attr("type") {
            Some("get" | "set") if relay && known => Some(stanza::iq_result(iq, None)),
            Some("get" | "set") => stanza::error_reply(iq, StanzaError::SERVICE_UNAVAILABLE),
            _ => None,
        };
        if let Some(mut reply) = reply {
            reply.remove_attr("from");
            self.say_unkept(&reply);
        }
    }

    fn message(&mut self, message: &Element) {
        let Ok(from) = stanza::address(message, "from") else { return };
        let own = self.config.account.clone();
        match from {
            // RFC 6120 §8.1.2.1: without a `from` it is from the own account.
            None => self.own_account_says(message),
            Some(Jid { bare, resource: None }) if bare == own => self.own_account_says(message),
            Some(jid) if jid.bare == own => {}
            Some(jid) => {
                let envelope = self.envelope(message, stanza::delay(message));
                self.peer_says(&jid.bare, message, envelope);
            }
        }
    }

    /// What only the own account may say: intermediate receipts and carbons. The same from
    /// anybody else is forged (XEP-0280 §11).
    fn own_account_says(&mut self, message: &Element) {
        if let Some(accepted) = message.child(ns::ACCEPTED, "accepted") {
            if let Some(origin) = accepted.attr("origin-id") {
                let seq = accepted.attr("stanza-id").and_then(|id| id.parse().ok());
                self.relay_has(&OriginId::from(origin), seq.filter(|seq| *seq < PROVISIONAL));
            }
            return;
        }
        for kind in ["sent", "received"] {
            let Some(forwarded) =
                message.child(ns::CARBONS, kind).and_then(|carbon| carbon.child(ns::FORWARD, "forwarded"))
            else {
                continue;
            };
            let Some(inner) = forwarded.child(ns::CLIENT, "message") else { continue };
            let at = stanza::delay(inner).or_else(|| stanza::delay(forwarded));
            let envelope = self.envelope(inner, at);
            let address = |name| stanza::address(inner, name).ok().flatten().map(|jid| jid.bare);
            let (from, to) = (address("from"), address("to"));
            let own = &self.config.account;
            match (kind, from, to) {
                ("sent", Some(from), Some(to)) if from == *own && to != *own => {
                    self.other_device_says(&to, inner, envelope);
                }
                ("received", Some(from), _) if from != *own => self.peer_says(&from, inner, envelope),
                _ => {}
            }
            return;
        }
    }

    fn envelope(&self, message: &Element, delayed: Option<Millis>) -> Envelope {
        let stanza_id = stanza::stanza_id(message, &self.config.account);
        Envelope {
            seq: stanza_id.and_then(|id| id.parse().ok()).filter(|seq| *seq < PROVISIONAL),
            stanza_id: stanza_id.filter(|id| id.len() <= ID_BYTES_MAX).map(str::to_owned),
            // A time in the future is forged or from a clock that is wrong.
            at: delayed.map_or(self.now, |at| at.min(self.now)),
        }
    }

    /// Whether the own log has not been read up to this place before. Then it is read now.
    fn is_new(&mut self, envelope: &Envelope) -> bool {
        let Some(seq) = envelope.seq else { return true };
        let new = seq > self.session.seen || bad::is(Bug::KeysForgotten);
        if new {
            self.session.seen = seq;
            self.session_unwritten = true;
        }
        new
    }

    fn peer_says(&mut self, peer: &BareJid, message: &Element, envelope: Envelope) {
        // RFC 6121 §5.2.2: an unknown type is `normal`. Rooms and headlines have no place here.
        if matches!(message.attr("type"), Some("groupchat" | "headline")) || !self.is_new(&envelope) {
            return;
        }
        if message.attr("type") == Some("error") {
            return self.bounced(peer, message);
        }
        if let Some(id) = named(message, ns::RECEIPTS, "received") {
            self.delivered(peer, id);
            if bad::is(Bug::ReceiptForReceipt)
                && let Some(id) = message.attr("id")
            {
                let key = self.key(peer, message, &envelope);
                self.owe(Owed::Receipt, peer, &key, id);
            }
        }
        if let Some(id) = named(message, ns::MARKERS, "displayed") {
            self.displayed(peer, id);
        }
        if let Some(body) = stanza::body(message) {
            self.incoming(peer, message, body, &envelope);
        }
        self.typing_state(peer, message);
    }

    fn typing_state(&mut self, peer: &BareJid, message: &Element) {
        // A late one tells what is long over.
        let Some(state) = message.children().find(|child| child.ns == ns::CHAT_STATES) else { return };
        if stanza::delay(message).is_some() || !self.conversations.contains_key(peer) {
            return;
        }
        let composing = state.name == "composing";
        let changed = if composing { self.typing.insert(peer.clone()) } else { self.typing.remove(peer) };
        if changed {
            self.notify(Event::Typing(peer.clone(), composing));
        }
    }

    fn incoming(&mut self, peer: &BareJid, message: &Element, body: String, envelope: &Envelope) {
        let key = self.key(peer, message, envelope);
        if !self.timeline.learn(&key) {
            return;
        }
        let id = message.attr("id").filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX);
        let row = MessageRow {
            key: key.clone(),
            conversation: peer.clone(),
            order: self.order(envelope),
            at: envelope.at,
            direction: Direction::Incoming,
            body,
            status: Status::Delivered,
            times: Times::default(),
            failure: None,
            id: id.unwrap_or_default().to_owned(),
            awaiting: None,
        };
        let mut conversation = self.conversation(peer);
        conversation.unread = conversation.unread.saturating_add(1);
        conversation.last_text = preview(&row.body);
        conversation.last_at = row.at;
        conversation.last_direction = Some(Direction::Incoming);
        conversation.newest = Some(key.clone());
        if let Some(id) = id
            && message.child(ns::MARKERS, "markable").is_some()
        {
            conversation.markable = Some(Markable { key: key.clone(), id: id.to_owned() });
        }
        self.gate.write(Op::PutMessage(row.clone()));
        if !bad::is(Bug::ScreenNotTold) {
            self.notify(Event::Message(row));
        }
        self.save_conversation(conversation);
        if let Some(id) = id
            && message.child(ns::RECEIPTS, "request").is_some()
        {
            self.owe(Owed::Receipt, peer, &key, id);
        }
    }

    /// A message that the user wrote on another device.
    fn other_device_says(&mut self, to: &BareJid, message: &Element, envelope: Envelope) {
        if matches!(message.attr("type"), Some("error" | "groupchat" | "headline")) || !self.is_new(&envelope)
        {
            return;
        }
        if let Some(id) = named(message, ns::MARKERS, "displayed") {
            self.displayed_elsewhere(to, id);
        }
        let Some(body) = stanza::body(message) else { return };
        let own = self.config.account.clone();
        let key = self.key(&own, message, &envelope);
        if !self.timeline.learn(&key) {
            // Our own, come back: the relay has it.
            if let Some(origin) = stanza::origin_id(message) {
                self.relay_has(&origin, envelope.seq);
            }
            return;
        }
        let mut conversation = self.conversation(to);
        conversation.accepted = true;
        conversation.last_text = preview(&body);
        conversation.last_at = envelope.at;
        conversation.last_direction = Some(Direction::Outgoing);
        let row = MessageRow {
            key,
            conversation: to.clone(),
            order: self.order(&envelope),
            at: envelope.at,
            direction: Direction::Outgoing,
            body,
            status: Status::Sent,
            times: Times { sent: Some(envelope.at), ..Times::default() },
            failure: None,
            id: message.attr("id").filter(|id| id.len() <= ID_BYTES_MAX).unwrap_or_default().to_owned(),
            awaiting: Some(1),
        };
        self.save_outgoing(row);
        self.save_conversation(conversation);
        self.release_owed(to);
    }

    fn displayed_elsewhere(&mut self, peer: &BareJid, id: &str) {
        let Some(row) = self.conversations.get(peer) else { return };
        if row.markable.as_ref().is_some_and(|markable| markable.id == id) {
            let mut row = row.clone();
            (row.unread, row.markable) = (0, None);
            self.save_conversation(row);
        }
    }

    fn key(&mut self, sender: &BareJid, message: &Element, envelope: &Envelope) -> MessageKey {
        match (stanza::origin_id(message), &envelope.stanza_id) {
            _ if bad::is(Bug::KeysForgotten) => MessageKey(format!("x:{}", self.entropy.token())),
            (Some(origin), _) => MessageKey::of_origin(sender, &origin),
            (None, Some(id)) => MessageKey::of_archive(id),
            (None, None) => MessageKey(format!("x:{}", self.entropy.token())),
        }
    }

    fn order(&mut self, envelope: &Envelope) -> u64 {
        let seq = envelope.seq.filter(|_| !bad::is(Bug::OrderByClock));
        seq.unwrap_or_else(|| self.next_order())
    }

    /// Says that the user is typing, to contacts only, and only once.
    pub(super) fn type_to(&mut self, peer: &BareJid, composing: bool) {
        let accepted = self.conversations.get(peer).is_some_and(|row| row.accepted);
        if !accepted || !self.is_online() {
            return;
        }
        let changed =
            if composing { self.typing_to.insert(peer.clone()) } else { self.typing_to.remove(peer) };
        if changed {
            self.say_unkept(&stanzas::chat_state(peer, composing));
        }
    }
}

fn named<'a>(message: &'a Element, ns: &str, name: &str) -> Option<&'a str> {
    message.child(ns, name)?.attr("id").filter(|id| !id.is_empty())
}

/// The beginning of a message, for the list of conversations.
pub(super) fn preview(body: &str) -> String {
    body.chars().take(PREVIEW_CHARS_MAX).collect()
}
