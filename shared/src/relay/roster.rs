//! The roster (RFC 6121 §2): whom the account knows. It is loaded whole and its devices are told
//! of each change once that is on disk.
//!
//! A version that is not the newest is answered with the whole roster (§2.6.2 allows it): what was
//! removed is not remembered.

use super::RelayEngine;
use super::rows::{ContactRow, Op};
use crate::id::DeviceId;
use crate::jid::BareJid;
use crate::limits::{
    ROSTER_BYTES_MAX, ROSTER_GROUPS_MAX, ROSTER_MAX, ROSTER_NAME_BYTES_MAX, ROSTER_STRANGER_MS_MAX,
    ROSTER_STRANGERS_MAX,
};
use crate::time::Millis;
use crate::wire::error::StanzaError;
use crate::wire::{Element, ns, stanza};
use std::collections::BTreeSet;

impl ContactRow {
    fn new(jid: BareJid) -> Self {
        Self {
            jid,
            listed: false,
            name: None,
            groups: Vec::new(),
            to: false,
            from: false,
            ask: false,
            approved: false,
            request: None,
            owed: Vec::new(),
            heard: 0,
            changed: Millis(0),
        }
    }

    /// As devices are shown it (RFC 6121 §2.1.2).
    fn item(&self) -> Element {
        let subscription = match (self.to, self.from) {
            (true, true) => "both",
            (true, false) => "to",
            (false, true) => "from",
            (false, false) => "none",
        };
        let mut item = Element::new(ns::ROSTER, "item").with_attr("jid", self.jid.as_str());
        if !self.listed {
            return item.with_attr("subscription", "remove");
        }
        if let Some(name) = &self.name {
            item.set_attr("name", name.as_str());
        }
        item.set_attr("subscription", subscription);
        if self.ask {
            item.set_attr("ask", "subscribe");
        }
        if self.approved {
            item.set_attr("approved", "true");
        }
        self.groups.iter().for_each(|group| item.push(Element::new(ns::ROSTER, "group").with_text(group)));
        item
    }

    /// Nothing is known of it that anybody needs.
    fn is_idle(&self) -> bool {
        !self.listed && self.request.is_none() && self.owed.is_empty() && !self.from && !self.to
    }
}

impl RelayEngine {
    /// Answers a request about the roster.
    pub(super) fn roster(
        &mut self,
        id: &DeviceId,
        iq: &Element,
        request: &Element,
    ) -> Result<(), StanzaError> {
        match (iq.attr("type"), request.name.as_str()) {
            (Some("get"), "query") => {
                let known = request.attr("ver") == Some(self.roster_version().as_str());
                if let Some(stream) = self.stream_mut(id) {
                    stream.interested = true;
                }
                let roster = (!known).then(|| self.whole_roster());
                self.send_stanza(id, &stanza::iq_result(iq, roster), true);
                Ok(())
            }
            (Some("set"), "query") => {
                self.change_roster(request)?;
                self.send_stanza(id, &stanza::iq_result(iq, None), true);
                Ok(())
            }
            _ => Err(StanzaError::FEATURE_NOT_IMPLEMENTED),
        }
    }

    fn whole_roster(&self) -> Element {
        let roster = Element::new(ns::ROSTER, "query").with_attr("ver", self.roster_version());
        self.contacts
            .values()
            .filter(|contact| contact.listed)
            .map(ContactRow::item)
            .fold(roster, Element::with)
    }

    /// Other accounts of the same name had other rosters.
    fn roster_version(&self) -> String {
        let created = self.account.as_ref().map(|account| account.created.0).unwrap_or_default();
        format!("{created}-{}", self.marks.roster)
    }

    // RFC 6121 §2.1.5, §2.3.3, §2.5
    fn change_roster(&mut self, request: &Element) -> Result<(), StanzaError> {
        let mut items = request.children();
        let (Some(item), None) = (items.next(), items.next()) else { return Err(StanzaError::BAD_REQUEST) };
        if !item.is(ns::ROSTER, "item") {
            return Err(StanzaError::BAD_REQUEST);
        }
        let jid = stanza::address(item, "jid")?.ok_or(StanzaError::BAD_REQUEST)?.bare;
        if jid == self.config.account {
            return Err(StanzaError::NOT_ALLOWED);
        }
        if item.attr("subscription") == Some("remove") {
            return self.remove_contact(&jid);
        }
        let name = item.attr("name").unwrap_or_default();
        let groups: Vec<String> =
            item.children().filter(|child| child.is(ns::ROSTER, "group")).map(Element::text).collect();
        let long = |text: &str| text.len() > ROSTER_NAME_BYTES_MAX;
        if long(name) || groups.iter().any(|group| group.is_empty() || long(group)) {
            return Err(StanzaError::NOT_ACCEPTABLE);
        }
        if groups.iter().collect::<BTreeSet<_>>().len() != groups.len() || groups.len() > ROSTER_GROUPS_MAX {
            return Err(StanzaError::BAD_REQUEST);
        }
        let mut contact = self.contact(&jid);
        contact.listed = true;
        contact.name = (!name.is_empty()).then(|| name.to_owned());
        contact.groups = groups;
        self.has_room_for(&contact)?;
        self.put_contact(contact);
        self.push_contact(&jid);
        Ok(())
    }

