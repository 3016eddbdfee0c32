//! IQ requests of a bound device. Whatever is not understood gets its error
//! (R59, RFC 6120 §8.2.3 and §8.4).

use super::{LogStore, RelayEngine};
use crate::id::DeviceId;
use crate::jid::Jid;
use crate::wire::error::StanzaError;
use crate::wire::{Element, ns, stanza};

/// What the relay says of itself (XEP-0030 §3).
const SERVER_FEATURES: &[&str] = &[
    ns::DISCO_INFO,
    ns::DISCO_ITEMS,
    ns::PING,
    ns::CARBONS,
    ns::CARBONS_RULES,
    ns::STANZA_ID,
    ns::ACCEPTED,
    ns::BLOCKING,
    ns::ADDRESS,
    ns::FLEXIBLE,
];

/// What it says of an account.
const ACCOUNT_FEATURES: &[&str] = &[
    ns::DISCO_INFO,
    ns::STANZA_ID,
    ns::CARBONS,
    ns::CARBONS_RULES,
    ns::MAM,
    ns::MAM_EXTENDED,
    ns::MAM_GROUPCHAT,
    ns::OFFLINE,
    ns::FLEXIBLE,
    ns::DEVICES,
];

/// What only the account itself may ask for.
const OWN: &[&str] =
    &[ns::MAM, ns::OFFLINE, ns::FLEXIBLE, ns::DEVICES, ns::BLOCKING, ns::ROSTER, ns::REGISTER];

impl RelayEngine {
    pub(super) fn iq(&mut self, id: &DeviceId, iq: &Element, log: &dyn LogStore) {
        let kind = iq.attr("type").unwrap_or_default();
        if let Some(to) = self.for_somebody_else(iq) {
            return self.iq_out(id, iq, &to, log);
        }
        if matches!(kind, "result" | "error") {
            return self.caps_answered(id, iq, log);
        }
        let mut children = iq.children();
        let reply = match (kind, iq.attr("id"), children.next(), children.next()) {
            ("get" | "set", Some(_), Some(child), None) => match self.own(id, iq, child, log) {
                Some(answered) => return answered.unwrap_or_else(|error| self.refuse(id, iq, error)),
                None => self.answer(id, kind, iq, child),
            },
            _ => Err(StanzaError::BAD_REQUEST),
        };
        match reply {
            Ok(child) => {
                let result = stanza::iq_result(iq, child);
                self.send_stanza(id, &result, true);
            }
            Err(error) => self.refuse(id, iq, error),
        }
    }

    /// What only the account itself may ask for. Whoever serves it has sent the answer; `None` if
    /// it is nothing of the kind.
    fn own(
        &mut self,
        id: &DeviceId,
        iq: &Element,
        request: &Element,
        log: &dyn LogStore,
    ) -> Option<Result<(), StanzaError>> {
        if let Some(removal) = self.remove_account(id, iq) {
            return Some(removal);
        }
        let allowed = self.for_this_account(iq);
        Some(match request.ns.as_str() {
            ns::MAM => allowed.and_then(|()| self.archive(id, iq, request, log)),
            ns::FLEXIBLE => allowed.and_then(|()| self.flexible(id, iq, request, log)),
            ns::DISCO_INFO | ns::DISCO_ITEMS if request.attr("node") == Some(ns::FLEXIBLE) => {
                allowed.and_then(|()| self.flexible_disco(id, iq, request, log))
            }
            ns::OFFLINE => allowed.and_then(|()| self.offline(id, iq, request, log)),
            ns::DEVICES => allowed.and_then(|()| self.devices(id, iq, request)),
            ns::BLOCKING => allowed.and_then(|()| self.blocking(id, iq, request, log)),
            ns::ROSTER => allowed.and_then(|()| self.roster(id, iq, request)),
            ns::PUBSUB | ns::PUBSUB_OWNER | ns::VCARD => allowed.map(|()| self.pep(id, iq, request, log)),
            _ => return None,
        })
    }

