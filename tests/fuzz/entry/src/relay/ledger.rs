//! What must be true of everything that leaves a mailbox, judged by what is committed.
//!
//! The rules are those of the guarantee: an `h` counts nothing that the disk does not have, nobody
//! is told of a row before it is there, what was accepted is never lost and never twice. They are
//! written here a second time, from the outside: from frames and rows, not from the engine's state.

use super::account;
use super::device::Devices;
use crate::differential::opinion;
use shared::cold::SegmentRow;
use shared::delivery::{Class, class};
use shared::id::{LinkId, OriginId, StanzaSeq};
use shared::jid::BareJid;
use shared::limits::{FRAME_BYTES_MAX, Limits};
use shared::log::{Direction, LogRow};
use shared::memory::MailboxStore;
use shared::relay::rows::Op;
use shared::relay::{CallId, LinkState, Phase, TransferReply, TransferRequest};
use shared::sm::Handled;
use shared::wire::{Element, ns, read_frame, stanza};
use std::collections::{BTreeMap, BTreeSet};

/// A message that a device sent on a stream and that the mailbox must keep.
struct Promise {
    stream: u64,
    number: Handled,
    origin: OriginId,
    to: BareJid,
}

/// A message's name, and whom it is for.
type Named = (OriginId, BareJid);

/// See the module.
pub struct Ledger {
    limits: Limits,
    /// The rows did not come from an engine: only what never depends on rows is checked.
    pub lenient: bool,
    /// What the clients know.
    pub devices: Devices,
    /// Stanzas that came in on each stream.
    received: BTreeMap<u64, Handled>,
    streams: BTreeMap<LinkId, u64>,
    /// A stanza that is being handled: where it came in, and what it promises.
    arriving: Option<(LinkId, u64, Option<Named>)>,
    ended: BTreeSet<LinkId>,
    told: BTreeMap<LinkId, Handled>,
    closed: BTreeSet<LinkId>,
    promises: Vec<Promise>,
    /// Own messages whose recipients' mailboxes have answered.
    settled: BTreeSet<StanzaSeq>,
    settled_upto: BTreeMap<BareJid, StanzaSeq>,
    calls: BTreeMap<CallId, (TransferRequest, StanzaSeq)>,
    /// Stanza-ids of ours have been forged by another mailbox, which is trusted not to do it.
    forged: bool,
}

