//! A device and its stream: the window of what it has not acked, and its place in the log.
//!
//! What a stream has sent is known after a crash from two places: the stream's row, and the log
//! rows appended after it, each of which says on which streams it was sent and under which
//! number. Only what is sent outside of an append costs a row of its own, and that row is
//! written before the frames leave.

use super::archive;
use super::rows::{AgentRow, CapsRow, DeviceRow, Op, ResultRow, StreamRow};
use super::{Counters, Csi, Effect, Flexible, LogStore, RelayEngine, Taken};
use crate::bad::{self, Bug};
use crate::delivery::{self, Reader};
use crate::id::{DeviceId, LinkId, StanzaSeq};
use crate::jid::Jid;
use crate::limits::Limits;
use crate::log::LogRow;
use crate::sm::{Handled, Window};
use crate::time::Millis;
use crate::wire::Element;
use std::collections::{BTreeMap, BTreeSet};

/// One of the account's devices.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) cursor: StanzaSeq,
    pub(super) taken: Taken,
    pub(super) last_seen: Millis,
    pub(super) name: Option<String>,
    pub(super) named: bool,
    pub(super) agent: Option<AgentRow>,
    pub(super) caps: Option<CapsRow>,
    pub(super) stream: Option<Stream>,
}

impl Device {
    /// Whether it is away, and its stream cannot be resumed any more.
    pub(super) fn is_idle(&self, now: Millis, limits: &Limits) -> bool {
        let over = |since: Millis| now.since(since) > limits.resume_window_ms;
        self.stream.as_ref().is_none_or(|stream| stream.suspended.is_some_and(over))
    }
}

/// What was sent and waits for an ack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// A row of the log, as the queue of the device.
    Row(StanzaSeq),
    /// A row of the log, as the answer to a query.
    Result(ResultRow),
    /// Anything else.
    Stanza(String),
}

/// Whether what is sent is sent again if the stream is resumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keep {
    /// No: it is stale by then.
    Not,
    /// Yes, unless the relay dies before the stream's row is next written.
    WithNextRow,
    /// Yes; it leaves once that is on disk.
    Durably,
}

/// A device's stream, connected or waiting to be resumed.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) no: u64,
    pub(super) link: Option<LinkId>,
    pub(super) managed: bool,
    pub(super) sm_id_hash: String,
    pub(super) handled: Handled,
    pub(super) window: Window<Sent>,
    pub(super) sent_max: Handled,
    pub(super) next: StanzaSeq,
    pub(super) ahead: StanzaSeq,
    pub(super) suspended: Option<Millis>,
    pub(super) carbons: bool,
    /// Nothing of the log is sent by itself: the device takes it in pages.
    pub(super) held: bool,
    pub(super) watches_blocklist: bool,
    pub(super) interested: bool,
    pub(super) flexible: Flexible,
    pub(super) presence: Option<String>,
    pub(super) priority: i8,
    /// Whom else it has sent its presence to.
    pub(super) directed: BTreeSet<Jid>,
    /// Presence of others that it could not be sent: the newest of each.
    pub(super) missed: BTreeMap<Jid, String>,
    pub(super) unrequested: u32,
    pub(super) requested: Option<Millis>,
    pub(super) last_sent: Millis,
    /// No ack is asked for before, unless more is sent.
    pub(super) ask_from: Millis,
    /// The newest count the device was told, and when the last stanza came.
    pub(super) told: Handled,
    pub(super) last_heard: Millis,
    pub(super) csi: Csi,
}

impl Stream {
    pub(super) fn new(no: u64, link: LinkId, next: StanzaSeq, now: Millis) -> Self {
        Self {
            no,
            link: Some(link),
            managed: false,
            sm_id_hash: String::new(),
            handled: Handled::ZERO,
            window: Window::default(),
            sent_max: Handled::ZERO,
            next,
            ahead: StanzaSeq(0),
            suspended: None,
            carbons: false,
            held: false,
            watches_blocklist: false,
            interested: false,
            flexible: Flexible::default(),
            presence: None,
            priority: 0,
            directed: BTreeSet::new(),
            missed: BTreeMap::new(),
            unrequested: 0,
            requested: None,
            last_sent: now,
            ask_from: now,
            told: Handled::ZERO,
            last_heard: now,
            csi: Csi::default(),
        }
    }

