//! What the account publishes: its pubsub service (XEP-0163, XEP-0060), with one item store for
//! avatars, nicknames, bookmarks, keys, what was displayed (XEP-0490) and the old vCard (XEP-0054).
//!
//! What is known of a node while the mailbox stands is its configuration and, of each item, its
//! name, age and size. Payloads stay in the store until somebody asks.
//!
//! Deliberately absent: explicit subscriptions (a contact is subscribed by seeing the account's
//! presence, §9.1 of XEP-0060), other publishers than the account, collections, and access by
//! roster group.
//!
//! # Invariant
//!
//! An answer, and every event, leaves after the rows that it speaks of. A batch of items is
//! published whole or not at all.
//!
//! `node`: its configuration. `publish`: items in and out. `read`: items and discovery, for
//! ourselves and for others. `notify`: events, and whom they go to. `caps`: what a device wants to
//! hear of. `displayed`: how far which conversation was read.

mod caps;
mod displayed;
mod node;
mod notify;
mod publish;
mod read;

pub(super) use read::announced;

use super::rows::{Access, ItemNote, ItemRow, NodeRow, Op};
use super::{LogStore, RelayEngine};
use crate::id::DeviceId;
use crate::limits::PEP_NAME_BYTES_MAX;
use crate::time::Millis;
use crate::wire::error::StanzaError;
use crate::wire::{Element, ns, read_frame, stanza};
use std::collections::BTreeMap;

/// The account's nodes, and the items that are not in the store yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Pep {
    nodes: BTreeMap<String, Node>,
    /// Of all items.
    newest: u64,
    bytes: u64,
    /// By the names of their nodes and their own.
    pending: BTreeMap<(String, String), Pending>,
}

#[derive(Clone, Debug)]
struct Node {
    row: NodeRow,
    items: BTreeMap<String, Note>,
}

/// An item without its payload.
#[derive(Clone, Copy, Debug)]
struct Note {
    order: u64,
    at: Millis,
    bytes: u64,
}

#[derive(Clone, Debug)]
struct Pending {
    row: ItemRow,
    in_flight: bool,
}

/// What became of a request: its answer, and what is to be told of it afterwards.
struct Done {
    answer: Option<Element>,
    event: Option<Event>,
}

/// What `<event/>` holds, and who may see it.
struct Event {
    access: Access,
    content: Element,
}

/// Why a request is refused: the error, what XEP-0060 adds to it, and the feature that is missing.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    error: StanzaError,
    condition: Option<&'static str>,
    feature: Option<&'static str>,
}

impl Node {
    fn new(row: NodeRow) -> Self {
        Self { row, items: BTreeMap::new() }
    }

    /// The names of its items, the oldest first.
    fn in_order(&self) -> Vec<&str> {
        let mut items: Vec<(u64, &str)> =
            self.items.iter().map(|(id, note)| (note.order, id.as_str())).collect();
        items.sort_unstable();
        items.into_iter().map(|(_, id)| id).collect()
    }
}

impl Pep {
    pub(super) fn load(nodes: Vec<NodeRow>, items: Vec<ItemNote>) -> Self {
        let mut pep = Self::default();
        for row in nodes {
            pep.nodes.insert(row.node.clone(), Node::new(row));
        }
        for ItemNote { node, id, order, at, bytes } in items {
            let Some(node) = pep.nodes.get_mut(&node) else { continue };
            node.items.insert(id, Note { order, at, bytes });
            pep.newest = pep.newest.max(order);
            pep.bytes = pep.bytes.saturating_add(bytes);
        }
        pep
    }

    /// Everything written so far is on its way to the store.
    pub(super) fn in_flight(&mut self) {
        self.pending.values_mut().for_each(|pending| pending.in_flight = true);
    }

    /// What was on its way is there.
    pub(super) fn committed(&mut self) {
        self.pending.retain(|_, pending| !pending.in_flight);
    }

