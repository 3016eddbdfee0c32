//! What the engine holds of the history: the outgoing messages that may still change, and the
//! keys of the newest messages.

use super::rows::{MessageKey, MessageRow, Status};
use crate::id::OriginId;
use crate::jid::BareJid;
use crate::limits::Limits;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

type Conversation = BTreeMap<(u64, MessageKey), MessageRow>;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    limits: Limits,
    awaiting: BTreeMap<BareJid, Conversation>,
    places: BTreeMap<MessageKey, (BareJid, u64)>,
    known: BTreeSet<MessageKey>,
    newest: VecDeque<MessageKey>,
}

impl Timeline {
    pub(super) fn new(limits: Limits) -> Self {
        let (awaiting, places, known, newest) = Default::default();
        Self { limits, awaiting, places, known, newest }
    }

    pub(super) fn get(&self, key: &MessageKey) -> Option<&MessageRow> {
        let (conversation, order) = self.places.get(key)?;
        self.awaiting.get(conversation)?.get(&(*order, key.clone()))
    }

    /// Holds a row, in the place of an older version of it. Returns the row that is no longer
    /// held because its conversation has too many: the oldest that nothing but a late receipt
    /// could change.
    pub(super) fn put(&mut self, row: MessageRow) -> Option<MessageRow> {
        self.remove(&row.key);
        row.awaiting?;
        self.places.insert(row.key.clone(), (row.conversation.clone(), row.order));
        let conversation = self.awaiting.entry(row.conversation.clone()).or_default();
        conversation.insert((row.order, row.key.clone()), row);
        if conversation.len() <= self.limits.client_awaiting_max {
            return None;
        }
        let settled = |row: &&MessageRow| matches!(row.status, Status::Sent | Status::Delivered);
        let oldest = conversation.values().find(settled)?.key.clone();
        self.remove(&oldest)
    }

    pub(super) fn remove(&mut self, key: &MessageKey) -> Option<MessageRow> {
        let (conversation, order) = self.places.remove(key)?;
        self.awaiting.get_mut(&conversation)?.remove(&(order, key.clone()))
    }

    /// The message of this conversation that a receipt means by `id`. Ours carry their
    /// origin-id there; those of our other devices may not.
    pub(super) fn find(&self, own: &BareJid, conversation: &BareJid, id: &str) -> Option<&MessageRow> {
        let likely = self.get(&MessageKey::of_origin(own, &OriginId::from(id)));
        likely.filter(|row| row.conversation == *conversation && row.id == id).or_else(|| {
            let rows = self.awaiting.get(conversation)?;
            rows.values().rev().find(|row| row.id == id)
        })
    }

    /// The rows of its conversation before this one, and this one, oldest first.
    pub(super) fn up_to(&self, last: &MessageRow) -> Vec<MessageRow> {
        let Some(rows) = self.awaiting.get(&last.conversation) else { return Vec::new() };
        rows.range(..=(last.order, last.key.clone())).map(|(_, row)| row.clone()).collect()
    }

    pub(super) fn knows(&self, key: &MessageKey) -> bool {
        self.known.contains(key) || self.places.contains_key(key)
    }

    /// Remembers a message. Returns false if it was known.
    pub(super) fn learn(&mut self, key: &MessageKey) -> bool {
        if self.knows(key) {
            return false;
        }
        self.known.insert(key.clone());
        self.newest.push_back(key.clone());
        if self.newest.len() > self.limits.client_recent_keys_max
            && let Some(oldest) = self.newest.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &MessageRow> {
        self.awaiting.values().flat_map(BTreeMap::values)
    }
}
