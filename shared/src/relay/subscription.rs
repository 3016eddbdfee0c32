//! Subscriptions to presence (RFC 6121 §3 and appendix A), as two bits a side and what is asked.
//!
//! A change is told to the other mailbox as durably as a message: its stanza stays in the contact's
//! row until the other side is known to have it, and that side takes each number once. Of changes
//! that wait, only the newest of its kind is of any use.

use super::link::Link;
use super::rows::{ContactRow, News, Op};
use super::stream::Keep;
use super::{LogStore, RelayEngine};
use crate::id::DeviceId;
use crate::jid::{BareJid, Jid};
use crate::limits::{FRAME_BYTES_MAX, ID_BYTES_MAX, ROSTER_REQUEST_BYTES_MAX, ROSTER_REQUESTS_MAX};
use crate::wire::error::StanzaError;
use crate::wire::{Element, ns, read_frame};
use std::collections::VecDeque;

/// What one side tells the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// I want to see your presence.
    Subscribe,
    /// I do not want to any more.
    Unsubscribe,
    /// You may see mine.
    Subscribed,
    /// You may not, or not any more.
    Unsubscribed,
}

impl Change {
    /// By the type of its presence stanza.
    pub(super) fn named(kind: &str) -> Option<Self> {
        match kind {
            "subscribe" => Some(Self::Subscribe),
            "unsubscribe" => Some(Self::Unsubscribe),
            "subscribed" => Some(Self::Subscribed),
            "unsubscribed" => Some(Self::Unsubscribed),
            _ => None,
        }
    }
}

/// Whether the second of two changes makes the first pointless.
fn supersedes(earlier: &str, later: &str) -> bool {
    let is_grant = |kind: &str| matches!(kind, "subscribed" | "unsubscribed");
    is_grant(earlier) == is_grant(later)
}

/// What of a contact its roster item shows.
fn shown(contact: &ContactRow) -> (bool, bool, bool, bool, bool) {
    (contact.listed, contact.to, contact.from, contact.ask, contact.approved)
}

impl RelayEngine {
    /// One of the account's devices changes a subscription (RFC 6121 §A.2).
    pub(super) fn subscription_out(
        &mut self,
        id: &DeviceId,
        presence: &Element,
        change: Change,
        to: Option<Jid>,
        log: &dyn LogStore,
    ) {
        let jid = match to.map(|to| to.bare) {
            None => return self.refuse(id, presence, StanzaError::BAD_REQUEST),
            Some(jid) if jid.domain() != self.config.account.domain() => {
                return self.refuse(id, presence, StanzaError::REMOTE_SERVER_NOT_FOUND);
            }
            Some(jid) if jid.local().is_none() => {
                return self.refuse(id, presence, StanzaError::SERVICE_UNAVAILABLE);
            }
            Some(jid) if jid == self.config.account => {
                return self.refuse(id, presence, StanzaError::NOT_ALLOWED);
            }
            Some(jid) => jid,
        };
        if self.is_blocked(&jid.clone().into()) {
            return self.refuse_blocked(id, presence);
        }
        let mut contact = self.contact(&jid);
        let (before, had_request) = (shown(&contact), contact.request.is_some());
        let told = match change {
            Change::Subscribe => {
                contact.ask = !contact.to;
                contact.listed = true;
                true
            }
            Change::Unsubscribe => {
                (contact.to, contact.ask) = (false, false);
                true
            }
            Change::Subscribed => {
                contact.from |= had_request;
                contact.approved |= !contact.from;
                contact.listed = true;
                had_request
            }
            Change::Unsubscribed => {
                let granted = contact.from;
                (contact.from, contact.approved) = (false, false);
                granted || had_request
            }
        };
        if matches!(change, Change::Subscribed | Change::Unsubscribed) {
            contact.request = None;
        }
        if let Err(error) = self.has_room_for(&contact) {
            return self.refuse(id, presence, error);
        }
        let (after, was_seen) = (shown(&contact), before.2);
        let seen = contact.from;
        self.put_contact(contact);
        // With the count of the stanza: sent again after a crash, it would undo what came later.
        self.put_device(id);
        if told {
            // RFC 6121 §3.1.2: from the account, to the account.
            let news = presence.clone().with_attr("from", self.config.account.as_str());
            self.owe_stanza(&jid, news.with_attr("to", jid.as_str()));
        }
        if after != before {
            self.push_contact(&jid);
        }
        match (was_seen, seen) {
            (false, true) => self.show_to(&jid, log),
            (true, false) => self.hide_from(&jid),
            _ => {}
        }
    }