    fn put_node(&mut self, row: NodeRow) -> Op {
        match self.nodes.get_mut(&row.node) {
            Some(node) => node.row = row.clone(),
            None => drop(self.nodes.insert(row.node.clone(), Node::new(row.clone()))),
        }
        Op::PutNode(row)
    }

    fn delete_node(&mut self, name: &str) -> Op {
        let items = self.nodes.remove(name).map(|node| node.items).unwrap_or_default();
        let bytes: u64 = items.values().map(|note| note.bytes).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        self.pending.retain(|(node, _), _| node != name);
        Op::DeleteNode(name.to_owned())
    }

    fn put_item(&mut self, node: &str, id: &str, at: Millis, payload: String) -> Op {
        self.newest = self.newest.saturating_add(1);
        let (node, id, order) = (node.to_owned(), id.to_owned(), self.newest);
        let note = Note { order, at, bytes: payload.len() as u64 };
        if let Some(known) = self.nodes.get_mut(&node) {
            let before = known.items.insert(id.clone(), note).map_or(0, |note| note.bytes);
            self.bytes = self.bytes.saturating_sub(before).saturating_add(note.bytes);
        }
        let row = ItemRow { node: node.clone(), id: id.clone(), order, at, payload };
        self.pending.insert((node, id), Pending { row: row.clone(), in_flight: false });
        Op::PutItem(row)
    }

    fn delete_item(&mut self, node: &str, id: &str) -> Op {
        let removed = self.nodes.get_mut(node).and_then(|known| known.items.remove(id));
        self.bytes = self.bytes.saturating_sub(removed.map_or(0, |note| note.bytes));
        self.pending.remove(&(node.to_owned(), id.to_owned()));
        Op::DeleteItem(node.to_owned(), id.to_owned())
    }

    fn node(&self, name: &str) -> Result<&Node, Refusal> {
        self.nodes.get(name).ok_or(StanzaError::ITEM_NOT_FOUND.into())
    }

    /// Those items of a node that it has, as they were asked for.
    fn read(&self, log: &dyn LogStore, name: &str, ids: &[&str]) -> Vec<ItemRow> {
        let Some(node) = self.nodes.get(name) else { return Vec::new() };
        let key = |id: &str| (name.to_owned(), id.to_owned());
        let stored: Vec<&str> = ids
            .iter()
            .copied()
            .filter(|id| node.items.contains_key(*id) && !self.pending.contains_key(&key(id)))
            .collect();
        let stored = if stored.is_empty() { Vec::new() } else { log.items(name, &stored) };
        let mut rows: BTreeMap<String, ItemRow> =
            stored.into_iter().map(|row| (row.id.clone(), row)).collect();
        let pending = |id: &&str| self.pending.get(&key(id)).map(|pending| pending.row.clone());
        rows.extend(ids.iter().filter_map(pending).map(|row| (row.id.clone(), row)));
        ids.iter().filter_map(|id| rows.remove(*id)).collect()
    }
}

impl ItemRow {
    /// The payload as it was published. It came in a frame, so it can be read.
    fn element(&self) -> Option<Element> {
        read_frame(&self.payload, usize::MAX).ok()
    }
}

impl Refusal {
    fn because(error: StanzaError, condition: &'static str) -> Self {
        Self { error, condition: Some(condition), feature: None }
    }

    fn unsupported(feature: &'static str) -> Self {
        Self { feature: Some(feature), ..Self::because(StanzaError::FEATURE_NOT_IMPLEMENTED, "unsupported") }
    }

    fn reply(self, iq: &Element) -> Option<Element> {
        let Some(condition) = self.condition else { return stanza::error_reply(iq, self.error) };
        let mut condition = Element::new(ns::PUBSUB_ERRORS, condition);
        if let Some(feature) = self.feature {
            condition.set_attr("feature", feature);
        }
        stanza::error_reply_with(iq, self.error, condition)
    }
}

