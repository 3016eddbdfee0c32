//! The mailbox engine: one account on the relay. It decides what is stored, sent and answered;
//! the driver around it only moves frames and rows.
//!
//! # Driving it
//!
//! [`RelayEngine::load`] takes up where the store is, whether after a deploy, a crash or
//! hibernation: there is no other way to start. Then, for everything that happens: one
//! [`RelayEngine::handle`], followed by [`RelayEngine::poll`] until it answers
//! [`Output::WakeAt`]. Outputs are carried out in the order they come. A commit is answered by
//! `Committed` or `CommitFailed` before the next poll.
//!
//! # Invariant
//!
//! Nothing that tells anybody about a row leaves before that row is committed: see `gate`.
//! A failed commit poisons the engine; what is true is in the store.
//!
//! # What is where
//!
//! | module | owns |
//! |---|---|
//! | `lobby` | clients that have not named their account |
//! | `link`, `sasl2`, `fast` | a connection up to authentication; the same in one request; tokens |
//! | `session`, `bind2` | which device a connection belongs to; what a session begins with |
//! | `stream`, `acks`, `flush` | a device's numbered stream; when it is asked for an ack; its way through what waits for it |
//! | `mailbox`, `multicast` | messages in and out of the log; one message to several |
//! | `transfer`, `passing` | the way to other mailboxes; what goes that way and is not stored |
//! | `presence`, `roster`, `subscription` | who is there; whom the account knows; who may know |
//! | `request`, `blocking`, `devices` | IQs; who is not heard; which devices there are |
//! | `archive`, `preferences` | the log by pages; what it shows |
//! | `cold`, `walk`, `parked` | old rows go to segments; reading them back; waiting for that |
//! | `offline`, `flexible` | what waits for a device, in pages; the same as a list |
//! | `pep` | what the account publishes |
//! | `removal` | the end of an account |
//! | `rates`, `csi` | who says too much; what waits while nobody looks |

mod acks;
pub mod api;
mod archive;
mod bind2;
mod blocking;
mod cold;
mod csi;
mod devices;
mod fast;
mod flexible;
mod flush;
mod link;
mod load;
pub mod lobby;
mod mailbox;
mod multicast;
mod offline;
mod parked;
mod passing;
mod pep;
mod preferences;
mod presence;
mod rates;
mod removal;
mod request;
mod roster;
pub mod rows;
pub mod sasl2;
mod session;
mod stream;
mod subscription;
#[cfg(test)]
mod tests;
mod transfer;
mod walk;

pub use api::{CallId, Called, Config, Counters, Input, LinkState, Output, Phase, Registration};
pub use api::{TransferItem, TransferReply, TransferRequest};
pub use csi::Csi;
pub use flexible::{Flexible, Taken};
pub use preferences::{Archiving, Preferences};

use crate::bad::{self, Bug};
use crate::cold::SegmentFault;
use crate::entropy::Entropy;
use crate::gate::{BatchNo, Gate, Released};
use crate::id::{DeviceId, LinkId, StanzaSeq};
use crate::jid::BareJid;
use crate::limits::{AUTHENTICATION_MS_MAX, LINKS_UNAUTHENTICATED_MAX};
use crate::log::{Head, LogStore};
use crate::repeats::Repeats;
use crate::time::Millis;
use crate::wire::error::StreamCondition;
use crate::wire::{Element, ns};
use cold::Cold;
use link::Link;
use parked::Parking;
use pep::Pep;
use rates::{Backlog, Rates};
use removal::Removal;
use rows::{AccountRow, ContactRow, Marks, Op};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use stream::Device;
use transfer::Transfers;

/// One account's mailbox.
#[derive(Clone, Debug)]
pub struct RelayEngine {
    config: Config,
    now: Millis,
    entropy: Entropy,
    gate: Gate<u64, Op, Effect>,
    account: Option<AccountRow>,
    links: BTreeMap<LinkId, Link>,
    remembered: BTreeMap<LinkId, LinkState>,
    to_remember: VecDeque<(LinkId, LinkState)>,
    devices: BTreeMap<DeviceId, Device>,
    head: Head,
    in_flight_upto: StanzaSeq,
    repeats: Option<Repeats>,
    peers: BTreeMap<BareJid, StanzaSeq>,
    peers_unsaved: BTreeSet<BareJid>,
    contacts: BTreeMap<BareJid, ContactRow>,
    transfers: Transfers,
    marks: Marks,
    rates: Rates,
    backlog: Option<Backlog>,
    pep: Pep,
    cold: Cold,
    parking: Parking,
    removal: Option<Removal>,
    poisoned: bool,
}

