//! Removing the account (XEP-0077 §3.2): every row and every segment, or it is not answered.
//!
//! That it is to be removed is written first. From then on there is no account: nobody signs in,
//! nobody reaches it, and nobody may register the name anew. Then the segments go, one after the
//! other, each with its row; what could not be deleted is tried again, by the mailbox's alarm if
//! need be, and after a crash it goes on where it was. With the last of them everything goes, and
//! the device that asked is answered.
//!
//! Contacts see every device leave, and are told that they are not seen and see nothing any more
//! (RFC 6121 §3.2, §3.3), as durably as of any change of a subscription. That, and own messages on
//! their way, is waited for as long as [`REMOVAL_TELL_MS_MAX`]; a mailbox that cannot be reached for
//! longer finds nobody when it asks.
//!
//! Messages of others that wait for a device here go too. One thing stays: how far places and numbers
//! were given ([`Marks`]). Whoever takes the name gets none of them again, since others
//! recognise by them what they have had.

use super::cold::Cold;
use super::pep::Pep;
use super::rows::{ContactRow, Marks, Op};
use super::transfer::Transfers;
use super::{BatchNo, Effect, LogStore, RelayEngine};
use crate::id::{DeviceId, LinkId, StanzaSeq};
use crate::limits::{REMOVAL_RETRY_MS, REMOVAL_TELL_MS_MAX, SEGMENT_MS_MAX};
use crate::time::Millis;
use crate::wire::error::{StanzaError, StreamCondition};
use crate::wire::{Element, ns, stanza};

/// A removal under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Removal {
    /// Who asked, and what it is answered.
    asked: Option<(LinkId, String)>,
    deleting: Option<Deleting>,
    retry: Option<Millis>,
    /// Every segment up to here is deleted.
    upto: StanzaSeq,
    /// Everything is to go in the open batch, or in this one.
    clearing: bool,
    batch: Option<BatchNo>,
    /// How long others may take to hear of it.
    tell_until: Millis,
}

#[derive(Clone, Debug)]
struct Deleting {
    name: String,
    /// Where the segment begins and ends; nothing for one that was being put.
    segment: Option<(StanzaSeq, StanzaSeq)>,
    since: Millis,
}

impl Removal {
    /// One that goes on from now.
    pub(super) fn begun(now: Millis) -> Self {
        Self { tell_until: now.plus(REMOVAL_TELL_MS_MAX), ..Self::default() }
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        self.deleting
            .as_ref()
            .map(|deleting| deleting.since.plus(SEGMENT_MS_MAX))
            .or(self.retry)
            .or((!self.clearing).then_some(self.tell_until))
    }

    pub(super) fn pull(&mut self, ms: u64) {
        self.retry = self.retry.map(|at| at.minus(ms));
        self.tell_until = self.tell_until.minus(ms);
        if let Some(deleting) = &mut self.deleting {
            deleting.since = deleting.since.minus(ms);
        }
    }

    /// This batch is handed to the store.
    pub(super) fn handed_out(&mut self, no: BatchNo, ops: &[Op]) {
        if self.clearing && ops.contains(&Op::Clear) {
            self.batch = Some(no);
        }
    }
}

impl RelayEngine {
    /// Serves `<remove/>`, if that is what it is.
    pub(super) fn remove_account(&mut self, id: &DeviceId, iq: &Element) -> Option<Result<(), StanzaError>> {
        let query = iq.child(ns::REGISTER, "query")?;
        query.child(ns::REGISTER, "remove")?;
        if iq.attr("type") != Some("set") {
            return None;
        }
        Some(self.begin_removal(id, iq, query))
    }

    fn begin_removal(&mut self, id: &DeviceId, iq: &Element, query: &Element) -> Result<(), StanzaError> {
        let account = &self.config.account;
        if let Some(to) = stanza::address(iq, "to")?
            && to.bare != *account
            && to.bare.as_str() != account.domain()
        {
            return Err(StanzaError::FORBIDDEN);
        }
        // XEP-0077 §3.2: nothing beside it.
        if query.children().count() != 1 {
            return Err(StanzaError::BAD_REQUEST);
        }
        let Some(link) = self.devices.get(id).and_then(|device| device.stream.as_ref()?.link) else {
            return Ok(());
        };
        self.leave_contacts();
        let Some(mut row) = self.account.take() else { return Ok(()) };
        row.removed = true;
        self.gate.write(Op::PutAccount(row));
        let others: Vec<LinkId> = self.links.keys().filter(|other| **other != link).copied().collect();
        for other in others {
            self.close_link(other, Some(StreamCondition::NotAuthorized), 1000);
        }
        let answer = stanza::iq_result(iq, None).to_frame();
        self.removal = Some(Removal { asked: Some((link, answer)), ..Removal::begun(self.now) });
        self.forget_everything();
        Ok(())
    }

