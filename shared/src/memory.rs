//! Stores in memory: what a mailbox's SQLite and a browser's IndexedDB mean, in the plainest
//! form. Tests and the simulator run the engines on them, and the store contract compares the
//! real stores with them. Compiled for tests only.

use crate::archive::{Query, Size};
use crate::client;
use crate::client::rows::{
    AccountRow, ConversationRow, MessageKey, MessageRow, OutboxRow, OwedRow, SessionRow,
};
use crate::cold::{Moving, SegmentRow};
use crate::id::{DeviceId, OriginId, StanzaSeq};
use crate::jid::BareJid;
use crate::log::{ItemStore, LogRow, LogStore, Sending};
use crate::relay;
use crate::relay::rows::{ContactRow, DeviceRow, ItemNote, ItemRow, Marks, NodeRow};
use crate::time::Millis;
use std::collections::BTreeMap;

/// What a mailbox has committed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MailboxStore {
    /// See [`relay::rows::Rows::account`].
    pub account: Option<relay::rows::AccountRow>,
    /// See [`relay::rows::Rows::marks`].
    pub marks: Marks,
    /// See [`relay::rows::Rows::devices`].
    pub devices: BTreeMap<DeviceId, DeviceRow>,
    /// See [`relay::rows::Rows::peers`].
    pub peers: BTreeMap<BareJid, StanzaSeq>,
    /// See [`relay::rows::Rows::contacts`].
    pub contacts: BTreeMap<BareJid, ContactRow>,
    /// See [`relay::rows::Rows::nodes`].
    pub nodes: BTreeMap<String, NodeRow>,
    /// All items, by the names of their nodes and their own.
    pub items: BTreeMap<(String, String), ItemRow>,
    /// The log, but for what is in segments.
    pub log: BTreeMap<StanzaSeq, LogRow>,
    /// The segments, with the own messages of each.
    pub segments: BTreeMap<StanzaSeq, (SegmentRow, Vec<Sending>)>,
    /// See [`relay::rows::Rows::moving`].
    pub moving: Option<Moving>,
}

impl MailboxStore {
    /// Applies one operation of a batch.
    pub fn apply(&mut self, op: &relay::rows::Op) {
        use relay::rows::Op;
        match op.clone() {
            Op::Append(row) => drop(self.log.insert(row.seq, row)),
            Op::PutDevice(row) => drop(self.devices.insert(row.device.clone(), row)),
            Op::DeleteDevice(id) => drop(self.devices.remove(&id)),
            Op::PutAccount(row) => self.account = Some(row),
            Op::PutPeer(peer, seq) => drop(self.peers.insert(peer, seq)),
            Op::PutMarks(marks) => self.marks = marks,
            Op::PutContact(row) => drop(self.contacts.insert(row.jid.clone(), row)),
            Op::DeleteContact(jid) => drop(self.contacts.remove(&jid)),
            Op::PutNode(row) => drop(self.nodes.insert(row.node.clone(), row)),
            Op::DeleteNode(node) => {
                self.nodes.remove(&node);
                self.items.retain(|(of, _), _| *of != node);
            }
            Op::PutItem(row) => drop(self.items.insert((row.node.clone(), row.id.clone()), row)),
            Op::DeleteItem(node, id) => drop(self.items.remove(&(node, id))),
            Op::PutMoving(moving) => self.moving = moving,
            Op::PutSegment(row, sources) => drop(self.segments.insert(row.first, (row, sources))),
            Op::DropLog(first, last) => self.log.retain(|seq, _| *seq < first || *seq > last),
            Op::ForgetSources(before) => {
                let old = |sources: &[Sending]| sources.iter().all(|sending| sending.at < before);
                let segments = self.segments.values_mut().filter(|(_, sources)| old(sources));
                segments.for_each(|(_, sources)| sources.clear());
            }
            Op::DeleteSegment(first) => drop(self.segments.remove(&first)),
            Op::Clear => *self = Self::default(),
        }
    }

    /// What an engine is loaded from.
    pub fn rows(&self) -> relay::rows::Rows {
        let from = self.marks.checkpoint.min(self.marks.transferred);
        relay::rows::Rows {
            account: self.account.clone(),
            marks: self.marks,
            devices: self.devices.values().cloned().collect(),
            peers: self.peers.iter().map(|(peer, seq)| (peer.clone(), *seq)).collect(),
            contacts: self.contacts.values().cloned().collect(),
            tail: self.log.range(from.next()..).map(|(_, row)| row.clone()).collect(),
            nodes: self.nodes.values().cloned().collect(),
            items: self.items.values().map(ItemNote::from).collect(),
            last: self.log.keys().next_back().copied().unwrap_or_default().max(self.cold()),
            cold: self.cold(),
            moving: self.moving.clone(),
        }
    }
}

