//! Reading what is published: items by name, by number and by page (XEP-0060 §6.5), and which
//! nodes there are (§5). Others ask the same, and see what the node's access model lets them.

use super::{LogStore, Node, Refusal, RelayEngine, named};
use crate::jid::{BareJid, Jid};
use crate::limits::PEP_ANSWER_BYTES_MAX;
use crate::relay::rows::{Access, ItemRow, NodeRow};
use crate::wire::error::StanzaError;
use crate::wire::rsm::{self, Page};
use crate::wire::{Element, ns, stanza};
use std::collections::BTreeSet;

/// What the service can do (XEP-0060, "Feature Summary").
const FEATURES: [&str; 26] = [
    "access-open",
    "access-presence",
    "access-whitelist",
    "auto-create",
    "auto-subscribe",
    "config-node",
    "config-node-max",
    "create-and-configure",
    "create-nodes",
    "delete-items",
    "delete-nodes",
    "filtered-notifications",
    "instant-nodes",
    "item-ids",
    "last-published",
    "meta-data",
    "multi-items",
    "persistent-items",
    "publish",
    "publish-options",
    "purge-nodes",
    "retract-items",
    "retrieve-affiliations",
    "retrieve-default",
    "retrieve-items",
    "rsm",
];

/// Adds the service to what an account says of itself (XEP-0163 §6.1).
pub(in crate::relay) fn announced(mut info: Element) -> Element {
    let pep =
        Element::new(ns::DISCO_INFO, "identity").with_attr("category", "pubsub").with_attr("type", "pep");
    info.push(pep);
    let feature = |var: &str| Element::new(ns::DISCO_INFO, "feature").with_attr("var", var);
    for name in FEATURES {
        info.push(feature(&format!("{}#{name}", ns::PUBSUB)));
    }
    for var in [ns::PUBSUB, ns::DISPLAYED_ASSIST, ns::VCARD] {
        info.push(feature(var));
    }
    info
}

/// Which of a node's items an answer holds, and whether these are not all.
struct Selected<'a> {
    ids: Vec<&'a str>,
    part: bool,
    count: u64,
}

impl Node {
    /// The page that is asked for, in the order of the node, oldest first.
    fn page(&self, items: &Element, request: &Element) -> Result<Selected<'_>, Refusal> {
        let mut ids = self.in_order();
        let named = items.children().filter(|child| child.is(ns::PUBSUB, "item"));
        let named: BTreeSet<&str> = named.filter_map(|item| item.attr("id")).collect();
        if !named.is_empty() {
            ids.retain(|id| named.contains(id));
            if ids.is_empty() {
                return Err(StanzaError::ITEM_NOT_FOUND.into());
            }
        }
        // XEP-0060 §6.5.7
        if let Some(max) = items.attr("max_items") {
            let max: usize = max.parse().map_err(|_| StanzaError::BAD_REQUEST)?;
            ids.drain(..ids.len().saturating_sub(max));
        }
        let count = ids.len() as u64;
        let page = Page::read(request)?;
        let place = |id: &str| ids.iter().position(|known| *known == id).ok_or(StanzaError::ITEM_NOT_FOUND);
        let after = page.after.as_deref().map(place).transpose()?.map_or(0, |place| place + 1);
        let before = page.before.as_deref().filter(|id| !id.is_empty()).map(place).transpose()?;
        ids.truncate(before.unwrap_or(ids.len()));
        ids.drain(..after.min(ids.len()));
        let backwards = page.before.is_some();
        if backwards {
            ids.reverse();
        }
        ids.truncate(page.max.unwrap_or(usize::MAX));
        let mut bytes = 0u64;
        let fits = |id: &&&str| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(self.items.get(**id).map_or(0, |note| note.bytes));
            first || bytes <= PEP_ANSWER_BYTES_MAX as u64
        };
        let fitting = ids.iter().take_while(fits).count();
        ids.truncate(fitting);
        if backwards {
            ids.reverse();
        }
        let part = (ids.len() as u64) < count || request.child(ns::RSM, "set").is_some();
        Ok(Selected { ids, part, count })
    }
}