/// What leaves through the gate. Counts are stamped when it is released, from what is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Effect {
    Frame(LinkId, String),
    /// `<a h/>` of a stream.
    Ack(LinkId, u64),
    /// `<resumed h previd/>` of a stream.
    Resumed(LinkId, u64, String),
    /// `<success/>` of an authentication, with `<resumed h previd/>` if a stream goes on.
    Success(LinkId, Element, Option<(u64, String)>),
    Close(LinkId, u16),
    Transfer(TransferRequest),
    Reply(CallId, TransferReply),
    PutSegment(String, Vec<u8>),
    GetSegment(String),
    DeleteSegment(String),
    SegmentFault(String, SegmentFault),
}

impl RelayEngine {
    /// Takes one input. Never fails; afterwards poll until [`Output::WakeAt`].
    pub fn handle(&mut self, now: Millis, input: Input<'_>, log: &dyn LogStore) {
        if self.poisoned {
            return;
        }
        // A clock that is set back must not stretch the deadlines that are running.
        let now = if bad::is(Bug::TimeStandsStill) { self.now.max(now) } else { now };
        let back = self.now.since(now);
        if back > 0 {
            self.pull(back);
            // What was out of time by the other clock may not be by this one.
            self.repeats = None;
        }
        self.now = now;
        match input {
            Input::LinkUp(link) => self.link_up(link),
            Input::Frame(link, text) => self.frame(link, text, log),
            Input::Binary(link) => self.close_link(link, None, 1003),
            Input::LinkDown(link) => self.link_down(link),
            Input::Transfer(call, request) => self.transfer_in(call, request, log),
            Input::Transferred(peer, called, reply) => self.transferred(&peer, called, reply, log),
            Input::SegmentPut(name, stored) => self.segment_put(name, stored),
            Input::Segment(name, got) => self.segment_got(name, got, log),
            Input::SegmentDeleted(name, deleted) => self.segment_deleted(name, deleted),
            Input::Wake => {}
            Input::Committed(no) => self.committed(no),
            Input::CommitFailed(_) => return self.poison(),
        }
        self.on_time(log);
        self.start_transfers(log);
        self.get_segments(log);
        self.move_old_rows(log);
        self.remove_on(log);
        self.note_links();
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Output {
        match self.gate.poll() {
            Some(Released::Commit(no, ops)) => {
                self.in_flight_upto = self.head.last();
                self.pep.in_flight();
                if let Some(removal) = &mut self.removal {
                    removal.handed_out(no, &ops);
                }
                Output::Commit(no, ops)
            }
            Some(Released::Effect(effect)) => self.released(effect),
            None => match self.to_remember.pop_front() {
                Some((link, state)) => Output::Remember(link, state),
                None => Output::WakeAt(self.deadline()),
            },
        }
    }

    fn released(&self, effect: Effect) -> Output {
        // XEP-0198 §4: h is what was handled, and handled means that it cannot be lost.
        let h = |stream: u64| self.gate.durable(stream).handled().to_string();
        let resumed = |stream, previd: String| {
            Element::new(ns::SM, "resumed").with_attr("h", h(stream)).with_attr("previd", previd)
        };
        match effect {
            Effect::Frame(link, text) => Output::Send(link, text),
            Effect::Ack(link, stream) => {
                Output::Send(link, Element::new(ns::SM, "a").with_attr("h", h(stream)).to_frame())
            }
            Effect::Resumed(link, stream, previd) => Output::Send(link, resumed(stream, previd).to_frame()),
            Effect::Success(link, success, resumption) => {
                let resumed = resumption.map(|(stream, previd)| resumed(stream, previd));
                Output::Send(link, resumed.into_iter().fold(success, Element::with).to_frame())
            }
            Effect::Close(link, code) => Output::Close(link, code),
            Effect::Transfer(request) => Output::Transfer(request),
            Effect::Reply(call, reply) => Output::Reply(call, reply),
            Effect::PutSegment(name, bytes) => Output::PutSegment(name, bytes),
            Effect::GetSegment(name) => Output::GetSegment(name),
            Effect::DeleteSegment(name) => Output::DeleteSegment(name),
            Effect::SegmentFault(name, fault) => Output::SegmentFault(name, fault),
        }
    }

    /// Everything that runs began so much earlier, by a clock that was set back.
    fn pull(&mut self, ms: u64) {
        self.links.values_mut().for_each(|link| link.opened = link.opened.minus(ms));
        self.devices.values_mut().filter_map(|device| device.stream.as_mut()).for_each(|s| s.pull(ms));
        self.transfers.pull(ms);
        self.rates.pull(ms);
        self.cold.pull(ms);
        self.parking.pull(ms);
        if let Some(removal) = &mut self.removal {
            removal.pull(ms);
        }
    }

    fn committed(&mut self, no: BatchNo) {
        if self.gate.committed(no) {
            self.head.committed(self.in_flight_upto);
            self.pep.committed();
            self.removed(no);
        }
    }

    /// The store failed: nothing that is only in memory may be believed or told any more.
    fn poison(&mut self) {
        self.poisoned = true;
        self.to_remember.clear();
        let closing = std::mem::take(&mut self.gate).into_queued().filter_map(|effect| match effect {
            Effect::Close(link, _) => Some(link),
            _ => None,
        });
        let links = std::mem::take(&mut self.links);
        let open: BTreeSet<LinkId> = closing.chain(links.into_keys()).collect();
        for link in open {
            self.gate.effect(Effect::Frame(link, StreamCondition::InternalServerError.element().to_frame()));
            self.gate.effect(Effect::Close(link, 1011));
        }
    }

    fn link_up(&mut self, link: LinkId) {
        // Whoever fills this with silence pushes out silence, never the owner.
        let waiting = || self.links.iter().filter(|(_, link)| link.is_unauthenticated());
        if waiting().count() >= LINKS_UNAUTHENTICATED_MAX
            && let Some(oldest) = waiting().min_by_key(|(_, link)| link.opened).map(|(id, _)| *id)
        {
            self.links.remove(&oldest);
            self.remembered.remove(&oldest);
            self.gate.effect(Effect::Close(oldest, 1013));
        }
        self.links.insert(link, Link::new(self.now));
    }

    fn link_down(&mut self, link: LinkId) {
        self.remembered.remove(&link);
        self.parking.leave(link);
        let Some(Link { phase: Phase::Bound(device), .. }) = self.links.remove(&link) else { return };
        self.suspend(&device, link);
    }

    /// Everything that is due.
    fn on_time(&mut self, log: &dyn LogStore) {
        let overdue: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| !matches!(link.phase, Phase::Bound(_)) && link.deadline() <= self.now)
            .map(|(id, _)| *id)
            .collect();
        for link in overdue {
            self.close_link(link, Some(StreamCondition::ConnectionTimeout), 1000);
        }
        self.streams_on_time();
        self.flush_on_time(log);
    }