    pub(super) fn pull(&mut self, ms: u64) {
        self.last_sent = self.last_sent.minus(ms);
        self.ask_from = self.ask_from.minus(ms);
        self.last_heard = self.last_heard.minus(ms);
        self.requested = self.requested.map(|at| at.minus(ms));
        self.suspended = self.suspended.map(|since| since.minus(ms));
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            handled: self.handled,
            told: self.told,
            sent: self.window.sent(),
            next: self.next,
            unrequested: self.unrequested,
            acked: Some(self.window.acked()),
            requested: self.requested,
            managed: self.managed,
            stream: self.no,
            carbons: self.carbons,
            available: self.presence.is_some(),
            held: self.held,
            watches_blocklist: self.watches_blocklist,
            interested: self.interested,
            priority: self.priority,
            flexible: self.flexible,
        }
    }

    /// Whether the log flows to this device now.
    pub(super) fn reads(&self) -> Option<LinkId> {
        self.link.filter(|_| self.listens() && !self.held)
    }

    /// Whether its device wants what is sent to the account (RFC 6121 §8.5.2.1.1).
    pub(super) fn listens(&self) -> bool {
        self.presence.is_some() && self.priority >= 0
    }

    pub(super) fn has_room(&self, limits: &Limits) -> bool {
        self.room(limits) > 0
    }

    /// Whether more has piled up for the device than it will be given without acking any of it.
    /// Whoever asks and does not take the answers would otherwise fill the stream's row.
    pub(super) fn is_behind(&self, limits: &Limits) -> bool {
        let (kept, paged) = self.piled_up();
        let much =
            self.owes_acks(limits) || kept >= limits.kept_bytes_max || paged >= limits.unacked_page_bytes_max;
        much && !bad::is(Bug::AnswersPileUp)
    }

    /// Whether there is room for what others say without being asked: well before its device is not
    /// heard any more.
    pub(super) fn has_room_for_others(&self, limits: &Limits) -> bool {
        !self.is_behind(limits) && self.piled_up().0 < limits.kept_bytes_max / 2
    }

    /// Bytes that are kept beside the log, and bytes of pages, not yet acked.
    fn piled_up(&self) -> (usize, u64) {
        let (mut kept, mut paged) = (0usize, 0u64);
        for (_, sent) in self.window.entries() {
            match sent {
                Sent::Row(_) => {}
                Sent::Result(row) => paged = paged.saturating_add(row.bytes),
                Sent::Stanza(text) => kept = kept.saturating_add(text.len()),
            }
        }
        (kept, paged)
    }

    pub(super) fn owes_acks(&self, limits: &Limits) -> bool {
        self.window.outstanding() >= limits.unacked_stanzas_max
    }

    /// Everything before this place is confirmed.
    pub(super) fn confirmed(&self) -> StanzaSeq {
        // Not the first: what was sent ahead may stand before what it was sent ahead of.
        let first = self.rows().min().filter(|_| !bad::is(Bug::CursorMovedOnSend));
        StanzaSeq(first.map_or(self.next, |first| first.min(self.next)).0.saturating_sub(1))
    }

    /// The rows of the log that were sent as the device's queue and not acked.
    pub(super) fn rows(&self) -> impl Iterator<Item = StanzaSeq> {
        self.window.entries().filter_map(|(_, sent)| match sent {
            Sent::Row(seq) => Some(*seq),
            Sent::Result(_) | Sent::Stanza(_) => None,
        })
    }

    /// Whom a stream that has no row has sent its presence to, if it has.
    fn there_without_acks(&self) -> Option<Vec<Jid>> {
        (!self.managed && self.presence.is_some()).then(|| self.directed.iter().cloned().collect())
    }

    fn row(&self, noted: StanzaSeq) -> StreamRow {
        let (mut rows, mut results, mut stanzas) = (Vec::new(), Vec::new(), Vec::new());
        for (number, sent) in self.window.entries() {
            match sent {
                Sent::Row(seq) => rows.push((number, *seq)),
                Sent::Result(row) => results.push((number, row.clone())),
                Sent::Stanza(text) => stanzas.push((number, text.clone())),
            }
        }
        StreamRow {
            no: self.no,
            sm_id_hash: self.sm_id_hash.clone(),
            handled: self.handled,
            acked: self.window.acked(),
            sent_max: self.sent_max,
            rows,
            results,
            stanzas,
            noted,
            next: self.next,
            ahead: self.ahead,
            suspended: self.suspended,
            carbons: self.carbons,
            held: self.held,
            watches_blocklist: self.watches_blocklist,
            interested: self.interested,
            flexible: self.flexible,
            presence: self.presence.clone(),
            directed: self.directed.iter().cloned().collect(),
            missed: self.missed.iter().map(|(from, frame)| (from.clone(), frame.clone())).collect(),
        }
    }
}

impl RelayEngine {
    /// Writes all that is known of a device, and with it its stream's counters.
    pub(super) fn put_device(&mut self, id: &DeviceId) {
        let noted = self.head.last();
        let lease = self.config.limits.sent_lease_stanzas;
        let Some(device) = self.devices.get_mut(id) else { return };
        if let Some(stream) = device.stream.as_mut().filter(|stream| stream.managed) {
            stream.sent_max = Handled(stream.window.sent().0.wrapping_add(lease));
            self.gate.count(stream.no, stream.handled);
        }
        let row = DeviceRow {
            device: id.clone(),
            cursor: device.cursor,
            taken: device.taken.clone(),
            stream: device.stream.as_ref().filter(|s| s.managed).map(|s| s.row(noted)),
            last_seen: device.last_seen,
            name: device.name.clone(),
            named: device.named,
            agent: device.agent.clone(),
            caps: device.caps.clone(),
            there: device.stream.as_ref().and_then(Stream::there_without_acks),
        };
        self.gate.write(Op::PutDevice(row));
    }