    /// Whoever knows somebody here learns that nobody is.
    fn leave_contacts(&mut self) {
        let devices: Vec<DeviceId> = self.devices.keys().cloned().collect();
        for id in devices.iter().filter(|id| self.is_available(id)).cloned().collect::<Vec<_>>() {
            self.presence_over(&id);
        }
        let contacts: Vec<ContactRow> = self.contacts.values().cloned().collect();
        for ContactRow { jid, to, from, ask, request, .. } in contacts {
            if self.is_blocked(&jid.clone().into()) {
                continue;
            }
            if from || request.is_some() {
                self.owe(&jid, "unsubscribed");
            }
            if to || ask {
                self.owe(&jid, "unsubscribe");
            }
        }
    }

    /// Nothing is known here any more but what others have yet to hear.
    fn forget_everything(&mut self) {
        self.devices.clear();
        self.contacts.retain(|_, contact| !contact.owed.is_empty());
        self.pep = Pep::default();
        self.backlog = None;
        self.peers.clear();
        self.peers_unsaved.clear();
        self.repeats = None;
        self.parking.clear();
    }

    /// The next step of a removal.
    pub(super) fn remove_on(&mut self, log: &dyn LogStore) {
        let now = self.now;
        let Some(removal) = &mut self.removal else { return };
        if removal.deleting.take_if(|deleting| deleting.since.plus(SEGMENT_MS_MAX) <= now).is_some() {
            removal.retry = Some(now.plus(REMOVAL_RETRY_MS));
        }
        let waits = removal.clearing || removal.deleting.is_some();
        // What is being put must be there before it can be deleted.
        let puts = self.cold.is_putting(now);
        if waits || puts || removal.retry.is_some_and(|at| at > now) {
            return;
        }
        removal.retry = None;
        let begun = self.cold.moving.as_ref().map(|moving| (moving.name.clone(), None));
        let next = begun.or_else(|| {
            let segment = log.segments(removal.upto, None, false, 1).pop()?;
            Some((segment.name, Some((segment.first, segment.last))))
        });
        match next {
            Some((name, segment)) => {
                self.gate.effect(Effect::DeleteSegment(name.clone()));
                removal.deleting = Some(Deleting { name, segment, since: now });
            }
            None if self.transfers.is_empty() || removal.tell_until <= now => self.clear_everything(),
            None => {}
        }
    }

    fn clear_everything(&mut self) {
        let Some(removal) = &mut self.removal else { return };
        removal.clearing = true;
        let asked = removal.asked.clone();
        self.transfers = Transfers::default();
        self.contacts.clear();
        let last = self.head.last();
        self.marks = Marks { checkpoint: last, transferred: last, ..self.marks };
        self.gate.write(Op::Clear);
        self.gate.write(Op::PutMarks(self.marks));
        if let Some((link, answer)) = asked {
            self.gate.effect(Effect::Frame(link, answer));
            self.close_link(link, Some(StreamCondition::NotAuthorized), 1000);
        }
    }

    /// What became of a deletion.
    pub(super) fn segment_deleted(&mut self, name: &str, deleted: bool) {
        let now = self.now;
        let Some(removal) = &mut self.removal else { return };
        let Some(deleting) = removal.deleting.take_if(|deleting| deleting.name == name) else { return };
        if !deleted {
            removal.retry = Some(now.plus(REMOVAL_RETRY_MS));
            return;
        }
        match deleting.segment {
            Some((first, last)) => {
                removal.upto = last;
                self.gate.write(Op::DeleteSegment(first));
            }
            None => {
                self.cold.moving = None;
                self.gate.write(Op::PutMoving(None));
            }
        }
    }

    /// A batch is in the store. With the last one of a removal the mailbox is nobody's.
    pub(super) fn removed(&mut self, no: BatchNo) {
        if self.removal.take_if(|removal| removal.batch == Some(no)).is_some() {
            self.forget_everything();
            self.cold = Cold { last: self.head.last(), ..Cold::default() };
        }
    }
}