    /// Both subscriptions end with it (RFC 6121 §2.5.2).
    fn remove_contact(&mut self, jid: &BareJid) -> Result<(), StanzaError> {
        let Some(mut contact) = self.contacts.get(jid).filter(|contact| contact.listed).cloned() else {
            return Err(StanzaError::ITEM_NOT_FOUND);
        };
        let (sees, was_seen) = (contact.to || contact.ask, contact.from);
        let seen = was_seen || contact.request.take().is_some();
        contact.to = false;
        contact.ask = false;
        contact.from = false;
        contact.approved = false;
        contact.listed = false;
        contact.name = None;
        contact.groups = Vec::new();
        self.put_contact(contact);
        if sees {
            self.owe(jid, "unsubscribe");
        }
        if seen {
            self.owe(jid, "unsubscribed");
        }
        if was_seen {
            self.hide_from(jid);
        }
        self.push_contact(jid);
        Ok(())
    }

    /// What is known of somebody.
    pub(super) fn contact(&self, jid: &BareJid) -> ContactRow {
        self.contacts.get(jid).cloned().unwrap_or_else(|| ContactRow::new(jid.clone()))
    }

    pub(super) fn has_room_for(&self, contact: &ContactRow) -> Result<(), StanzaError> {
        let others = self.contacts.values().filter(|other| other.listed && other.jid != contact.jid);
        let (count, bytes) = others.fold((1, contact.item().to_frame().len()), |(count, bytes), other| {
            (count + 1, bytes.saturating_add(other.item().to_frame().len()))
        });
        let full = count > ROSTER_MAX || bytes > ROSTER_BYTES_MAX;
        if full { Err(StanzaError::RESOURCE_CONSTRAINT) } else { Ok(()) }
    }

    /// Writes what is known of somebody. Who has become a stranger is forgotten after a while.
    pub(super) fn put_contact(&mut self, mut contact: ContactRow) {
        contact.changed = self.now;
        let now = self.now;
        let idle = |row: &&ContactRow| row.is_idle() && row.jid != contact.jid;
        let idle = self.contacts.values().filter(idle);
        let mut strangers: Vec<(Millis, BareJid)> = idle.map(|row| (row.changed, row.jid.clone())).collect();
        strangers.sort();
        let surplus = strangers.len().saturating_sub(ROSTER_STRANGERS_MAX.saturating_sub(1));
        for (place, (changed, jid)) in strangers.into_iter().enumerate() {
            if place < surplus || now.since(changed) > ROSTER_STRANGER_MS_MAX {
                self.contacts.remove(&jid);
                self.gate.write(Op::DeleteContact(jid));
            }
        }
        self.contacts.insert(contact.jid.clone(), contact.clone());
        self.gate.write(Op::PutContact(contact));
    }

    /// Devices that have asked for the roster are told of a change (RFC 6121 §2.1.6).
    pub(super) fn push_contact(&mut self, jid: &BareJid) {
        let item = self.contact(jid).item();
        self.marks.roster = self.marks.roster.saturating_add(1);
        self.gate.write(Op::PutMarks(self.marks));
        let query = Element::new(ns::ROSTER, "query").with_attr("ver", self.roster_version()).with(item);
        for id in self.interested() {
            let push = stanza::iq("set", &self.entropy.token(), query.clone());
            let to = self.config.account.with_resource(id.as_str()).to_string();
            self.push_stanza(&id, &push.with_attr("to", to));
        }
    }

    /// The devices that have asked for the roster.
    pub(super) fn interested(&self) -> Vec<DeviceId> {
        let asked = |device: &super::stream::Device| device.stream.as_ref().is_some_and(|s| s.interested);
        self.devices.iter().filter(|(_, device)| asked(device)).map(|(id, _)| id.clone()).collect()
    }
}
