//! The way to other mailboxes: in the order of the log, one call per recipient at a time, tried
//! again until it is known to have arrived.
//!
//! The transfer cursor is not saved on its own: each log row carries it as it stood, each
//! connection remembers it over hibernation, and what is called twice is recognised there.

use super::preferences::is_passing;
use super::{Effect, LogStore, RelayEngine, TransferItem, TransferReply, TransferRequest};
use crate::bad::{self, Bug};
use crate::id::StanzaSeq;
use crate::jid::BareJid;
use crate::limits::{FRAME_BYTES_MAX, Limits, TRANSFER_RETRY_MS_MAX, TRANSFER_RETRY_MS_MIN};
use crate::time::Millis;
use crate::wire::error::StanzaError;
use crate::wire::{Element, ns, read_frame, stanza};
use std::collections::{BTreeMap, VecDeque};

/// What waits for other mailboxes.
#[derive(Clone, Debug, Default)]
pub(super) struct Transfers {
    queues: BTreeMap<BareJid, Queue>,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    /// The call that is out: its highest place, and how many items it holds.
    in_flight: Option<(StanzaSeq, usize)>,
    failures: u32,
    retry: Option<Millis>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Item {
    Row(StanzaSeq),
    Ephemeral(String),
}

impl Transfers {
    pub(super) fn push_row(&mut self, peer: &BareJid, seq: StanzaSeq) {
        let other = self.queues.keys().next().filter(|_| bad::is(Bug::TransferMisdirected)).cloned();
        let peer = other.as_ref().unwrap_or(peer);
        self.queues.entry(peer.clone()).or_default().items.push_back(Item::Row(seq));
    }

    /// Queues what is not stored. It keeps its place among what is, and is lost with the call.
    pub(super) fn push_ephemeral(&mut self, peer: &BareJid, stanza: String, limits: &Limits) {
        let other = self.queues.keys().next().filter(|_| bad::is(Bug::StatesMisdirected)).cloned();
        let queue = self.queues.entry(other.unwrap_or_else(|| peer.clone())).or_default();
        // A recipient that cannot be reached does not want to know who was typing.
        if queue.failures == 0 && queue.items.len() < limits.transfer_items_max {
            queue.items.push_back(Item::Ephemeral(stanza));
        }
    }

    /// A message that came back is not handed over.
    pub(super) fn forget_row(&mut self, peer: &BareJid, seq: StanzaSeq) {
        let Some(queue) = self.queues.get_mut(peer) else { return };
        queue.items.retain(|item| *item != Item::Row(seq));
        if queue.items.is_empty() {
            self.queues.remove(peer);
        }
    }

    /// Every own message up to here has arrived.
    pub(super) fn upto(&self, last: StanzaSeq) -> StanzaSeq {
        let waiting = self.queues.values().flat_map(|queue| &queue.items).filter_map(|item| match item {
            Item::Row(seq) => Some(*seq),
            Item::Ephemeral(_) => None,
        });
        waiting.min().map_or(last, |first| StanzaSeq(first.0.saturating_sub(1)))
    }

    pub(super) fn pull(&mut self, ms: u64) {
        self.queues.values_mut().for_each(|queue| queue.retry = queue.retry.map(|at| at.minus(ms)));
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        self.queues.values().filter(|queue| queue.in_flight.is_none()).filter_map(|queue| queue.retry).min()
    }
}

impl RelayEngine {
    /// Calls every mailbox that something waits for and that is not being called.
    pub(super) fn start_transfers(&mut self, log: &dyn LogStore) {
        let now = self.now;
        let due: Vec<BareJid> = self
            .transfers
            .queues
            .iter()
            .filter(|(_, queue)| queue.in_flight.is_none() && !queue.items.is_empty())
            .filter(|(_, queue)| queue.retry.is_none_or(|at| at <= now))
            .map(|(peer, _)| peer.clone())
            .collect();
        for peer in due {
            self.start_transfer(&peer, log);
        }
    }

