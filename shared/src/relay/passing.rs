//! What passes from one account to another and is stored nowhere: IQs, presence, and states
//! (RFC 6120 §10.5, RFC 6121 §8). It goes between mailboxes as messages do (`transfer`).

use super::stream::{Keep, Sent, Stream};
use super::subscription::Change;
use super::{LogStore, RelayEngine, TransferItem};
use crate::id::DeviceId;
use crate::jid::{BareJid, Jid};
use crate::limits::{FRAME_BYTES_MAX, Limits, STRANGERS_REQUEST_BYTES_MAX, STRANGERS_REQUESTS_MAX};
use crate::sm::Window;
use crate::wire::error::StanzaError;
use crate::wire::stanza::{self, Kind};
use crate::wire::{Element, ns, read_frame};

impl RelayEngine {
    /// An IQ of one of the account's devices for somebody else.
    pub(super) fn iq_out(&mut self, id: &DeviceId, iq: &Element, to: &Jid, log: &dyn LogStore) {
        if self.is_blocked(to) {
            return self.refuse_blocked(id, iq);
        }
        let mut payload = iq.children();
        let whole = matches!(
            (iq.attr("type"), payload.next(), payload.next()),
            (Some("get" | "set"), Some(_), None) | (Some("result" | "error"), ..)
        );
        if !whole {
            // RFC 6120 §8.2.3
            return self.refuse(id, iq, StanzaError::BAD_REQUEST);
        }
        self.pass_once(id, iq, to, log);
    }

    /// Hands a stanza over once: it arrives, or its sender learns that it may not have.
    pub(super) fn pass_once(&mut self, id: &DeviceId, stanza: &Element, to: &Jid, log: &dyn LogStore) {
        let frame = stanza.to_frame();
        if frame.len() > FRAME_BYTES_MAX {
            return self.refuse(id, stanza, StanzaError::POLICY_VIOLATION);
        }
        if to.bare == self.config.account {
            let item = TransferItem { stanza: frame, ..TransferItem::default() };
            return self.passed_in(&to.bare, &item, log);
        }
        if !self.transfers.push_once(&to.bare, frame) {
            self.refuse(id, stanza, StanzaError::RESOURCE_CONSTRAINT);
        }
    }

    /// A stanza did not arrive: whoever sent it learns it.
    pub(super) fn returned(&mut self, stanza: &str, error: StanzaError) {
        let Ok(stanza) = read_frame(stanza, 2 * FRAME_BYTES_MAX) else { return };
        let Some(sender) = stanza::address(&stanza, "from").ok().flatten() else { return };
        if let Some(reply) = stanza::error_reply(&stanza, error) {
            self.answer_to(&sender, &reply);
        }
    }

    /// Another mailbox hands over what is not stored.
    pub(super) fn passed_in(&mut self, from: &BareJid, item: &TransferItem, log: &dyn LogStore) {
        let Ok(element) = read_frame(&item.stanza, 2 * FRAME_BYTES_MAX) else { return };
        let address = |name| stanza::address(&element, name).ok().flatten();
        let sender = address("from").unwrap_or_else(|| from.clone().into());
        let to = address("to").unwrap_or_else(|| self.config.account.clone().into());
        let blocked = self.is_blocked(&sender);
        match stanza::kind(&element) {
            Some(Kind::Iq) if blocked => self.refuse_from_elsewhere(&element, &sender),
            Some(Kind::Message) if blocked && is_groupchat(&element) => {
                self.refuse_from_elsewhere(&element, &sender);
            }
            // XEP-0191 §3.3: nothing else is answered.
            _ if blocked => {}
            Some(Kind::Iq) if to.resource.is_some() => self.hand_to_device(&element, &to),
            Some(Kind::Iq) => self.iq_in(&element, &sender, log),
            Some(Kind::Presence) => match element.attr("type").and_then(Change::named) {
                Some(change) => self.subscription_in(from, &element, change, item.news, log),
                None => self.presence_in(&element, &sender, &to, log),
            },
            Some(Kind::Message) => self.ephemeral_in(&element),
            None => {}
        }
    }

