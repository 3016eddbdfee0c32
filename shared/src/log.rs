//! The one idea: a log and its cursors.
//!
//! A message is appended once and gets its place. Whoever must still receive it reads on from
//! a cursor; a receipt moves the cursor. Pending acks, an offline queue, an archive and what a
//! device missed are views of the same rows.
//!
//! This file owns the row and the head; `repeats` recognises what is sent again. Where rows are
//! kept is behind [`LogStore`]; what a row looks like to a device is `delivery`'s to say.

use crate::archive::{Query, Size};
use crate::cold::SegmentRow;
use crate::id::{DeviceId, OriginId, StanzaSeq};
use crate::jid::BareJid;
use crate::relay::rows::ItemRow;
use crate::sm::Handled;
use crate::time::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which way a message went, seen from the mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Direction {
    /// From another account.
    In,
    /// From one of this account's devices.
    Out,
    /// An own message came back: this mailbox wrote the error itself.
    Back,
}

/// One message in a mailbox's log. It carries the counters that its arrival and its first
/// transmissions moved, so that a message costs one row and not one for each counter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogRow {
    /// Its place, and its stanza-id.
    pub seq: StanzaSeq,
    /// When it was appended.
    pub at: Millis,
    /// Which way it went.
    pub direction: Direction,
    /// The other side.
    pub peer: BareJid,
    /// In: its place in the sender's log. Back: the place here of the message that came back.
    pub peer_seq: StanzaSeq,
    /// Out: how it came.
    pub source: Option<Source>,
    /// Streams it was sent on in the turn that appended it.
    pub sent: Vec<SentOn>,
    /// Every Out row up to here had reached its recipient's mailbox.
    pub transferred: StanzaSeq,
    /// The archive shows it.
    #[serde(default = "archived")]
    pub archived: bool,
    /// The stanza, without anything that depends on who reads it.
    pub stanza: String,
}

fn archived() -> bool {
    true
}

impl LogRow {
    /// Whether it stands at one of these places in that mailbox's log.
    pub fn came_from(&self, peer: &BareJid, places: &[StanzaSeq]) -> bool {
        self.direction == Direction::In && self.peer == *peer && places.contains(&self.peer_seq)
    }
}

/// How an own message came in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Source {
    /// The device that sent it.
    pub device: DeviceId,
    /// The stream it came on.
    pub stream: u64,
    /// The stream's count with this message.
    pub handled: Handled,
    /// The sender's own id for it (XEP-0359).
    pub origin: Option<OriginId>,
    /// Its `id` attribute.
    pub id: Option<String>,
    /// A digest of recipient and payload, for recognising a repeat that has only an `id`.
    pub digest: u64,
    /// The device asked for the intermediate receipt (R07).
    pub accept: bool,
}

/// An own message, as far as recognising a repeat of it needs it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sending {
    /// Its place.
    pub seq: StanzaSeq,
    /// When it was appended.
    pub at: Millis,
    /// Whom it is for.
    pub peer: BareJid,
    /// How it came.
    pub source: Source,
}

impl Sending {
    /// Of an own message's row.
    pub fn of(row: &LogRow) -> Option<Self> {
        Some(Self { seq: row.seq, at: row.at, peer: row.peer.clone(), source: row.source.clone()? })
    }
}

/// A stanza's number on one device's stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SentOn {
    /// The stream.
    pub stream: u64,
    /// The stanza's number on it.
    pub number: Handled,
}

/// Where what was published is read from (XEP-0163).
pub trait ItemStore {
    /// Those items of a node that are there, in any order.
    fn items(&self, node: &str, ids: &[&str]) -> Vec<ItemRow>;
}

/// Where committed rows are read from. Reads are synchronous: a Durable Object's SQLite is.
pub trait LogStore: ItemStore {
    /// Up to `limit` rows with a place above `after`, in order.
    fn page(&self, after: StanzaSeq, limit: usize) -> Vec<LogRow>;

    /// Up to `limit` rows that a query selects, in the order it asks for.
    fn select(&self, query: &Query, limit: usize) -> Vec<LogRow>;

    /// How much a query selects.
    fn size(&self, query: &Query) -> Size;

    /// Which of these places of another mailbox's log are in this one.
    fn received(&self, peer: &BareJid, places: &[StanzaSeq]) -> Vec<StanzaSeq>;

    /// Up to `limit` segments with a place above `after` and one below `before`, in order or, if
    /// asked for, the newest first.
    fn segments(
        &self,
        after: StanzaSeq,
        before: Option<StanzaSeq>,
        newest_first: bool,
        limit: usize,
    ) -> Vec<SegmentRow>;

    /// The newest own messages (at most `limit`, none older than `since`), any order: of the log,
    /// and of the segments as long as they have them.
    fn sources(&self, since: Millis, limit: usize) -> Vec<Sending>;
}

/// The end of the log, and the rows appended but not yet committed.
#[derive(Clone, Debug)]
pub struct Head {
    last: StanzaSeq,
    uncommitted: BTreeMap<StanzaSeq, LogRow>,
}