    fn start_transfer(&mut self, peer: &BareJid, log: &dyn LogStore) {
        let items_max = self.config.limits.transfer_items_max;
        let Some(queue) = self.transfers.queues.get_mut(peer) else { return };
        let items: Vec<Item> = queue.items.iter().take(items_max).cloned().collect();
        let called = items.len();
        queue.retry = None;
        let items = items
            .into_iter()
            .filter_map(|item| match item {
                Item::Row(seq) => self.head.row(log, seq).map(|row| TransferItem { seq, stanza: row.stanza }),
                Item::Ephemeral(stanza) => Some(TransferItem { seq: StanzaSeq(0), stanza }),
            })
            .collect();
        let request = TransferRequest { from: self.config.account.clone(), to: peer.clone(), items };
        queue.in_flight = Some((request.upto(), called));
        if bad::is(Bug::TransferDoneOnCall) {
            self.transfers.queues.remove(peer);
        }
        self.gate.effect(Effect::Transfer(request));
    }

    /// A call came back, or did not. An answer to a call of an engine that is gone is no answer
    /// to ours.
    pub(super) fn transferred(
        &mut self,
        peer: &BareJid,
        upto: StanzaSeq,
        reply: Option<TransferReply>,
        log: &dyn LogStore,
    ) {
        let now = self.now;
        let Some(queue) = self.transfers.queues.get_mut(peer) else { return };
        let Some((_, called)) = queue.in_flight.take_if(|(called_upto, _)| *called_upto == upto) else {
            return;
        };
        let Some(reply) = reply else {
            queue.items.retain(|item| matches!(item, Item::Row(_)));
            if queue.items.is_empty() && !bad::is(Bug::WakesForNothing) {
                // Nothing is left to try again, so there is nothing to wake for.
                self.transfers.queues.remove(peer);
                return;
            }
            let pause = TRANSFER_RETRY_MS_MIN.checked_shl(queue.failures).unwrap_or(TRANSFER_RETRY_MS_MAX);
            queue.failures = (queue.failures + 1).min(16);
            queue.retry = Some(now.plus(pause.min(TRANSFER_RETRY_MS_MAX)));
            return;
        };
        queue.failures = 0;
        let mut done: Vec<Item> = queue.items.drain(..called.min(queue.items.len())).collect();
        if let TransferReply::Refused(refused) | TransferReply::Blocked(refused) = &reply
            && !bad::is(Bug::RefusalOvertaken)
        {
            let is_behind = |item: &Item| matches!(item, Item::Row(seq) if refused.iter().max() < Some(seq));
            let behind = done.iter().position(is_behind).unwrap_or(done.len());
            let again = done.split_off(behind).into_iter().filter(|item| matches!(item, Item::Row(_)));
            again.rev().for_each(|item| queue.items.push_front(item));
        }
        if queue.items.is_empty() {
            self.transfers.queues.remove(peer);
        }
        let rows = done.into_iter().filter_map(|item| match item {
            Item::Row(seq) => Some(seq),
            Item::Ephemeral(_) => None,
        });
        let (error, back): (_, Vec<StanzaSeq>) = match reply {
            TransferReply::Accepted => return,
            // RFC 6121 §8.5.1
            TransferReply::NoSuchUser => (StanzaError::SERVICE_UNAVAILABLE, rows.collect()),
            TransferReply::Refused(refused) => {
                (StanzaError::RESOURCE_CONSTRAINT, rows.filter(|seq| refused.contains(seq)).collect())
            }
            // XEP-0191 §3.3
            TransferReply::Blocked(refused) => {
                (StanzaError::SERVICE_UNAVAILABLE, rows.filter(|seq| refused.contains(seq)).collect())
            }
        };
        for seq in back {
            self.bounce(peer, seq, error, log);
        }
    }

    fn bounce(&mut self, peer: &BareJid, seq: StanzaSeq, error: StanzaError, log: &dyn LogStore) {
        let Some(row) = self.head.row(log, seq) else { return };
        let Ok(sent) = read_frame(&row.stanza, 2 * FRAME_BYTES_MAX) else { return };
        if let Some(mut reply) = stanza::error_reply(&sent, error) {
            // What comes back of it is kept no longer than it was.
            if is_passing(&sent) {
                reply.push(Element::new(ns::HINTS, "no-permanent-store"));
            }
            self.append_back(peer.clone(), seq, reply.to_frame());
        }
    }
}
