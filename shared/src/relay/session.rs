//! Which device a connection belongs to: binding a resource, switching stream management on,
//! resuming, and every way a stream loses its connection (RFC 6120 §7, XEP-0198 §3 and §5).

use super::link::unknown;
use super::parked::Resuming;
use super::rows::Op;
use super::stream::{Device, Sent, Stream};
use super::{Effect, LogStore, Phase, RelayEngine, Taken};
use crate::bad::{self, Bug};
use crate::id::{DeviceId, LinkId, StanzaSeq};
use crate::jid::prepared_resource;
use crate::limits::DEVICE_UNSEEN_MS_MAX;
use crate::log::LogRow;
use crate::sm::{Handled, Window};
use crate::wire::error::{StanzaError, StreamCondition};
use crate::wire::stanza::{self, Kind};
use crate::wire::{Element, ns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

impl RelayEngine {
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
            Some(bind) if element.attr("type") == Some("set") => self.bind(link, bind).map(|jid| {
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
    fn bind(&mut self, link: LinkId, bind: &Element) -> Result<String, StanzaError> {
        let wanted = bind.child(ns::BIND, "resource").map(Element::text).filter(|text| !text.is_empty());
        let named = wanted.is_some();
        let wanted = wanted.map(|text| prepared_resource(&text).map(DeviceId)).transpose();
        let wanted = wanted.map_err(|_| StanzaError::BAD_REQUEST)?;
        let id = match self.links.get(&link).and_then(|known| known.agent.clone()) {
            Some(agent) => self.agents_device(&agent, wanted)?,
            None => wanted.unwrap_or_else(|| DeviceId(self.entropy.token())),
        };
        self.ensure_device(&id, named)?;
        let replaced = self.begin_stream(link, &id);
        self.put_device(&id);
        if let Some(replaced) = replaced {
            self.stream_ended(&id, &replaced);
        }
        Ok(self.config.account.with_resource(id.as_str()).to_string())
    }

    /// Makes a device unless it is there.
    pub(super) fn ensure_device(&mut self, id: &DeviceId, named: bool) -> Result<(), StanzaError> {
        if self.devices.contains_key(id) {
            return Ok(());
        }
        self.make_room()?;
        // What another device has confirmed is not offline mail for a new one (XEP-0160 §3).
        let cursor = self.devices.values().map(|device| device.cursor).max().unwrap_or_default();
        // Nor is what was confirmed before the last of them went.
        let cursor = cursor.max(self.cold.last);
        let (last_seen, name, agent, caps, stream) = (self.now, None, None, None, None);
        let taken = Taken::default();
        self.devices
            .insert(id.clone(), Device { cursor, taken, last_seen, name, named, agent, caps, stream });
        Ok(())
    }

    /// A device begins anew over this connection, from where it is. It is still to be written;
    /// its stream until now, if there was one, is over.
    pub(super) fn begin_stream(&mut self, link: LinkId, id: &DeviceId) -> Option<Stream> {
        if let Some(old) = self.devices.get(id).and_then(|device| device.stream.as_ref()?.link) {
            self.close_link(old, Some(StreamCondition::Conflict), 1000);
        }
        self.marks.streams = self.marks.streams.saturating_add(1);
        let (no, now) = (self.marks.streams, self.now);
        if let Some(known) = self.links.get_mut(&link) {
            known.phase = Phase::Bound(id.clone());
            known.agent = None;
        }
        let device = self.devices.get_mut(id)?;
        device.last_seen = now;
        device.stream.replace(Stream::new(no, link, device.cursor.next(), now))
    }

    /// Lets go a device that nobody will miss: one that cannot come back under its name, or one
    /// unseen for long. A device that may come back keeps what waits for it (R10, R11).
    fn make_room(&mut self) -> Result<(), StanzaError> {
        if self.devices.len() < self.config.limits.devices_max {
            return Ok(());
        }
        let (now, limits) = (self.now, self.config.limits);
        let droppable = self.devices.iter().filter(|(_, device)| {
            let unseen = now.since(device.last_seen) > DEVICE_UNSEEN_MS_MAX;
            device.is_idle(now, &limits) && (!device.named || unseen)
        });
        let oldest = droppable.min_by_key(|(_, device)| (device.named, device.last_seen));
        let oldest = oldest.map(|(id, _)| id.clone()).ok_or(StanzaError::RESOURCE_CONSTRAINT)?;
        let removed = self.devices.remove(&oldest);
        self.gate.write(Op::DeleteDevice(oldest.clone()));
        if let Some(stream) = removed.and_then(|device| device.stream) {
            self.stream_ended(&oldest, &stream);
        }
        Ok(())
    }

    pub(super) fn sm_failed(&mut self, link: LinkId, condition: &str) -> Result<(), StreamCondition> {
        self.send_element(link, &failed(condition));
        Ok(())
    }

    /// XEP-0198 §3.
    pub(super) fn enable(
        &mut self,
        link: LinkId,
        id: &DeviceId,
        enable: &Element,
    ) -> Result<(), StreamCondition> {
        if self.stream_mut(id).is_none_or(|stream| stream.managed) {
            return self.sm_failed(link, "unexpected-request");
        }
        let enabled = self.manage(id, matches!(enable.attr("resume"), Some("true" | "1")));
        self.put_device(id);
        self.send_element(link, &enabled);
        Ok(())
    }

    /// Begins to count what a device's stream carries. It is still to be written.
    pub(super) fn manage(&mut self, id: &DeviceId, resumable: bool) -> Element {
        let token = format!("{}{}", self.entropy.token(), self.entropy.token());
        let resume_s = self.config.limits.resume_window_ms / 1000;
        let mut enabled = Element::new(ns::SM, "enabled");
        let Some(stream) = self.stream_mut(id) else { return enabled };
        stream.managed = true;
        stream.handled = Handled::ZERO;
        stream.told = Handled::ZERO;
        stream.window = Window::default();
        stream.sm_id_hash = if resumable { sm_id_hash(&token) } else { String::new() };
        if resumable {
            enabled.set_attr("id", token);
            enabled.set_attr("resume", "true");
            enabled.set_attr("max", resume_s.to_string());
        }
        enabled
    }

    /// XEP-0198 §5.
    fn resume(&mut self, link: LinkId, resume: &Element, log: &dyn LogStore) -> Result<(), StreamCondition> {
        let previd = resume.attr("previd").unwrap_or_default();
        let Some(h) = resume.attr("h").and_then(Handled::parse) else {
            return self.sm_failed(link, "bad-request");
        };
        match self.resumable(link, resume, previd, h, log)? {
            Resuming::With(id, rows) => {
                if let Some(agent) = self.links.get_mut(&link).and_then(|known| known.agent.take()) {
                    self.adopt(&id, &agent);
                }
                self.take_over(link, &id, |no| Effect::Resumed(link, no, previd.to_owned()), &rows, log);
            }
            Resuming::Over(failed) => self.send_element(link, &failed),
            Resuming::Parked => {}
        }
        Ok(())
    }

    /// The device whose stream may go on, with its old connection gone, or the `<failed/>` that says
    /// why it may not. What was handled of one that is over, if it is known, was written when it lost
    /// its connection, and no more can come. `said` is what asks for it: it may have to wait.
    pub(super) fn resumable(
        &mut self,
        link: LinkId,
        said: &Element,
        previd: &str,
        h: Handled,
        log: &dyn LogStore,
    ) -> Result<Resuming, StreamCondition> {
        let hash = sm_id_hash(previd);
        let now = self.now;
        let found = self.devices.iter().find_map(|(id, device)| {
            let stream = device.stream.as_ref();
            let stream = stream.filter(|s| s.sm_id_hash == hash || bad::is(Bug::AnyStreamResumed))?;
            let in_time =
                stream.suspended.is_none_or(|since| now.since(since) <= self.config.limits.resume_window_ms);
            Some((id.clone(), stream.handled, in_time))
        });
        let id = match found {
            Some((id, _, true)) => id,
            over => return Ok(Resuming::Over(not_found(over.map(|(_, handled, _)| handled)))),
        };
        let (id, rows) = match self.rows_to_resume(link, said, &id, h, log)? {
            Resuming::With(id, rows) => (id, rows),
            other => return Ok(other),
        };
        let nobody = || Ok(Resuming::Over(not_found(None)));
        let Some(device) = self.devices.get_mut(&id) else { return nobody() };
        let Some(stream) = device.stream.as_mut() else { return nobody() };
        let newly = stream
            .window
            .resume(h)
            .map_err(|fault| StreamCondition::HandledCountTooHigh(fault.handled.0, fault.sent.0))?;
        let old = stream.link.take();
        device.acked(newly);
        if let Some(old) = old {
            self.close_link(old, Some(StreamCondition::Conflict), 1000);
        }
        Ok(Resuming::With(id, rows))
    }

    /// The stream goes on over this connection, with what the device has not had after a greeting.
    /// `rows`: those that are not in the log any more.
    pub(super) fn take_over(
        &mut self,
        link: LinkId,
        id: &DeviceId,
        greeting: impl FnOnce(u64) -> Effect,
        rows: &BTreeMap<StanzaSeq, LogRow>,
        log: &dyn LogStore,
    ) {
        let now = self.now;
        let Some(stream) = self.stream_mut(id) else { return };
        let carbons = stream.carbons;
        let again: Vec<Option<Sent>> = stream.window.unacked().map(|sent| sent.cloned()).collect();
        // What it has receipted otherwise (`crate::offline`) it has.
        let device = self.devices.get(id);
        let had = |sent: &Sent| matches!(sent, Sent::Row(seq) if device.is_some_and(|d| d.has(*seq)));
        let mut frames: Vec<String> = again
            .into_iter()
            .map(|sent| {
                sent.filter(|sent| !had(sent)).and_then(|sent| self.frame_of(id, sent, carbons, rows, log))
            })
            .map(|frame| frame.unwrap_or_else(|| in_its_place().to_frame()))
            .collect();
        if bad::is(Bug::ReorderedOnResume) {
            frames.reverse();
        }
        let Some(device) = self.devices.get_mut(id) else { return };
        let Some(stream) = device.stream.as_mut() else { return };
        stream.link = Some(link);
        stream.suspended = None;
        stream.requested = None;
        stream.unrequested = frames.len() as u32;
        stream.last_sent = now;
        stream.told = stream.handled;
        // XEP-0352 §4.2
        stream.csi.inactive = false;
        device.last_seen = now;
        let no = stream.no;
        device.settle();
        self.put_device(id);
        if let Some(known) = self.links.get_mut(&link) {
            known.phase = Phase::Bound(id.clone());
        }
        self.gate.effect(greeting(no));
        for frame in frames {
            self.gate.effect(Effect::Frame(link, frame));
        }
        self.show_missed(id);
        self.release_states(id, None);
        self.flush(id, log);
        self.request_ack(id);
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
            for (from, presence) in stream.held_presence() {
                // What was missed is newer.
                stream.missed.entry(from).or_insert(presence);
            }
            self.put_device(id);
        } else {
            self.end_stream(id);
        }
    }

    /// The stream was closed and is over.
    pub(super) fn end_stream(&mut self, id: &DeviceId) {
        let now = self.now;
        let Some(device) = self.devices.get_mut(id) else { return };
        device.last_seen = now;
        let ended = device.stream.take();
        self.put_device(id);
        if let Some(stream) = ended {
            self.stream_ended(id, &stream);
        }
    }

    /// Whoever was available is not any more (RFC 6121 §4.5.2).
    pub(super) fn stream_ended(&mut self, id: &DeviceId, stream: &Stream) {
        self.gate.forget(stream.no);
        if stream.presence.is_some() {
            self.presence_ended(id, stream.directed.iter().cloned());
        }
        self.return_requests(stream.requests());
    }
}

/// XEP-0198 §3 and §5: it cannot be, and the stream goes on.
pub(super) fn failed(condition: &str) -> Element {
    Element::new(ns::SM, "failed").with(Element::new(ns::STANZA_ERRORS, condition))
}

/// The same of a stream that cannot be resumed, with what was handled of it if it is known.
pub(super) fn not_found(handled: Option<Handled>) -> Element {
    let failed = failed("item-not-found");
    match handled {
        Some(handled) => failed.with_attr("h", handled.to_string()),
        None => failed,
    }
}

/// What takes the number of a stanza that nobody needs any more: an answer to nothing, which a
/// client counts and ignores (RFC 6120 §8.2.3).
fn in_its_place() -> Element {
    Element::new(ns::CLIENT, "iq").with_attr("type", "result").with_attr("id", "nothing")
}

fn sm_id_hash(token: &str) -> String {
    STANDARD.encode(Sha256::digest(token.as_bytes()))
}