    /// To exactly this device of the account, or back (RFC 6121 §8.5.3.1, §8.5.3.2.3). One that is
    /// away for a moment has it when it is back; from one that does not come back its sender learns
    /// that ([`Self::return_requests`]).
    fn hand_to_device(&mut self, stanza: &Element, to: &Jid) {
        let id = DeviceId(to.resource.clone().unwrap_or_default());
        let error = match self.admits(&id, stanza) {
            Ok(()) => return self.push_stanza(&id, stanza),
            Err(error) => error,
        };
        let asker = stanza::address(stanza, "from").ok().flatten();
        if let (Some(reply), Some(asker)) = (stanza::error_reply(stanza, error), asker) {
            self.answer_to(&asker, &reply);
        }
    }

    /// Whether a device can be given what is for it alone: never so much that its stream ends.
    fn admits(&self, id: &DeviceId, stanza: &Element) -> Result<(), StanzaError> {
        let limits = self.config.limits;
        let device = self.devices.get(id).filter(|device| !device.is_idle(self.now, &limits));
        let stream = device.and_then(|device| device.stream.as_ref());
        // Without a connection and without presence, nobody would learn when it is over.
        let stream =
            stream.filter(|stream| stream.link.is_some() || stream.presence.is_some() || is_answer(stanza));
        let stream = stream.ok_or(StanzaError::SERVICE_UNAVAILABLE)?;
        // What it asked for itself it is given as long as it is heard.
        if is_answer(stanza) {
            return if stream.is_behind(&limits) { Err(StanzaError::RESOURCE_CONSTRAINT) } else { Ok(()) };
        }
        let sender = stanza::address(stanza, "from").ok().flatten();
        let bytes = stanza.to_frame().len();
        let kept = stream.link.is_none() && stream.managed && self.is_stranger(sender.as_ref());
        let full = kept && {
            let strangers = stream.requests().into_iter().filter(|(from, _)| self.is_stranger(Some(from)));
            bytes > STRANGERS_REQUEST_BYTES_MAX || strangers.count() >= STRANGERS_REQUESTS_MAX
        };
        let with_it = Limits { kept_bytes_max: limits.kept_bytes_max.saturating_sub(bytes), ..limits };
        let full = full || !stream.has_room_for_others(&limits) || stream.is_behind(&with_it);
        if full { Err(StanzaError::RESOURCE_CONSTRAINT) } else { Ok(()) }
    }

    fn is_stranger(&self, sender: Option<&Jid>) -> bool {
        let known = |jid: &BareJid| *jid == self.config.account || self.is_contact(jid);
        sender.is_none_or(|sender| !known(&sender.bare))
    }

    /// A stream is over: who waits for an answer of its device learns that there will be none.
    pub(super) fn return_requests(&mut self, requests: Vec<(Jid, Element)>) {
        for (sender, request) in requests {
            self.refuse_from_elsewhere(&request, &sender);
        }
    }

    /// A request to the account, which its server answers (RFC 6121 §8.5.2.1.3).
    fn iq_in(&mut self, iq: &Element, from: &Jid, log: &dyn LogStore) {
        let mut children = iq.children();
        let reply = match (iq.attr("type"), iq.attr("id"), children.next(), children.next()) {
            (Some("result" | "error"), ..) => None,
            (Some("get" | "set"), Some(_), Some(_), None) => self.pep_asked(from, iq, log),
            _ => stanza::error_reply(iq, StanzaError::BAD_REQUEST),
        };
        if let Some(reply) = reply {
            self.answer_to(from, &reply.with_attr("from", self.config.account.as_str()));
        }
    }

    fn refuse_from_elsewhere(&mut self, stanza: &Element, from: &Jid) {
        if let Some(reply) = stanza::error_reply(stanza, StanzaError::SERVICE_UNAVAILABLE) {
            self.answer_to(from, &reply);
        }
    }

    /// An answer to a request, on its way back to a device. One that there is no room for is
    /// lost, as its request would have been.
    fn answer_to(&mut self, asker: &Jid, reply: &Element) {
        if asker.bare == self.config.account {
            if let Some(resource) = &asker.resource {
                self.push_stanza(&DeviceId(resource.clone()), reply);
            }
            return;
        }
        self.transfers.push_once(&asker.bare, reply.to_frame());
    }

