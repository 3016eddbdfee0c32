//! Starting up: state is what the rows say, carried on by the log rows written since.

use super::api::Counters;
use super::cold::Cold;
use super::link::Link;
use super::parked::Parking;
use super::pep::Pep;
use super::presence;
use super::removal::Removal;
use super::rows::{DeviceRow, Rows, StreamRow};
use super::stream::{Device, Sent, Stream};
use super::transfer::Transfers;
use super::{Config, Csi, Effect, LinkState, Phase, RelayEngine};
use crate::entropy::Entropy;
use crate::gate::Gate;
use crate::id::{DeviceId, LinkId, StanzaSeq};
use crate::jid::Jid;
use crate::log::{Direction, Head, LogRow};
use crate::sm::{Handled, Window};
use crate::time::Millis;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

impl RelayEngine {
    /// Takes up where the store is, with the connections that outlived hibernation.
    pub fn load(now: Millis, rows: Rows, links: Vec<(LinkId, LinkState)>, config: Config) -> Self {
        let removed = rows.account.as_ref().is_some_and(|account| account.removed);
        let rows = if removed { rows_of_removed(rows) } else { rows };
        let begins = rows.account.as_ref().map_or(rows.marks.checkpoint, |account| account.begins);
        let last = rows.last.max(begins);
        let saved = rows.marks.transferred;
        let noted = rows.tail.last().map(|row| row.transferred).unwrap_or_default();
        let remembered = links.iter().map(|(_, state)| state.transferred).max().unwrap_or_default();
        let transferred = saved.max(noted).max(remembered);
        let mut engine = Self {
            entropy: Entropy::new(config.seed),
            now,
            gate: Gate::default(),
            account: rows.account,
            links: BTreeMap::new(),
            remembered: links.iter().cloned().collect(),
            to_remember: VecDeque::new(),
            devices: BTreeMap::new(),
            head: Head::at(last),
            in_flight_upto: last,
            repeats: None,
            peers: rows.peers.into_iter().collect(),
            peers_unsaved: BTreeSet::new(),
            contacts: rows.contacts.into_iter().map(|row| (row.jid.clone(), row)).collect(),
            transfers: Transfers::default(),
            marks: rows.marks,
            rates: Default::default(),
            backlog: None,
            pep: Pep::load(rows.nodes, rows.items),
            cold: Cold {
                last: rows.cold.max(begins.min(last)),
                moving: rows.moving,
                putting: None,
                look_at: Some(now),
            },
            parking: Parking::default(),
            removal: removed.then(|| Removal::begun(now)),
            poisoned: false,
            config,
        };
        for row in &rows.tail {
            engine.fold(row, transferred);
        }
        let mut there = Vec::new();
        for mut row in rows.devices {
            there.extend(row.there.take().map(|directed| (row.device.clone(), directed)));
            engine.load_device(row, &rows.tail);
        }
        for (link, state) in links {
            engine.load_link(link, state);
        }
        engine.owe_again();
        engine.note_lost(there);
        engine
    }

    fn fold(&mut self, row: &LogRow, transferred: StanzaSeq) {
        if row.direction == Direction::Back {
            self.transfers.forget_row(&row.peer, row.peer_seq);
        }
        if row.direction == Direction::In {
            let had = self.peers.entry(row.peer.clone()).or_default();
            if row.peer_seq > *had {
                *had = row.peer_seq;
                self.peers_unsaved.insert(row.peer.clone());
            }
        }
        if row.direction == Direction::Out && row.seq > transferred && row.peer != self.config.account {
            self.transfers.push_row(&row.peer, row.seq);
        }
    }

    fn load_device(&mut self, row: DeviceRow, tail: &[LogRow]) {
        let now = self.now;
        let stream = row.stream.map(|stream| restored(stream, tail, now));
        if let Some(stream) = &stream {
            self.marks.streams = self.marks.streams.max(stream.no);
            self.gate.load_count(stream.no, stream.handled);
        }
        let DeviceRow { device, cursor, taken, last_seen, name, named, agent, caps, .. } = row;
        self.devices.insert(device, Device { cursor, taken, last_seen, name, named, agent, caps, stream });
    }