impl Ledger {
    /// Nothing has happened.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lenient: false,
            devices: Devices::default(),
            received: BTreeMap::new(),
            streams: BTreeMap::new(),
            arriving: None,
            ended: BTreeSet::new(),
            told: BTreeMap::new(),
            closed: BTreeSet::new(),
            promises: Vec::new(),
            settled: BTreeSet::new(),
            settled_upto: BTreeMap::new(),
            calls: BTreeMap::new(),
            forged: false,
        }
    }

    /// An engine starts from these rows.
    pub fn loaded(&mut self, store: &MailboxStore) {
        self.received.clear();
        for stream in store.devices.values().filter_map(|device| device.stream.as_ref()) {
            let handled = durable(store, stream.no).unwrap_or_default();
            self.received.insert(stream.no, handled);
        }
        // What was sent beyond is sent again, under numbers that are given anew.
        let received = &self.received;
        self.promises.retain(|promise| {
            received.get(&promise.stream).is_some_and(|handled| reaches(*handled, promise.number))
        });
        self.calls.clear();
    }

    /// Every connection is gone.
    pub fn lost_links(&mut self) {
        self.streams.clear();
    }

    /// A device says something on a connection that was last remembered as this.
    pub fn heard(&mut self, link: LinkId, state: Option<&LinkState>, text: &str) {
        let Ok(element) = read_frame(text, FRAME_BYTES_MAX) else { return };
        self.devices.says(link, &element);
        let Some(LinkState { phase: Phase::Bound(_), counters: Some(counters), .. }) = state else { return };
        if !counters.managed || stanza::kind(&element).is_none() {
            return;
        }
        self.arriving = Some((link, counters.stream, promised(&element)));
    }

    /// What came in was handled. A stanza that the connection's counters do not show was not
    /// taken: the connection has ended, although that is not said yet.
    pub fn taken(&mut self) {
        self.ended.extend(self.arriving.take().map(|(link, ..)| link));
    }

    fn count(&mut self, link: LinkId, stream: u64) {
        assert!(!self.ended.contains(&link), "{link:?} has not counted a stanza, and goes on");
        let arrived = self.arriving.take_if(|(on, to, _)| *on == link && *to == stream);
        let Some((_, _, promise)) = arrived else { return };
        let handled = self.received.entry(stream).or_default();
        *handled = handled.next();
        let number = *handled;
        self.promises.extend(promise.map(|(origin, to)| Promise { stream, number, origin, to }));
    }

    /// The engine's own account of a connection.
    pub fn remembered(&mut self, link: LinkId, state: &LinkState) {
        let Some(counters) = &state.counters else { return };
        self.count(link, counters.stream);
        let is_new = self.streams.insert(link, counters.stream) != Some(counters.stream);
        if is_new || !counters.managed {
            self.told.remove(&link);
        }
        let received = self.received.entry(counters.stream).or_default();
        if self.lenient {
            *received = counters.handled;
        }
        if counters.managed {
            assert_eq!(counters.handled, *received, "{link:?} counts every stanza and nothing else");
        } else {
            *received = Handled::ZERO;
        }
    }

    /// A connection was closed.
    pub fn closed(&mut self, link: LinkId) {
        assert!(self.closed.insert(link), "{link:?} is closed twice");
    }

    /// A text leaves.
    pub fn sent(&mut self, link: LinkId, is_open: bool, text: &str, store: &MailboxStore) {
        assert!(!self.closed.contains(&link), "{text} after the end of {link:?}");
        let element = read_frame(text, usize::MAX).unwrap_or_else(|fault| panic!("{fault:?} in {text}"));
        if let Err(error) = opinion(text) {
            panic!("no client can read {text}: {error}");
        }
        if self.lenient {
            return;
        }
        if let Some(h) = element.attr("h").filter(|_| element.ns == ns::SM) {
            let h = Handled::parse(h).unwrap_or_else(|| panic!("{text}"));
            self.told(link, &element.name, h, store);
        }
        if !self.forged {
            for seq in ids(&element) {
                assert!(store.log.contains_key(&seq), "row {seq} is told before it is there: {text}");
            }
        }
        self.devices.hears(link, is_open, &element);
    }

    /// A count leaves.
    fn told(&mut self, link: LinkId, name: &str, h: Handled, store: &MailboxStore) {
        if name == "failed" {
            let any = store.devices.values().filter_map(|device| device.stream.as_ref());
            let counts: Vec<_> = any.filter_map(|stream| durable(store, stream.no)).collect();
            assert!(h == Handled::ZERO || counts.contains(&h), "{h} is the count of no stream: {counts:?}");
            return;
        }
        let Some(stream) = self.streams.get(&link) else { panic!("a count of nothing on {link:?}") };
        let received = self.received.get(stream).copied().unwrap_or_default();
        assert!(reaches(received, h), "{h} is told and {received} came in");
        if let Some(before) = self.told.insert(link, h) {
            assert!(reaches(h, before), "{link:?} was told {before}, then {h}");
        }
        let Some(durable) = durable(store, *stream) else {
            return assert_eq!(h, Handled::ZERO, "a stream without a row has a count");
        };
        assert!(reaches(durable, h), "{h} is told and {durable} is on the disk");
        let stream = *stream;
        let (kept, open): (Vec<_>, _) = std::mem::take(&mut self.promises)
            .into_iter()
            .partition(|promise| promise.stream == stream && reaches(h, promise.number));
        self.promises = open;
        for Promise { origin, to, number, .. } in kept {
            let is_it = |row: &LogRow| {
                row.peer == to && row.source.as_ref().is_some_and(|s| s.origin.as_ref() == Some(&origin))
            };
            assert!(store.log.values().any(is_it), "{h} is told, and {number}, {origin} to {to}, has no row");
        }
    }

    /// An operation is about to be applied.
    pub fn written(&mut self, op: &Op, store: &MailboxStore) {
        if self.lenient {
            return;
        }
        let cold = store.segments.values().map(|(row, _)| row.last).max().unwrap_or_default();
        let last = store.log.keys().next_back().copied().unwrap_or_default().max(cold);
        match op {
            Op::Append(row) => self.appended(row, last, store),
            Op::PutDevice(row) => {
                assert!(row.cursor <= last, "{row:?} has read beyond {last}");
                match store.devices.get(&row.device) {
                    Some(before) => assert!(row.cursor >= before.cursor, "{before:?} goes back to {row:?}"),
                    None => self.devices.begins(&row.device, row.cursor),
                }
            }
            Op::DeleteDevice(id) => self.devices.ends(id),
            Op::PutMarks(marks) => {
                assert!(marks.checkpoint <= last);
                self.assert_transferred(marks.transferred, store);
            }
            Op::PutAccount(row) => {
                assert!(row.removed || store.account.is_none(), "an account is made once");
            }
            Op::PutPeer(peer, seq) => {
                assert!(store.peers.get(peer).is_none_or(|before| before <= seq), "{peer} goes back");
            }
            Op::PutContact(_) | Op::DeleteContact(_) => {}
            Op::PutNode(_) | Op::DeleteNode(_) => {}
            Op::PutItem(row) => {
                assert!(store.nodes.contains_key(&row.node), "{row:?} is of no node");
                let newest = store.items.values().map(|item| item.order).max();
                assert!(newest < Some(row.order), "{row:?} is not the newest");
            }
            Op::DeleteItem(node, id) => {
                let key = (node.clone(), id.clone());
                assert!(store.items.contains_key(&key), "{key:?} is not there");
            }
            Op::PutSegment(row, _) => {
                let whole = (row.first.0..=row.last.0).all(|seq| store.log.contains_key(&StanzaSeq(seq)));
                assert!(whole, "{row:?} is of rows that are not in the log");
            }
            Op::DropLog(first, last) => {
                let is_it = |(row, _): &(SegmentRow, _)| row.first == *first && row.last == *last;
                assert!(store.segments.get(first).is_some_and(is_it), "{first} to {last} are nowhere else");
                let confirmed = store.devices.values().map(|row| row.cursor).min();
                assert!(confirmed >= Some(*last), "{last} is dropped, and {confirmed:?} is confirmed");
                self.assert_transferred(*last, store);
            }
            Op::PutMoving(_) | Op::ForgetSources(_) => {}
            // From the end of an account on, nothing is as it was.
            Op::DeleteSegment(_) | Op::Clear => self.lenient = true,
        }
    }

    fn appended(&mut self, row: &LogRow, last: StanzaSeq, store: &MailboxStore) {
        assert_eq!(row.seq, last.next(), "places are given in order");
        self.assert_transferred(row.transferred, store);
        if row.direction == Direction::Out || row.peer == account() {
            let stored = opinion(&row.stanza).is_ok() && read_frame(&row.stanza, usize::MAX).is_ok();
            assert!(stored, "what is kept cannot be read: {}", row.stanza);
        }
        let twins = || store.log.values().rev().filter(|other| other.direction == row.direction);
        let same_peer = |other: &&LogRow| other.peer == row.peer;
        match &row.source {
            None if row.peer_seq > StanzaSeq(0) => {
                let twin = twins().filter(same_peer).find(|other| other.peer_seq == row.peer_seq);
                assert_eq!(twin, None, "{} {} is kept twice", row.peer, row.peer_seq);
            }
            Some(source) if source.origin.is_some() => {
                let origin = |other: &LogRow| other.source.as_ref().and_then(|s| s.origin.clone());
                let remembered = twins().take(self.limits.dedup_entries_max.saturating_sub(1));
                let in_time = |at| row.at.since(at) < self.limits.dedup_horizon_ms;
                let mut twins = remembered.filter(|o| in_time(o.at) && origin(o) == source.origin);
                // An origin-id that was given to messages to several people is no name.
                if let Some(twin) = twins.next() {
                    let elsewhere = store.log.values().any(|o| origin(o) == source.origin && !same_peer(&o));
                    assert!(elsewhere || twin.peer != row.peer, "{:?} is kept twice", source.origin);
                }
            }
            _ => {}
        }
    }

    /// Whoever says that all up to `upto` has arrived elsewhere must have been told so.
    fn assert_transferred(&self, upto: StanzaSeq, store: &MailboxStore) {
        for row in store.log.range(..=upto).map(|(_, row)| row) {
            let elsewhere = row.direction == Direction::Out && row.peer != account();
            assert!(!elsewhere || self.is_settled(row), "{} was never answered", row.seq);
        }
    }

    /// A call to another mailbox leaves.
    pub fn transfers(&mut self, request: &TransferRequest, store: &MailboxStore) {
        assert!(!request.items.is_empty(), "a call without a message to {}", request.to);
        assert!(request.items.len() <= self.limits.transfer_items_max);
        assert_eq!(request.from, account());
        if self.lenient {
            return;
        }
        let places: Vec<StanzaSeq> =
            request.items.iter().map(|item| item.seq).filter(|seq| *seq > StanzaSeq(0)).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?} out of order");
        for item in request.items.iter().filter(|item| item.seq > StanzaSeq(0)) {
            let row = store.log.get(&item.seq).unwrap_or_else(|| panic!("{} leaves first", item.seq));
            assert!(row.direction == Direction::Out && row.peer == request.to && row.stanza == item.stanza);
        }
        for row in store.log.range(..=request.upto()).map(|(_, row)| row) {
            let skipped = row.direction == Direction::Out
                && row.peer == request.to
                && !places.contains(&row.seq)
                && !self.is_settled(row);
            assert!(!skipped, "{} is passed over for {places:?}", row.seq);
        }
    }

    /// Another mailbox has answered, or everything it was asked is known to be done.
    pub fn settled(&mut self, request: &TransferRequest) {
        self.settled.extend(request.items.iter().map(|item| item.seq));
    }

    /// Somebody answers for everything up to a place, whether he was asked or not.
    pub fn settled_upto(&mut self, peer: &BareJid, upto: StanzaSeq) {
        let before = self.settled_upto.entry(peer.clone()).or_default();
        *before = upto.max(*before);
    }

    fn is_settled(&self, row: &LogRow) -> bool {
        let upto = self.settled_upto.get(&row.peer).copied().unwrap_or_default();
        row.seq <= upto || self.settled.contains(&row.seq)
    }

    /// Own messages that no other mailbox has answered for.
    pub fn unsettled(&self, store: &MailboxStore) -> Vec<StanzaSeq> {
        let elsewhere = store.log.values().filter(|r| r.direction == Direction::Out && r.peer != account());
        elsewhere.filter(|row| !self.is_settled(row)).map(|row| row.seq).collect()
    }

    /// Another mailbox calls.
    pub fn called(&mut self, call: CallId, request: &TransferRequest, store: &MailboxStore) {
        let no_message = |text: &str| {
            read_frame(text, usize::MAX).is_ok_and(|item| stanza::kind(&item) != Some(stanza::Kind::Message))
        };
        if request.items.iter().any(|item| no_message(&item.stanza)) {
            self.devices.distrust();
        }
        self.forged |= request.items.iter().any(|item| item.stanza.contains("sid:0"));
        let others = self.calls.values().filter(|(other, _)| other.from == request.from);
        let under_way = others.map(|(other, _)| other.upto()).max().unwrap_or_default();
        let had = accepted(store, &request.from).max(under_way);
        self.calls.insert(call, (request.clone(), had));
    }

    /// The mailbox answers.
    pub fn replied(&mut self, call: CallId, reply: TransferReply, store: &MailboxStore) {
        let Some((request, had)) = self.calls.remove(&call) else { panic!("{call:?} has two answers") };
        if self.lenient || reply != TransferReply::Accepted {
            return;
        }
        let mut had = had;
        for item in request.items.iter().filter(|item| item.seq > StanzaSeq(0)) {
            if item.seq <= had {
                continue;
            }
            had = item.seq;
            let is_it = |row: &&LogRow| row.peer == request.from && row.peer_seq == item.seq;
            assert!(store.log.values().any(|row| is_it(&row)), "{} was accepted and has no row", item.seq);
        }
    }
}