    /// Another account changes a subscription (RFC 6121 §A.3).
    pub(super) fn subscription_in(
        &mut self,
        from: &BareJid,
        presence: &Element,
        change: Change,
        no: u64,
        log: &dyn LogStore,
    ) {
        let mut contact = self.contact(from);
        if no <= contact.heard {
            return;
        }
        contact.heard = no;
        let before = shown(&contact);
        let request = kept_of(&presence.clone().with_attr("to", self.config.account.as_str()));
        let mut answer = None;
        let told = match change {
            Change::Subscribe if contact.from => {
                answer = Some("subscribed");
                false
            }
            Change::Subscribe if contact.approved => {
                contact.from = true;
                contact.approved = false;
                answer = Some("subscribed");
                false
            }
            Change::Subscribe if contact.request.is_some() => false,
            Change::Subscribe if self.requests() >= ROSTER_REQUESTS_MAX => {
                // Answered as if it were refused (RFC 6121 §3.2): an error would not end the waiting of
                // the other side, and presence errors to an account are heard by nobody.
                answer = Some("unsubscribed");
                false
            }
            Change::Subscribe => {
                contact.request = Some(request.to_frame());
                true
            }
            Change::Unsubscribe => {
                let had = contact.request.take().is_some() || contact.from;
                contact.from = false;
                had
            }
            Change::Subscribed => {
                let asked = contact.ask;
                contact.to |= asked;
                contact.ask = false;
                asked
            }
            Change::Unsubscribed => {
                let had = contact.to || contact.ask;
                (contact.to, contact.ask) = (false, false);
                had
            }
        };
        let (after, seen) = (shown(&contact), contact.from);
        let is_nobody = contact.request.is_none() && !self.contacts.contains_key(from);
        if is_nobody && after == before && answer.is_none() {
            // Nothing is remembered of strangers who want nothing.
            return;
        }
        self.put_contact(contact);
        if told {
            self.show_change(from, &request, change);
        }
        if after != before {
            self.push_contact(from);
        }
        if let Some(answer) = answer {
            self.owe(from, answer);
        }
        match (before.2, seen) {
            (false, true) => self.show_to(from, log),
            (true, false) => self.hide_from(from),
            _ => {}
        }
    }

    /// RFC 6121 §3.1.3: a request goes to who is there, and to who comes before it is answered;
    /// everything else to those who know the roster.
    fn show_change(&mut self, from: &BareJid, presence: &Element, change: Change) {
        let limits = self.config.limits;
        let readers: Vec<DeviceId> = if change == Change::Subscribe {
            self.devices.keys().filter(|id| self.is_available(id)).cloned().collect()
        } else {
            self.interested()
        };
        // Strangers must not be able to fill a stream. A request that one has no room for its device
        // sees when it comes the next time.
        let always = change != Change::Subscribe && self.is_contact(from);
        for id in readers {
            if always || self.stream_mut(&id).is_some_and(|stream| stream.has_room_for_others(&limits)) {
                self.push_stanza(&id, presence);
            }
        }
    }

    /// Requests that wait for an answer, for a device that has just come.
    pub(super) fn show_requests(&mut self, id: &DeviceId) {
        let waiting = self.contacts.values().filter(|contact| contact.request.is_some());
        let waiting: VecDeque<BareJid> = waiting.map(|contact| contact.jid.clone()).collect();
        if let Some(link) = self.link_of(id) {
            link.requests = waiting;
        }
        self.show_more_requests(id);
    }