    /// Whom an IQ is for, if it is to reach a device, or another account of this domain.
    fn for_somebody_else(&self, iq: &Element) -> Option<Jid> {
        let to = stanza::address(iq, "to").ok().flatten()?;
        let here = to.bare.domain() == self.config.account.domain() && to.bare.local().is_some();
        // What only its owner may ask of an account is refused here.
        let own = iq.children().any(|child| OWN.contains(&child.ns.as_str()));
        let other = to.bare != self.config.account && !own;
        (here && iq.attr("id").is_some() && (to.resource.is_some() || other)).then_some(to)
    }

    /// An error unless a request is for this account.
    pub(super) fn for_this_account(&self, iq: &Element) -> Result<(), StanzaError> {
        match stanza::address(iq, "to")? {
            Some(to) if to.bare.domain() != self.config.account.domain() => {
                Err(StanzaError::REMOTE_SERVER_NOT_FOUND)
            }
            Some(to) if to != self.config.account.clone().into() => Err(StanzaError::FORBIDDEN),
            _ => Ok(()),
        }
    }

    fn answer(
        &mut self,
        id: &DeviceId,
        kind: &str,
        iq: &Element,
        child: &Element,
    ) -> Result<Option<Element>, StanzaError> {
        let to = stanza::address(iq, "to")?;
        let account = self.config.account.clone();
        let (server, own) = match &to {
            None => (true, true),
            Some(jid) if jid.resource.is_some() => (false, false),
            Some(jid) => (jid.bare.as_str() == account.domain(), jid.bare == account),
        };
        let domain = to.as_ref().map_or(account.domain(), |jid| jid.bare.domain());
        if domain != account.domain() {
            return Err(StanzaError::REMOTE_SERVER_NOT_FOUND);
        }
        if kind == "get" && to.is_some() && own && child.name == "query" {
            match child.ns.as_str() {
                ns::DISCO_INFO if child.attr("node").is_none() => {
                    let info = disco_info("account", "registered", ACCOUNT_FEATURES);
                    return Ok(Some(super::pep::announced(info)));
                }
                ns::DISCO_INFO | ns::DISCO_ITEMS => return self.pep_disco(&account, child).map(Some),
                _ => {}
            }
        }
        let node = child.attr("node");
        match (kind, child.ns.as_str(), child.name.as_str()) {
            // XEP-0199 §4
            ("get", ns::PING, "ping") if server || own => Ok(None),
            ("get", ns::DISCO_INFO | ns::DISCO_ITEMS, "query") if node.is_some() && (server || own) => {
                Err(StanzaError::ITEM_NOT_FOUND)
            }
            ("get", ns::DISCO_INFO, "query") if server => {
                Ok(Some(disco_info("server", "im", SERVER_FEATURES)))
            }
            ("get", ns::DISCO_ITEMS, "query") if server || own => {
                Ok(Some(Element::new(ns::DISCO_ITEMS, "query")))
            }
            ("set", ns::CARBONS, "enable" | "disable") if own => {
                if let Some(stream) = self.stream_mut(id) {
                    stream.carbons = child.name == "enable";
                }
                Ok(None)
            }
            // RFC 3921 §3: nothing left to do.
            ("set", ns::SESSION, "session") if server => Ok(None),
            ("set", ns::BIND, "bind") if server => Err(StanzaError::NOT_ALLOWED),
            (_, ns::REGISTER, _) if server || own => Err(StanzaError::FEATURE_NOT_IMPLEMENTED),
            _ => Err(StanzaError::SERVICE_UNAVAILABLE),
        }
    }
}

fn disco_info(category: &str, kind: &str, features: &[&str]) -> Element {
    let identity =
        Element::new(ns::DISCO_INFO, "identity").with_attr("category", category).with_attr("type", kind);
    let mut query = Element::new(ns::DISCO_INFO, "query").with(identity.with_attr("name", "Counterfoil"));
    for feature in features {
        query.push(Element::new(ns::DISCO_INFO, "feature").with_attr("var", *feature));
    }
    query
}
