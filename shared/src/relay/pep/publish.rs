//! Items in and out of a node (XEP-0060 §7), and the vCard (XEP-0054).

use super::{Done, Note, Refusal, RelayEngine, named};
use crate::limits::{
    PEP_BYTES_MAX, PEP_ITEM_BYTES_MAX, PEP_ITEMS_MAX, PEP_NAME_BYTES_MAX, PEP_NODE_ITEMS_MAX,
};
use crate::relay::LogStore;
use crate::relay::rows::{Access, NodeRow};
use crate::wire::error::StanzaError;
use crate::wire::{Element, ns};
use std::collections::BTreeSet;

/// The one item under which the vCard is kept.
const VCARD_ITEM: &str = "current";

/// An item as it comes: its name, and its payload twice.
pub(super) struct Coming {
    pub(super) id: String,
    pub(super) payload: Element,
    text: String,
}

impl Coming {
    pub(super) fn new(id: String, payload: Element) -> Result<Self, Refusal> {
        let text = payload.to_frame();
        if id.len() > PEP_NAME_BYTES_MAX {
            return Err(StanzaError::NOT_ACCEPTABLE.into());
        }
        // XEP-0060 §7.1.3.5
        if text.len() > PEP_ITEM_BYTES_MAX {
            return Err(Refusal::because(StanzaError::NOT_ACCEPTABLE, "payload-too-big"));
        }
        Ok(Self { id, payload, text })
    }
}

impl RelayEngine {
    /// XEP-0060 §7.1
    pub(super) fn publish(&mut self, request: &Element, log: &dyn LogStore) -> Result<Done, Refusal> {
        let publish = request.child(ns::PUBSUB, "publish").ok_or(StanzaError::BAD_REQUEST)?;
        let name = named(publish)?;
        let known = self.pep.nodes.get(name).map(|node| node.row.clone());
        let exists = known.is_some();
        let mut row = known.unwrap_or_else(|| NodeRow::by_default(name));
        if let Some(options) = request.child(ns::PUBSUB, "publish-options") {
            row.meet(options.child(ns::DATA_FORMS, "x").ok_or(StanzaError::BAD_REQUEST)?, exists)?;
        }
        let items = publish.children().filter(|child| child.is(ns::PUBSUB, "item"));
        let items = items.map(|item| self.coming(item)).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
        let event = self.put_items(row, items, log)?;
        let mut answer = Element::new(ns::PUBSUB, "publish").with_attr("node", name);
        for id in ids {
            answer.push(Element::new(ns::PUBSUB, "item").with_attr("id", id));
        }
        Ok(Done { answer: Some(Element::new(ns::PUBSUB, "pubsub").with(answer)), ..event })
    }

    fn coming(&mut self, item: &Element) -> Result<Coming, Refusal> {
        let mut payloads = item.children();
        let refused = |condition: &'static str| Err(Refusal::because(StanzaError::BAD_REQUEST, condition));
        // XEP-0060 §7.1.3.6
        let payload = match (payloads.next(), payloads.next()) {
            (Some(payload), None) => payload.clone(),
            (None, _) => return refused("payload-required"),
            _ => return refused("invalid-payload"),
        };
        let id = item.attr("id").filter(|id| !id.is_empty());
        Coming::new(id.map_or_else(|| self.entropy.token(), str::to_owned), payload)
    }

    /// Writes items into a node, which is made if need be: all of them, or none.
    pub(super) fn put_items(
        &mut self,
        row: NodeRow,
        items: Vec<Coming>,
        log: &dyn LogStore,
    ) -> Result<Done, Refusal> {
        let (name, access, persist) = (row.node.clone(), row.access, row.persist);
        self.room_for(&row, &items)?;
        let items = self.forward_only(&name, items, log);
        if items.is_empty() {
            return Ok(Done::SILENT);
        }
        if !self.pep.nodes.contains_key(&name) {
            let op = self.pep.put_node(row);
            self.gate.write(op);
        }
        let mut event = Element::new(ns::PUBSUB_EVENT, "items").with_attr("node", name.as_str());
        for Coming { id, payload, text } in items {
            if persist {
                let op = self.pep.put_item(&name, &id, self.now, text);
                self.gate.write(op);
            }
            event.push(Element::new(ns::PUBSUB_EVENT, "item").with_attr("id", id).with(payload));
        }
        self.trim(&name);
        Ok(Done::told(access, event))
    }