impl Head {
    /// A log whose newest committed row is `last`.
    pub fn at(last: StanzaSeq) -> Self {
        Self { last, uncommitted: BTreeMap::new() }
    }

    /// The newest row's place.
    pub fn last(&self) -> StanzaSeq {
        self.last
    }

    /// Appends a row that was given the next place.
    pub fn append(&mut self, row: LogRow) {
        debug_assert!(row.seq == self.last.next(), "places are given in order");
        self.last = row.seq;
        self.uncommitted.insert(row.seq, row);
    }

    /// The rows that are not known to be in the store, in order.
    pub fn uncommitted(&self) -> impl Iterator<Item = &LogRow> {
        self.uncommitted.values()
    }

    /// Everything appended so far is in the store.
    pub fn committed(&mut self, upto: StanzaSeq) {
        self.uncommitted.retain(|seq, _| *seq > upto);
    }

    /// Up to `limit` rows above `after`: from the store, then those still on their way there.
    pub fn page(&self, store: &dyn LogStore, after: StanzaSeq, limit: usize) -> Vec<LogRow> {
        let first_pending = self.uncommitted.keys().next().copied();
        let mut rows = match first_pending {
            Some(first) if after.next() >= first => Vec::new(),
            _ => store.page(after, limit),
        };
        rows.retain(|row| first_pending.is_none_or(|first| row.seq < first));
        rows.extend(self.uncommitted.range(after.next()..).map(|(_, row)| row.clone()));
        rows.truncate(limit);
        rows
    }

    /// Up to `limit` rows that a query selects, in the order it asks for.
    pub fn select(&self, store: &dyn LogStore, query: &Query, limit: usize) -> Vec<LogRow> {
        let mut pending: Vec<LogRow> =
            self.uncommitted.values().filter(|row| query.selects(row)).cloned().collect();
        let mut stored = store.select(&self.in_store(query), limit);
        let mut rows = if query.newest_first {
            pending.reverse();
            pending.append(&mut stored);
            pending
        } else {
            stored.append(&mut pending);
            stored
        };
        rows.truncate(limit);
        rows
    }

    /// How much a query selects.
    pub fn size(&self, store: &dyn LogStore, query: &Query) -> Size {
        let pending = Size::of(self.uncommitted.values().filter(|row| query.selects(row)));
        store.size(&self.in_store(query)).plus(pending)
    }

    /// A row may be in the store and still be thought uncommitted: it is read here only.
    fn in_store(&self, query: &Query) -> Query {
        let first = self.uncommitted.keys().next().copied();
        let before = [query.before, first].into_iter().flatten().min();
        Query { before, ..query.clone() }
    }

    /// Which of these places of another mailbox's log are in this one.
    pub fn received(&self, store: &dyn LogStore, peer: &BareJid, places: &[StanzaSeq]) -> Vec<StanzaSeq> {
        let mut found = store.received(peer, places);
        let rows = self.uncommitted.values().filter(|row| row.came_from(peer, places));
        found.extend(rows.map(|row| row.peer_seq));
        let mut above = StanzaSeq(0);
        while let Some(segment) = store.segments(above, None, false, 1).into_iter().next() {
            above = segment.last;
            found.extend(segment.received(peer, places));
        }
        found
    }

    /// The row at a place.
    pub fn row(&self, store: &dyn LogStore, seq: StanzaSeq) -> Option<LogRow> {
        let before = StanzaSeq(seq.0.checked_sub(1)?);
        self.page(store, before, 1).into_iter().find(|row| row.seq == seq)
    }
}

/// Rows for tests.
#[cfg(test)]
pub(crate) mod example {
    use super::*;

    /// How an own message came.
    pub(crate) fn source(device: &str, origin: Option<&str>, id: &str, digest: u64) -> Source {
        Source {
            device: device.into(),
            stream: 1,
            handled: Handled(1),
            origin: origin.map(Into::into),
            id: Some(id.to_owned()),
            digest,
            accept: false,
        }
    }