/// Up to which place of its log a mailbox's messages are kept here.
fn accepted(store: &MailboxStore, peer: &BareJid) -> StanzaSeq {
    let rows = store.log.values().filter(|row| row.direction == Direction::In && row.peer == *peer);
    let mark = store.peers.get(peer).copied();
    rows.map(|row| row.peer_seq).chain(mark).max().unwrap_or_default()
}

/// How many stanzas of a stream an engine would know of that started from these rows.
fn durable(store: &MailboxStore, no: u64) -> Option<Handled> {
    let streams = store.devices.values().filter_map(|device| device.stream.as_ref());
    let row = streams.into_iter().find(|stream| stream.no == no)?;
    let mut noted =
        store.log.range(row.noted.next()..).rev().filter_map(|(_, logged)| logged.source.as_ref());
    Some(noted.find(|source| source.stream == no).map_or(row.handled, |source| source.handled))
}

/// Whether a count covers a number, modulo 2³².
fn reaches(count: Handled, number: Handled) -> bool {
    count.since(number) < 1 << 31
}

/// The name and recipient of a message that a mailbox must keep once it has counted it.
fn promised(element: &Element) -> Option<(OriginId, BareJid)> {
    let is_message = stanza::kind(element) == Some(stanza::Kind::Message);
    if !is_message || class(element) != Class::Durable || element.to_frame().len() > FRAME_BYTES_MAX / 2 {
        return None;
    }
    let to = stanza::address(element, "to").ok()?.map_or_else(account, |jid| jid.bare);
    let local = to.local().is_some() && to.domain() == "d";
    // What only a server may say is taken out, and with it perhaps all there was.
    let has_body = stanza::body(element).is_some();
    Some((stanza::origin_id(element)?, to)).filter(|_| local && has_body)
}

/// The places in our log that a frame speaks of.
fn ids(element: &Element) -> Vec<StanzaSeq> {
    let own = account();
    let mut inner = element;
    for kind in ["sent", "received"] {
        let carbon =
            element.child(ns::CARBONS, kind).and_then(|carbon| carbon.child(ns::FORWARD, "forwarded"));
        inner = carbon.and_then(|forwarded| forwarded.child(ns::CLIENT, "message")).unwrap_or(inner);
    }
    let ours =
        |child: &&Element| child.is(ns::STANZA_ID, "stanza-id") && child.attr("by") == Some(own.as_str());
    let stamped = inner.children().filter(ours).last().and_then(|child| child.attr("id"));
    let accepted = element.child(ns::ACCEPTED, "accepted").and_then(|child| child.attr("stanza-id"));
    let numbers = stamped.into_iter().chain(accepted);
    numbers.filter_map(|id| id.parse().ok().map(StanzaSeq)).collect()
}

/// The place of a message in our log, if it is one and not a receipt for one.
pub fn place(element: &Element) -> Option<StanzaSeq> {
    if element.child(ns::ACCEPTED, "accepted").is_some() {
        return None;
    }
    ids(element).first().copied()
}
