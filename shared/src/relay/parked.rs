//! Waiting for a segment. The log is read in one turn and the blob store is not: a request that
//! needs a segment which is not at hand is parked with all that its connection says after it
//! (RFC 6120 §10.1), and goes on when the segment is there. Other connections do not wait.
//!
//! A stanza that is parked is not handled, so it is not counted and not acked (XEP-0198 §4), and
//! neither is anything behind it. If the connection or the mailbox is lost, its client sends them
//! again. If the mailbox sleeps, or is loaded anew under a connection that stands, what was parked
//! is lost with its memory and nothing would tell the client: so the connection remembers that it
//! is parked, and one that comes back so is closed.
//!
//! Only acks of the device are taken at once. They are no stanzas, and the relay would otherwise
//! end a connection for not answering while it is not listening.
//!
//! One segment is asked for at a time, and one is in memory. Whatever is wrong with it, its request
//! is answered with an error: what cannot be read is never left out.

use super::rates::Verdict;
use super::session::failed;
use super::stream::Sent;
use super::walk::Walk;
use super::{Effect, LogStore, Phase, RelayEngine};
use crate::cold::{SegmentFault, SegmentRow};
use crate::id::{DeviceId, LinkId, StanzaSeq};
use crate::limits::{PARKED_BYTES_MAX, PARKED_FRAMES_MAX, PARKED_MS_MAX, SEGMENT_CACHE_MS, SEGMENT_MS_MAX};
use crate::log::LogRow;
use crate::sm::Handled;
use crate::time::Millis;
use crate::wire::error::{StanzaError, StreamCondition};
use crate::wire::{Element, ns};
use std::collections::{BTreeMap, VecDeque};

/// Everything that has to do with segments being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Parking {
    waiting: VecDeque<(LinkId, Parked)>,
    getting: Option<(SegmentRow, Millis)>,
    hand: Option<Hand>,
    /// What was found for the frame that goes on now.
    pub(super) found: Option<Found>,
}

/// The segment in memory.
#[derive(Clone, Debug)]
struct Hand {
    first: StanzaSeq,
    rows: Vec<LogRow>,
    used: Millis,
}

/// A frame that waits, and those behind it.
#[derive(Clone, Debug)]
struct Parked {
    frame: Element,
    behind: VecDeque<String>,
    bytes: usize,
    since: Millis,
    work: Work,
    wants: SegmentRow,
}

/// What a frame needs segments for.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// A page of the archive.
    Page(Box<Walk>),
    /// Rows that are sent again on a stream that is resumed: those there are, and those wanted.
    Rows(BTreeMap<StanzaSeq, LogRow>, Vec<StanzaSeq>),
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Page(Box<Walk>),
    Rows(BTreeMap<StanzaSeq, LogRow>),
    Fault(SegmentFault),
}

impl Parking {
    pub(super) fn is_parked(&self, link: LinkId) -> bool {
        self.waiting.iter().any(|(other, _)| *other == link)
    }

    pub(super) fn leave(&mut self, link: LinkId) {
        self.waiting.retain(|(other, _)| *other != link);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The rows of a segment, if it is the one in memory.
    pub(super) fn rows_of(&self, segment: &SegmentRow) -> Option<&[LogRow]> {
        let hand = self.hand.as_ref().filter(|hand| hand.first == segment.first)?;
        Some(&hand.rows)
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        self.getting.as_ref().map(|(_, since)| since.plus(SEGMENT_MS_MAX))
    }

    pub(super) fn pull(&mut self, ms: u64) {
        self.waiting.iter_mut().for_each(|(_, parked)| parked.since = parked.since.minus(ms));
        if let Some((_, since)) = &mut self.getting {
            *since = since.minus(ms);
        }
        if let Some(hand) = &mut self.hand {
            hand.used = hand.used.minus(ms);
        }
    }
}

/// Whether a stream can be resumed now.
pub(super) enum Resuming {
    /// This device's, with these rows, which are not in the log any more.
    With(DeviceId, BTreeMap<StanzaSeq, LogRow>),
    /// It waits for them.
    Parked,
    /// It cannot: this says so.
    Over(Element),
}

/// What whoever asked is told.
pub(super) fn error_of(fault: SegmentFault) -> StanzaError {
    match fault {
        SegmentFault::Unreachable => StanzaError::RESOURCE_CONSTRAINT,
        SegmentFault::Missing | SegmentFault::Damaged | SegmentFault::Unknown => {
            StanzaError::INTERNAL_SERVER_ERROR
        }
    }
}

impl RelayEngine {
    /// Keeps back what a connection says while it waits. Returns whether it does.
    pub(super) fn holds_back(&mut self, link: LinkId, element: &Element, text: &str) -> bool {
        let is_bound = self.links.get(&link).is_some_and(|known| matches!(known.phase, Phase::Bound(_)));
        if is_bound && element.is(ns::SM, "a") {
            return false;
        }
        let parked = self.parking.waiting.iter_mut().find(|(other, _)| *other == link);
        let Some((_, parked)) = parked else { return false };
        parked.bytes = parked.bytes.saturating_add(text.len());
        parked.behind.push_back(text.to_owned());
        if parked.bytes > PARKED_BYTES_MAX || parked.behind.len() > PARKED_FRAMES_MAX {
            // RFC 6120 §4.9.3.17. Nothing of it is counted: the device sends it again.
            self.close_link(link, Some(StreamCondition::ResourceConstraint), 1000);
        }
        true
    }

