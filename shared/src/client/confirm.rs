//! Confirmations, both ways: what raises the status of an outgoing message, and what this
//! device owes for incoming ones. A status never goes down.

use super::rows::{MessageKey, MessageRow, Op, Owed, OwedRow, PROVISIONAL, Status};
use super::{ClientEngine, Entry};
use crate::bad::{self, Bug};
use crate::id::OriginId;
use crate::jid::BareJid;
use crate::wire::{Element, ns};

impl ClientEngine {
    /// The relay's count covers this stanza.
    pub(super) fn confirmed(&mut self, entry: Entry) {
        match entry {
            Entry::Message(origin) => self.relay_has(&origin, None),
            Entry::Owed(key) => self.forget_owed(&key),
            Entry::Setup => self.setup_confirmed = true,
        }
    }

    /// The relay has the message on its disk, and perhaps says at which place of its log.
    pub(super) fn relay_has(&mut self, origin: &OriginId, seq: Option<u64>) {
        self.forget_outbox(origin);
        let key = MessageKey::of_origin(&self.config.account, origin);
        let Some(mut row) = self.timeline.get(&key).cloned() else { return };
        let before = row.clone();
        if row.status < Status::Sent || bad::is(Bug::StatusGoesBack) {
            row.status = if bad::is(Bug::DeliveredWhenSent) { Status::Delivered } else { Status::Sent };
            row.times.sent = Some(self.now);
        }
        if let Some(seq) = seq.filter(|_| row.order >= PROVISIONAL) {
            row.order = seq;
        }
        if row != before {
            self.save_outgoing(row);
        }
    }

    /// XEP-0184: a device of the recipient has it. `id` counts only in the conversation that
    /// the receipt comes from.
    pub(super) fn delivered(&mut self, from: &BareJid, id: &str) {
        if let Some(row) = self.timeline.find(&self.config.account, from, id).cloned() {
            let read = bad::is(Bug::ReadWhenDelivered);
            self.raise(row, if read { Status::Read } else { Status::Delivered });
        }
    }

    /// XEP-0333: the recipient has seen it, and all before it that reached him.
    pub(super) fn displayed(&mut self, from: &BareJid, id: &str) {
        let Some(last) = self.timeline.find(&self.config.account, from, id).cloned() else { return };
        for row in self.timeline.up_to(&last) {
            let reached = matches!(row.status, Status::Sent | Status::Delivered);
            if reached || row.key == last.key {
                self.raise(row, Status::Read);
            }
        }
    }

    fn raise(&mut self, mut row: MessageRow, status: Status) {
        if row.status >= status {
            return;
        }
        if row.id_is_origin(&self.config.account) {
            self.forget_outbox(&OriginId::from(row.id.as_str()));
        }
        row.status = status;
        row.failure = None;
        row.times.sent.get_or_insert(self.now);
        row.times.delivered.get_or_insert(self.now);
        if status == Status::Read {
            row.times.read = Some(self.now);
        }
        self.save_outgoing(row);
    }

    /// RFC 6120 §8.3: the message came back. A device that has it outweighs one that refused.
    pub(super) fn bounced(&mut self, from: &BareJid, message: &Element) {
        let id = message.attr("id").unwrap_or_default();
        let Some(mut row) = self.timeline.find(&self.config.account, from, id).cloned() else { return };
        if row.status >= Status::Failed {
            return;
        }
        let conditions = message.child(ns::CLIENT, "error").into_iter().flat_map(Element::children);
        let condition = conditions.filter(|child| child.ns == ns::STANZA_ERRORS && child.name != "text");
        row.failure = Some(condition.map(|child| child.name.clone()).next().unwrap_or_default());
        row.status = Status::Failed;
        if row.id_is_origin(&self.config.account) {
            self.forget_outbox(&OriginId::from(row.id.as_str()));
        }
        self.save_outgoing(row);
    }

    /// Owes a confirmation. It leaves when the conversation is one that the user chose: nobody
    /// else learns that this device is there (XEP-0184 §8).
    pub(super) fn owe(&mut self, kind: Owed, to: &BareJid, message: &MessageKey, id: &str) {
        let letter = match kind {
            Owed::Receipt => 'r',
            Owed::Displayed => 'd',
        };
        let accepted = self.conversations.get(to).is_some_and(|row| row.accepted);
        let withheld = || self.owed.rows().filter(|row| row.to == *to).count();
        if !accepted && withheld() >= self.config.limits.client_owed_withheld_max {
            return;
        }
        let row = OwedRow {
            key: format!("{letter}:{}", message.0),
            kind,
            to: to.clone(),
            id: id.to_owned(),
            since: self.now,
            order: self.next_order(),
            sent_as: None,
        };
        let key = row.key.clone();
        self.gate.write(Op::PutOwed(row.clone()));
        self.owed.put(row);
        if accepted {
            self.owed.wait(&key);
        }
    }

    /// Lets go what was kept back for a conversation.
    pub(super) fn release_owed(&mut self, to: &BareJid) {
        let withheld = self.owed.rows().filter(|row| row.to == *to && row.sent_as.is_none());
        let keys: Vec<String> = withheld.map(|row| row.key.clone()).collect();
        keys.iter().for_each(|key| self.owed.wait(key));
        // What was seen while nobody might know it is marked now that somebody may.
        if self.conversations.get(to).is_some_and(|row| row.unread == 0) {
            self.seen(to);
        }
    }
}

impl MessageRow {
    /// Whether this device or another of ours named the message by the `id` of its stanza.
    fn id_is_origin(&self, own: &BareJid) -> bool {
        self.key == MessageKey::of_origin(own, &OriginId::from(self.id.as_str()))
    }
}
