//! The way to other mailboxes: in the order of the log, one call per recipient at a time, tried
//! again until it is known to have arrived.
//!
//! The transfer cursor is not saved on its own: each log row carries it as it stood, each
//! connection remembers it over hibernation, and what is called twice is recognised there.
//!
//! What is in no log goes the same way and keeps its place among what is; what becomes of it when a
//! call fails depends on what it is (see [`Item`]).

use super::preferences::is_passing;
use super::{Called, Effect, LogStore, RelayEngine, TransferItem, TransferReply, TransferRequest};
use crate::bad::{self, Bug};
use crate::id::StanzaSeq;
use crate::jid::BareJid;
use crate::limits::{
    FRAME_BYTES_MAX, Limits, TRANSFER_PASSING_MAX, TRANSFER_RETRY_MS_MAX, TRANSFER_RETRY_MS_MIN,
};
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
    /// The call that is out, and how many items it holds.
    in_flight: Option<(Called, usize)>,
    failures: u32,
    retry: Option<Millis>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Item {
    /// A row of the log: handed over until it is known to have arrived.
    Row(StanzaSeq),
    /// A change of a subscription, which its contact's row holds: like a row of the log.
    News(u64),
    /// Presence: tried a few times more.
    Presence(String),
    /// An IQ, or what is for a device or nobody: not tried again, since it might be heard twice. Its
    /// sender is told.
    Once(String),
    /// What is stale a moment later: lost with the call.
    Ephemeral(String),
}

/// Failed calls after which presence is too old to be told.
const PRESENCE_FAILURES_MAX: u32 = 4;

impl Queue {
    /// How many items are in no row.
    fn passing(&self) -> usize {
        self.items.iter().filter(|item| !matches!(item, Item::Row(_) | Item::News(_))).count()
    }
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

    /// Queues a change of a subscription.
    pub(super) fn push_news(&mut self, peer: &BareJid, no: u64) {
        self.queues.entry(peer.clone()).or_default().items.push_back(Item::News(no));
    }

    /// Queues presence. If there is too much, the oldest that is not under way goes.
    pub(super) fn push_presence(&mut self, peer: &BareJid, stanza: String) {
        let queue = self.queues.entry(peer.clone()).or_default();
        let called = queue.in_flight.map_or(0, |(_, called)| called);
        if queue.passing() >= TRANSFER_PASSING_MAX {
            let is_old = |(place, item): (usize, &Item)| place >= called && matches!(item, Item::Presence(_));
            let oldest = queue.items.iter().enumerate().position(is_old);
            oldest.map(|place| queue.items.remove(place));
        }
        queue.items.push_back(Item::Presence(stanza));
    }

    /// Queues what is not tried again; whether there was room for it.
    pub(super) fn push_once(&mut self, peer: &BareJid, stanza: String) -> bool {
        let queue = self.queues.entry(peer.clone()).or_default();
        let room = queue.passing() < TRANSFER_PASSING_MAX;
        if room {
            queue.items.push_back(Item::Once(stanza));
        }
        room
    }

