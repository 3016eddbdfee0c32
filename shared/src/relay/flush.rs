//! A device's way through what waits for it: the log from its read position on, a window at a time.
//!
//! A device of negative priority is sent nothing that is for the account (RFC 6121 §8.5.2.1.1): that
//! waits until it wants it. What is for this device alone does not wait; it is sent ahead, and what is
//! acked of it is a range above the cursor ([`super::Taken`]).

use super::stream::{Device, Sent, Stream};
use super::{LogStore, RelayEngine, Taken};
use crate::bad::{self, Bug};
use crate::delivery::{self, Reader};
use crate::id::{DeviceId, LinkId, StanzaSeq};
use crate::limits::{Limits, TAKEN_RANGES_MAX};
use crate::log::LogRow;
use crate::time::Millis;
use crate::wire::{Element, stanza};
use std::collections::BTreeSet;

/// Rows that are read at once: each may be as long as a frame.
const STEP: usize = 32;
/// Between two turns of a device that never acks.
const UNACKED_PAUSE_MS: u64 = 10;

impl Stream {
    /// How many stanzas may be sent before the next ack.
    pub(super) fn room(&self, limits: &Limits) -> usize {
        let taken = if bad::is(Bug::WindowIgnored) { 0 } else { self.window.outstanding() as usize };
        limits.window_stanzas_max.saturating_sub(taken)
    }

    /// Whether its device is there and is sent only what is for it alone.
    fn reads_ahead(&self) -> Option<LinkId> {
        self.link.filter(|_| self.presence.is_some() && !self.listens() && !self.held)
    }

    /// Whether one more may be sent ahead: what is acked of it may leave as many gaps.
    fn has_room_ahead(&self, taken: &Taken, limits: &Limits) -> bool {
        let under_way = self.rows().filter(|seq| *seq >= self.next).count();
        self.has_room(limits) && taken.len() + under_way < TAKEN_RANGES_MAX
    }

    /// A row was sent ahead. Without acks, sent is all that can be known.
    fn note_ahead(&mut self, seq: StanzaSeq, taken: &mut Taken) {
        if self.managed {
            self.window.push(Sent::Row(seq));
        } else {
            taken.add(seq, seq);
        }
    }

    /// Whether what waits in the log waits on until more is acked. A window is filled by halves: a
    /// device that acks every message would otherwise have the log read, and the stream's row
    /// written, for every message.
    pub(super) fn waits_for_room(&self, last: StanzaSeq, limits: &Limits) -> bool {
        self.next <= last && self.room(limits) < limits.window_stanzas_max.div_ceil(2)
    }
}

