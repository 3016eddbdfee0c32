//! A device and its stream: binding, stream management, the window of what it has not acked,
//! and its reading of the log (XEP-0198, RFC 6120 §7).
//!
//! What a stream has sent is known after a crash from two places: the stream's row, and the log
//! rows appended after it, each of which says on which streams it was sent and under which
//! number. Only what is sent outside of an append costs a row of its own, and that row is
//! written before the frames leave.

use super::link::unknown;
use super::rows::{DeviceRow, Op, StreamRow};
use super::{Counters, Effect, LogStore, Phase, RelayEngine};
use crate::delivery::{self, Reader};
use crate::id::{DeviceId, LinkId, StanzaSeq};
use crate::jid::prepared_resource;
use crate::limits::{
    ACK_EVERY_STANZAS, ACK_IDLE_MS, ACK_TIMEOUT_MS, DEVICES_MAX, RESUME_WINDOW_MS, WINDOW_STANZAS_MAX,
};
use crate::log::LogRow;
use crate::sm::{Handled, Window};
use crate::time::Millis;
use crate::wire::error::{StanzaError, StreamCondition};
use crate::wire::stanza::{self, Kind};
use crate::wire::{Element, ns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Stanzas that may be sent before the stream's row must say so.
const SENT_LEASE: u32 = 64;

/// One of the account's devices.
pub(super) struct Device {
    pub(super) cursor: StanzaSeq,
    pub(super) last_seen: Millis,
    pub(super) stream: Option<Stream>,
}

/// What was sent and waits for an ack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    Row(StanzaSeq),
    Stanza(String),
}

/// A device's stream, connected or waiting to be resumed.
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
    pub(super) presence: Option<String>,
    pub(super) unrequested: u32,
    pub(super) requested: Option<Millis>,
    pub(super) last_sent: Millis,
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
            presence: None,
            unrequested: 0,
            requested: None,
            last_sent: now,
        }
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        self.link?;
        match self.requested {
            Some(at) => Some(at.plus(ACK_TIMEOUT_MS)),
            None => (self.managed && self.window.outstanding() > 0).then(|| self.last_sent.plus(ACK_IDLE_MS)),
        }
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            handled: self.handled,
            sent: self.window.sent(),
            next: self.next,
            unrequested: self.unrequested,
            requested: self.requested,
            managed: self.managed,
            stream: self.no,
            carbons: self.carbons,
            available: self.presence.is_some(),
        }
    }

    /// Whether the log flows to this device now.
    fn reads(&self) -> Option<LinkId> {
        self.link.filter(|_| self.presence.is_some())
    }

    fn has_room(&self) -> bool {
        (self.window.outstanding() as usize) < WINDOW_STANZAS_MAX
    }

    /// Everything before this place is confirmed.
    fn confirmed(&self) -> StanzaSeq {
        let first = self.window.entries().find_map(|(_, sent)| match sent {
            Sent::Row(seq) => Some(*seq),
            Sent::Stanza(_) => None,
        });
        StanzaSeq(first.unwrap_or(self.next).0.saturating_sub(1))
    }

    fn row(&self, noted: StanzaSeq) -> StreamRow {
        let (mut rows, mut stanzas) = (Vec::new(), Vec::new());
        for (number, sent) in self.window.entries() {
            match sent {
                Sent::Row(seq) => rows.push((number, *seq)),
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
            stanzas,
            noted,
            next: self.next,
            suspended: self.suspended,
            carbons: self.carbons,
            presence: self.presence.clone(),
        }
    }
}

impl RelayEngine {
    /// Writes all that is known of a device, and with it its stream's counters.
    pub(super) fn put_device(&mut self, id: &DeviceId) {
        let noted = self.head.last();
        let Some(device) = self.devices.get_mut(id) else { return };
        if let Some(stream) = device.stream.as_mut().filter(|stream| stream.managed) {
            stream.sent_max = Handled(stream.window.sent().0.wrapping_add(SENT_LEASE));
            self.gate.count(stream.no, stream.handled);
        }
        let row = DeviceRow {
            device: id.clone(),
            cursor: device.cursor,
            stream: device.stream.as_ref().filter(|s| s.managed).map(|s| s.row(noted)),
            last_seen: device.last_seen,
        };
        self.gate.write(Op::PutDevice(row));
    }

    pub(super) fn stream_mut(&mut self, id: &DeviceId) -> Option<&mut Stream> {
        self.devices.get_mut(id)?.stream.as_mut()
    }

