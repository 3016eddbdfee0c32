//! A device's way through what waits for it: the log from its read position on, a window at a time.

use super::stream::{Sent, Stream};
use super::{LogStore, RelayEngine};
use crate::bad::{self, Bug};
use crate::delivery::{self, Reader};
use crate::id::{DeviceId, StanzaSeq};
use crate::limits::Limits;

/// Rows that are read at once: each may be as long as a frame.
const STEP: usize = 32;

impl Stream {
    /// How many stanzas may be sent before the next ack.
    pub(super) fn room(&self, limits: &Limits) -> usize {
        let taken = if bad::is(Bug::WindowIgnored) { 0 } else { self.window.outstanding() as usize };
        limits.window_stanzas_max.saturating_sub(taken)
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
        let Some(device) = self.devices.get_mut(id) else { return false };
        let Some(stream) = device.stream.as_mut() else { return false };
        let Some(link) = stream.reads() else { return false };
        if stream.waits_for_room(last, &limits) {
            return false;
        }
        let mut frames = Vec::new();
        while stream.next <= last && stream.has_room(&limits) {
            let after = StanzaSeq(stream.next.0.saturating_sub(1));
            let rows = self.head.page(log, after, stream.room(&limits).min(STEP));
            if rows.is_empty() {
                break;
            }
            for row in rows {
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
            return false;
        }
        self.put_device(id);
        self.send_frames(id, link, frames);
        true
    }
}