    /// Whether everything fits in, once the oldest have made room.
    fn room_for(&self, row: &NodeRow, items: &[Coming]) -> Result<(), Refusal> {
        let ids: BTreeSet<&str> = items.iter().map(|item| item.id.as_str()).collect();
        if items.is_empty() {
            return Err(Refusal::because(StanzaError::BAD_REQUEST, "item-required"));
        }
        if ids.len() < items.len() {
            return Err(StanzaError::BAD_REQUEST.into());
        }
        let node = self.pep.nodes.get(&row.node);
        if node.is_none() {
            self.room_for_node()?;
        }
        if !row.persist {
            return Ok(());
        }
        // XEP-0060, "Batch Processing"
        if items.len() > row.room() {
            return Err(Refusal::because(StanzaError::NOT_ALLOWED, "max-items-exceeded"));
        }
        let kept =
            || node.into_iter().flat_map(|node| &node.items).filter(|(id, _)| !ids.contains(id.as_str()));
        let excess = (kept().count() + items.len()).saturating_sub(row.room());
        let mut oldest: Vec<Note> = kept().map(|(_, note)| *note).collect();
        oldest.sort_unstable_by_key(|note| note.order);
        let kept: u64 = oldest.iter().skip(excess).map(|note| note.bytes).sum();
        let before: u64 = node.map_or(0, |node| node.items.values().map(|note| note.bytes).sum());
        let coming: u64 = items.iter().map(|item| item.text.len() as u64).sum();
        let bytes = self.pep.bytes.saturating_sub(before).saturating_add(kept).saturating_add(coming);
        let others = self.pep.nodes.values().filter(|other| other.row.node != row.node);
        let others: usize = others.map(|other| other.items.len()).sum();
        let count = others + oldest.len().saturating_sub(excess) + items.len();
        if bytes > PEP_BYTES_MAX || count > PEP_ITEMS_MAX {
            return Err(StanzaError::RESOURCE_CONSTRAINT.into());
        }
        Ok(())
    }

    /// XEP-0060 §7.2
    pub(super) fn retract(&mut self, retract: &Element) -> Result<Done, Refusal> {
        let name = named(retract)?;
        let items = retract.children().filter(|child| child.is(ns::PUBSUB, "item"));
        let required = || Refusal::because(StanzaError::BAD_REQUEST, "item-required");
        let ids = items.map(|item| item.attr("id").filter(|id| !id.is_empty()).ok_or_else(required));
        let ids = ids.take(PEP_NODE_ITEMS_MAX).collect::<Result<BTreeSet<&str>, _>>()?;
        if ids.is_empty() {
            return Err(required());
        }
        let node = self.pep.node(name)?;
        if ids.iter().any(|id| !node.items.contains_key(*id)) {
            return Err(StanzaError::ITEM_NOT_FOUND.into());
        }
        let access = node.row.access;
        let told = match retract.attr("notify") {
            Some(notify) => matches!(notify, "true" | "1"),
            None => node.row.notify_retract,
        };
        let mut event = Element::new(ns::PUBSUB_EVENT, "items").with_attr("node", name);
        for id in ids {
            let op = self.pep.delete_item(name, id);
            self.gate.write(op);
            event.push(Element::new(ns::PUBSUB_EVENT, "retract").with_attr("id", id));
        }
        Ok(if told { Done::told(access, event) } else { Done::SILENT })
    }

    /// XEP-0054 §3
    pub(super) fn vcard(
        &mut self,
        set: bool,
        request: &Element,
        log: &dyn LogStore,
    ) -> Result<Done, Refusal> {
        if !request.is(ns::VCARD, "vCard") {
            return Err(StanzaError::BAD_REQUEST.into());
        }
        if !set {
            let card = self.vcard_kept(log);
            return Ok(card.ok_or(StanzaError::ITEM_NOT_FOUND)?.into());
        }
        let row = NodeRow { access: Access::Open, ..NodeRow::by_default(ns::VCARD) };
        let card = Coming::new(VCARD_ITEM.to_owned(), request.clone())?;
        self.put_items(row, vec![card], log)?;
        Ok(Done::SILENT)
    }

    pub(super) fn vcard_kept(&self, log: &dyn LogStore) -> Option<Element> {
        self.pep.read(log, ns::VCARD, &[VCARD_ITEM]).first()?.element()
    }
}
