//! A device and its stream: the window of what it has not acked, its reading of the log, and
//! when it is asked for an ack (XEP-0198 §4).
//!
//! What a stream has sent is known after a crash from two places: the stream's row, and the log
//! rows appended after it, each of which says on which streams it was sent and under which
//! number. Only what is sent outside of an append costs a row of its own, and that row is
//! written before the frames leave.

use super::archive;
use super::rows::{DeviceRow, Op, ResultRow, StreamRow};
use super::{Counters, Effect, LogStore, RelayEngine};
use crate::bad::{self, Bug};
use crate::delivery::{self, Reader};
use crate::id::{DeviceId, LinkId, StanzaSeq};
use crate::limits::Limits;
use crate::log::LogRow;
use crate::sm::{Handled, Window};
use crate::time::Millis;
use crate::wire::error::StreamCondition;
use crate::wire::{Element, ns};
use std::collections::BTreeMap;

/// One of the account's devices.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) cursor: StanzaSeq,
    pub(super) last_seen: Millis,
    pub(super) name: Option<String>,
    pub(super) named: bool,
    pub(super) stream: Option<Stream>,
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
    pub(super) suspended: Option<Millis>,
    pub(super) carbons: bool,
    /// Nothing of the log is sent by itself: the device takes it in pages.
    pub(super) held: bool,
    pub(super) watches_blocklist: bool,
    pub(super) presence: Option<String>,
    pub(super) unrequested: u32,
    pub(super) requested: Option<Millis>,
    pub(super) last_sent: Millis,
    /// No ack is asked for before, unless more is sent.
    pub(super) ask_from: Millis,
    /// The newest count the device was told, and when the last stanza came.
    pub(super) told: Handled,
    pub(super) last_heard: Millis,
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
            suspended: None,
            carbons: false,
            held: false,
            watches_blocklist: false,
            presence: None,
            unrequested: 0,
            requested: None,
            last_sent: now,
            ask_from: now,
            told: Handled::ZERO,
            last_heard: now,
        }
    }

    pub(super) fn pull(&mut self, ms: u64) {
        self.last_sent = self.last_sent.minus(ms);
        self.ask_from = self.ask_from.minus(ms);
        self.last_heard = self.last_heard.minus(ms);
        self.requested = self.requested.map(|at| at.minus(ms));
        self.suspended = self.suspended.map(|since| since.minus(ms));
    }

    pub(super) fn deadline(&self, durable: Handled, limits: &Limits) -> Option<Millis> {
        self.link?;
        [self.ack_deadline(limits), self.tell_deadline(durable, limits)].into_iter().flatten().min()
    }

    /// When an ack request is due, or given up.
    fn ack_deadline(&self, limits: &Limits) -> Option<Millis> {
        match self.requested {
            Some(at) => Some(at.plus(limits.ack_timeout_ms)),
            None => (self.managed && self.window.outstanding() > 0)
                .then(|| self.last_sent.plus(limits.ack_idle_ms).max(self.ask_from)),
        }
    }

    /// When a device that does not ask is told what is on disk (XEP-0198 §4 allows it at any
    /// time): its last messages would otherwise look unsent until it writes again.
    fn tell_deadline(&self, durable: Handled, limits: &Limits) -> Option<Millis> {
        (self.managed && self.told != durable).then(|| self.last_heard.plus(limits.tell_idle_ms))
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
        }
    }

    /// Whether the log flows to this device now.
    fn reads(&self) -> Option<LinkId> {
        self.link.filter(|_| self.presence.is_some() && !self.held)
    }

    fn has_room(&self, limits: &Limits) -> bool {
        bad::is(Bug::WindowIgnored) || (self.window.outstanding() as usize) < limits.window_stanzas_max
    }

    /// Whether more has piled up for the device than it will be given without acking any of it.
    /// Whoever asks and does not take the answers would otherwise fill the stream's row.
    pub(super) fn is_behind(&self, limits: &Limits) -> bool {
        let (mut kept, mut paged) = (0usize, 0u64);
        for (_, sent) in self.window.entries() {
            match sent {
                Sent::Row(_) => {}
                Sent::Result(row) => paged = paged.saturating_add(row.bytes),
                Sent::Stanza(text) => kept = kept.saturating_add(text.len()),
            }
        }
        let much =
            self.owes_acks(limits) || kept >= limits.kept_bytes_max || paged >= limits.unacked_page_bytes_max;
        much && !bad::is(Bug::AnswersPileUp)
    }

    fn owes_acks(&self, limits: &Limits) -> bool {
        self.window.outstanding() >= limits.unacked_stanzas_max
    }

    /// Everything before this place is confirmed.
    pub(super) fn confirmed(&self) -> StanzaSeq {
        let first = self.window.entries().find_map(|(_, sent)| match sent {
            Sent::Row(seq) => Some(*seq),
            Sent::Result(_) | Sent::Stanza(_) => None,
        });
        let first = first.filter(|_| !bad::is(Bug::CursorMovedOnSend));
        StanzaSeq(first.unwrap_or(self.next).0.saturating_sub(1))
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
            suspended: self.suspended,
            carbons: self.carbons,
            held: self.held,
            watches_blocklist: self.watches_blocklist,
            presence: self.presence.clone(),
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
            stream: device.stream.as_ref().filter(|s| s.managed).map(|s| s.row(noted)),
            last_seen: device.last_seen,
            name: device.name.clone(),
            named: device.named,
        };
        self.gate.write(Op::PutDevice(row));
    }

    pub(super) fn stream_mut(&mut self, id: &DeviceId) -> Option<&mut Stream> {
        self.devices.get_mut(id)?.stream.as_mut()
    }

    /// The device's `<a/>`: a receipt moves the cursor.
    pub(super) fn acked(
        &mut self,
        id: &DeviceId,
        ack: &Element,
        log: &dyn LogStore,
    ) -> Result<(), StreamCondition> {
        let Some(h) = ack.attr("h").and_then(Handled::parse) else { return Err(StreamCondition::BadFormat) };
        let Some(device) = self.devices.get_mut(id) else { return Ok(()) };
        let Some(stream) = device.stream.as_mut().filter(|stream| stream.managed) else { return Ok(()) };
        let before = stream.window.acked();
        stream
            .window
            .ack(h)
            .map_err(|fault| StreamCondition::HandledCountTooHigh(fault.handled.0, fault.sent.0))?;
        stream.requested = None;
        // What was acked unasked need not be asked for.
        stream.unrequested = stream.unrequested.min(stream.window.outstanding());
        // Who has nothing new to say is not asked again and again: it may have lost count.
        let limits = self.config.limits;
        stream.ask_from = if h == before { self.now.plus(limits.ack_timeout_ms) } else { self.now };
        let confirmed = stream.confirmed();
        if confirmed > device.cursor {
            device.cursor = confirmed;
            self.put_device(id);
        }
        self.flush(id, log);
        self.request_ack(id);
        Ok(())
    }

    /// The device asks what we have: what is not durable yet is made so first.
    pub(super) fn ack_requested(&mut self, link: LinkId, id: &DeviceId) {
        let Some(stream) = self.stream_mut(id).filter(|stream| stream.managed) else { return };
        let (no, handled) = (stream.no, stream.handled);
        if bad::is(Bug::RelayAcksOnParse) {
            let ack = Element::new(ns::SM, "a").with_attr("h", handled.to_string());
            return self.send_element(link, &ack);
        }
        if self.gate.durable(no).handled() != handled {
            self.put_device(id);
        }
        if let Some(stream) = self.stream_mut(id) {
            stream.told = handled;
        }
        self.gate.effect(Effect::Ack(link, no));
    }

    /// Sends a device what waits for it in the log, as much as its window takes.
    pub(super) fn flush(&mut self, id: &DeviceId, log: &dyn LogStore) {
        let account = self.config.account.clone();
        let limits = self.config.limits;
        let last = self.head.last();
        let Some(device) = self.devices.get_mut(id) else { return };
        let Some(stream) = device.stream.as_mut() else { return };
        let Some(link) = stream.reads() else { return };
        let mut frames = Vec::new();
        while stream.next <= last && stream.has_room(&limits) {
            let after = StanzaSeq(stream.next.0.saturating_sub(1));
            let rows = self.head.page(log, after, limits.window_stanzas_max);
            if rows.is_empty() {
                break;
            }
            for row in rows {
                if !stream.has_room(&limits) {
                    break;
                }
                stream.next = row.seq.next();
                let reader = Reader { account: &account, device: id, carbons: stream.carbons, late: true };
                if let Some(message) = delivery::view(&row, reader) {
                    frames.push(message.to_frame());
                    if stream.managed {
                        stream.window.push(Sent::Row(row.seq));
                    }
                }
            }
        }
        device.cursor = device.cursor.max(stream.confirmed());
        if frames.is_empty() {
            return;
        }
        self.put_device(id);
        self.send_frames(id, link, frames);
    }

    /// Sends what has its numbers, and the row that says so.
    fn send_frames(&mut self, id: &DeviceId, link: LinkId, frames: Vec<String>) {
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
        let (now, limits) = (self.now, self.config.limits);
        let Some(stream) = self.stream_mut(id) else { return };
        let Some(link) = stream.link else { return };
        if !keep && stream.owes_acks(&limits) {
            return;
        }
        let frame = element.to_frame();
        // An answer to a request that is mostly its own `id` is not worth more than all others.
        let keep = keep && frame.len() <= limits.kept_bytes_max;
        if stream.managed {
            let number =
                if keep { stream.window.push(Sent::Stanza(frame.clone())) } else { stream.window.skip() };
            stream.unrequested = stream.unrequested.saturating_add(1);
            stream.last_sent = now;
            // XEP-0198 §5: a number that was used must be known when the stream is resumed.
            let beyond_lease =
                number.since(stream.window.acked()) > stream.sent_max.since(stream.window.acked());
            if keep || (beyond_lease && !bad::is(Bug::LeaseIgnored)) {
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

    /// Sends the results of a query and then its answer: all of them, or nothing of it is known.
    pub(super) fn send_page(&mut self, id: &DeviceId, rows: &[LogRow], query: &str, answer: &Element) {
        let to = self.config.account.with_resource(id.as_str());
        let result = |row: &LogRow| {
            let kept = ResultRow { seq: row.seq, bytes: row.stanza.len() as u64, query: query.to_owned() };
            Some((Sent::Result(kept), archive::result(row, &to, query)?.to_frame()))
        };
        let answer = answer.to_frame();
        let mut page: Vec<(Sent, String)> = rows.iter().filter_map(result).collect();
        page.push((Sent::Stanza(answer.clone()), answer));
        let Some(stream) = self.stream_mut(id) else { return };
        let Some(link) = stream.link else { return };
        let mut frames = Vec::new();
        for (sent, frame) in page {
            frames.push(frame);
            if stream.managed {
                stream.window.push(sent);
            }
        }
        if stream.managed {
            self.put_device(id);
        }
        self.send_frames(id, link, frames);
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
                Some(archive::result(&row, &account.with_resource(id.as_str()), &result.query)?.to_frame())
            }
            Sent::Row(seq) => {
                let row = self.head.row(log, seq)?;
                let reader = Reader { account, device: id, carbons, late: true };
                Some(delivery::view(&row, reader)?.to_frame())
            }
        }
    }

    pub(super) fn request_ack(&mut self, id: &DeviceId) {
        let (now, limits) = (self.now, self.config.limits);
        let Some(stream) = self.stream_mut(id) else { return };
        let Some(link) = stream.link else { return };
        // What waits for room waits for an ack.
        let due = stream.unrequested >= limits.ack_every_stanzas
            || !stream.has_room(&limits) && stream.ask_from <= now;
        if !stream.managed || stream.requested.is_some() || !due {
            return;
        }
        stream.requested = Some(now);
        stream.unrequested = 0;
        self.send_element(link, &Element::new(ns::SM, "r"));
    }

    /// Ack requests that are due, devices that left one unanswered (R12), and acks nobody asked
    /// for.
    pub(super) fn streams_on_time(&mut self) {
        let (now, limits) = (self.now, self.config.limits);
        let due = |deadline: Option<Millis>| deadline.is_some_and(|at| at <= now);
        let mut ask = Vec::new();
        for (id, device) in &mut self.devices {
            let Some(stream) = device.stream.as_mut() else { continue };
            let Some(link) = stream.link else { continue };
            if due(stream.ack_deadline(&limits)) {
                ask.push((id.clone(), link, stream.requested.is_some()));
            }
            let durable = self.gate.durable(stream.no).handled();
            if due(stream.tell_deadline(durable, &limits)) {
                stream.told = durable;
                self.gate.effect(Effect::Ack(link, stream.no));
            }
        }
        for (id, link, unanswered) in ask {
            if unanswered {
                self.close_link(link, Some(StreamCondition::ConnectionTimeout), 1000);
            } else if let Some(stream) = self.stream_mut(&id) {
                stream.requested = Some(now);
                stream.unrequested = 0;
                self.send_element(link, &Element::new(ns::SM, "r"));
            }
        }
    }
}
