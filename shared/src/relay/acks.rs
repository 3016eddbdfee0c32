//! When a device is asked for an ack, what its ack confirms, and when it is told what the relay has
//! (XEP-0198 §4).

use super::stream::Stream;
use super::{Effect, LogStore, RelayEngine};
use crate::bad::{self, Bug};
use crate::id::{DeviceId, LinkId};
use crate::limits::Limits;
use crate::sm::Handled;
use crate::time::Millis;
use crate::wire::error::StreamCondition;
use crate::wire::{Element, ns};

impl Stream {
    pub(super) fn deadline(&self, durable: Handled, limits: &Limits) -> Option<Millis> {
        if self.link.is_none() {
            // Who is seen to be there and does not come back is seen to have left.
            return self.presence.as_ref().and(self.over_at(limits));
        }
        [self.ack_deadline(limits), self.tell_deadline(durable, limits)].into_iter().flatten().min()
    }

    /// From when on a stream without a connection cannot be resumed.
    fn over_at(&self, limits: &Limits) -> Option<Millis> {
        self.suspended.map(|since| since.plus(limits.resume_window_ms.saturating_add(1)))
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
}

impl RelayEngine {
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
        let newly = stream
            .window
            .ack(h)
            .map_err(|fault| StreamCondition::HandledCountTooHigh(fault.handled.0, fault.sent.0))?;
        stream.requested = None;
        // What was acked unasked need not be asked for.
        stream.unrequested = stream.unrequested.min(stream.window.outstanding());
        // Who has nothing new to say is not asked again and again: it may have lost count.
        let limits = self.config.limits;
        stream.ask_from = if h == before { self.now.plus(limits.ack_timeout_ms) } else { self.now };
        let before = (device.cursor, device.taken.clone());
        device.acked(newly);
        device.settle();
        let moved = before != (device.cursor, device.taken.clone());
        if !self.flush(id, log) && moved {
            self.put_device(id);
        }
        self.show_missed(id);
        self.show_more_requests(id);
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

    pub(super) fn request_ack(&mut self, id: &DeviceId) {
        let (now, limits, last) = (self.now, self.config.limits, self.head.last());
        let Some(stream) = self.stream_mut(id) else { return };
        let Some(link) = stream.link else { return };
        // What waits for room waits for an ack.
        let waits =
            !stream.has_room(&limits) || stream.reads().is_some() && stream.waits_for_room(last, &limits);
        let due = stream.unrequested >= limits.ack_every_stanzas || waits && stream.ask_from <= now;
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
        let (mut ask, mut left) = (Vec::new(), Vec::new());
        for (id, device) in &mut self.devices {
            let Some(stream) = device.stream.as_mut() else { continue };
            let Some(link) = stream.link else {
                if stream.presence.is_some() && due(stream.over_at(&limits)) {
                    left.push(id.clone());
                }
                continue;
            };
            if due(stream.ack_deadline(&limits)) {
                ask.push((id.clone(), link, stream.requested.is_some()));
            }
            let durable = self.gate.durable(stream.no).handled();
            if due(stream.tell_deadline(durable, &limits)) {
                stream.told = durable;
                self.gate.effect(Effect::Ack(link, stream.no));
            }
        }
        for id in left {
            self.presence_over(&id);
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