impl From<StanzaError> for Refusal {
    fn from(error: StanzaError) -> Self {
        Self { error, condition: None, feature: None }
    }
}

impl From<Element> for Done {
    fn from(answer: Element) -> Self {
        Self { answer: Some(answer), event: None }
    }
}

impl Done {
    const SILENT: Self = Self { answer: None, event: None };

    fn told(access: Access, content: Element) -> Self {
        Self { answer: None, event: Some(Event { access, content }) }
    }
}

/// The node that a request names.
fn named(request: &Element) -> Result<&str, Refusal> {
    let name = request.attr("node").filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Refusal::because(StanzaError::BAD_REQUEST, "nodeid-required"))?;
    match name {
        // The vCard is kept like an item, and is not one.
        ns::VCARD => Err(StanzaError::NOT_ALLOWED.into()),
        _ if name.len() > PEP_NAME_BYTES_MAX => Err(StanzaError::NOT_ACCEPTABLE.into()),
        _ => Ok(name),
    }
}

impl RelayEngine {
    /// Answers what one of the account's devices asks its pubsub service.
    pub(super) fn pep(&mut self, id: &DeviceId, iq: &Element, request: &Element, log: &dyn LogStore) {
        match self.pep_done(iq.attr("type") == Some("set"), request, log) {
            Ok(done) => {
                self.send_stanza(id, &stanza::iq_result(iq, done.answer), true);
                if let Some(event) = done.event {
                    self.tell(event);
                }
            }
            Err(refusal) => {
                if let Some(reply) = refusal.reply(iq) {
                    self.send_stanza(id, &reply, true);
                }
            }
        }
    }

    fn pep_done(&mut self, set: bool, request: &Element, log: &dyn LogStore) -> Result<Done, Refusal> {
        let account = self.config.account.clone();
        let Some(child) = request.children().next().filter(|_| request.name == "pubsub") else {
            return self.vcard(set, request, log);
        };
        match (set, request.ns.as_str(), child.name.as_str()) {
            (false, ns::PUBSUB, "items") => self.items(&account, request, log).map(Done::from),
            (false, ns::PUBSUB, "affiliations") => Ok(self.affiliations().into()),
            // Nobody is subscribed by asking for it.
            (false, ns::PUBSUB, "subscriptions") => {
                let none = Element::new(ns::PUBSUB, "subscriptions");
                Ok(Element::new(ns::PUBSUB, "pubsub").with(none).into())
            }
            (true, ns::PUBSUB, "subscribe") => self.subscribe(&account, child).map(Done::from),
            (true, ns::PUBSUB, "unsubscribe") => {
                // XEP-0060 §6.2.3.2
                Err(Refusal::because(StanzaError("cancel", "unexpected-request"), "not-subscribed"))
            }
            (true, ns::PUBSUB, "publish") => self.publish(request, log),
            (true, ns::PUBSUB, "retract") => self.retract(child),
            (true, ns::PUBSUB, "create") => self.create(request),
            (false, ns::PUBSUB_OWNER, "default") => Ok(node::defaults().into()),
            (false, ns::PUBSUB_OWNER, "configure") => self.configuration(child).map(Done::from),
            (true, ns::PUBSUB_OWNER, "configure") => self.configure(child),
            (true, ns::PUBSUB_OWNER, "delete") => self.delete(child),
            (true, ns::PUBSUB_OWNER, "purge") => self.purge(child),
            (_, ns::PUBSUB_OWNER, "affiliations") => Err(Refusal::unsupported("modify-affiliations")),
            (_, ns::PUBSUB_OWNER, "subscriptions") => Err(Refusal::unsupported("manage-subscriptions")),
            (_, ns::PUBSUB, "options" | "default") => Err(Refusal::unsupported("subscription-options")),
            _ => Err(StanzaError::FEATURE_NOT_IMPLEMENTED.into()),
        }
    }
}
