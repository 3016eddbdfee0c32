//! Events, and whom they go to (XEP-0163 §4): the account's own devices that asked for
//! them, and everybody who sees its presence. What a contact's devices want is known to the
//! contact's mailbox alone, so it is that mailbox which lets an event through or not.

use super::{Event, LogStore, RelayEngine, read};
use crate::id::DeviceId;
use crate::jid::{BareJid, Jid};
use crate::limits::PEP_EVENT_BYTES_MAX;
use crate::relay::rows::{Access, NodeRow};
use crate::wire::error::StreamCondition;
use crate::wire::{Element, Node as Content, ns, stanza};

impl RelayEngine {
    /// Tells everybody who wants to know.
    pub(super) fn tell(&mut self, Event { access, content }: Event) {
        let message = self.event(content);
        for id in self.devices.keys().cloned().collect::<Vec<_>>() {
            self.tell_device(&id, &message);
        }
        self.publish_to_contacts(&message, access);
    }

    /// One device, if it is there and wants it. One that is away for a moment gets it later. One
    /// that takes nothing is let go: it must learn everything anew, and what is kept for it does
    /// not grow without end.
    fn tell_device(&mut self, id: &DeviceId, message: &Element) {
        let limits = self.config.limits;
        let stream = self.devices.get(id).and_then(|device| device.stream.as_ref());
        let Some(stream) = stream.filter(|stream| stream.presence.is_some()) else { return };
        let behind = stream.link.filter(|_| stream.is_behind(&limits));
        if !self.wants_event(id, message) {
            return;
        }
        if let Some(link) = behind {
            self.close_link(link, Some(StreamCondition::ResourceConstraint), 1000);
        }
        let to = self.config.account.with_resource(id.as_str()).to_string();
        self.push_stanza(id, &message.clone().with_attr("to", to));
    }

    /// Hands an event to the mailboxes of those who may see it.
    pub(in crate::relay) fn publish_to_contacts(&mut self, event: &Element, access: Access) {
        if access == Access::Whitelist {
            return;
        }
        for contact in self.subscribers() {
            self.hand_over(&contact.into(), event);
        }
    }

    fn hand_over(&mut self, to: &Jid, event: &Element) {
        // XEP-0163 §4.3.3
        if !self.is_blocked(to) {
            let frame = event.clone().with_attr("to", to.to_string()).to_frame();
            self.transfers.push_ephemeral(&to.bare, frame, &self.config.limits);
        }
    }

    /// Everybody who sees this account's presence.
    fn subscribers(&self) -> Vec<BareJid> {
        self.contacts.values().filter(|contact| contact.from).map(|contact| contact.jid.clone()).collect()
    }

    /// Whether a device is given a message that may be an event (XEP-0060 §9.2). What is no event
    /// it is given.
    pub(in crate::relay) fn wants_event(&self, id: &DeviceId, message: &Element) -> bool {
        let event = message.child(ns::PUBSUB_EVENT, "event");
        let Some(event) = event.filter(|_| message.attr("type") == Some("headline")) else { return true };
        let Some(node) = event.children().next().and_then(|child| child.attr("node")) else { return false };
        self.interests(id).iter().any(|wanted| wanted == node)
    }

    /// What a device wants to hear of.
    fn interests(&self, id: &DeviceId) -> &[String] {
        let caps = self.devices.get(id).and_then(|device| device.caps.as_ref());
        caps.and_then(|caps| caps.notify.as_deref()).unwrap_or_default()
    }

    /// A device of this account has come: the newest item of each node it wants to hear of
    /// (XEP-0163 §4.3.4).
    pub(super) fn send_last_to_device(&mut self, id: &DeviceId, log: &dyn LogStore) {
        let interests = self.interests(id).to_vec();
        for message in self.last_items(|row| interests.contains(&row.node), log) {
            self.tell_device(id, &message);
        }
    }

    /// A contact who sees this account's presence has come: the newest item of each node that he
    /// may see.
    pub(in crate::relay) fn send_last_items(&mut self, to: &Jid, log: &dyn LogStore) {
        for message in self.last_items(|row| row.access != Access::Whitelist, log) {
            self.hand_over(to, &message);
        }
    }

    fn last_items(&mut self, wanted: impl Fn(&NodeRow) -> bool, log: &dyn LogStore) -> Vec<Element> {
        let nodes = self.pep.nodes.values();
        let nodes =
            nodes.filter(|node| node.row.send_last && node.row.node != ns::VCARD && wanted(&node.row));
        let newest = nodes.filter_map(|node| {
            let (id, note) = node.items.iter().max_by_key(|(_, note)| note.order)?;
            Some((node.row.node.clone(), id.clone(), note.at))
        });
        let mut messages = Vec::new();
        for (node, id, at) in newest.collect::<Vec<_>>() {
            let Some(row) = self.pep.read(log, &node, &[&id]).pop() else { continue };
            let items = Element::new(ns::PUBSUB_EVENT, "items").with_attr("node", node);
            let event = self.event(items.with(read::item(&row, ns::PUBSUB_EVENT)));
            messages.push(event.with(Element::new(ns::DELAY, "delay").with_attr("stamp", at.to_stamp())));
        }
        messages
    }

    fn event(&mut self, mut content: Element) -> Element {
        if content.to_frame().len() > PEP_EVENT_BYTES_MAX {
            // XEP-0060 §4.3: an event without a payload says that there is something to fetch.
            for item in &mut content.nodes {
                if let Content::Element(item) = item {
                    item.nodes.clear();
                }
            }
        }
        stanza::message("headline")
            .with_attr("from", self.config.account.as_str())
            .with_attr("id", self.entropy.token())
            .with(Element::new(ns::PUBSUB_EVENT, "event").with(content))
    }
}