    /// What was connected when the mailbox was last written, and is not any more: a stream begins to
    /// wait, once and not at every start; a device on a stream without acks has left.
    fn note_lost(&mut self, there: Vec<(DeviceId, Vec<Jid>)>) {
        for (id, directed) in there {
            match self.stream_mut(&id) {
                Some(stream) => stream.directed = directed.into_iter().collect(),
                None => {
                    self.put_device(&id);
                    self.presence_ended(&id, directed);
                }
            }
        }
        let since = |stream: &Stream| stream.link.is_none() && stream.suspended.is_none();
        let lost = self.devices.iter().filter(|(_, device)| device.stream.as_ref().is_some_and(since));
        for id in lost.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            let now = self.now;
            if let Some(stream) = self.stream_mut(&id) {
                stream.suspended = Some(now);
            }
            self.put_device(&id);
        }
    }

    /// A connection that was there before: its counters may be ahead of their rows.
    fn load_link(&mut self, link: LinkId, mut state: LinkState) {
        if let (Phase::Bound(id), Some(counters)) = (&state.phase, state.counters) {
            let csi = std::mem::take(&mut state.csi);
            self.marks.streams = self.marks.streams.max(counters.stream);
            let now = self.now;
            // Its device is gone or goes on elsewhere: the client must come again.
            let Some(device) = self.devices.get_mut(id) else {
                return self.gate.effect(Effect::Close(link, 1011));
            };
            match &mut device.stream {
                Some(stream) if stream.no == counters.stream => stream.take_counters(link, counters, now),
                // A stream without acks has no row.
                None if !counters.managed => {
                    let mut stream = Stream::new(counters.stream, link, counters.next, now);
                    stream.take_counters(link, counters, now);
                    device.stream = Some(stream);
                }
                _ => return self.gate.effect(Effect::Close(link, 1011)),
            }
            if let Some(stream) = &mut device.stream {
                stream.csi = csi;
                if stream.presence.as_deref() == Some("") {
                    let from = self.config.account.with_resource(id.as_str());
                    stream.presence = Some(presence::plain(&from, stream.priority).to_frame());
                }
            }
        }
        // The clock may have been set back while the connection slept.
        let opened = state.opened.min(self.now);
        let parked = state.parked;
        self.links.insert(link, Link::restore(LinkState { opened, ..state }));
        if parked {
            // What it said was lost, and it would never know: it must come again and say it again.
            self.close_link(link, None, 1011);
        }
    }
}

/// Of an account that is removed, only what others have yet to hear, and what is elsewhere, is still of
/// interest.
fn rows_of_removed(rows: Rows) -> Rows {
    let Rows { marks, mut contacts, tail, last, cold, moving, .. } = rows;
    contacts.retain(|contact| !contact.owed.is_empty());
    Rows { marks, contacts, tail, last, cold, moving, ..Rows::default() }
}

impl Stream {
    fn take_counters(&mut self, link: LinkId, counters: Counters, now: Millis) {
        self.link = Some(link);
        self.suspended = None;
        self.managed = counters.managed;
        self.handled = counters.handled;
        self.told = counters.told;
        self.next = counters.next;
        self.carbons = counters.carbons;
        self.held = counters.held;
        self.watches_blocklist = counters.watches_blocklist;
        self.interested = counters.interested;
        self.priority = counters.priority;
        self.flexible = counters.flexible;
        self.unrequested = counters.unrequested;
        self.requested = counters.requested.map(|at| at.min(now));
        if !counters.available {
            self.presence = None;
        } else if self.presence.is_none() {
            // A stream without acks has no row that says more.
            self.presence = Some(String::new());
        }
        let acked = self.window.acked();
        let entries = std::mem::take(&mut self.window).into_numbered();
        self.window = Window::restore(acked, counters.sent, entries);
        // What was acked since the row was written: one that is behind it changes nothing.
        let _ = counters.acked.map(|acked| self.window.ack(acked));
    }
}

/// A stream from its row and from what the log says since.
fn restored(row: StreamRow, tail: &[LogRow], now: Millis) -> Stream {
    let since = || tail.iter().filter(|logged| logged.seq > row.noted);
    let mut handled = row.handled;
    let mut next = row.next;
    let mut entries: Vec<(Handled, Sent)> =
        row.rows.iter().map(|(number, seq)| (*number, Sent::Row(*seq))).collect();
    let results = row.results.into_iter().map(|(number, row)| (number, Sent::Result(row)));
    entries.extend(results);
    entries.extend(row.stanzas.into_iter().map(|(number, text)| (number, Sent::Stanza(text))));
    for logged in since() {
        if let Some(source) = logged.source.as_ref().filter(|source| source.stream == row.no) {
            handled = source.handled;
        }
        if let Some(sent) = logged.sent.iter().find(|sent| sent.stream == row.no) {
            entries.push((sent.number, Sent::Row(logged.seq)));
            next = next.max(logged.seq.next());
        }
    }
    let newest = entries.iter().map(|(number, _)| number.since(row.acked)).max().unwrap_or_default();
    let sent_max = row.sent_max.since(row.acked).max(newest);
    let sent_max = Handled(row.acked.0.wrapping_add(sent_max));
    Stream {
        no: row.no,
        link: None,
        managed: true,
        sm_id_hash: row.sm_id_hash,
        handled,
        // Stanzas that were not worth a row may have been sent up to the lease.
        window: Window::recover(row.acked, sent_max, entries),
        sent_max,
        next,
        ahead: row.ahead,
        // Whether its connection is lost is known when those that are not are there.
        suspended: row.suspended,
        carbons: row.carbons,
        held: row.held,
        watches_blocklist: row.watches_blocklist,
        interested: row.interested,
        priority: row.presence.as_deref().map(presence::priority).unwrap_or_default(),
        flexible: row.flexible,
        presence: row.presence,
        directed: row.directed.into_iter().collect(),
        missed: row.missed.into_iter().collect(),
        unrequested: 0,
        requested: None,
        last_sent: now,
        ask_from: now,
        told: handled,
        last_heard: now,
        csi: Csi::default(),
    }
}
