//! The archive (XEP-0313): pages of the log for whoever asks. What is sent of a page is numbered
//! and acked like everything else, and a page that was interrupted goes on when the stream is
//! resumed: each result is a view of its row, made again.
//!
//! Archive ids are the places of the log, so they can be guessed; §8.3 wants them to be
//! unpredictable so that nobody can name a message to whom it was not shown. Nobody but its
//! owner may ask this archive anything, and a stanza-id never leaves the account.

use super::parked::{Found, Work, error_of};
use super::rows::ResultRow;
use super::stream::Sent;
use super::walk::Walk;
use super::{LogStore, RelayEngine};
use crate::archive::Query;
use crate::cold::{End, is_note};
use crate::delivery;
use crate::id::{DeviceId, LinkId, StanzaSeq};
use crate::jid::{BareJid, Jid};
use crate::limits::ID_BYTES_MAX;
use crate::log::{Direction, LogRow};
use crate::time::Millis;
use crate::wire::error::StanzaError;
use crate::wire::form::{self, Form};
use crate::wire::rsm::{self, Page};
use crate::wire::{Element, ns, read_frame, stanza};
use std::collections::BTreeSet;

/// The fields that a query may have (XEP-0313 §4.1).
const FIELDS: [(&str, &str); 7] = [
    ("jid-single", "with"),
    ("text-single", "start"),
    ("text-single", "end"),
    ("text-single", "before-id"),
    ("text-single", "after-id"),
    ("list-multi", "ids"),
    ("boolean", "include-groupchat"),
];

/// Rows that are read at once: each may be as long as a frame.
const STEP: usize = 16;

/// A query as it was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) query: Query,
    /// The bounds that the query has without its page.
    bounds: (StanzaSeq, Option<StanzaSeq>),
    /// Only to or from this device of the other side.
    pub(super) full: Option<Jid>,
    /// Only these.
    pub(super) ids: Option<BTreeSet<StanzaSeq>>,
    pub(super) max: Option<usize>,
    flip: bool,
    query_id: String,
}

impl Asked {
    fn read(request: &Element, last: StanzaSeq, hidden_upto: StanzaSeq) -> Result<Self, StanzaError> {
        let known =
            |text: &str| StanzaSeq::parse(text).filter(|seq| *seq <= last).ok_or(StanzaError::ITEM_NOT_FOUND);
        let form = request.child(ns::DATA_FORMS, "x").map(Form::read);
        if form.as_ref().is_some_and(|form| form.form_type() != Some(ns::MAM)) {
            return Err(StanzaError::BAD_REQUEST);
        }
        let form = form.unwrap_or_default();
        if form.names().any(|name| !FIELDS.iter().any(|(_, field)| *field == name)) {
            return Err(StanzaError::FEATURE_NOT_IMPLEMENTED);
        }
        let query_id = request.attr("queryid").unwrap_or_default().to_owned();
        if query_id.len() > ID_BYTES_MAX {
            return Err(StanzaError::BAD_REQUEST);
        }
        let page = Page::read(request)?;
        let newest_first = page.before.is_some();
        let place = |name| form.value(name).map(known).transpose();
        let time = |name| {
            let stamp = |text: &str| Millis::from_stamp(text.trim()).ok_or(StanzaError::BAD_REQUEST);
            form.value(name).map(stamp).transpose()
        };
        let with = form.value("with").map(|text| Jid::parse(text).map_err(|_| StanzaError::JID_MALFORMED));
        let with = with.transpose()?;
        let paged_after = page.after.as_deref().map(known).transpose()?;
        let before = page.before.as_deref().filter(|text| !text.is_empty());
        let paged_before = before.map(known).transpose()?;
        let ids = form.names().any(|name| name == "ids").then(|| form.values("ids"));
        let ids = ids.map(|ids| ids.iter().map(|id| known(id)).collect::<Result<BTreeSet<_>, _>>());
        let ids = ids.transpose()?;
        let mut bounds = (place("after-id")?.unwrap_or_default(), place("before-id")?);
        if let Some((first, last)) = ids.as_ref().and_then(|ids| ids.first().zip(ids.last())) {
            bounds.0 = bounds.0.max(StanzaSeq(first.0.saturating_sub(1)));
            bounds.1 = Some(bounds.1.map_or(last.next(), |before| before.min(last.next())));
        }
        Ok(Self {
            bounds,
            query: Query {
                after: bounds.0.max(paged_after.unwrap_or_default()),
                before: [bounds.1, paged_before].into_iter().flatten().min(),
                start: time("start")?,
                end: time("end")?,
                with: with.as_ref().map(|jid| jid.bare.clone()),
                hidden_upto,
                newest_first,
            },
            full: with.filter(|jid| jid.resource.is_some()),
            ids,
            max: page.max,
            flip: request.child(ns::MAM, "flip-page").is_some(),
            query_id,
        })
    }