    fn deadline(&self) -> Option<Millis> {
        if self.poisoned {
            return None;
        }
        let unauthenticated = self.links.values().filter(|link| !matches!(link.phase, Phase::Bound(_)));
        let streams = self.devices.values().filter_map(|device| {
            let stream = device.stream.as_ref()?;
            stream.deadline(self.gate.durable(stream.no).handled(), &self.config.limits)
        });
        let unacked = self.devices.values().filter_map(|device| self.unacked_deadline(device));
        let moves = self.cold.deadline().filter(|_| self.config.cold && self.account.is_some());
        let removal = self.removal.as_ref().and_then(Removal::deadline).filter(|at| *at > self.now);
        let segments = moves.into_iter().chain(self.parking.deadline()).chain(removal);
        let others = streams.chain(unacked).chain(self.transfers.deadline()).chain(segments);
        unauthenticated.map(Link::deadline).chain(others).min()
    }

    /// Hands the driver what must outlive hibernation, where it has changed.
    fn note_links(&mut self) {
        let transferred = self.transfers.upto(self.head.last());
        for (id, link) in &self.links {
            let counters = match &link.phase {
                Phase::Bound(device) => {
                    self.devices.get(device).and_then(|device| device.stream.as_ref()).map(|s| s.counters())
                }
                _ => None,
            };
            let csi = match &link.phase {
                Phase::Bound(device) => {
                    self.devices.get(device).and_then(|d| Some(d.stream.as_ref()?.csi.clone()))
                }
                _ => None,
            };
            let state = LinkState {
                csi: csi.unwrap_or_default(),
                phase: link.phase.clone(),
                opened: link.opened,
                failures: link.failures,
                foreign: link.foreign,
                agent: link.agent.clone(),
                counters,
                transferred,
                parked: self.parking.is_parked(*id),
            };
            if self.remembered.get(id) != Some(&state) {
                self.remembered.insert(*id, state.clone());
                self.to_remember.retain(|(other, _)| other != id);
                self.to_remember.push_back((*id, state));
            }
        }
    }
}

impl Link {
    fn is_unauthenticated(&self) -> bool {
        matches!(self.phase, Phase::Fresh | Phase::Open | Phase::Exchange(_) | Phase::Exchange2(_))
    }

    fn deadline(&self) -> Millis {
        self.opened.plus(AUTHENTICATION_MS_MAX)
    }
}
