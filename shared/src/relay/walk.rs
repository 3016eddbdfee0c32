//! Reading the archive over both tiers, a segment at a time. A walk stops where it needs a segment
//! that is not at hand, and goes on from there when it is; in between it is just a place in the log,
//! so rows that are moved meanwhile are neither missed nor read twice.

use super::archive::Asked;
use super::{LogStore, RelayEngine};
use crate::archive::Query;
use crate::cold::{End, SegmentRow, is_note, shown_of};
use crate::id::StanzaSeq;
use crate::log::LogRow;

/// A query of the archive, as far as it was read.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    pub(super) asked: Asked,
    pub(super) rows: Vec<LogRow>,
    /// Whether there are more; known once the page is read.
    pub(super) more: Option<bool>,
    /// How many there are on all pages, if that is asked.
    pub(super) count: Option<u64>,
    position: Query,
    hot_is_read: bool,
    bytes: usize,
    max: usize,
    /// Every row up to here is counted.
    counted: StanzaSeq,
}

impl Walk {
    pub(super) fn new(asked: Asked, max: usize) -> Self {
        let counts = asked.max == Some(0) && asked.full.is_none();
        // Of those that are named, each is there.
        let count = counts.then(|| asked.ids.as_ref().map_or(0, |ids| ids.len() as u64));
        let position = asked.query.clone();
        let counted = asked.on_all_pages().after;
        Self {
            asked,
            rows: Vec::new(),
            more: None,
            count,
            position,
            hot_is_read: false,
            bytes: 0,
            max,
            counted,
        }
    }
}

impl RelayEngine {
    /// Reads on. Returns the segment that is needed for it, if one is.
    pub(super) fn walk_on(&self, walk: &mut Walk, log: &dyn LogStore) -> Option<SegmentRow> {
        // What was moved since it was asked for is hidden as what was moved before.
        for query in [&mut walk.position, &mut walk.asked.query] {
            query.hidden_upto = query.hidden_upto.max(self.cold.last);
        }
        if walk.more.is_none()
            && let Some(needed) = self.walk_page(walk, log)
        {
            return Some(needed);
        }
        self.walk_count(walk, log)
    }

    fn walk_page(&self, walk: &mut Walk, log: &dyn LogStore) -> Option<SegmentRow> {
        let newest_first = walk.position.newest_first;
        if newest_first && !walk.hot_is_read && self.walk_hot(walk, log) {
            return None;
        }
        walk.hot_is_read |= newest_first;
        while let Some(segment) = self.next_segment(&walk.position, log) {
            // A full page needs to know only whether there are more.
            let by_row = walk.asked.full.is_some() || walk.asked.ids.is_some();
            let is_full = walk.rows.len() >= walk.max && !by_row;
            if is_full && segment.shown(&walk.position).is_some_and(|shown| shown > 0) {
                walk.more = Some(true);
                return None;
            }
            let named = walk.asked.ids.as_ref();
            let is_skipped =
                named.is_some_and(|ids| ids.range(segment.first..=segment.last).next().is_none());
            let rows = if is_skipped { Some(&[][..]) } else { self.rows_at_hand(&segment, &walk.position) };
            let Some(rows) = rows else { return Some(segment) };
            let query = walk.position.clone();
            let mut rows: Vec<&LogRow> = rows.iter().filter(|row| query.selects(row)).collect();
            if newest_first {
                rows.reverse();
            }
            for row in rows {
                if self.walk_takes(walk, row) {
                    return None;
                }
            }
            walk.position.behind(if newest_first { segment.first } else { segment.last });
        }
        if newest_first || !self.walk_hot(walk, log) {
            walk.more = Some(false);
        }
        None
    }

    /// Reads what is in the log. Returns whether the page is full.
    fn walk_hot(&self, walk: &mut Walk, log: &dyn LogStore) -> bool {
        self.rows_of(walk.position.clone(), log).any(|row| self.walk_takes(walk, &row))
    }

    /// Takes a row onto the page, or notes that there is one more than fits.
    fn walk_takes(&self, walk: &mut Walk, row: &LogRow) -> bool {
        if walk.asked.selects(row, &self.config.account) {
            walk.bytes = walk.bytes.saturating_add(row.stanza.len());
            let full = !walk.rows.is_empty() && walk.bytes > self.config.limits.page_bytes_max;
            if walk.rows.len() >= walk.max || full {
                walk.more = Some(true);
                return true;
            }
            walk.rows.push(row.clone());
        }
        walk.position.behind(row.seq);
        false
    }

    /// How many there are on all pages, for who asks for nothing else: they have to be counted.
    fn walk_count(&self, walk: &mut Walk, log: &dyn LogStore) -> Option<SegmentRow> {
        let mut count = walk.count.filter(|_| walk.asked.ids.is_none())?;
        let mut query = Query { after: walk.counted, ..walk.asked.on_all_pages() };
        while let Some(segment) = self.next_segment(&query, log) {
            let shown = segment.shown(&query).or_else(|| {
                let rows = self.rows_at_hand(&segment, &query)?;
                Some(shown_of(rows.iter(), &query, &self.config.account).count)
            });
            let Some(shown) = shown else {
                (walk.count, walk.counted) = (Some(count), query.after);
                return Some(segment);
            };
            count = count.saturating_add(shown);
            query.after = segment.last;
        }
        let notes = self.notes(&query, log).len() as u64;
        let hot = self.head.size(log, &query).count.saturating_sub(notes);
        walk.count = Some(count.saturating_add(hot));
        None
    }

    fn next_segment(&self, query: &Query, log: &dyn LogStore) -> Option<SegmentRow> {
        if self.cold.last <= query.after {
            return None;
        }
        log.segments(query.after, query.before, query.newest_first, 1).pop()
    }

    /// What a segment has for a query: nothing, as far as its row knows, or its rows, if it is at
    /// hand.
    fn rows_at_hand(&self, segment: &SegmentRow, query: &Query) -> Option<&[LogRow]> {
        if segment.may_have(query) { self.parking.rows_of(segment) } else { Some(&[]) }
    }

    /// The first message of the archive that a query selects, in the order it asks for: of a query
    /// without other bounds than what is hidden.
    pub(super) fn archive_end(&self, query: &Query, log: &dyn LogStore) -> Option<End> {
        let newest = query.newest_first;
        let hot = || {
            let row = self.rows_of(query.clone(), log).find(|row| !is_note(row, &self.config.account))?;
            Some(End { seq: row.seq, at: row.at })
        };
        let cold = || {
            let mut query = query.clone();
            while let Some(segment) = self.next_segment(&query, log) {
                if let Some((first, last)) = segment.shown {
                    return Some(if newest { last } else { first });
                }
                query.behind(if newest { segment.first } else { segment.last });
            }
            None
        };
        if newest { hot().or_else(cold) } else { cold().or_else(hot) }
    }
}
