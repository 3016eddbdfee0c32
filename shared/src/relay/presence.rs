//! Who is there (RFC 6121 §4): a device's presence goes to the account's other devices and to
//! whoever is subscribed to it.
//!
//! Presence is stored nowhere but with its device's stream. What a device could not be sent, as it
//! waits to be resumed or does not ack, is kept for it, the newest of each address: a stream that
//! goes on must not show somebody who has left. Nothing is kept of who is no contact and was not
//! sent the device's presence: a stranger must not be able to end a stream.

use super::stream::{Device, Keep};
use super::subscription::Change;
use super::{LogStore, RelayEngine};
use crate::id::DeviceId;
use crate::jid::{BareJid, Jid};
use crate::limits::{
    FRAME_BYTES_MAX, PRESENCE_BYTES_MAX, PRESENCE_DIRECTED_MAX, PRESENCE_MISSED_BYTES_MAX,
    PRESENCE_MISSED_MAX,
};
use crate::wire::error::{StanzaError, StreamCondition};
use crate::wire::{Element, ns, read_frame, stanza};

/// The priority that an available presence gives its device (RFC 6121 §4.7.2.3).
pub(super) fn priority(presence: &str) -> i8 {
    let presence = read_frame(presence, 2 * FRAME_BYTES_MAX).ok();
    let priority = presence.and_then(|presence| Some(presence.child(ns::CLIENT, "priority")?.text()));
    priority.and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

/// Presence of which nothing is known but that it is there.
pub(super) fn plain(from: &Jid, priority: i8) -> Element {
    let priority = Element::new(ns::CLIENT, "priority").with_text(priority.to_string());
    Element::new(ns::CLIENT, "presence").with_attr("from", from.to_string()).with(priority)
}

impl RelayEngine {
    /// Presence that one of the account's devices sends.
    pub(super) fn presence(&mut self, id: &DeviceId, presence: &Element, log: &dyn LogStore) {
        let kind = presence.attr("type");
        let to = match stanza::address(presence, "to") {
            Ok(to) => to,
            Err(error) => return self.refuse(id, presence, error),
        };
        if presence.to_frame().len() > PRESENCE_BYTES_MAX {
            return self.refuse(id, presence, StanzaError::POLICY_VIOLATION);
        }
        match (kind, to) {
            (None | Some("unavailable"), None) => self.own_presence(id, presence, log),
            (None | Some("unavailable" | "error"), Some(to)) => {
                self.directed_presence(id, presence, &to, log)
            }
            (Some("error"), None) => {}
            (Some("probe"), to) => self.probe_out(presence, to),
            (Some(kind), to) => match Change::named(kind) {
                Some(change) => self.subscription_out(id, presence, change, to, log),
                None => self.refuse(id, presence, StanzaError::BAD_REQUEST),
            },
        }
    }

    /// To everybody who sees the account's presence (RFC 6121 §4.2, §4.4, §4.5).
    fn own_presence(&mut self, id: &DeviceId, presence: &Element, log: &dyn LogStore) {
        let available = presence.attr("type").is_none();
        let frame = presence.to_frame();
        let Some(stream) = self.stream_mut(id) else { return };
        let first = available && stream.presence.is_none();
        stream.priority = if available { priority(&frame) } else { 0 };
        stream.presence = available.then_some(frame);
        let directed = if available { Default::default() } else { std::mem::take(&mut stream.directed) };
        if first {
            self.read_on(id);
        }
        self.put_device(id);
        let bare = self.config.account.to_string();
        let others = self.tell_the_others(id, presence);
        if available {
            self.send_stanza(id, &presence.clone().with_attr("to", bare.as_str()), false);
        }
        self.tell_contacts(presence);
        self.tell_directed(presence, directed);
        if first {
            for (_, theirs) in others {
                if let Ok(theirs) = read_frame(&theirs, FRAME_BYTES_MAX) {
                    self.send_stanza(id, &theirs.with_attr("to", bare.as_str()), false);
                }
            }
            self.probe_contacts(id);
            self.show_requests(id);
        }
        if available {
            self.flush(id, log);
            self.caps_said(id, presence, first, log);
        }
    }

    /// RFC 6121 §4.6: to somebody who need not be a contact, and who is told when it ends.
    fn directed_presence(&mut self, id: &DeviceId, presence: &Element, to: &Jid, log: &dyn LogStore) {
        if to.bare.domain() != self.config.account.domain() {
            return self.refuse(id, presence, StanzaError::REMOTE_SERVER_NOT_FOUND);
        }
        if to.bare == self.config.account {
            let from = self.config.account.with_resource(id.as_str());
            return self.presence_in(presence, &from, to, log);
        }
        if to.bare.local().is_none() {
            return;
        }
        if self.is_blocked(to) {
            return self.refuse_blocked(id, presence);
        }
        let Some(stream) = self.stream_mut(id) else { return };
        match presence.attr("type") {
            None if stream.directed.contains(to) => {}
            None if stream.directed.len() >= PRESENCE_DIRECTED_MAX => {
                return self.refuse(id, presence, StanzaError::RESOURCE_CONSTRAINT);
            }
            None => {
                stream.directed.insert(to.clone());
                self.put_device(id);
            }
            // Forgotten with the next row: who is told twice that somebody left knows no less.
            Some("unavailable") => drop(stream.directed.remove(to)),
            _ => {}
        }
        self.transfers.push_presence(&to.bare, presence.to_frame());
    }

    /// Presence from another account, or from another device for one of this account's.
    pub(super) fn presence_in(&mut self, presence: &Element, from: &Jid, to: &Jid, log: &dyn LogStore) {
        if presence.attr("type") == Some("probe") {
            return self.probed(from, log);
        }
        let one = to.resource.as_ref().map(|resource| DeviceId(resource.clone()));
        let readers = match one {
            Some(id) => vec![id],
            // RFC 6121 §8.5.2.1.2
            None if presence.attr("type") == Some("error") => Vec::new(),
            None => self.available().into_iter().map(|(id, _)| id).collect(),
        };
        for id in readers {
            self.show_presence(&id, presence, from);
        }
    }

    /// A device is sent somebody's presence, or it is kept for it.
    pub(super) fn show_presence(&mut self, id: &DeviceId, presence: &Element, from: &Jid) {
        let limits = self.config.limits;
        if !self.is_available(id) {
            return;
        }
        let known = from.bare == self.config.account || self.is_contact(&from.bare);
        let Some(stream) = self.stream_mut(id) else { return };
        if stream.link.is_some() && stream.has_room_for_others(&limits) {
            if !self.hold_state(id, presence) {
                self.send_kept(id, presence, Keep::WithNextRow);
            }
            return;
        }
        stream.csi.forget_presence(from);
        if !known && !stream.directed.contains(from) {
            return;
        }
        stream.missed.insert(from.clone(), presence.to_frame());
        let bytes: usize = stream.missed.values().map(String::len).sum();
        if stream.missed.len() > PRESENCE_MISSED_MAX || bytes > PRESENCE_MISSED_BYTES_MAX {
            let link = stream.link;
            self.end_stream(id);
            return link
                .into_iter()
                .for_each(|link| self.close_link(link, Some(StreamCondition::ResourceConstraint), 1000));
        }
        self.put_device(id);
    }

    /// What a device could not be sent before.
    pub(super) fn show_missed(&mut self, id: &DeviceId) {
        let limits = self.config.limits;
        let Some(stream) = self.stream_mut(id) else { return };
        if stream.missed.is_empty() || stream.link.is_none() {
            return;
        }
        while let Some(stream) = self.stream_mut(id).filter(|stream| stream.has_room_for_others(&limits)) {
            let Some((_, frame)) = stream.missed.pop_first() else { break };
            if let Ok(presence) = read_frame(&frame, 2 * FRAME_BYTES_MAX) {
                self.send_kept(id, &presence, Keep::WithNextRow);
            }
        }
        self.put_device(id);
    }

    /// RFC 6121 §4.3.2: who may know is told who is there.
    fn probed(&mut self, from: &Jid, log: &dyn LogStore) {
        if !self.sees_presence(&from.bare) {
            return self.never_subscribed(&from.bare);
        }
        let to = from.to_string();
        let mut there: Vec<Element> = self.available().into_iter().filter_map(|(_, p)| p).collect();
        if there.is_empty() {
            let nobody = Element::new(ns::CLIENT, "presence").with_attr("type", "unavailable");
            there.push(nobody.with_attr("from", self.config.account.as_str()));
        }
        for presence in there {
            self.transfers.push_presence(&from.bare, presence.with_attr("to", to.as_str()).to_frame());
        }
        self.send_last_items(from, log);
    }

    /// RFC 6121 §4.3: the servers' to send. Of a device's own, those are passed on that are no news
    /// to whom they ask.
    fn probe_out(&mut self, probe: &Element, to: Option<Jid>) {
        let Some(to) = to else { return };
        if self.contacts.get(&to.bare).is_some_and(|contact| contact.to) && !self.is_blocked(&to) {
            self.transfers.push_presence(&to.bare, probe.to_frame());
        }
    }

    /// RFC 6121 §4.3.1: who of those whose presence the account sees is there?
    pub(super) fn probe_contacts(&mut self, id: &DeviceId) {
        let from = self.config.account.with_resource(id.as_str()).to_string();
        let probe = Element::new(ns::CLIENT, "presence").with_attr("type", "probe").with_attr("from", from);
        let seen: Vec<BareJid> =
            self.contacts.values().filter(|contact| contact.to).map(|contact| contact.jid.clone()).collect();
        for jid in seen {
            if !self.is_blocked(&jid.clone().into()) {
                let probe = probe.clone().with_attr("to", jid.as_str());
                self.transfers.push_presence(&jid, probe.to_frame());
            }
        }
    }

    /// To every contact that is subscribed to the account's presence.
    pub(super) fn tell_contacts(&mut self, presence: &Element) {
        let subscribed: Vec<BareJid> = self
            .contacts
            .values()
            .filter(|contact| contact.from)
            .map(|contact| contact.jid.clone())
            .collect();
        for jid in subscribed {
            self.tell_contact(&jid, presence);
        }
    }

    fn tell_contact(&mut self, jid: &BareJid, presence: &Element) {
        if !self.is_blocked(&jid.clone().into()) {
            let presence = presence.clone().with_attr("to", jid.as_str());
            self.transfers.push_presence(jid, presence.to_frame());
        }
    }

    fn tell_directed(&mut self, presence: &Element, directed: impl IntoIterator<Item = Jid>) {
        for to in directed {
            if !self.sees_presence(&to.bare) && !self.is_blocked(&to) {
                let presence = presence.clone().with_attr("to", to.to_string());
                self.transfers.push_presence(&to.bare, presence.to_frame());
            }
        }
    }

    /// Who is there of this account, for somebody who may know it from now on.
    pub(super) fn show_to(&mut self, jid: &BareJid, log: &dyn LogStore) {
        for presence in self.available().into_iter().filter_map(|(_, presence)| presence) {
            self.tell_contact(jid, &presence);
        }
        self.send_last_items(&jid.clone().into(), log);
    }

    /// For somebody who may not know it any more, nobody is there.
    pub(super) fn hide_from(&mut self, jid: &BareJid) {
        for (id, _) in self.available() {
            let gone = self.gone(&id).with_attr("to", jid.as_str());
            self.transfers.push_presence(jid, gone.to_frame());
        }
    }

    fn gone(&self, id: &DeviceId) -> Element {
        let from = self.config.account.with_resource(id.as_str()).to_string();
        Element::new(ns::CLIENT, "presence").with_attr("type", "unavailable").with_attr("from", from)
    }

    /// Whoever was available is not any more (RFC 6121 §4.5.2).
    pub(super) fn presence_ended(&mut self, id: &DeviceId, directed: impl IntoIterator<Item = Jid>) {
        let gone = self.gone(id);
        self.tell_the_others(id, &gone);
        self.tell_contacts(&gone);
        self.tell_directed(&gone, directed);
    }

    /// A device that has not come back in time has left; what is known of its stream stays
    /// (XEP-0198 §5: `h` on `<failed/>`).
    pub(super) fn presence_over(&mut self, id: &DeviceId) {
        let Some(stream) = self.stream_mut(id) else { return };
        stream.presence = None;
        stream.priority = 0;
        stream.missed.clear();
        let directed = std::mem::take(&mut stream.directed);
        let requests = stream.take_requests();
        self.put_device(id);
        self.presence_ended(id, directed);
        self.return_requests(requests);
    }

    /// The account's other devices that are there see a presence of this one. Returns them, each
    /// with its own.
    fn tell_the_others(&mut self, id: &DeviceId, presence: &Element) -> Vec<(DeviceId, String)> {
        let others: Vec<(DeviceId, String)> = self
            .devices
            .iter()
            .filter(|(other, _)| *other != id)
            .filter_map(|(other, device)| Some((other.clone(), device.stream.as_ref()?.presence.clone()?)))
            .collect();
        let from = self.config.account.with_resource(id.as_str());
        let seen = presence.clone().with_attr("to", self.config.account.as_str());
        for (other, _) in &others {
            self.show_presence(other, &seen, &from);
        }
        others
    }

    /// Whether a device has said that it is there.
    pub(super) fn is_available(&self, id: &DeviceId) -> bool {
        self.devices.get(id).is_some_and(|device| presence_of(device).is_some())
    }

    /// The devices that are there, each with its presence.
    fn available(&self) -> Vec<(DeviceId, Option<Element>)> {
        let there = self.devices.iter().filter_map(|(id, device)| Some((id.clone(), presence_of(device)?)));
        there.map(|(id, frame)| (id, read_frame(frame, 2 * FRAME_BYTES_MAX).ok())).collect()
    }

    /// Whether an account is on the roster, or either sees the other's presence.
    pub(super) fn is_contact(&self, jid: &BareJid) -> bool {
        self.contacts.get(jid).is_some_and(|contact| contact.listed || contact.to || contact.from)
    }

    /// Whether an account may know who of this one is there.
    pub(super) fn sees_presence(&self, jid: &BareJid) -> bool {
        *jid == self.config.account || self.contacts.get(jid).is_some_and(|contact| contact.from)
    }
}

fn presence_of(device: &Device) -> Option<&str> {
    device.stream.as_ref()?.presence.as_deref()
}