impl RelayEngine {
    /// Sends a device what waits for it in the log, as much as its window takes. Answers whether
    /// the device's row was written.
    pub(super) fn flush(&mut self, id: &DeviceId, log: &dyn LogStore) -> bool {
        let account = self.config.account.clone();
        let limits = self.config.limits;
        let last = self.head.last();
        if self.stream_mut(id).is_some_and(|stream| stream.next <= last && stream.reads().is_some()) {
            self.release_states(id, None);
        }
        let Some(device) = self.devices.get_mut(id) else { return false };
        let Some(stream) = device.stream.as_mut() else { return false };
        let Some(link) = stream.reads() else { return self.flush_ahead(id, log) };
        if stream.waits_for_room(last, &limits) {
            return false;
        }
        let (mut frames, mut bytes) = (Vec::new(), 0usize);
        let ahead: BTreeSet<StanzaSeq> = stream.rows().filter(|seq| *seq >= stream.next).collect();
        'turn: while stream.next <= last && stream.has_room(&limits) {
            let after = StanzaSeq(stream.next.0.saturating_sub(1));
            let rows = self.head.page(log, after, stream.room(&limits).min(STEP));
            if rows.is_empty() {
                // There is nothing up to the end: it is not looked for again.
                stream.next = last.next();
            }
            for row in rows {
                stream.next = row.seq.next();
                if row.seq <= device.cursor || device.taken.contains(row.seq) || ahead.contains(&row.seq) {
                    continue;
                }
                let reader = Reader { account: &account, device: id, carbons: stream.carbons, late: true };
                let Some(message) = delivery::view(&row, reader) else { continue };
                let frame = message.to_frame();
                bytes = bytes.saturating_add(frame.len());
                frames.push(frame);
                if stream.managed {
                    stream.window.push(Sent::Row(row.seq));
                }
                if bytes >= limits.flush_bytes_max
                    || !stream.managed && frames.len() >= limits.window_stanzas_max
                {
                    break 'turn;
                }
            }
        }
        device.settle();
        if frames.is_empty() {
            return false;
        }
        self.put_device(id);
        self.send_frames(id, link, frames);
        true
    }

    /// When the log goes on to a device that never acks: it has no window, so its turns are made
    /// small by time.
    pub(super) fn unacked_deadline(&self, device: &Device) -> Option<Millis> {
        let stream = device.stream.as_ref().filter(|stream| !stream.managed)?;
        let last = self.head.last();
        let goes_on = stream.next <= last && !stream.waits_for_room(last, &self.config.limits);
        (goes_on && stream.reads().is_some()).then(|| stream.last_sent.plus(UNACKED_PAUSE_MS))
    }

    /// The next turn of each that is due.
    pub(super) fn flush_on_time(&mut self, log: &dyn LogStore) {
        let is_due = |device: &Device| self.unacked_deadline(device).is_some_and(|at| at <= self.now);
        let due: Vec<DeviceId> =
            self.devices.iter().filter(|(_, device)| is_due(device)).map(|(id, _)| id.clone()).collect();
        for id in due {
            self.flush(&id, log);
        }
    }

    /// Sends a device of negative priority what is for it alone, as much as its window takes, ahead of
    /// what waits for the account.
    fn flush_ahead(&mut self, id: &DeviceId, log: &dyn LogStore) -> bool {
        let account = self.config.account.clone();
        let limits = self.config.limits;
        let last = self.head.last();
        let Some(device) = self.devices.get_mut(id) else { return false };
        let Some(stream) = device.stream.as_mut() else { return false };
        let Some(link) = stream.reads_ahead() else { return false };
        let (before, mut frames) = (stream.ahead, Vec::new());
        stream.ahead = stream.ahead.max(stream.next);
        let sent: BTreeSet<StanzaSeq> = stream.rows().collect();
        'turn: while stream.ahead <= last {
            let rows = self.head.page(log, StanzaSeq(stream.ahead.0.saturating_sub(1)), STEP);
            if rows.is_empty() {
                stream.ahead = last.next();
            }
            for row in rows {
                let is_new =
                    row.seq > device.cursor && !device.taken.contains(row.seq) && !sent.contains(&row.seq);
                let reader = Reader { account: &account, device: id, carbons: false, late: true };
                if let Some(message) = for_it_alone(&row, reader).filter(|_| is_new) {
                    if !stream.has_room_ahead(&device.taken, &limits) {
                        break 'turn;
                    }
                    frames.push(message.to_frame());
                    stream.note_ahead(row.seq, &mut device.taken);
                }
                stream.ahead = row.seq.next();
            }
        }
        if frames.is_empty() && stream.ahead.0.saturating_sub(before.0) < limits.checkpoint_rows {
            return false;
        }
        self.put_device(id);
        self.send_frames(id, link, frames);
        true
    }

    /// Sends a row that was just appended to the device of negative priority that it names, if that has
    /// been sent all before it.
    pub(super) fn send_ahead(&mut self, row: &LogRow) {
        let account = self.config.account.clone();
        let limits = self.config.limits;
        let mut frames = Vec::new();
        for (id, device) in &mut self.devices {
            let Some(stream) = device.stream.as_mut() else { continue };
            let Some(link) = stream.reads_ahead() else { continue };
            if stream.ahead.max(stream.next) != row.seq {
                continue;
            }
            let reader = Reader { account: &account, device: id, carbons: false, late: false };
            if let Some(message) = for_it_alone(row, reader) {
                if !stream.has_room_ahead(&device.taken, &limits) {
                    continue;
                }
                stream.note_ahead(row.seq, &mut device.taken);
                frames.push((id.clone(), link, message.to_frame()));
            }
            stream.ahead = row.seq.next();
        }
        for (id, link, frame) in frames {
            self.put_device(&id);
            self.send_frames(&id, link, vec![frame]);
        }
    }
}

/// A row as its reader is sent it, if it names this reader.
fn for_it_alone(row: &LogRow, reader: Reader<'_>) -> Option<Element> {
    let name = reader.device.as_str();
    // What does not even hold the name need not be read, unless the name is written otherwise in XML.
    if !name.contains(['&', '<', '>', '\'', '"']) && !row.stanza.contains(name) {
        return None;
    }
    let message = delivery::view(row, reader)?;
    let to = stanza::address(&message, "to").ok().flatten()?;
    (to.resource.as_deref() == Some(name)).then_some(message)
}