    /// After authentication, before a device is known.
    pub(super) fn unbound(
        &mut self,
        link: LinkId,
        element: &Element,
        log: &dyn LogStore,
    ) -> Result<(), StreamCondition> {
        if element.is(ns::SM, "resume") {
            return self.resume(link, element, log);
        }
        if element.is(ns::SM, "enable") {
            // XEP-0198 §3: only after a resource is bound.
            return self.sm_failed(link, "unexpected-request");
        }
        if stanza::kind(element) != Some(Kind::Iq) {
            let stanza = stanza::kind(element).is_some();
            return Err(if stanza { StreamCondition::NotAuthorized } else { unknown(element) });
        }
        let reply = match element.child(ns::BIND, "bind") {
            Some(bind) if element.attr("type") == Some("set") => self.bind(link, bind, log).map(|jid| {
                let bind = Element::new(ns::BIND, "bind").with(Element::new(ns::BIND, "jid").with_text(jid));
                stanza::iq_result(element, Some(bind))
            }),
            _ => Err(StanzaError("auth", "not-authorized")),
        };
        match reply {
            Ok(reply) => self.send_element(link, &reply),
            Err(error) => {
                if let Some(reply) = stanza::error_reply(element, error) {
                    self.send_element(link, &reply);
                }
            }
        }
        Ok(())
    }

    /// Binds a resource: the device of that name, or a new one. A device that is connected
    /// already takes over from itself (R51).
    fn bind(&mut self, link: LinkId, bind: &Element, log: &dyn LogStore) -> Result<String, StanzaError> {
        let wanted = bind.child(ns::BIND, "resource").map(Element::text).filter(|text| !text.is_empty());
        let id = match wanted {
            Some(text) => DeviceId(prepared_resource(&text).map_err(|_| StanzaError::BAD_REQUEST)?),
            None => DeviceId(self.entropy.token()),
        };
        if let Some(old) = self.devices.get(&id).and_then(|device| device.stream.as_ref()?.link) {
            self.close_link(old, Some(StreamCondition::Conflict), 1000, log);
        }
        // What another device has confirmed is not offline mail for a new one (XEP-0160 §3).
        let newest = self.devices.values().map(|device| device.cursor).max().unwrap_or_default();
        self.marks.streams += 1;
        let no = self.marks.streams;
        let now = self.now;
        let device =
            self.devices.entry(id.clone()).or_insert(Device { cursor: newest, last_seen: now, stream: None });
        device.last_seen = now;
        let replaced = device.stream.replace(Stream::new(no, link, device.cursor.next(), now));
        if let Some(replaced) = replaced {
            self.gate.forget(replaced.no);
        }
        self.put_device(&id);
        self.drop_oldest_devices();
        let full = self.config.account.with_resource(id.as_str()).to_string();
        if let Some(known) = self.links.get_mut(&link) {
            known.phase = Phase::Bound(id);
        }
        Ok(full)
    }

    fn drop_oldest_devices(&mut self) {
        while self.devices.len() > DEVICES_MAX {
            let idle =
                self.devices.iter().filter(|(_, d)| d.stream.as_ref().is_none_or(|s| s.link.is_none()));
            let Some(oldest) = idle.min_by_key(|(_, d)| d.last_seen).map(|(id, _)| id.clone()) else {
                return;
            };
            self.devices.remove(&oldest);
            self.gate.write(Op::DeleteDevice(oldest));
        }
    }

    pub(super) fn sm_failed(&mut self, link: LinkId, condition: &str) -> Result<(), StreamCondition> {
        let failed = Element::new(ns::SM, "failed").with(Element::new(ns::STANZA_ERRORS, condition));
        self.send_element(link, &failed);
        Ok(())
    }

    /// XEP-0198 §3.
    pub(super) fn enable(
        &mut self,
        link: LinkId,
        id: &DeviceId,
        enable: &Element,
    ) -> Result<(), StreamCondition> {
        let token = format!("{}{}", self.entropy.token(), self.entropy.token());
        let Some(stream) = self.stream_mut(id) else { return Ok(()) };
        if stream.managed {
            return self.sm_failed(link, "unexpected-request");
        }
        let resumable = matches!(enable.attr("resume"), Some("true" | "1"));
        stream.managed = true;
        stream.handled = Handled::ZERO;
        stream.window = Window::default();
        stream.sm_id_hash = if resumable { sm_id_hash(&token) } else { String::new() };
        let mut enabled = Element::new(ns::SM, "enabled");
        if resumable {
            enabled.set_attr("id", token);
            enabled.set_attr("resume", "true");
            enabled.set_attr("max", (RESUME_WINDOW_MS / 1000).to_string());
        }
        self.put_device(id);
        self.send_element(link, &enabled);
        Ok(())
    }

