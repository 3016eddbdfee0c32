//! How far each conversation was read (XEP-0490, R16): items of a private node, named after the
//! other side. A device may hand its place over with a displayed marker (server assist).
//!
//! The relay knows its own archive's order, so a device that is late does not set another one
//! back: `displayed` means everything up to that place, which the newer one says as well. §5.2
//! calls the places opaque, and those of others (of rooms) are: they are taken as they come.

use super::publish::Coming;
use super::{LogStore, RelayEngine};
use crate::id::StanzaSeq;
use crate::jid::Jid;
use crate::relay::rows::NodeRow;
use crate::wire::{Element, ns, stanza};

impl RelayEngine {
    /// Takes `<displayed/>` out of a message and publishes it (XEP-0490 §4.5). The item is named
    /// after the prepared address: two spellings of one conversation are one conversation.
    ///
    /// There is nobody to tell if there is no room for it: the message goes its way.
    pub(in crate::relay) fn displayed_assist(&mut self, to: &Jid, message: &mut Element, log: &dyn LogStore) {
        let Some(displayed) = message.child(ns::DISPLAYED, "displayed").cloned() else { return };
        message.remove_children(|child| child.ns == ns::DISPLAYED);
        let is_place = |child: &&Element| child.is(ns::STANZA_ID, "stanza-id");
        if displayed.children().filter(is_place).count() != 1 {
            return;
        }
        let known = self.pep.nodes.get(ns::DISPLAYED).map(|node| node.row.clone());
        let row = known.unwrap_or_else(|| NodeRow::by_default(ns::DISPLAYED));
        let done =
            Coming::new(to.to_string(), displayed).and_then(|item| self.put_items(row, vec![item], log));
        if let Ok(Some(event)) = done.map(|done| done.event) {
            self.tell(event);
        }
    }

    /// Without those that would set a conversation back, or say again what stands.
    pub(super) fn forward_only(&self, node: &str, items: Vec<Coming>, log: &dyn LogStore) -> Vec<Coming> {
        if node != ns::DISPLAYED {
            return items;
        }
        let is_news = |item: &Coming| {
            let Some(place) = self.own_place(&item.payload) else { return true };
            let before = self.pep.read(log, node, &[&item.id]);
            let before = before.first().and_then(|row| self.own_place(&row.element()?));
            before.is_none_or(|before| before < place)
        };
        items.into_iter().filter(is_news).collect()
    }

    /// The place in our own archive that this names, if there is such a place.
    fn own_place(&self, displayed: &Element) -> Option<StanzaSeq> {
        let place = stanza::stanza_id(displayed, &self.config.account).and_then(StanzaSeq::parse);
        place.filter(|place| *place <= self.head.last())
    }
}