impl RelayEngine {
    /// Whether somebody may see a node, and if not, why.
    fn may_see(&self, other: &BareJid, row: &NodeRow) -> Result<(), Refusal> {
        match row.access {
            _ if *other == self.config.account => Ok(()),
            Access::Open => Ok(()),
            Access::Presence if self.sees_presence(other) => Ok(()),
            // XEP-0060 §6.5.9.6
            Access::Presence => {
                let error = StanzaError("auth", "not-authorized");
                Err(Refusal::because(error, "presence-subscription-required"))
            }
            // XEP-0060 §6.5.9.8
            Access::Whitelist => Err(Refusal::because(StanzaError::NOT_ALLOWED, "closed-node")),
        }
    }

    /// XEP-0060 §6.5
    pub(super) fn items(
        &self,
        other: &BareJid,
        request: &Element,
        log: &dyn LogStore,
    ) -> Result<Element, Refusal> {
        let items = request.child(ns::PUBSUB, "items").ok_or(StanzaError::BAD_REQUEST)?;
        let node = self.pep.node(named(items)?)?;
        self.may_see(other, &node.row)?;
        let Selected { ids, part, count } = node.page(items, request)?;
        let mut answer = Element::new(ns::PUBSUB, "items").with_attr("node", node.row.node.as_str());
        for row in self.pep.read(log, &node.row.node, &ids) {
            answer.push(item(&row, ns::PUBSUB));
        }
        let mut pubsub = Element::new(ns::PUBSUB, "pubsub").with(answer);
        if part {
            let ends = ids.first().zip(ids.last());
            let ends = ends.map(|(first, last)| ((*first).to_owned(), (*last).to_owned()));
            pubsub.push(rsm::set(ends, Some(count)));
        }
        Ok(pubsub)
    }

    /// XEP-0060 §5.7: the account owns everything.
    pub(super) fn affiliations(&self) -> Element {
        let mut list = Element::new(ns::PUBSUB, "affiliations");
        for node in self.nodes_seen(&self.config.account) {
            let affiliation = Element::new(ns::PUBSUB, "affiliation");
            list.push(affiliation.with_attr("node", node).with_attr("affiliation", "owner"));
        }
        Element::new(ns::PUBSUB, "pubsub").with(list)
    }

    /// XEP-0060 §6.1: whoever sees the account's presence is subscribed, and need not be told how.
    pub(super) fn subscribe(&self, other: &BareJid, subscribe: &Element) -> Result<Element, Refusal> {
        let node = self.pep.node(named(subscribe)?)?;
        let jid = stanza::address(subscribe, "jid")?;
        if jid.as_ref().is_none_or(|jid| jid.bare != *other) {
            return Err(Refusal::because(StanzaError::BAD_REQUEST, "invalid-jid"));
        }
        self.may_see(other, &node.row)?;
        if !self.sees_presence(other) {
            return Err(Refusal::unsupported("subscribe"));
        }
        let subscription = Element::new(ns::PUBSUB, "subscription")
            .with_attr("node", node.row.node.as_str())
            .with_attr("jid", other.as_str())
            .with_attr("subscription", "subscribed");
        Ok(Element::new(ns::PUBSUB, "pubsub").with(subscription))
    }

    /// The names of the nodes that somebody may see.
    fn nodes_seen<'a>(&'a self, other: &'a BareJid) -> impl Iterator<Item = &'a str> {
        let nodes = self.pep.nodes.values().map(|node| &node.row);
        let seen = nodes.filter(|row| row.node != ns::VCARD && self.may_see(other, row).is_ok());
        seen.map(|row| row.node.as_str())
    }