    pub(super) fn selects(&self, row: &LogRow, account: &BareJid) -> bool {
        !is_note(row, account)
            && self.full.as_ref().is_none_or(|full| other_side(row).as_ref() == Some(full))
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&row.seq))
    }

    /// The query without its page.
    pub(super) fn on_all_pages(&self) -> Query {
        let (after, before) = self.bounds;
        Query { after, before, newest_first: false, ..self.query.clone() }
    }
}

/// Who a row was exchanged with, as the stanza says it.
fn other_side(row: &LogRow) -> Option<Jid> {
    let message = read_frame(&row.stanza, 2 * crate::limits::FRAME_BYTES_MAX).ok()?;
    let attribute = if row.direction == Direction::Out { "to" } else { "from" };
    stanza::address(&message, attribute).ok().flatten()
}

impl RelayEngine {
    /// Answers a request about the archive. The answer to a query follows its results.
    pub(super) fn archive(
        &mut self,
        id: &DeviceId,
        iq: &Element,
        request: &Element,
        log: &dyn LogStore,
    ) -> Result<(), StanzaError> {
        let answer = match (iq.attr("type"), request.name.as_str()) {
            (Some("set"), "query") => return self.archive_page(id, iq, request, log),
            (Some("get"), "query") => archive_form(),
            (Some("get"), "metadata") => self.archive_ends(id, log),
            (Some("get" | "set"), "prefs") => return self.preferences(id, iq, request),
            _ => return Err(StanzaError::FEATURE_NOT_IMPLEMENTED),
        };
        self.send_stanza(id, &stanza::iq_result(iq, Some(answer)), true);
        Ok(())
    }

    fn archive_page(
        &mut self,
        id: &DeviceId,
        iq: &Element,
        request: &Element,
        log: &dyn LogStore,
    ) -> Result<(), StanzaError> {
        let Walk { asked, mut rows, more, count, .. } = match self.parking.found.take() {
            Some(Found::Page(walk)) => *walk,
            Some(Found::Fault(fault)) => return Err(error_of(fault)),
            _ => {
                let mut walk = self.walk_of(id, request, log)?;
                if self.walk_on(&mut walk, log).is_some() {
                    return Err(StanzaError::INTERNAL_SERVER_ERROR);
                }
                walk
            }
        };
        if asked.query.newest_first {
            rows.reverse();
        }
        let ends = rows.first().zip(rows.last());
        let ends = ends.map(|(first, last)| (first.seq.to_string(), last.seq.to_string()));
        let mut fin = Element::new(ns::MAM, "fin").with(rsm::set(ends, count));
        if more != Some(true) {
            fin.set_attr("complete", "true");
        }
        if asked.flip {
            rows.reverse();
        }
        let device = self.config.account.with_resource(id.as_str());
        let sent = |row: &LogRow| {
            let (seq, bytes) = (row.seq, row.stanza.len() as u64);
            let frame = result(row, &device, &asked.query_id)?.to_frame();
            Some((
                Sent::Result(ResultRow { seq, bytes, query: asked.query_id.clone(), offline: false }),
                frame,
            ))
        };
        let results = rows.iter().filter_map(sent).collect();
        self.send_page(id, results, &stanza::iq_result(iq, Some(fin)));
        Ok(())
    }

