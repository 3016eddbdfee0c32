//! Flexible offline message retrieval (XEP-0013): the queue of a device as a list, from which it
//! takes and removes what it likes.
//!
//! The list is a view of the log above the device's cursor: what the device would be sent by itself,
//! under its stanza-ids. It is this device's queue and no other's: what one removes still waits for
//! the others, and stays in the archive. (XEP-0013 §2.2 would keep the second resource of an
//! account from getting it, too; here every device confirms for itself.)
//!
//! # Removing from the middle
//!
//! To remove is to confirm. A cursor says that everything below it is confirmed, so what is confirmed
//! above a gap is noted beside it, as ranges of places ([`Taken`], in the device's row), and the cursor
//! moves over them when the gap is closed. Who leaves more than [`TAKEN_RANGES_MAX`] gaps is refused
//! (`resource-constraint`): nothing is forgotten to make room. A range is not sent again, whatever the
//! device does next; a gap is, to a session that does not ask for the list. (The summary and the pages of
//! `crate::offline` begin at the cursor and know no ranges: who uses both is shown some again.)
//!
//! # Presence
//!
//! Whoever has asked for anything of this before its initial presence is not sent what waits. From the
//! presence on it is sent what comes (§2.2): its stream reads on behind what waited then, and what
//! it acks there is a range above the gap that it leaves. What is sent by itself is not in the list,
//! so that nobody removes what is on its way to him.
//!
//! # What is removed unseen
//!
//! `<purge/>` removes what the device was told of last, by a list or `<fetch/>`; after neither, what waited
//! when it asked for the number, or what waits. What came later stays. A list ends after [`FLEXIBLE_LIST_MAX`] messages, and `<purge/>` ends with
//! it; `<fetch/>` of more than a page of the archive may have is `resource-constraint`.

use super::rows::ResultRow;
use super::stream::{Device, Sent};
use super::{LogStore, RelayEngine};
use crate::archive::Query;
use crate::delivery::{self, Reader};
use crate::id::{DeviceId, StanzaSeq};
use crate::limits::{FLEXIBLE_LIST_BYTES_MAX, FLEXIBLE_LIST_MAX, TAKEN_RANGES_MAX};
use crate::log::LogRow;
use crate::wire::error::StanzaError;
use crate::wire::{Element, form, ns, stanza};
use serde::{Deserialize, Serialize};

/// What a device has confirmed above its cursor: ranges of places, in order, with gaps between.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Taken(Vec<(StanzaSeq, StanzaSeq)>);

impl Taken {
    /// How many ranges.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a place is in one of them.
    pub fn contains(&self, seq: StanzaSeq) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&seq))
    }

    /// Puts a range in, whatever of it is there.
    pub fn add(&mut self, mut first: StanzaSeq, mut last: StanzaSeq) {
        self.0.retain(|(other_first, other_last)| {
            let apart = *other_first > last.next() || first > other_last.next();
            if !apart {
                first = first.min(*other_first);
                last = last.max(*other_last);
            }
            apart
        });
        let at = self.0.partition_point(|(other, _)| *other < first);
        self.0.insert(at, (first, last));
    }

    /// Moves a cursor over what adjoins it, and forgets what is below.
    pub fn settle(&mut self, cursor: &mut StanzaSeq) {
        self.0.retain(|(first, last)| {
            let adjoins = *first <= cursor.next();
            if adjoins {
                *cursor = (*cursor).max(*last);
            }
            !adjoins
        });
    }
}

/// How a stream stands to what waited when it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Flexible {
    /// It was asked for.
    pub asked: bool,
    /// Up to where the device was told of all.
    pub shown: Option<StanzaSeq>,
    /// The stream confirms from here on; what is below, the device takes from the list.
    pub from: StanzaSeq,
}

impl Device {
    /// Takes into account what its stream has confirmed.
    pub(super) fn settle(&mut self) {
        if let Some(stream) = &self.stream {
            let (from, upto) = (stream.flexible.from, stream.confirmed());
            if from <= self.cursor.next() {
                self.cursor = self.cursor.max(upto);
            } else if from <= upto {
                self.taken.add(from, upto);
            }
        }
        self.taken.settle(&mut self.cursor);
    }