    /// Discovery of nodes and items (XEP-0060 §5), but for what the account says of itself.
    pub(in crate::relay) fn pep_disco(
        &self,
        other: &BareJid,
        query: &Element,
    ) -> Result<Element, StanzaError> {
        let account = self.config.account.as_str();
        let mut answer = Element::new(&query.ns, "query");
        let Some(name) = query.attr("node") else {
            for node in self.nodes_seen(other) {
                answer
                    .push(Element::new(&query.ns, "item").with_attr("jid", account).with_attr("node", node));
            }
            return Ok(answer);
        };
        answer.set_attr("node", name);
        // What somebody may not see is not there (XEP-0163 §6.2).
        let node = named(query).and_then(|name| self.pep.node(name)).map_err(|refusal| refusal.error)?;
        self.may_see(other, &node.row).map_err(|_| StanzaError::ITEM_NOT_FOUND)?;
        if query.ns == ns::DISCO_ITEMS {
            for id in node.in_order() {
                answer.push(Element::new(&query.ns, "item").with_attr("jid", account).with_attr("name", id));
            }
            return Ok(answer);
        }
        answer.push(
            Element::new(ns::DISCO_INFO, "identity")
                .with_attr("category", "pubsub")
                .with_attr("type", "leaf"),
        );
        answer.push(Element::new(ns::DISCO_INFO, "feature").with_attr("var", ns::PUBSUB));
        Ok(answer.with(node.row.form("result", ns::PUBSUB_META)))
    }

    /// Answers what somebody else asks of this account: its nodes, its items, its vCard. The
    /// answer is whole, and ready to go.
    pub(in crate::relay) fn pep_asked(
        &mut self,
        from: &Jid,
        iq: &Element,
        log: &dyn LogStore,
    ) -> Option<Element> {
        match self.pep_answer(from, iq, log) {
            Ok(answer) => Some(stanza::iq_result(iq, Some(answer))),
            Err(refusal) => refusal.reply(iq),
        }
    }

    fn pep_answer(&self, from: &Jid, iq: &Element, log: &dyn LogStore) -> Result<Element, Refusal> {
        let other = &from.bare;
        let request = iq.children().next().ok_or(StanzaError::BAD_REQUEST)?;
        let child = request.children().next();
        if self.is_blocked(from) {
            return Err(StanzaError::SERVICE_UNAVAILABLE.into());
        }
        match (iq.attr("type"), request.ns.as_str(), child.map_or("", |child| child.name.as_str())) {
            (Some("get"), ns::PUBSUB, "items") => self.items(other, request, log),
            (Some("set"), ns::PUBSUB, "subscribe") => {
                self.subscribe(other, child.ok_or(StanzaError::BAD_REQUEST)?)
            }
            // XEP-0060 §7.1.3.1
            (Some("set"), ns::PUBSUB | ns::PUBSUB_OWNER | ns::VCARD, _) => Err(StanzaError::FORBIDDEN.into()),
            // XEP-0054 §3.3: as if there were no such account.
            (Some("get"), ns::VCARD, _) => {
                Ok(self.vcard_kept(log).ok_or(StanzaError::SERVICE_UNAVAILABLE)?)
            }
            // XEP-0030 §8: as if there were no such account, but for items that are open.
            (Some("get"), ns::DISCO_INFO, _) if !self.sees_presence(other) => {
                Err(StanzaError::SERVICE_UNAVAILABLE.into())
            }
            (Some("get"), ns::DISCO_ITEMS, _) if !self.sees_presence(other) => {
                let none = Element::new(ns::DISCO_ITEMS, "query");
                Ok(self.pep_disco(other, request).unwrap_or(none))
            }
            (Some("get"), ns::DISCO_INFO, _) if request.attr("node").is_none() => {
                let account = Element::new(ns::DISCO_INFO, "identity");
                let account = account.with_attr("category", "account").with_attr("type", "registered");
                Ok(announced(Element::new(ns::DISCO_INFO, "query").with(account)))
            }
            (Some("get"), ns::DISCO_INFO | ns::DISCO_ITEMS, _) => Ok(self.pep_disco(other, request)?),
            _ => Err(StanzaError::SERVICE_UNAVAILABLE.into()),
        }
    }
}

/// An item as it stands in an answer or in an event.
pub(super) fn item(row: &ItemRow, namespace: &str) -> Element {
    let item = Element::new(namespace, "item").with_attr("id", row.id.as_str());
    match row.element() {
        Some(payload) => item.with(payload),
        None => item,
    }
}