    /// A message that is not stored goes to the devices that are there (RFC 6121 §8.5.2.1.1,
    /// §8.5.3).
    pub(super) fn ephemeral_in(&mut self, message: &Element) {
        let resource = stanza::address(message, "to").ok().flatten().and_then(|to| to.resource);
        let addressed = resource.map(DeviceId).filter(|id| self.is_available(id));
        let kind = message.attr("type").unwrap_or("normal");
        let to_one = stanza::address(message, "to").ok().flatten().is_some_and(|to| to.resource.is_some());
        let readers = match addressed {
            // RFC 6121 §8.5.3.1: as little lost as what is stored, and nobody would send it again.
            Some(id) if is_groupchat(message) => {
                return self.hand_to_device(message, &self.config.account.with_resource(id.as_str()));
            }
            Some(id) => vec![id],
            // RFC 6121 §8.5.2.1.1: a room would have to name the device that joined it.
            None if is_groupchat(message) => {
                let sender = stanza::address(message, "from").ok().flatten();
                return sender.into_iter().for_each(|sender| self.refuse_from_elsewhere(message, &sender));
            }
            None if kind == "error" || to_one && kind == "headline" => Vec::new(),
            None => self.listening(),
        };
        let friends = is_event(message) && self.is_friend(message);
        for id in readers {
            if !self.wants_event(&id, message) {
                continue;
            }
            if friends {
                self.show_event(&id, message);
            } else {
                self.send_stanza(&id, message, false);
            }
        }
    }

    /// An event of somebody whose presence the account sees. One that is away for a moment has it when
    /// it is back, as events of the account itself: nobody would tell it again. One for which that is
    /// too much must learn everything anew.
    fn show_event(&mut self, id: &DeviceId, event: &Element) {
        let limits = self.config.limits;
        let Some(stream) = self.stream_mut(id) else { return };
        if stream.link.is_none() {
            self.push_stanza(id, event);
        } else if !self.hold_state(id, event) {
            let room = self.stream_mut(id).is_some_and(|stream| stream.has_room_for_others(&limits));
            self.send_kept(id, event, if room { Keep::WithNextRow } else { Keep::Not });
        }
    }

    fn is_friend(&self, message: &Element) -> bool {
        let sender = stanza::address(message, "from").ok().flatten();
        sender.and_then(|sender| self.contacts.get(&sender.bare)).is_some_and(|contact| contact.to)
    }

    /// The devices that are there for whatever is sent to the account.
    fn listening(&self) -> Vec<DeviceId> {
        let is_there =
            |device: &super::stream::Device| device.stream.as_ref().is_some_and(|stream| stream.listens());
        self.devices.iter().filter(|(_, device)| is_there(device)).map(|(id, _)| id.clone()).collect()
    }
}

impl Stream {
    /// What others have asked its device and it has not acked, each with its sender.
    pub(super) fn requests(&self) -> Vec<(Jid, Element)> {
        let entries = self.window.entries().filter_map(|(_, sent)| request(sent));
        entries.collect()
    }

    /// Takes these out.
    pub(super) fn take_requests(&mut self) -> Vec<(Jid, Element)> {
        let requests = self.requests();
        let (acked, sent) = (self.window.acked(), self.window.sent());
        let mut entries = std::mem::take(&mut self.window).into_numbered();
        entries.retain(|(_, sent)| request(sent).is_none());
        self.window = Window::restore(acked, sent, entries);
        requests
    }
}

/// What its sender waits for an answer to, or to learn that it did not arrive.
fn request(sent: &Sent) -> Option<(Jid, Element)> {
    let Sent::Stanza(text) = sent else { return None };
    let stanza = read_frame(text, 2 * FRAME_BYTES_MAX).ok()?;
    let sender = stanza::address(&stanza, "from").ok().flatten().filter(|from| from.resource.is_some())?;
    let waits = match stanza::kind(&stanza)? {
        Kind::Iq => !is_answer(&stanza),
        Kind::Message => is_groupchat(&stanza),
        Kind::Presence => false,
    };
    waits.then_some((sender, stanza))
}

fn is_event(message: &Element) -> bool {
    message.attr("type") == Some("headline") && message.child(ns::PUBSUB_EVENT, "event").is_some()
}

fn is_answer(stanza: &Element) -> bool {
    matches!(stanza.attr("type"), Some("result" | "error"))
}

fn is_groupchat(message: &Element) -> bool {
    message.attr("type") == Some("groupchat")
}