    /// This frame waits for a segment.
    pub(super) fn park(&mut self, link: LinkId, frame: Element, work: Work, wants: SegmentRow) {
        let since = self.now;
        let parked = Parked { frame, behind: VecDeque::new(), bytes: 0, since, work, wants };
        self.parking.waiting.push_back((link, parked));
    }

    /// Asks for the segment that has been waited for longest, and gives up one that does not come.
    pub(super) fn get_segments(&mut self, log: &dyn LogStore) {
        let now = self.now;
        let late = self.parking.getting.take_if(|(_, since)| since.plus(SEGMENT_MS_MAX) <= now);
        if let Some((segment, _)) = late {
            self.segment_fault(&segment, SegmentFault::Unreachable, log);
        }
        while self.parking.getting.is_none()
            && let Some((_, parked)) = self.parking.waiting.front()
        {
            let segment = parked.wants.clone();
            // It came for another meanwhile.
            if self.parking.rows_of(&segment).is_some() {
                self.go_on(segment.first, None, log);
                continue;
            }
            // One at a time.
            self.parking.hand = None;
            self.gate.effect(Effect::GetSegment(segment.name.clone()));
            self.parking.getting = Some((segment, now));
        }
        let is_needed = !self.parking.waiting.is_empty();
        let unused = |hand: &mut Hand| !is_needed && now.since(hand.used) > SEGMENT_CACHE_MS;
        self.parking.hand.take_if(unused);
    }

    /// A segment is there, or is not.
    pub(super) fn segment_got(&mut self, name: &str, got: Result<&[u8], SegmentFault>, log: &dyn LogStore) {
        let Some((segment, _)) = self.parking.getting.take_if(|(segment, _)| segment.name == name) else {
            return;
        };
        match got.and_then(|bytes| segment.unpack(bytes, &self.config.account)) {
            Ok(rows) => {
                let (first, used) = (segment.first, self.now);
                self.parking.hand = Some(Hand { first, rows, used });
                self.go_on(first, None, log);
            }
            Err(fault) => self.segment_fault(&segment, fault, log),
        }
    }

    fn segment_fault(&mut self, segment: &SegmentRow, fault: SegmentFault, log: &dyn LogStore) {
        self.gate.effect(Effect::SegmentFault(segment.name.clone(), fault));
        self.go_on(segment.first, Some(fault), log);
    }

    /// Whoever waits for this segment goes on, in the order in which they came to wait.
    fn go_on(&mut self, first: StanzaSeq, fault: Option<SegmentFault>, log: &dyn LogStore) {
        let waiting = std::mem::take(&mut self.parking.waiting);
        let (ready, others) = waiting.into_iter().partition(|(_, parked)| parked.wants.first == first);
        self.parking.waiting = others;
        let ready: VecDeque<(LinkId, Parked)> = ready;
        for (link, parked) in ready {
            // Whoever went on before it may have ended its connection.
            if self.links.contains_key(&link) {
                self.unpark(link, parked, fault, log);
            }
        }
    }