impl ItemStore for MailboxStore {
    fn items(&self, node: &str, ids: &[&str]) -> Vec<ItemRow> {
        let named = self.items.values().filter(|row| row.node == node && ids.contains(&row.id.as_str()));
        named.cloned().collect()
    }
}

impl MailboxStore {
    fn cold(&self) -> StanzaSeq {
        self.segments.values().map(|(row, _)| row.last).max().unwrap_or_default()
    }
}

impl LogStore for MailboxStore {
    fn segments(
        &self,
        after: StanzaSeq,
        before: Option<StanzaSeq>,
        newest_first: bool,
        limit: usize,
    ) -> Vec<SegmentRow> {
        let within = |row: &&SegmentRow| row.last > after && before.is_none_or(|before| row.first < before);
        let rows = || self.segments.values().map(|(row, _)| row).filter(within).cloned();
        if newest_first { rows().rev().take(limit).collect() } else { rows().take(limit).collect() }
    }

    fn received(&self, peer: &BareJid, places: &[StanzaSeq]) -> Vec<StanzaSeq> {
        self.log.values().filter(|row| row.came_from(peer, places)).map(|row| row.peer_seq).collect()
    }

    fn select(&self, query: &Query, limit: usize) -> Vec<LogRow> {
        let rows = || self.log.values().filter(|row| query.selects(row)).cloned();
        if query.newest_first { rows().rev().take(limit).collect() } else { rows().take(limit).collect() }
    }

    fn size(&self, query: &Query) -> Size {
        Size::of(self.log.values().filter(|row| query.selects(row)))
    }

    fn page(&self, after: StanzaSeq, limit: usize) -> Vec<LogRow> {
        self.log.range(after.next()..).take(limit).map(|(_, row)| row.clone()).collect()
    }

    fn sources(&self, since: Millis, limit: usize) -> Vec<Sending> {
        let moved = self.segments.values().flat_map(|(_, sources)| sources).cloned();
        let mut all: Vec<Sending> = moved.chain(self.log.values().filter_map(Sending::of)).collect();
        all.retain(|sending| sending.at >= since);
        all.sort_by_key(|sending| sending.seq);
        all.into_iter().rev().take(limit).collect()
    }
}

/// What a browser has committed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientStore {
    /// Store `meta`, key `account`.
    pub account: Option<AccountRow>,
    /// Store `meta`, key `session`.
    pub session: Option<SessionRow>,
    /// Store `outbox`.
    pub outbox: BTreeMap<OriginId, OutboxRow>,
    /// Store `owed`.
    pub owed: BTreeMap<String, OwedRow>,
    /// Store `conversations`.
    pub conversations: BTreeMap<BareJid, ConversationRow>,
    /// Store `messages`.
    pub messages: BTreeMap<MessageKey, MessageRow>,
}

impl ClientStore {
    /// Applies one operation of a batch.
    pub fn apply(&mut self, op: &client::rows::Op) {
        use client::rows::Op;
        match op.clone() {
            Op::PutMessage(row) => drop(self.messages.insert(row.key.clone(), row)),
            Op::DeleteMessage(key) => drop(self.messages.remove(&key)),
            Op::PutOutbox(row) => drop(self.outbox.insert(row.origin.clone(), row)),
            Op::DeleteOutbox(origin) => drop(self.outbox.remove(&origin)),
            Op::PutOwed(row) => drop(self.owed.insert(row.key.clone(), row)),
            Op::DeleteOwed(key) => drop(self.owed.remove(&key)),
            Op::PutConversation(row) => drop(self.conversations.insert(row.jid.clone(), row)),
            Op::PutSession(row) => self.session = Some(row),
            Op::PutAccount(row) => self.account = Some(row),
            Op::Clear => *self = Self::default(),
        }
    }

    /// What an engine is loaded from: of the history the newest keys only.
    pub fn rows(&self, recent_keys_max: usize) -> client::rows::Rows {
        let mut newest: Vec<&MessageRow> = self.messages.values().collect();
        newest.sort_by_key(|row| (row.order, &row.key));
        let recent = newest.iter().skip(newest.len().saturating_sub(recent_keys_max));
        client::rows::Rows {
            account: self.account.clone(),
            session: self.session.clone(),
            outbox: self.outbox.values().cloned().collect(),
            owed: self.owed.values().cloned().collect(),
            conversations: self.conversations.values().cloned().collect(),
            awaiting: self.messages.values().filter(|row| row.awaiting.is_some()).cloned().collect(),
            recent: recent.map(|row| row.key.clone()).collect(),
        }
    }

    /// The messages of a conversation in the order in which a person sees them.
    pub fn timeline(&self, conversation: &BareJid) -> Vec<&MessageRow> {
        let mut rows: Vec<_> =
            self.messages.values().filter(|row| row.conversation == *conversation).collect();
        rows.sort_by_key(|row| (row.order, &row.key));
        rows
    }
}