    /// Takes into account what was acked one by one, where its stream does not confirm all below:
    /// what it took from the list, and what it was sent ahead of others (`flush`).
    pub(super) fn acked(&mut self, confirmed: Vec<Sent>) {
        let Some(stream) = &self.stream else { return };
        let (from, upto) = (stream.flexible.from, stream.confirmed());
        for sent in confirmed {
            if let Sent::Row(seq) = sent
                && seq > self.cursor
                && !(from..=upto).contains(&seq)
            {
                self.taken.add(seq, seq);
            }
        }
    }

    /// Whether it has confirmed this one.
    pub(super) fn has(&self, seq: StanzaSeq) -> bool {
        seq <= self.cursor || self.taken.contains(seq)
    }
}

/// One that waits.
struct Waiting {
    row: LogRow,
    message: Element,
}

fn item(message: Element, seq: StanzaSeq) -> Element {
    let item = Element::new(ns::FLEXIBLE, "item").with_attr("node", seq.to_string());
    message.with(Element::new(ns::FLEXIBLE, "offline").with(item))
}

impl RelayEngine {
    /// Answers a question about the node of the list (XEP-0013 §2.2, §2.3).
    pub(super) fn flexible_disco(
        &mut self,
        id: &DeviceId,
        iq: &Element,
        request: &Element,
        log: &dyn LogStore,
    ) -> Result<(), StanzaError> {
        if (iq.attr("type"), request.name.as_str()) != (Some("get"), "query") {
            return Err(StanzaError::FEATURE_NOT_IMPLEMENTED);
        }
        let mut answer = Element::new(&request.ns, "query").with_attr("node", ns::FLEXIBLE);
        if request.ns == ns::DISCO_INFO {
            let number = self.list(id, log).count().to_string();
            let identity = Element::new(ns::DISCO_INFO, "identity").with_attr("category", "automation");
            let feature = Element::new(ns::DISCO_INFO, "feature").with_attr("var", ns::FLEXIBLE);
            let field = form::field("text-single", "number_of_messages", &[number.as_str()]);
            answer.push(identity.with_attr("type", "message-list"));
            answer.push(feature);
            answer.push(form::form("result", ns::FLEXIBLE, [field]));
            let stream = self.devices.get(id).and_then(|device| device.stream.as_ref());
            let shown = stream.and_then(|stream| stream.flexible.shown);
            self.told(id, shown.unwrap_or(self.list_upto(id)));
        } else {
            let (items, upto) = self.list_items(id, log);
            items.into_iter().for_each(|item| answer.push(item));
            self.told(id, upto);
        }
        self.send_stanza(id, &stanza::iq_result(iq, Some(answer)), true);
        Ok(())
    }

    /// Answers a request for messages of the list, or to remove some (XEP-0013 §2.4 to §2.7).
    pub(super) fn flexible(
        &mut self,
        id: &DeviceId,
        iq: &Element,
        request: &Element,
        log: &dyn LogStore,
    ) -> Result<(), StanzaError> {
        let first = request.children().next().ok_or(StanzaError::BAD_REQUEST)?;
        let newest = self.list_upto(id);
        match (iq.attr("type"), request.name.as_str(), first.name.as_str()) {
            (Some("get"), "offline", "item") => {
                self.told(id, self.shown(id));
                let wanted = self.named(id, request, "view", log)?;
                self.send_list(id, iq, wanted)
            }
            (Some("get"), "offline", "fetch") => {
                self.told(id, self.shown(id));
                let enough = self.config.limits.page_stanzas_max.saturating_add(1);
                let wanted: Vec<Waiting> = self.list(id, log).take(enough).collect();
                self.send_list(id, iq, wanted)?;
                self.told(id, newest);
                Ok(())
            }
            (Some("set"), "offline", "item") => {
                self.told(id, self.shown(id));
                let places = self.named(id, request, "remove", log)?;
                let places: Vec<StanzaSeq> = places.iter().map(|waiting| waiting.row.seq).collect();
                self.remove_places(id, &places, log)?;
                self.send_stanza(id, &stanza::iq_result(iq, None), true);
                Ok(())
            }
            (Some("set"), "offline", "purge") => {
                self.purge_list(id, newest);
                self.send_stanza(id, &stanza::iq_result(iq, None), true);
                Ok(())
            }
            _ => Err(StanzaError::BAD_REQUEST),
        }
    }