    /// An own message to `b@d`, from `phone`, with the origin-id `o` and its place.
    pub(crate) fn row(seq: u64) -> LogRow {
        LogRow {
            seq: StanzaSeq(seq),
            at: Millis(seq * 1000),
            direction: Direction::Out,
            peer: BareJid::parse("b@d").unwrap(),
            peer_seq: StanzaSeq(0),
            source: Some(source("phone", Some(&format!("o{seq}")), "1", seq)),
            sent: Vec::new(),
            transferred: StanzaSeq(0),
            archived: true,
            stanza: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::example::row;
    use super::*;
    use crate::memory::MailboxStore;

    fn stored(places: impl IntoIterator<Item = u64>) -> MailboxStore {
        let log = places.into_iter().map(|seq| (StanzaSeq(seq), row(seq))).collect();
        MailboxStore { log, ..Default::default() }
    }

    /// A store that nobody may ask.
    struct Unreadable;

    impl ItemStore for Unreadable {
        fn items(&self, _: &str, _: &[&str]) -> Vec<ItemRow> {
            unreachable!()
        }
    }

    impl LogStore for Unreadable {
        fn page(&self, _: StanzaSeq, _: usize) -> Vec<LogRow> {
            unreachable!()
        }

        fn select(&self, _: &Query, _: usize) -> Vec<LogRow> {
            unreachable!()
        }

        fn size(&self, _: &Query) -> Size {
            unreachable!()
        }

        fn received(&self, _: &BareJid, _: &[StanzaSeq]) -> Vec<StanzaSeq> {
            unreachable!()
        }

        fn segments(&self, _: StanzaSeq, _: Option<StanzaSeq>, _: bool, _: usize) -> Vec<SegmentRow> {
            unreachable!()
        }

        fn sources(&self, _: Millis, _: usize) -> Vec<Sending> {
            unreachable!()
        }
    }

    #[test]
    fn a_page_runs_from_the_store_into_what_is_not_committed() {
        let store = stored(1..=3);
        let mut head = Head::at(StanzaSeq(3));
        head.append(row(4));
        head.append(row(5));
        let places = |after, limit| -> Vec<u64> {
            head.page(&store, StanzaSeq(after), limit).iter().map(|row| row.seq.0).collect()
        };
        assert_eq!(places(0, 10), [1, 2, 3, 4, 5]);
        assert_eq!(places(1, 3), [2, 3, 4]);
        assert_eq!(places(3, 10), [4, 5]);
        assert_eq!(places(5, 10), [0; 0]);
        let mut later = Head::at(StanzaSeq(3));
        later.append(row(4));
        let store = stored(1..=4);
        assert_eq!(later.page(&store, StanzaSeq(0), 10).len(), 4, "a row in both is read once");
        later.committed(StanzaSeq(4));
        assert_eq!(later.page(&store, StanzaSeq(0), 10).len(), 4);
        assert_eq!(later.row(&store, StanzaSeq(2)).unwrap().seq, StanzaSeq(2));
    }

    #[test]
    fn what_is_committed_is_the_stores_to_tell() {
        let mut head = Head::at(StanzaSeq(0));
        (1..=3).for_each(|seq| head.append(row(seq)));
        head.committed(StanzaSeq(2));
        let places = |store: &dyn LogStore, after| -> Vec<u64> {
            head.page(store, StanzaSeq(after), 10).iter().map(|row| row.seq.0).collect()
        };
        assert_eq!(places(&stored([]), 0), [3]);
        assert_eq!(places(&stored(1..=2), 0), [1, 2, 3]);
        assert_eq!(places(&Unreadable, 2), [3], "and is not asked for what it cannot have");
    }

    #[test]
    fn a_place_of_another_log_is_here_if_that_log_handed_it_over() {
        let from = |direction, peer: &str, place| LogRow {
            direction,
            peer: BareJid::parse(peer).unwrap(),
            peer_seq: StanzaSeq(place),
            ..row(1)
        };
        let peer = BareJid::parse("b@d").unwrap();
        let places = [StanzaSeq(4), StanzaSeq(6)];
        assert!(from(Direction::In, "b@d", 4).came_from(&peer, &places));
        assert!(!from(Direction::In, "b@d", 5).came_from(&peer, &places));
        assert!(!from(Direction::In, "c@d", 4).came_from(&peer, &places));
        assert!(!from(Direction::Back, "b@d", 4).came_from(&peer, &places));
    }

    #[test]
    fn a_query_reads_on_from_the_store_into_what_is_not_committed_both_ways() {
        let store = stored(1..=4);
        let mut head = Head::at(StanzaSeq(3));
        (4..=6).for_each(|seq| head.append(row(seq)));
        let places = |query: &Query, limit| -> Vec<u64> {
            head.select(&store, query, limit).iter().map(|row| row.seq.0).collect()
        };
        assert_eq!(places(&Query::ALL, 10), [1, 2, 3, 4, 5, 6], "a row in both is read once");
        assert_eq!(head.size(&store, &Query::ALL).count, 6);
        let back = Query { newest_first: true, ..Query::ALL };
        assert_eq!(places(&back, 4), [6, 5, 4, 3]);
        assert_eq!(places(&Query { before: Some(StanzaSeq(5)), ..back }, 2), [4, 3]);
        let between = Query { after: StanzaSeq(2), before: Some(StanzaSeq(6)), ..Query::ALL };
        assert_eq!(places(&between, 10), [3, 4, 5]);
        let timed = Query { start: Some(Millis(2000)), end: Some(Millis(5000)), ..Query::ALL };
        assert_eq!(places(&timed, 10), [2, 3, 4, 5]);
        assert_eq!(head.size(&store, &timed).count, 4);
        let others = Query { with: BareJid::parse("c@d").ok(), ..Query::ALL };
        assert_eq!(places(&others, 10), [0; 0]);
    }
}
