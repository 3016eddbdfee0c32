//! What waits for a device, as it asks for it (`crate::offline`).

use super::{LogStore, RelayEngine};
use crate::archive::{Query, Size};
use crate::id::{DeviceId, StanzaSeq};
use crate::offline::Summary;
use crate::wire::error::StanzaError;
use crate::wire::{Element, stanza};

impl RelayEngine {
    /// Answers a request of the offline protocol.
    pub(super) fn offline(
        &mut self,
        id: &DeviceId,
        iq: &Element,
        request: &Element,
        log: &dyn LogStore,
    ) -> Result<(), StanzaError> {
        match (iq.attr("type"), request.name.as_str()) {
            (Some("get"), "summary") => {
                if matches!(request.attr("hold"), Some("true" | "1")) {
                    self.hold(id, true);
                }
            }
            (Some("set"), "received") => {
                let upto = request.attr("upto").and_then(StanzaSeq::parse);
                self.received(id, upto.ok_or(StanzaError::BAD_REQUEST)?)?;
            }
            (Some("set"), "release") => self.hold(id, false),
            _ => return Err(StanzaError::FEATURE_NOT_IMPLEMENTED),
        }
        let summary = self.waiting(id, log);
        if summary.ends.is_none() {
            self.hold(id, false);
        }
        self.send_stanza(id, &stanza::iq_result(iq, Some(summary.element())), true);
        self.flush(id, log);
        Ok(())
    }

    /// The device has everything up to here.
    fn received(&mut self, id: &DeviceId, upto: StanzaSeq) -> Result<(), StanzaError> {
        if upto > self.head.last() {
            return Err(StanzaError::ITEM_NOT_FOUND);
        }
        self.confirm(id, upto);
        Ok(())
    }

    fn hold(&mut self, id: &DeviceId, held: bool) {
        let Some(stream) = self.stream_mut(id).filter(|stream| stream.held != held) else { return };
        stream.held = held;
        self.put_device(id);
    }

    fn waiting(&self, id: &DeviceId, log: &dyn LogStore) -> Summary {
        let cursor = self.devices.get(id).map(|device| device.cursor).unwrap_or_default();
        let above = Query { after: cursor, ..Query::ALL };
        let notes = self.notes(&above, log);
        let all = self.head.size(log, &above);
        let bytes: u64 = notes.iter().map(|(_, bytes)| bytes).sum();
        let size = Size {
            count: all.count.saturating_sub(notes.len() as u64),
            bytes: all.bytes.saturating_sub(bytes),
        };
        let places = (cursor.next().0..=self.head.last().0).map(StanzaSeq);
        let ids = places.filter(|seq| notes.binary_search_by_key(seq, |(note, _)| *note).is_err());
        Summary::of(size, ids)
    }
}