    /// As many as there is room for: they are many, and from strangers. What is left is shown when the
    /// device acks; and all that is not answered by then, when it comes the next time.
    pub(super) fn show_more_requests(&mut self, id: &DeviceId) {
        let limits = self.config.limits;
        while self.stream_mut(id).is_some_and(|stream| stream.has_room_for_others(&limits)) {
            let Some(jid) = self.link_of(id).and_then(|link| link.requests.pop_front()) else { return };
            let request = self.contacts.get(&jid).and_then(|contact| contact.request.as_ref());
            if let Some(request) = request.and_then(|text| read_frame(text, 2 * FRAME_BYTES_MAX).ok()) {
                self.send_kept(id, &request, Keep::WithNextRow);
            }
        }
    }

    fn link_of(&mut self, id: &DeviceId) -> Option<&mut Link> {
        let link = self.stream_mut(id)?.link?;
        self.links.get_mut(&link)
    }

    fn requests(&self) -> usize {
        self.contacts.values().filter(|contact| contact.request.is_some()).count()
    }

    /// Somebody believes in a subscription that is not there (RFC 6121 §4.3.2).
    pub(super) fn never_subscribed(&mut self, jid: &BareJid) {
        if self.contacts.get(jid).is_none_or(|contact| contact.request.is_none()) {
            self.owe(jid, "unsubscribed");
        }
    }

    /// The other side is to be told of a change that no device wrote.
    pub(super) fn owe(&mut self, jid: &BareJid, kind: &str) {
        let news = Element::new(ns::CLIENT, "presence").with_attr("type", kind);
        let news = news.with_attr("from", self.config.account.as_str());
        self.owe_stanza(jid, news.with_attr("to", jid.as_str()));
    }

    fn owe_stanza(&mut self, jid: &BareJid, stanza: Element) {
        self.marks.news = self.marks.news.saturating_add(1);
        self.gate.write(Op::PutMarks(self.marks));
        let no = self.marks.news;
        let kind = stanza.attr("type").unwrap_or_default().to_owned();
        let mut contact = self.contact(jid);
        contact.owed.retain(|news| !is_superseded(news, &kind));
        contact.owed.push(News { no, stanza: stanza.to_frame() });
        self.put_contact(contact);
        self.transfers.push_news(jid, no);
    }

    /// The other mailbox has all changes up to here.
    pub(super) fn news_arrived(&mut self, jid: &BareJid, upto: u64) {
        let Some(mut contact) = self.contacts.get(jid).cloned() else { return };
        contact.owed.retain(|news| news.no > upto);
        self.put_contact(contact);
    }

    /// After a start: what other mailboxes are not known to have.
    pub(super) fn owe_again(&mut self) {
        let owed =
            self.contacts.values().flat_map(|row| row.owed.iter().map(|news| (row.jid.clone(), news.no)));
        let mut owed: Vec<(BareJid, u64)> = owed.collect();
        owed.sort_by_key(|(_, no)| *no);
        owed.iter().for_each(|(jid, no)| self.transfers.push_news(jid, *no));
    }
}

/// What is kept of a change, and shown: whose it is, and what it says of itself if that is short.
fn kept_of(request: &Element) -> Element {
    let mut kept = Element::new(ns::CLIENT, "presence");
    for name in ["type", "from", "to", "id"] {
        if let Some(value) = request.attr(name).filter(|value| name != "id" || value.len() <= ID_BYTES_MAX) {
            kept.set_attr(name, value);
        }
    }
    let says = |child: &&Element| child.is(ns::CLIENT, "status") || child.is(ns::NICK, "nick");
    let says: Vec<&Element> = request.children().filter(says).collect();
    let bytes: usize = says.iter().map(|child| child.to_frame().len()).sum();
    let says = says.into_iter().filter(|_| bytes <= ROSTER_REQUEST_BYTES_MAX);
    says.cloned().fold(kept, Element::with)
}

fn is_superseded(news: &News, by: &str) -> bool {
    let stanza = read_frame(&news.stanza, 2 * FRAME_BYTES_MAX).ok();
    stanza.is_none_or(|stanza| stanza.attr("type").is_none_or(|kind| supersedes(kind, by)))
}
