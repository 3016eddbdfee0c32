//! IQ requests and presence of a bound device. Whatever is not understood gets its error
//! (R59, RFC 6120 §8.2.3 and §8.4).

use super::{LogStore, RelayEngine};
use crate::id::DeviceId;
use crate::limits::PRESENCE_BYTES_MAX;
use crate::wire::error::StanzaError;
use crate::wire::{Element, ns, stanza};

/// What the relay says of itself (XEP-0030 §3).
const SERVER_FEATURES: [&str; 7] =
    [ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING, ns::CARBONS, ns::STANZA_ID, ns::ACCEPTED, ns::BLOCKING];

/// What it says of an account.
const ACCOUNT_FEATURES: [&str; 8] = [
    ns::DISCO_INFO,
    ns::STANZA_ID,
    ns::CARBONS,
    ns::MAM,
    ns::MAM_EXTENDED,
    ns::MAM_GROUPCHAT,
    ns::OFFLINE,
    ns::DEVICES,
];

impl RelayEngine {
    pub(super) fn iq(&mut self, id: &DeviceId, iq: &Element, log: &dyn LogStore) {
        let kind = iq.attr("type").unwrap_or_default();
        if matches!(kind, "result" | "error") {
            return;
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
            ns::OFFLINE => allowed.and_then(|()| self.offline(id, iq, request, log)),
            ns::DEVICES => allowed.and_then(|()| self.devices(id, iq, request)),
            ns::BLOCKING => allowed.and_then(|()| self.blocking(id, iq, request)),
            _ => return None,
        })
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
        let node = child.attr("node");
        match (kind, child.ns.as_str(), child.name.as_str()) {
            // XEP-0199 §4
            ("get", ns::PING, "ping") if server || own => Ok(None),
            ("get", ns::DISCO_INFO | ns::DISCO_ITEMS, "query") if node.is_some() && (server || own) => {
                Err(StanzaError::ITEM_NOT_FOUND)
            }
            ("get", ns::DISCO_INFO, "query") if to.is_some() && own => {
                Ok(Some(disco_info("account", "registered", &ACCOUNT_FEATURES)))
            }
            ("get", ns::DISCO_INFO, "query") if server => {
                Ok(Some(disco_info("server", "im", &SERVER_FEATURES)))
            }
            ("get", ns::DISCO_ITEMS, "query") if server || own => {
                Ok(Some(Element::new(ns::DISCO_ITEMS, "query")))
            }
            // RFC 6121 §2.1.3
            ("get", ns::ROSTER, "query") if own => Ok(Some(Element::new(ns::ROSTER, "query"))),
            ("set", ns::CARBONS, "enable" | "disable") if own => {
                if let Some(stream) = self.stream_mut(id) {
                    stream.carbons = child.name == "enable";
                }
                Ok(None)
            }
            // RFC 3921 §3: nothing left to do.
            ("set", ns::SESSION, "session") if server => Ok(None),
            ("set", ns::BIND, "bind") if server => Err(StanzaError::NOT_ALLOWED),
            (_, ns::REGISTER | ns::ROSTER, _) if server || own => Err(StanzaError::FEATURE_NOT_IMPLEMENTED),
            _ => Err(StanzaError::SERVICE_UNAVAILABLE),
        }
    }

    /// Own presence: to the account's own devices (RFC 6121 §4.2.2, §4.5.2).
    pub(super) fn presence(&mut self, id: &DeviceId, presence: &Element, log: &dyn LogStore) {
        let kind = presence.attr("type");
        if presence.attr("to").is_some() || !matches!(kind, None | Some("unavailable")) {
            // RFC 6121 §3: there are no subscriptions here.
            if matches!(kind, Some("subscribe" | "probe")) {
                self.refuse(id, presence, StanzaError::SERVICE_UNAVAILABLE);
            }
            return;
        }
        let frame = presence.to_frame();
        if frame.len() > PRESENCE_BYTES_MAX {
            return self.refuse(id, presence, StanzaError::POLICY_VIOLATION);
        }
        let available = kind.is_none();
        let first = {
            let Some(stream) = self.stream_mut(id) else { return };
            let first = available && stream.presence.is_none();
            stream.presence = available.then_some(frame);
            first
        };
        self.put_device(id);
        let bare = self.config.account.to_string();
        let others = self.tell_the_others(id, presence);
        if available {
            self.send_stanza(id, &presence.clone().with_attr("to", bare.as_str()), false);
        }
        if first {
            for (_, theirs) in others {
                if let Ok(theirs) = crate::wire::read_frame(&theirs, crate::limits::FRAME_BYTES_MAX) {
                    self.send_stanza(id, &theirs.with_attr("to", bare.as_str()), false);
                }
            }
            self.flush(id, log);
        }
    }

    /// The account's other devices that are there see a presence of this one. Returns them, each
    /// with its own.
    pub(super) fn tell_the_others(&mut self, id: &DeviceId, presence: &Element) -> Vec<(DeviceId, String)> {
        let others: Vec<(DeviceId, String)> = self
            .devices
            .iter()
            .filter(|(other, _)| *other != id)
            .filter_map(|(other, device)| Some((other.clone(), device.stream.as_ref()?.presence.clone()?)))
            .collect();
        let seen = presence.clone().with_attr("to", self.config.account.as_str());
        for (other, _) in &others {
            self.send_stanza(other, &seen, false);
        }
        others
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