    fn unpark(&mut self, link: LinkId, mut parked: Parked, fault: Option<SegmentFault>, log: &dyn LogStore) {
        if let Some(hand) = &mut self.parking.hand {
            hand.used = self.now;
        }
        let found = match fault {
            Some(fault) => Ok(Found::Fault(fault)),
            None => self.work_on(parked.work, log),
        };
        let found = match found {
            Ok(found) => found,
            Err(more) if self.now.since(parked.since) < PARKED_MS_MAX => {
                (parked.work, parked.wants) = *more;
                return self.parking.waiting.push_back((link, parked));
            }
            Err(_) => Found::Fault(SegmentFault::Unreachable),
        };
        self.parking.found = Some(found);
        self.take_frame(link, parked.frame, Verdict::Within, log);
        self.parking.found = None;
        for text in parked.behind {
            self.frame(link, &text, log);
        }
    }

    /// Takes what is needed of the segment at hand, up to the next that is needed.
    fn work_on(&self, work: Work, log: &dyn LogStore) -> Result<Found, Box<(Work, SegmentRow)>> {
        match work {
            Work::Page(mut walk) => match self.walk_on(&mut walk, log) {
                Some(needed) => Err(Box::new((Work::Page(walk), needed))),
                None => Ok(Found::Page(walk)),
            },
            Work::Rows(mut rows, wanted) => {
                let at_hand = self.parking.hand.as_ref().map(|hand| hand.rows.as_slice());
                let at_hand = at_hand.unwrap_or_default().iter();
                rows.extend(
                    at_hand.filter(|row| wanted.contains(&row.seq)).map(|row| (row.seq, row.clone())),
                );
                let missing = wanted.iter().find(|seq| !rows.contains_key(seq));
                match missing.map(|seq| self.segment_of(*seq, log)) {
                    None => Ok(Found::Rows(rows)),
                    // A segment that is there and does not have its row would be asked for for ever.
                    Some(Some(segment)) if self.parking.rows_of(&segment).is_none() => {
                        Err(Box::new((Work::Rows(rows, wanted), segment)))
                    }
                    Some(_) => Ok(Found::Fault(SegmentFault::Damaged)),
                }
            }
        }
    }

    /// The segment that holds this place.
    pub(super) fn segment_of(&self, seq: StanzaSeq, log: &dyn LogStore) -> Option<SegmentRow> {
        let segment = log.segments(seq.before(), None, false, 1).pop()?;
        (segment.first <= seq).then_some(segment)
    }

    /// The rows of results that were sent on this stream, will be sent again, and are in segments.
    /// (What is sent by itself is not: the log is moved behind every device.)
    pub(super) fn rows_to_resume(
        &mut self,
        link: LinkId,
        said: &Element,
        id: &DeviceId,
        h: Handled,
        log: &dyn LogStore,
    ) -> Result<Resuming, StreamCondition> {
        let found = self.parking.found.take();
        let stream = self.devices.get(id).and_then(|device| device.stream.as_ref());
        let with = |rows| Ok(Resuming::With(id.clone(), rows));
        let Some(stream) = stream else { return with(BTreeMap::new()) };
        let acked = stream.window.acked();
        let wanted = stream.window.entries().filter_map(|(number, sent)| match sent {
            Sent::Result(row) if number.since(acked) > h.since(acked) => Some(row.seq),
            _ => None,
        });
        let cold = self.cold.last;
        let wanted: Vec<StanzaSeq> = wanted.filter(|seq| *seq <= cold).collect();
        match found {
            Some(Found::Rows(rows)) if wanted.iter().all(|seq| rows.contains_key(seq)) => {
                return with(rows);
            }
            // It may try again: the session is kept.
            Some(Found::Fault(SegmentFault::Unreachable)) => return Err(StreamCondition::ResourceConstraint),
            Some(Found::Fault(_)) => {
                // What is not on disk yet is sent again, and recognised.
                let handled = self.gate.durable(stream.no).handled();
                let failed = failed("internal-server-error").with_attr("h", handled.to_string());
                return Ok(Resuming::Over(failed));
            }
            _ => {}
        }
        let first = wanted.first().and_then(|first| self.segment_of(*first, log));
        let Some(segment) = first else { return with(BTreeMap::new()) };
        self.park(link, said.clone(), Work::Rows(BTreeMap::new(), wanted), segment);
        Ok(Resuming::Parked)
    }
}
