//! The one idea: a log and its cursors.
//!
//! A message is appended once and gets its place. Whoever must still receive it reads on from
//! a cursor; a receipt moves the cursor. Pending acks, an offline queue, an archive and what a
//! device missed are views of the same rows.
//!
//! This file owns the row, the head, and how a repeat is recognised. Where rows are kept is
//! behind [`LogStore`]; what a row looks like to a device is `delivery`'s to say.

use crate::bad::{self, Bug};
use crate::id::{DeviceId, OriginId, StanzaSeq};
use crate::jid::{BareJid, Jid};
use crate::limits::Limits;
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
    /// The stanza, without anything that depends on who reads it.
    pub stanza: String,
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

/// A stanza's number on one device's stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SentOn {
    /// The stream.
    pub stream: u64,
    /// The stanza's number on it.
    pub number: Handled,
}

/// Where committed rows are read from. Reads are synchronous: a Durable Object's SQLite is.
pub trait LogStore {
    /// Up to `limit` rows with a place above `after`, in order.
    fn page(&self, after: StanzaSeq, limit: usize) -> Vec<LogRow>;

    /// Which of these places of another mailbox's log are in this one.
    fn received(&self, peer: &BareJid, places: &[StanzaSeq]) -> Vec<StanzaSeq>;

    /// The newest own messages (at most `limit`, none older than `since`), any order.
    fn sources(&self, since: Millis, limit: usize) -> Vec<(StanzaSeq, Millis, Source)>;
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

    /// Which of these places of another mailbox's log are in this one.
    pub fn received(&self, store: &dyn LogStore, peer: &BareJid, places: &[StanzaSeq]) -> Vec<StanzaSeq> {
        let mut found = store.received(peer, places);
        let rows = self.uncommitted.values().filter(|row| row.came_from(peer, places));
        found.extend(rows.map(|row| row.peer_seq));
        found
    }

    /// The row at a place.
    pub fn row(&self, store: &dyn LogStore, seq: StanzaSeq) -> Option<LogRow> {
        let before = StanzaSeq(seq.0.checked_sub(1)?);
        self.page(store, before, 1).into_iter().find(|row| row.seq == seq)
    }
}

/// Recognises a message that its sender sends again (R04, R65).
///
/// By origin-id always. By a bare `id` only for the same device, recipient and payload within
/// the resume window: foreign clients reuse short ids, and losing a distinct message is worse
/// than showing one twice.
#[derive(Clone, Debug)]
pub struct Repeats {
    limits: Limits,
    origins: BTreeMap<OriginId, StanzaSeq>,
    by_id: BTreeMap<(DeviceId, String, u64), (StanzaSeq, Millis)>,
    oldest_first: std::collections::VecDeque<(StanzaSeq, OriginId)>,
}

impl Repeats {
    /// Nothing was sent yet.
    pub fn new(limits: Limits) -> Self {
        let (origins, by_id, oldest_first) = Default::default();
        Self { limits, origins, by_id, oldest_first }
    }

    /// Reads the memory back from the log.
    pub fn load(store: &dyn LogStore, now: Millis, limits: Limits) -> Self {
        let since = Millis(now.0.saturating_sub(limits.dedup_horizon_ms));
        let mut sources = store.sources(since, limits.dedup_entries_max);
        sources.sort_by_key(|(seq, _, _)| *seq);
        let mut repeats = Self::new(limits);
        for (seq, at, source) in sources {
            repeats.remember(seq, at, &source, now);
        }
        repeats
    }

    /// The first copy's place, if this message is a repeat.
    pub fn find(&self, source: &Source, now: Millis) -> Option<StanzaSeq> {
        if bad::is(Bug::DedupSkipped) {
            return None;
        }
        match &source.origin {
            Some(origin) => self.origins.get(origin).copied(),
            None => {
                let (seq, at) = self.by_id.get(&Self::id_key(source)?)?;
                (now.since(*at) <= self.limits.resume_window_ms).then_some(*seq)
            }
        }
    }

    /// Remembers a message that was appended.
    pub fn remember(&mut self, seq: StanzaSeq, at: Millis, source: &Source, now: Millis) {
        if let Some(origin) = &source.origin {
            if self.origins.insert(origin.clone(), seq).is_none() {
                self.oldest_first.push_back((seq, origin.clone()));
            }
            let max = if bad::is(Bug::DedupForgets) { 1 } else { self.limits.dedup_entries_max };
            while self.oldest_first.len() > max {
                if let Some((_, origin)) = self.oldest_first.pop_front() {
                    self.origins.remove(&origin);
                }
            }
        } else if let Some(key) = Self::id_key(source) {
            self.by_id.retain(|_, (_, at)| now.since(*at) <= self.limits.resume_window_ms);
            if now.since(at) <= self.limits.resume_window_ms {
                self.by_id.insert(key, (seq, at));
            }
        }
    }

