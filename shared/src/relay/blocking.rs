//! Blocking (XEP-0191, R58): whom this account does not hear, and does not speak to.
//!
//! A message from somebody who is blocked goes into no log: its sender gets
//! `service-unavailable`, as if there were no such account. What was accepted before stays.

use super::rows::Op;
use super::{LogStore, RelayEngine, TransferItem};
use crate::id::DeviceId;
use crate::jid::{BareJid, Jid};
use crate::limits::{BLOCKED_BYTES_MAX, BLOCKED_MAX, FRAME_BYTES_MAX};
use crate::wire::error::StanzaError;
use crate::wire::{Element, ns, read_frame, stanza};
use std::collections::BTreeSet;

impl RelayEngine {
    /// Answers a request about the blocklist.
    pub(super) fn blocking(
        &mut self,
        id: &DeviceId,
        iq: &Element,
        request: &Element,
        log: &dyn LogStore,
    ) -> Result<(), StanzaError> {
        match (iq.attr("type"), request.name.as_str()) {
            (Some("get"), "blocklist") => {
                if let Some(stream) = self.stream_mut(id) {
                    stream.watches_blocklist = true;
                }
                let list = element("blocklist", self.blocked());
                self.send_stanza(id, &stanza::iq_result(iq, Some(list)), true);
                return Ok(());
            }
            (Some("set"), "block") => {
                let before = self.blocked().to_vec();
                self.block(&items(request)?)?;
                self.hide_from_blocked(&before);
            }
            (Some("set"), "unblock") => {
                let before = self.seen_by();
                self.unblock(&items(request)?);
                let unblocked: Vec<BareJid> = self.seen_by().difference(&before).cloned().collect();
                unblocked.iter().for_each(|jid| self.show_to(jid, log));
            }
            _ => return Err(StanzaError::FEATURE_NOT_IMPLEMENTED),
        }
        self.send_stanza(id, &stanza::iq_result(iq, None), true);
        let watching = self
            .devices
            .iter()
            .filter(|(_, device)| device.stream.as_ref().is_some_and(|stream| stream.watches_blocklist));
        let watching: Vec<DeviceId> = watching.map(|(id, _)| id.clone()).collect();
        for id in watching {
            let push = stanza::iq("set", &self.entropy.token(), request.clone());
            let to = self.config.account.with_resource(id.as_str()).to_string();
            self.push_stanza(&id, &push.with_attr("to", to));
        }
        Ok(())
    }

    fn blocked(&self) -> &[Jid] {
        self.account.as_ref().map_or(&[], |account| &account.blocked)
    }

    fn block(&mut self, jids: &[Jid]) -> Result<(), StanzaError> {
        let Some(mut account) = self.account.clone().filter(|_| !jids.is_empty()) else {
            return Err(StanzaError::BAD_REQUEST);
        };
        account.blocked.extend(jids.iter().cloned());
        account.blocked.sort();
        account.blocked.dedup();
        let bytes: usize = account.blocked.iter().map(|jid| jid.to_string().len()).sum();
        if account.blocked.len() > BLOCKED_MAX || bytes > BLOCKED_BYTES_MAX {
            return Err(StanzaError::RESOURCE_CONSTRAINT);
        }
        self.put_account(account);
        Ok(())
    }

    /// These, or everybody if none is named.
    fn unblock(&mut self, jids: &[Jid]) {
        let Some(mut account) = self.account.clone() else { return };
        account.blocked.retain(|jid| !jids.is_empty() && !jids.contains(jid));
        self.put_account(account);
    }

    pub(super) fn put_account(&mut self, account: super::rows::AccountRow) {
        self.account = Some(account.clone());
        self.gate.write(Op::PutAccount(account));
    }

    /// Who is subscribed to the account's presence and is sent it.
    fn seen_by(&self) -> BTreeSet<BareJid> {
        let subscribed = self.contacts.values().filter(|contact| contact.from).map(|contact| &contact.jid);
        subscribed.filter(|jid| !self.is_blocked(&(*jid).clone().into())).cloned().collect()
    }

    /// XEP-0191 §3.3: for a contact that is blocked from now on, nobody is there any more.
    fn hide_from_blocked(&mut self, before: &[Jid]) {
        let was_blocked = |jid: &BareJid| {
            let jid = jid.clone().into();
            before.iter().any(|blocked| covers(blocked, &jid))
        };
        let subscribed = self.contacts.values().filter(|contact| contact.from).map(|contact| &contact.jid);
        let hidden = subscribed.filter(|jid| !was_blocked(jid) && self.is_blocked(&(*jid).clone().into()));
        let hidden: Vec<BareJid> = hidden.cloned().collect();
        hidden.iter().for_each(|jid| self.hide_from(jid));
    }

    /// Whether nothing passes between this account and that address. Its own devices always hear
    /// each other.
    pub(super) fn is_blocked(&self, other: &Jid) -> bool {
        other.bare != self.config.account && self.blocked().iter().any(|blocked| covers(blocked, other))
    }

    /// Whether another mailbox hands over what this account does not want to hear.
    pub(super) fn is_unwanted(&self, item: &TransferItem) -> bool {
        if self.blocked().is_empty() {
            return false;
        }
        let from = read_frame(&item.stanza, 2 * FRAME_BYTES_MAX).ok();
        let from = from.and_then(|message| stanza::address(&message, "from").ok().flatten());
        from.is_some_and(|from| self.is_blocked(&from))
    }

    /// What a message to somebody who is blocked is answered with.
    pub(super) fn refuse_blocked(&mut self, id: &DeviceId, message: &Element) {
        let why = Element::new(ns::BLOCKING_ERRORS, "blocked");
        if let Some(reply) = stanza::error_reply_with(message, StanzaError::NOT_ACCEPTABLE_HERE, why) {
            self.send_stanza(id, &reply, true);
        }
    }
}

/// XEP-0191 §5: a device, an account, or a whole domain.
fn covers(blocked: &Jid, other: &Jid) -> bool {
    let domain = blocked.bare.local().is_none() && blocked.bare.domain() == other.bare.domain();
    (domain || blocked.bare == other.bare)
        && (blocked.resource.is_none() || blocked.resource == other.resource)
}

fn items(request: &Element) -> Result<Vec<Jid>, StanzaError> {
    let items = request.children().filter(|child| child.is(ns::BLOCKING, "item"));
    let jids = items.map(|item| stanza::address(item, "jid")?.ok_or(StanzaError::BAD_REQUEST));
    jids.collect()
}

fn element(name: &str, jids: &[Jid]) -> Element {
    let item = |jid: &Jid| Element::new(ns::BLOCKING, "item").with_attr("jid", jid.to_string());
    jids.iter().map(item).fold(Element::new(ns::BLOCKING, name), Element::with)
}
