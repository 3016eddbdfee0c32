//! Removing the account (XEP-0077 §3.2): every row and every segment, or it is not answered.
//!
//! That it is to be removed is written first. From then on there is no account: nobody signs in,
//! nobody reaches it, and nobody may register the name anew. Then the segments go, one after the
//! other, each with its row; what could not be deleted is tried again, by the mailbox's alarm if
//! need be, and after a crash it goes on where it was. With the last of them everything goes, and
//! the device that asked is answered.
//!
//! Messages of others that wait for a device here, and own ones that have not reached their
//! recipient's mailbox, go too.

use super::cold::Cold;
use super::rows::{Marks, Op};
use super::{BatchNo, Effect, Head, LogStore, RelayEngine};
use crate::id::{DeviceId, LinkId, StanzaSeq};
use crate::limits::{REMOVAL_RETRY_MS, SEGMENT_MS_MAX};
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
}

#[derive(Clone, Debug)]
struct Deleting {
    name: String,
    /// Where the segment begins and ends; nothing for one that was being put.
    segment: Option<(StanzaSeq, StanzaSeq)>,
    since: Millis,
}

impl Removal {
    pub(super) fn deadline(&self) -> Option<Millis> {
        self.deleting.as_ref().map(|deleting| deleting.since.plus(SEGMENT_MS_MAX)).or(self.retry)
    }

    pub(super) fn pull(&mut self, ms: u64) {
        self.retry = self.retry.map(|at| at.minus(ms));
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
        let Some(mut row) = self.account.take() else { return Ok(()) };
        row.removed = true;
        self.gate.write(Op::PutAccount(row));
        let others: Vec<LinkId> = self.links.keys().filter(|other| **other != link).copied().collect();
        for other in others {
            self.close_link(other, Some(StreamCondition::NotAuthorized), 1000);
        }
        let answer = stanza::iq_result(iq, None).to_frame();
        self.removal = Some(Removal { asked: Some((link, answer)), ..Removal::default() });
        self.forget_everything();
        Ok(())
    }

    /// Nothing of it is told or handed over any more.
    fn forget_everything(&mut self) {
        self.devices.clear();
        self.transfers = Default::default();
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
            None => self.clear_everything(),
        }
    }

    fn clear_everything(&mut self) {
        let Some(removal) = &mut self.removal else { return };
        removal.clearing = true;
        self.gate.write(Op::Clear);
        if let Some((link, answer)) = removal.asked.clone() {
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

    /// A batch is in the store. With the last one of a removal the mailbox is new.
    pub(super) fn removed(&mut self, no: BatchNo) {
        if self.removal.take_if(|removal| removal.batch == Some(no)).is_some() {
            self.forget_everything();
            self.head = Head::at(StanzaSeq(0));
            self.in_flight_upto = StanzaSeq(0);
            self.marks = Marks::default();
            self.cold = Cold::default();
        }
    }
}