    /// A message that came back is not handed over.
    pub(super) fn forget_row(&mut self, peer: &BareJid, seq: StanzaSeq) {
        let Some(queue) = self.queues.get_mut(peer) else { return };
        queue.items.retain(|item| *item != Item::Row(seq));
        if queue.items.is_empty() {
            self.queues.remove(peer);
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Every own message up to here has arrived.
    pub(super) fn upto(&self, last: StanzaSeq) -> StanzaSeq {
        // Rows stand in the order of the log, so the first of each queue is the lowest.
        let first = |queue: &Queue| {
            queue.items.iter().find_map(|item| match item {
                Item::Row(seq) => Some(*seq),
                _ => None,
            })
        };
        self.queues
            .values()
            .filter_map(first)
            .min()
            .map_or(last, |first| StanzaSeq(first.0.saturating_sub(1)))
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
                Item::Row(seq) => {
                    self.head.row(log, seq).map(|row| TransferItem { seq, stanza: row.stanza, news: 0 })
                }
                Item::News(no) => {
                    let owed = self.contacts.get(peer)?.owed.iter().find(|news| news.no == no)?;
                    Some(TransferItem { news: no, stanza: owed.stanza.clone(), ..TransferItem::default() })
                }
                Item::Presence(stanza) | Item::Once(stanza) | Item::Ephemeral(stanza) => {
                    Some(TransferItem { stanza, ..TransferItem::default() })
                }
            })
            .collect();
        let request = TransferRequest { from: self.config.account.clone(), to: peer.clone(), items };
        queue.in_flight = Some((request.called(), called));
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
        call: Called,
        reply: Option<TransferReply>,
        log: &dyn LogStore,
    ) {
        let Some(queue) = self.transfers.queues.get_mut(peer) else { return };
        let Some((_, called)) = queue.in_flight.take_if(|(out, _)| *out == call) else { return };
        let Some(reply) = reply else { return self.call_failed(peer) };
        queue.failures = 0;
        let mut done: Vec<Item> = queue.items.drain(..called.min(queue.items.len())).collect();
        if let TransferReply::Refused(refused) | TransferReply::Blocked(refused) = &reply
            && !bad::is(Bug::RefusalOvertaken)
        {
            let is_behind = |item: &Item| matches!(item, Item::Row(seq) if refused.iter().max() < Some(seq));
            let (again, taken): (Vec<Item>, Vec<Item>) = done.into_iter().partition(is_behind);
            again.into_iter().rev().for_each(|item| queue.items.push_front(item));
            done = taken;
        }
        if queue.items.is_empty() {
            self.transfers.queues.remove(peer);
        }
        self.passed(peer, &done, &reply);
        let rows = done.into_iter().filter_map(|item| match item {
            Item::Row(seq) => Some(seq),
            _ => None,
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

    /// What became of a call is not known.
    fn call_failed(&mut self, peer: &BareJid) {
        let now = self.now;
        let Some(queue) = self.transfers.queues.get_mut(peer) else { return };
        let old = queue.failures >= PRESENCE_FAILURES_MAX;
        let (again, over): (VecDeque<Item>, VecDeque<Item>) =
            queue.items.drain(..).partition(|item| match item {
                Item::Row(_) | Item::News(_) => true,
                Item::Presence(_) => !old,
                Item::Once(_) | Item::Ephemeral(_) => false,
            });
        queue.items = again;
        if queue.items.is_empty() && !bad::is(Bug::WakesForNothing) {
            // Nothing is left to try again, so there is nothing to wake for.
            self.transfers.queues.remove(peer);
        } else {
            let pause = TRANSFER_RETRY_MS_MIN.checked_shl(queue.failures).unwrap_or(TRANSFER_RETRY_MS_MAX);
            queue.failures = (queue.failures + 1).min(16);
            queue.retry = Some(now.plus(pause.min(TRANSFER_RETRY_MS_MAX)));
        }
        for item in over {
            if let Item::Once(stanza) = item {
                self.returned(&stanza, StanzaError::REMOTE_SERVER_TIMEOUT);
            }
        }
    }

    /// A call has an answer: what was in it and in no log has arrived, or there is nobody.
    fn passed(&mut self, peer: &BareJid, done: &[Item], reply: &TransferReply) {
        let news = done.iter().filter_map(|item| match item {
            Item::News(no) => Some(*no),
            _ => None,
        });
        if let Some(upto) = news.max() {
            self.news_arrived(peer, upto);
        }
        if *reply != TransferReply::NoSuchUser {
            return;
        }
        for item in done {
            if let Item::Once(stanza) = item {
                // RFC 6121 §8.5.1
                self.returned(stanza, StanzaError::SERVICE_UNAVAILABLE);
            }
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