    /// Sends the results of a query and then its answer: all of them, or nothing of it is known.
    pub(super) fn send_page(&mut self, id: &DeviceId, results: Vec<(Sent, String)>, answer: &Element) {
        let answer = answer.to_frame();
        let Some(stream) = self.stream_mut(id) else { return };
        let Some(link) = stream.link else { return };
        let mut frames = Vec::new();
        for (sent, frame) in results.into_iter().chain([(Sent::Stanza(answer.clone()), answer)]) {
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

    /// Up to where the archive hides from a device what it is not to show: the rest is on its way there.
    /// What is in a segment is on its way to nobody.
    fn hidden_upto(&self, id: &DeviceId) -> StanzaSeq {
        let cursor = self.devices.get(id).map(|device| device.cursor).unwrap_or_default();
        cursor.max(self.cold.last)
    }

    /// XEP-0313 §4.1.5: an error if one of the ids that were asked for is not there.
    fn all_there(&self, asked: &Asked, log: &dyn LogStore) -> Result<(), StanzaError> {
        let is_there = |seq: &StanzaSeq| match self.segment_of(*seq, log) {
            Some(segment) => !segment.hides(*seq),
            None => {
                let row = self.head.row(log, *seq);
                row.is_some_and(|row| row.archived || row.seq > asked.query.hidden_upto)
            }
        };
        let all = asked.ids.as_ref().is_none_or(|ids| ids.iter().all(is_there));
        if all { Ok(()) } else { Err(StanzaError::ITEM_NOT_FOUND) }
    }

    fn walk_of(&self, id: &DeviceId, request: &Element, log: &dyn LogStore) -> Result<Walk, StanzaError> {
        let asked = Asked::read(request, self.head.last(), self.hidden_upto(id))?;
        self.all_there(&asked, log)?;
        let limits = self.config.limits;
        let max = asked.max.unwrap_or(limits.page_stanzas).min(limits.page_stanzas_max);
        Ok(Walk::new(asked, max))
    }

    /// Whether a request for a page needs a segment that is not at hand: then it is parked. What is
    /// read meanwhile is kept for it.
    pub(super) fn waits_for_segment(
        &mut self,
        link: LinkId,
        id: &DeviceId,
        iq: &Element,
        log: &dyn LogStore,
    ) -> bool {
        if self.cold.last == StanzaSeq(0) || self.parking.found.is_some() {
            return false;
        }
        let query = iq.child(ns::MAM, "query").filter(|_| iq.attr("type") == Some("set"));
        if query.is_none() || iq.attr("id").is_none() || iq.children().count() != 1 {
            return false;
        }
        if self.for_this_account(iq).is_err() {
            return false;
        }
        let Some(Ok(mut walk)) = query.map(|query| self.walk_of(id, query, log)) else { return false };
        match self.walk_on(&mut walk, log) {
            Some(needed) => {
                self.park(link, iq.clone(), Work::Page(Box::new(walk)), needed);
                true
            }
            None => {
                self.parking.found = Some(Found::Page(Box::new(walk)));
                false
            }
        }
    }

    /// The rows that a query selects, a few of them in memory at a time.
    pub(super) fn rows_of<'a>(
        &'a self,
        mut query: Query,
        log: &'a dyn LogStore,
    ) -> impl Iterator<Item = LogRow> + 'a {
        let (mut read, mut exhausted) = (Vec::new().into_iter(), false);
        std::iter::from_fn(move || {
            if read.len() == 0 && !exhausted {
                let rows = self.head.select(log, &query, STEP);
                exhausted = rows.len() < STEP;
                read = rows.into_iter();
            }
            let row: LogRow = read.next()?;
            query.behind(row.seq);
            Some(row)
        })
    }

    /// Those that a query selects and no archive shows, and their bytes.
    pub(super) fn notes(&self, query: &Query, log: &dyn LogStore) -> Vec<(StanzaSeq, u64)> {
        let account = &self.config.account;
        if query.with.as_ref().is_some_and(|with| with != account) {
            return Vec::new();
        }
        let rows = self.rows_of(Query { with: Some(account.clone()), ..query.clone() }, log);
        rows.filter(|row| is_note(row, account)).map(|row| (row.seq, row.stanza.len() as u64)).collect()
    }

    /// XEP-0313 §5
    pub(super) fn archive_ends(&self, id: &DeviceId, log: &dyn LogStore) -> Element {
        let shown = Query { hidden_upto: self.hidden_upto(id), ..Query::ALL };
        let end = |name: &str, newest_first| {
            let End { seq, at } = self.archive_end(&Query { newest_first, ..shown.clone() }, log)?;
            let end = Element::new(ns::MAM, name).with_attr("id", seq.to_string());
            Some(end.with_attr("timestamp", at.to_stamp()))
        };
        let mut metadata = Element::new(ns::MAM, "metadata");
        [end("start", false), end("end", true)].into_iter().flatten().for_each(|end| metadata.push(end));
        metadata
    }
}

/// One result, as a device is sent it.
pub(super) fn result(row: &LogRow, account: &Jid, query_id: &str) -> Option<Element> {
    let forwarded = delivery::archived(row, &account.bare)?;
    let mut result = Element::new(ns::MAM, "result").with_attr("id", row.seq.to_string());
    if !query_id.is_empty() {
        result.set_attr("queryid", query_id);
    }
    let message = Element::new(ns::CLIENT, "message")
        .with_attr("from", account.bare.as_str())
        .with_attr("to", account.to_string());
    Some(message.with(result.with(forwarded)))
}

fn archive_form() -> Element {
    let fields = FIELDS.iter().map(|(kind, name)| {
        let field = form::field(kind, name, &[]);
        // XEP-0313 §4.1.5: any id may be named (XEP-0122 §3).
        let open = Element::new(ns::VALIDATE, "open");
        let any = Element::new(ns::VALIDATE, "validate").with_attr("datatype", "xs:string").with(open);
        if *name == "ids" { field.with(any) } else { field }
    });
    Element::new(ns::MAM, "query").with(form::form("form", ns::MAM, fields))
}