    fn id_key(source: &Source) -> Option<(DeviceId, String, u64)> {
        Some((source.device.clone(), source.id.clone()?, source.digest))
    }
}

/// Digest of a message's recipient and payload (FNV-1a): equal for a repeat, and only a repeat
/// on the same device with the same `id` is ever compared.
pub fn payload_digest(to: &Jid, stanza: &str) -> u64 {
    let text = to.to_string();
    text.bytes()
        .chain([0])
        .chain(stanza.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rows(Vec<LogRow>);

    impl LogStore for Rows {
        fn received(&self, peer: &BareJid, places: &[StanzaSeq]) -> Vec<StanzaSeq> {
            self.0.iter().filter(|row| row.came_from(peer, places)).map(|row| row.peer_seq).collect()
        }

        fn page(&self, after: StanzaSeq, limit: usize) -> Vec<LogRow> {
            self.0.iter().filter(|row| row.seq > after).take(limit).cloned().collect()
        }

        fn sources(&self, since: Millis, limit: usize) -> Vec<(StanzaSeq, Millis, Source)> {
            let newest = self.0.iter().rev().filter(|row| row.at >= since);
            newest.filter_map(|row| Some((row.seq, row.at, row.source.clone()?))).take(limit).collect()
        }
    }

    fn source(device: &str, origin: Option<&str>, id: &str, digest: u64) -> Source {
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

    fn row(seq: u64) -> LogRow {
        LogRow {
            seq: StanzaSeq(seq),
            at: Millis(seq * 1000),
            direction: Direction::Out,
            peer: BareJid::parse("b@d").unwrap(),
            peer_seq: StanzaSeq(0),
            source: Some(source("phone", Some(&format!("o{seq}")), "1", seq)),
            sent: Vec::new(),
            transferred: StanzaSeq(0),
            stanza: String::new(),
        }
    }

    #[test]
    fn a_page_runs_from_the_store_into_what_is_not_committed() {
        let store = Rows((1..=3).map(row).collect());
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
        let store = Rows((1..=4).map(row).collect());
        assert_eq!(later.page(&store, StanzaSeq(0), 10).len(), 4, "a row in both is read once");
        later.committed(StanzaSeq(4));
        assert_eq!(later.page(&store, StanzaSeq(0), 10).len(), 4);
        assert_eq!(later.row(&store, StanzaSeq(2)).unwrap().seq, StanzaSeq(2));
    }

    #[test]
    fn a_repeat_is_known_by_its_origin_id_from_any_device_and_after_a_load() {
        let store = Rows(vec![row(1), row(2)]);
        let now = Millis(Limits::DEFAULT.dedup_horizon_ms);
        let repeats = Repeats::load(&store, now, Limits::DEFAULT);
        assert_eq!(repeats.find(&source("laptop", Some("o2"), "x", 9), now), Some(StanzaSeq(2)));
        assert_eq!(repeats.find(&source("laptop", Some("o3"), "1", 2), now), None);
    }

    #[test]
    fn a_bare_id_is_a_repeat_only_from_the_same_device_with_the_same_payload_in_time() {
        let mut repeats = Repeats::new(Limits::DEFAULT);
        let first = source("phone", None, "1", 77);
        repeats.remember(StanzaSeq(1), Millis(0), &first, Millis(0));
        assert_eq!(repeats.find(&first, Millis(Limits::DEFAULT.resume_window_ms)), Some(StanzaSeq(1)));
        assert_eq!(repeats.find(&first, Millis(Limits::DEFAULT.resume_window_ms + 1)), None, "too late");
        assert_eq!(repeats.find(&source("phone", None, "1", 78), Millis(0)), None, "another payload");
        assert_eq!(repeats.find(&source("laptop", None, "1", 77), Millis(0)), None, "another device");
        assert_eq!(repeats.find(&source("phone", None, "2", 77), Millis(0)), None, "another id");
    }

    #[test]
    fn the_memory_for_repeats_is_bounded() {
        let mut repeats = Repeats::new(Limits::DEFAULT);
        for seq in 1..=Limits::DEFAULT.dedup_entries_max as u64 + 5 {
            let source = source("phone", Some(&format!("o{seq}")), "", 0);
            repeats.remember(StanzaSeq(seq), Millis(0), &source, Millis(0));
        }
        assert_eq!(repeats.origins.len(), Limits::DEFAULT.dedup_entries_max);
        assert_eq!(repeats.find(&source("phone", Some("o5"), "", 0), Millis(0)), None);
        assert!(repeats.find(&source("phone", Some("o6"), "", 0), Millis(0)).is_some());
    }
}