    /// XEP-0198 §5.
    fn resume(&mut self, link: LinkId, resume: &Element, log: &dyn LogStore) -> Result<(), StreamCondition> {
        let previd = resume.attr("previd").unwrap_or_default();
        let Some(h) = resume.attr("h").and_then(Handled::parse) else {
            return Err(StreamCondition::BadFormat);
        };
        let hash = sm_id_hash(previd);
        let now = self.now;
        let found = self.devices.iter().find_map(|(id, device)| {
            let stream = device.stream.as_ref().filter(|stream| stream.sm_id_hash == hash)?;
            let in_time = stream.suspended.is_none_or(|since| now.since(since) <= RESUME_WINDOW_MS);
            Some((id.clone(), stream.no, in_time))
        });
        let id = match found {
            Some((id, _, true)) => id,
            over => {
                self.gate.effect(Effect::Failed(link, over.map(|(_, no, _)| no)));
                return Ok(());
            }
        };
        let Some(stream) = self.stream_mut(&id) else { return Ok(()) };
        let (_, again) = stream
            .window
            .resume(h)
            .map_err(|fault| StreamCondition::HandledCountTooHigh(fault.handled.0, fault.sent.0))?;
        if let Some(old) = stream.link.take() {
            self.close_link(old, Some(StreamCondition::Conflict), 1000, log);
        }
        self.take_over(link, &id, again, previd, log);
        Ok(())
    }

    /// The stream goes on over this connection, with what the device has not had.
    fn take_over(&mut self, link: LinkId, id: &DeviceId, again: Vec<Sent>, previd: &str, log: &dyn LogStore) {
        let now = self.now;
        let (account, carbons) =
            (self.config.account.clone(), self.stream_mut(id).is_some_and(|s| s.carbons));
        let frames: Vec<(Sent, String)> = again
            .into_iter()
            .filter_map(|sent| {
                let frame = match &sent {
                    Sent::Stanza(text) => text.clone(),
                    Sent::Row(seq) => {
                        let row = self.head.row(log, *seq)?;
                        let reader = Reader { account: &account, device: id, carbons, late: true };
                        delivery::view(&row, reader)?.to_frame()
                    }
                };
                Some((sent, frame))
            })
            .collect();
        let Some(device) = self.devices.get_mut(id) else { return };
        let Some(stream) = device.stream.as_mut() else { return };
        stream.link = Some(link);
        stream.suspended = None;
        stream.requested = None;
        stream.unrequested = frames.len() as u32;
        stream.last_sent = now;
        for (sent, _) in &frames {
            stream.window.push(sent.clone());
        }
        device.last_seen = now;
        device.cursor = device.cursor.max(stream.confirmed());
        let no = stream.no;
        self.put_device(id);
        if let Some(known) = self.links.get_mut(&link) {
            known.phase = Phase::Bound(id.clone());
        }
        self.gate.effect(Effect::Resumed(link, no, previd.to_owned()));
        for (_, frame) in frames {
            self.gate.effect(Effect::Frame(link, frame));
        }
        self.flush(id, log);
        self.request_ack(id);
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
        stream
            .window
            .ack(h)
            .map_err(|fault| StreamCondition::HandledCountTooHigh(fault.handled.0, fault.sent.0))?;
        stream.requested = None;
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
        if self.gate.durable(no).handled() != handled {
            self.put_device(id);
        }
        self.gate.effect(Effect::Ack(link, no));
    }