    /// The newest place that may be in the list: what the stream sends by itself is not.
    fn list_upto(&self, id: &DeviceId) -> StanzaSeq {
        let stream = self.devices.get(id).and_then(|device| device.stream.as_ref());
        let live = stream.filter(|stream| stream.presence.is_some() && !stream.held);
        live.map_or(self.head.last(), |stream| StanzaSeq(stream.flexible.from.0.saturating_sub(1)))
    }

    /// What waits for a device, as it would be sent it.
    fn list<'a>(&'a self, id: &'a DeviceId, log: &'a dyn LogStore) -> impl Iterator<Item = Waiting> + 'a {
        let device = self.devices.get(id);
        let cursor = device.map(|device| device.cursor).unwrap_or_default();
        let query = Query { after: cursor, before: Some(self.list_upto(id).next()), ..Query::ALL };
        self.rows_of(query, log)
            .filter(move |row| device.is_none_or(|device| !device.has(row.seq)))
            .filter_map(|row| {
                let message = self.as_sent(id, &row)?;
                Some(Waiting { row, message })
            })
    }

    fn as_sent(&self, id: &DeviceId, row: &LogRow) -> Option<Element> {
        let carbons = self.devices.get(id)?.stream.as_ref()?.carbons;
        delivery::view(row, Reader { account: &self.config.account, device: id, carbons, late: true })
    }

    /// The items of the list, and the place up to which they are all.
    fn list_items(&self, id: &DeviceId, log: &dyn LogStore) -> (Vec<Element>, StanzaSeq) {
        let (mut items, mut bytes, mut upto) = (Vec::new(), 0usize, StanzaSeq(0));
        for waiting in self.list(id, log) {
            let item = Element::new(ns::DISCO_ITEMS, "item")
                .with_attr("jid", self.config.account.as_str())
                .with_attr("node", waiting.row.seq.to_string())
                .with_attr("name", waiting.message.attr("from").unwrap_or_default());
            bytes = bytes.saturating_add(item.to_frame().len());
            if items.len() >= FLEXIBLE_LIST_MAX || bytes > FLEXIBLE_LIST_BYTES_MAX {
                return (items, upto);
            }
            upto = waiting.row.seq;
            items.push(item);
        }
        (items, self.list_upto(id))
    }

    /// The messages that a request names, all of which must be in the list.
    fn named(
        &self,
        id: &DeviceId,
        request: &Element,
        action: &str,
        log: &dyn LogStore,
    ) -> Result<Vec<Waiting>, StanzaError> {
        let upto = self.list_upto(id);
        let device = self.devices.get(id).ok_or(StanzaError::ITEM_NOT_FOUND)?;
        let mut named = Vec::new();
        for item in request.children() {
            if !item.is(ns::FLEXIBLE, "item") || item.attr("action") != Some(action) {
                return Err(StanzaError::BAD_REQUEST);
            }
            let seq = item.attr("node").and_then(StanzaSeq::parse).ok_or(StanzaError::ITEM_NOT_FOUND)?;
            if seq > upto || device.has(seq) {
                return Err(StanzaError::ITEM_NOT_FOUND);
            }
            let row = self.head.row(log, seq).ok_or(StanzaError::ITEM_NOT_FOUND)?;
            let message = self.as_sent(id, &row).ok_or(StanzaError::ITEM_NOT_FOUND)?;
            named.push(Waiting { row, message });
        }
        Ok(named)
    }

    /// Sends messages of the list, each with its place, and then the answer.
    fn send_list(&mut self, id: &DeviceId, iq: &Element, wanted: Vec<Waiting>) -> Result<(), StanzaError> {
        let limits = self.config.limits;
        let bytes: usize = wanted.iter().map(|waiting| waiting.row.stanza.len()).sum();
        if wanted.len() > limits.page_stanzas_max || wanted.len() > 1 && bytes > limits.page_bytes_max {
            return Err(StanzaError::RESOURCE_CONSTRAINT);
        }
        let result = |waiting: Waiting| {
            let (seq, bytes) = (waiting.row.seq, waiting.row.stanza.len() as u64);
            let sent = Sent::Result(ResultRow { seq, bytes, query: String::new(), offline: true });
            (sent, item(waiting.message, seq).to_frame())
        };
        let results = wanted.into_iter().map(result).collect();
        self.send_page(id, results, &stanza::iq_result(iq, None));
        Ok(())
    }

    /// A message of the list, as it is sent (XEP-0013 §2.4).
    pub(super) fn listed(&self, id: &DeviceId, row: &LogRow) -> Option<Element> {
        Some(item(self.as_sent(id, row)?, row.seq))
    }

    /// Up to where a device was told of all; of nothing more than it has, if it was told nothing.
    fn shown(&self, id: &DeviceId) -> StanzaSeq {
        let Some(device) = self.devices.get(id) else { return StanzaSeq(0) };
        device.stream.as_ref().and_then(|stream| stream.flexible.shown).unwrap_or(device.cursor)
    }

    /// The device was told of what waits up to here. What waits is not sent to it by itself from
    /// here on.
    fn told(&mut self, id: &DeviceId, upto: StanzaSeq) {
        let Some(stream) = self.stream_mut(id) else { return };
        let before = (stream.flexible, stream.held);
        stream.held |= stream.presence.is_none();
        stream.flexible.asked = true;
        stream.flexible.shown = Some(upto);
        if before != (stream.flexible, stream.held) {
            self.put_device(id);
        }
    }

    /// The initial presence of a device that has asked: what comes is sent to it again.
    pub(super) fn read_on(&mut self, id: &DeviceId) {
        let next = self.head.last().next();
        let Some(stream) = self.stream_mut(id) else { return };
        if stream.held && stream.flexible.asked {
            stream.held = false;
            stream.next = next;
            stream.flexible.from = next;
        }
    }

    fn remove_places(
        &mut self,
        id: &DeviceId,
        places: &[StanzaSeq],
        log: &dyn LogStore,
    ) -> Result<(), StanzaError> {
        let Some(device) = self.devices.get(id) else { return Ok(()) };
        let (mut taken, mut cursor) = (device.taken.clone(), device.cursor);
        places.iter().for_each(|seq| taken.add(*seq, *seq));
        taken.settle(&mut cursor);
        // What is not for this device closes no gap, and leaves none.
        let above = Query { after: cursor, before: Some(self.list_upto(id).next()), ..Query::ALL };
        for row in self.rows_of(above, log) {
            if row.seq > cursor && self.as_sent(id, &row).is_some() {
                break;
            }
            cursor = cursor.max(row.seq);
            taken.settle(&mut cursor);
        }
        if taken.0.len() > TAKEN_RANGES_MAX {
            return Err(StanzaError::RESOURCE_CONSTRAINT);
        }
        if let Some(device) = self.devices.get_mut(id) {
            device.taken = taken;
        }
        self.confirm(id, cursor);
        Ok(())
    }

    fn purge_list(&mut self, id: &DeviceId, newest: StanzaSeq) {
        let Some(stream) = self.stream_mut(id) else { return };
        let upto = stream.flexible.shown.take().unwrap_or(newest);
        stream.flexible.asked = true;
        stream.held |= stream.presence.is_none();
        self.confirm(id, upto.min(newest));
    }

    /// The device has confirmed everything up to here.
    pub(super) fn confirm(&mut self, id: &DeviceId, upto: StanzaSeq) {
        let Some(device) = self.devices.get_mut(id) else { return };
        device.cursor = device.cursor.max(upto);
        device.settle();
        if let Some(stream) = &mut device.stream {
            stream.next = stream.next.max(device.cursor.next());
        }
        self.put_device(id);
    }
}