    pub(super) fn stream_mut(&mut self, id: &DeviceId) -> Option<&mut Stream> {
        self.devices.get_mut(id)?.stream.as_mut()
    }

    /// Sends what has its numbers, and the row that says so.
    pub(super) fn send_frames(&mut self, id: &DeviceId, link: LinkId, frames: Vec<String>) {
        let now = self.now;
        if let Some(stream) = self.stream_mut(id) {
            stream.unrequested = stream.unrequested.saturating_add(frames.len() as u32);
            stream.last_sent = now;
        }
        for frame in frames {
            self.gate.effect(Effect::Frame(link, frame));
        }
        self.request_ack(id);
    }

    /// Sends a new row to every device that has read all before it. Returns the frames to
    /// queue once the row is written, and notes in the row what was sent where.
    pub(super) fn fan_out(&mut self, row: &mut LogRow) -> Vec<(DeviceId, LinkId, String)> {
        let limits = self.config.limits;
        let mut frames = Vec::new();
        for (id, device) in &mut self.devices {
            let Some(stream) = device.stream.as_mut() else { continue };
            let Some(link) = stream.reads() else { continue };
            if stream.next != row.seq || !stream.has_room(&limits) {
                continue;
            }
            stream.next = row.seq.next();
            let reader =
                Reader { account: &self.config.account, device: id, carbons: stream.carbons, late: false };
            let Some(message) = delivery::view(row, reader) else { continue };
            if stream.managed {
                let number = stream.window.push(Sent::Row(row.seq));
                row.sent.push(crate::log::SentOn { stream: stream.no, number });
            }
            stream.unrequested = stream.unrequested.saturating_add(1);
            stream.last_sent = self.now;
            frames.push((id.clone(), link, message.to_frame()));
        }
        frames
    }

    /// Sends a stanza that is not a log row. `keep`: it is sent again if the stream is resumed,
    /// even by a relay that was restarted. What is not kept is not sent either to a device that
    /// takes nothing: each number it is given must be sent again when it comes back.
    pub(super) fn send_stanza(&mut self, id: &DeviceId, element: &Element, keep: bool) {
        if !self.hold_state(id, element) {
            self.send_kept(id, element, if keep { Keep::Durably } else { Keep::Not });
        }
    }

    /// The same, whatever the device's state.
    pub(super) fn send_kept(&mut self, id: &DeviceId, element: &Element, keep: Keep) {
        let (now, limits) = (self.now, self.config.limits);
        let Some(stream) = self.stream_mut(id) else { return };
        let Some(link) = stream.link else { return };
        if keep == Keep::Not && stream.owes_acks(&limits) {
            return;
        }
        let frame = element.to_frame();
        // An answer to a request that is mostly its own `id` is not worth more than all others.
        let keep = if frame.len() <= limits.kept_bytes_max { keep } else { Keep::Not };
        if stream.managed {
            let number = match keep {
                Keep::Not => stream.window.skip(),
                Keep::WithNextRow | Keep::Durably => stream.window.push(Sent::Stanza(frame.clone())),
            };
            stream.unrequested = stream.unrequested.saturating_add(1);
            stream.last_sent = now;
            // XEP-0198 §5: a number that was used must be known when the stream is resumed.
            let beyond_lease =
                number.since(stream.window.acked()) > stream.sent_max.since(stream.window.acked());
            if keep == Keep::Durably || (beyond_lease && !bad::is(Bug::LeaseIgnored)) {
                self.put_device(id);
            }
        }
        self.gate.effect(Effect::Frame(link, frame));
        self.request_ack(id);
    }

    /// Sends what nobody asked for now, and keeps it for a stream that waits to be resumed. One
    /// that has no room for it is over: its device must learn everything anew.
    pub(super) fn push_stanza(&mut self, id: &DeviceId, element: &Element) {
        let limits = self.config.limits;
        let Some(stream) = self.stream_mut(id) else { return };
        if stream.link.is_some() || !stream.managed {
            return self.send_stanza(id, element, true);
        }
        if stream.is_behind(&limits) {
            return self.end_stream(id);
        }
        stream.window.push(Sent::Stanza(element.to_frame()));
        self.put_device(id);
    }

    /// What a device is sent under a number. `rows`: those that are not in the log any more.
    pub(super) fn frame_of(
        &self,
        id: &DeviceId,
        sent: Sent,
        carbons: bool,
        rows: &BTreeMap<StanzaSeq, LogRow>,
        log: &dyn LogStore,
    ) -> Option<String> {
        let account = &self.config.account;
        match sent {
            Sent::Stanza(text) => Some(text),
            Sent::Result(result) => {
                let row = rows.get(&result.seq).cloned().or_else(|| self.head.row(log, result.seq))?;
                if result.offline {
                    return Some(self.listed(id, &row)?.to_frame());
                }
                Some(archive::result(&row, &account.with_resource(id.as_str()), &result.query)?.to_frame())
            }
            Sent::Row(seq) => {
                let row = self.head.row(log, seq)?;
                let reader = Reader { account, device: id, carbons, late: true };
                Some(delivery::view(&row, reader)?.to_frame())
            }
        }
    }
}