    /// Sends a device what waits for it in the log, as much as its window takes.
    pub(super) fn flush(&mut self, id: &DeviceId, log: &dyn LogStore) {
        let account = self.config.account.clone();
        let last = self.head.last();
        let Some(device) = self.devices.get_mut(id) else { return };
        let Some(stream) = device.stream.as_mut() else { return };
        let Some(link) = stream.reads() else { return };
        let mut frames = Vec::new();
        while stream.next <= last && stream.has_room() {
            let after = StanzaSeq(stream.next.0.saturating_sub(1));
            let rows = self.head.page(log, after, WINDOW_STANZAS_MAX);
            if rows.is_empty() {
                break;
            }
            for row in rows {
                if !stream.has_room() {
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
        if frames.is_empty() {
            return;
        }
        stream.unrequested += frames.len() as u32;
        stream.last_sent = self.now;
        device.cursor = device.cursor.max(stream.confirmed());
        self.put_device(id);
        for frame in frames {
            self.gate.effect(Effect::Frame(link, frame));
        }
        self.request_ack(id);
    }

    /// Sends a new row to every device that has read all before it. Returns the frames to
    /// queue once the row is written, and notes in the row what was sent where.
    pub(super) fn fan_out(&mut self, row: &mut LogRow) -> Vec<(DeviceId, LinkId, String)> {
        let mut frames = Vec::new();
        for (id, device) in &mut self.devices {
            let Some(stream) = device.stream.as_mut() else { continue };
            let Some(link) = stream.reads() else { continue };
            if stream.next != row.seq || !stream.has_room() {
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
            stream.unrequested += 1;
            stream.last_sent = self.now;
            frames.push((id.clone(), link, message.to_frame()));
        }
        frames
    }

    /// Sends a stanza that is not a log row. `keep`: it is sent again if the stream is resumed,
    /// even by a relay that was restarted.
    pub(super) fn send_stanza(&mut self, id: &DeviceId, element: &Element, keep: bool) {
        let now = self.now;
        let Some(stream) = self.stream_mut(id) else { return };
        let Some(link) = stream.link else { return };
        let frame = element.to_frame();
        if stream.managed {
            let number =
                if keep { stream.window.push(Sent::Stanza(frame.clone())) } else { stream.window.skip() };
            stream.unrequested += 1;
            stream.last_sent = now;
            // XEP-0198 §5: a number that was used must be known when the stream is resumed.
            let beyond_lease =
                number.since(stream.window.acked()) > stream.sent_max.since(stream.window.acked());
            if keep || beyond_lease {
                self.put_device(id);
            }
        }
        self.gate.effect(Effect::Frame(link, frame));
        self.request_ack(id);
    }

    pub(super) fn request_ack(&mut self, id: &DeviceId) {
        let now = self.now;
        let Some(stream) = self.stream_mut(id) else { return };
        let Some(link) = stream.link else { return };
        if !stream.managed || stream.requested.is_some() || stream.unrequested < ACK_EVERY_STANZAS {
            return;
        }
        stream.requested = Some(now);
        stream.unrequested = 0;
        self.send_element(link, &Element::new(ns::SM, "r"));
    }

    /// Ack requests that are due, and devices that left one unanswered (R12).
    pub(super) fn streams_on_time(&mut self, log: &dyn LogStore) {
        let now = self.now;
        let due: Vec<(DeviceId, LinkId, bool)> = self
            .devices
            .iter()
            .filter_map(|(id, device)| {
                let stream = device.stream.as_ref()?;
                let due = stream.deadline().is_some_and(|at| at <= now);
                due.then_some(())?;
                Some((id.clone(), stream.link?, stream.requested.is_some()))
            })
            .collect();
        for (id, link, unanswered) in due {
            if unanswered {
                self.close_link(link, Some(StreamCondition::ConnectionTimeout), 1000, log);
            } else if let Some(stream) = self.stream_mut(&id) {
                stream.requested = Some(now);
                stream.unrequested = 0;
                self.send_element(link, &Element::new(ns::SM, "r"));
            }
        }
    }

    /// The connection is gone; the stream waits to be resumed, if it can be.
    pub(super) fn suspend(&mut self, id: &DeviceId, link: LinkId) {
        let now = self.now;
        let Some(device) = self.devices.get_mut(id) else { return };
        let Some(stream) = device.stream.as_mut().filter(|stream| stream.link == Some(link)) else { return };
        device.last_seen = now;
        if stream.managed && !stream.sm_id_hash.is_empty() {
            stream.link = None;
            stream.requested = None;
            stream.suspended = Some(now);
        } else {
            let no = stream.no;
            device.stream = None;
            self.gate.forget(no);
        }
        self.put_device(id);
    }

    /// The stream was closed and is over.
    pub(super) fn end_stream(&mut self, id: &DeviceId, _log: &dyn LogStore) {
        let now = self.now;
        let Some(device) = self.devices.get_mut(id) else { return };
        device.last_seen = now;
        if let Some(stream) = device.stream.take() {
            self.gate.forget(stream.no);
        }
        self.put_device(id);
    }
}

fn sm_id_hash(token: &str) -> String {
    STANDARD.encode(Sha256::digest(token.as_bytes()))
}
