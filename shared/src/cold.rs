//! Cold storage: runs of the log that everybody has confirmed, as compressed segments under a name
//! (R28). Same ids, same order: a segment holds the rows themselves.
//!
//! Two things are made of a run. The *segment* goes to the blob store and holds every row. The
//! [`SegmentRow`] stays with the mailbox and holds what must be known without asking the blob
//! store: where the run begins and ends, who is in it, and what a repeat of it is recognised by.
//!
//! # What is kept for recognising repeats, and why
//!
//! Rows move after a week, and a repeat is recognised for longer: an own message by its origin-id
//! for `dedup_horizon_ms`, a message of another mailbox by its place for ever. So the facts stay
//! when the rows go: the origin-ids beside the segment's row until their horizon is over, the places
//! of others in the row itself, as ranges. To hold back the rows instead would keep five times as
//! much hot, and the places of others would hold them for ever.
//!
//! # A segment's bytes
//!
//! `CFSEG` and the version (one byte, 1), the SHA-256 of what follows (32 bytes), then a zlib stream
//! of one [`Heading`] and the rows, each a line of JSON. The digest of the whole is in its row, and
//! in its name: no other run, no other try and no other account can have the same.

use crate::archive::{Query, Size};
use crate::id::StanzaSeq;
use crate::jid::BareJid;
use crate::limits::SEGMENT_INFLATED_BYTES_MAX;
use crate::log::{Direction, LogRow, Sending};
use crate::time::Millis;
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const MAGIC: &[u8; 5] = b"CFSEG";
const VERSION: u8 = 1;
const DIGEST_BYTES: usize = 32;
/// Of miniz_oxide's eleven: beyond, a little is gained for much time.
const LEVEL: u8 = 6;

/// What a mailbox keeps of a run that was moved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SegmentRow {
    /// The first place in it.
    pub first: StanzaSeq,
    /// The last place in it.
    pub last: StanzaSeq,
    /// What the blob store has it under.
    pub name: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    /// Its bytes.
    pub bytes: u64,
    /// The earliest of its times. They need not be in order: a clock may have been set back.
    pub start: Millis,
    /// The latest of its times.
    pub end: Millis,
    /// The first and the last message that the archive shows.
    pub shown: Option<(End, End)>,
    /// Places that the archive does not show (XEP-0441), in ranges.
    #[serde(default)]
    pub hidden: Vec<(StanzaSeq, StanzaSeq)>,
    /// Who it was exchanged with.
    pub peers: Vec<Share>,
}

/// One end of what an archive shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct End {
    /// Its place.
    pub seq: StanzaSeq,
    /// Its time.
    pub at: Millis,
}

/// What a segment has of one correspondent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Share {
    /// The other side.
    pub peer: BareJid,
    /// Rows.
    pub count: u64,
    /// Rows that the archive shows.
    pub shown: u64,
    /// Places of the other side's log, in ranges: those that came from there.
    pub places: Vec<(StanzaSeq, StanzaSeq)>,
}

/// A run that is being moved. It is written down before anything is stored under the name, so that
/// nothing is left behind there if the move does not come to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Moving {
    /// The first place.
    pub first: StanzaSeq,
    /// The last place.
    pub last: StanzaSeq,
    /// Where it is put.
    pub name: String,
}

/// The first line of a segment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heading {
    /// Whose log it is of.
    pub account: BareJid,
    /// The first place.
    pub first: StanzaSeq,
    /// The last place.
    pub last: StanzaSeq,
    /// Rows.
    pub count: u64,
}

/// A run ready to be moved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packed {
    /// What the mailbox keeps.
    pub row: SegmentRow,
    /// What repeats of its own messages are recognised by.
    pub sources: Vec<Sending>,
    /// What goes to the blob store.
    pub bytes: Vec<u8>,
}

/// Why a segment cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentFault {
    /// There is nothing of that name.
    Missing,
    /// The blob store did not answer in time, or failed.
    Unreachable,
    /// It is not what was stored: cut, or changed.
    Damaged,
    /// A later version wrote it.
    Unknown,
}

/// The sent half of what somebody wrote to himself. The received half shows it, and a message is
/// in the archive once (XEP-0313 §6.1.1).
pub fn is_note(row: &LogRow, account: &BareJid) -> bool {
    row.direction == Direction::Out && row.peer == *account
}

/// Whether the archive shows a row of a segment. Every device has confirmed it, so one that the
/// archive does not show is shown to nobody.
pub fn is_shown(row: &LogRow, account: &BareJid) -> bool {
    row.archived && !is_note(row, account)
}

/// Makes a segment of a run of the log. `since` is when the account was registered: one that was
/// removed and comes again begins at the first place again. `None` for no rows.
pub fn pack(account: &BareJid, since: Millis, rows: &[LogRow]) -> Option<Packed> {
    let (first, last) = (rows.first()?.seq, rows.last()?.seq);
    let heading = Heading { account: account.clone(), first, last, count: rows.len() as u64 };
    let mut text = serde_json::to_string(&heading).ok()?;
    for row in rows {
        text.push('\n');
        text.push_str(&serde_json::to_string(row).ok()?);
    }
    let body = compress_to_vec_zlib(text.as_bytes(), LEVEL);
    let mut bytes = Vec::with_capacity(MAGIC.len() + 1 + DIGEST_BYTES + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    bytes.extend_from_slice(&Sha256::digest(&body));
    bytes.extend_from_slice(&body);
    let digest = hexadecimal(&Sha256::digest(&bytes));
    let short: String = digest.chars().take(16).collect();
    let shows = |row: &&LogRow| is_shown(row, account);
    let end = |row: &LogRow| End { seq: row.seq, at: row.at };
    let row = SegmentRow {
        first,
        last,
        name: format!("{}/{}/{first}-{last}-{short}", folder(account), since.0),
        digest,
        bytes: bytes.len() as u64,
        start: rows.iter().map(|row| row.at).min()?,
        end: rows.iter().map(|row| row.at).max()?,
        shown: rows.iter().find(shows).map(end).zip(rows.iter().rfind(shows).map(end)),
        hidden: ranges(rows.iter().filter(|row| !row.archived).map(|row| row.seq).collect()),
        peers: shares(account, rows),
    };
    Some(Packed { row, sources: rows.iter().filter_map(Sending::of).collect(), bytes })
}

/// Where an account's segments are. A key of R2 has at most 1024 bytes, and an address may have more.
fn folder(account: &BareJid) -> String {
    let account = account.as_str();
    if account.len() <= 512 { account.to_owned() } else { hexadecimal(&Sha256::digest(account)) }
}

fn shares(account: &BareJid, rows: &[LogRow]) -> Vec<Share> {
    let mut shares: BTreeMap<&BareJid, (u64, u64, Vec<StanzaSeq>)> = BTreeMap::new();
    for row in rows {
        let (count, shown, places) = shares.entry(&row.peer).or_default();
        *count += 1;
        *shown += u64::from(is_shown(row, account));
        if row.direction == Direction::In {
            places.push(row.peer_seq);
        }
    }
    let share = |(peer, (count, shown, places)): (&BareJid, (u64, u64, Vec<StanzaSeq>))| Share {
        peer: peer.clone(),
        count,
        shown,
        places: ranges(places),
    };
    shares.into_iter().map(share).collect()
}

fn ranges(mut places: Vec<StanzaSeq>) -> Vec<(StanzaSeq, StanzaSeq)> {
    places.sort_unstable();
    let mut ranges: Vec<(StanzaSeq, StanzaSeq)> = Vec::new();
    for place in places {
        match ranges.last_mut() {
            Some((_, last)) if place <= last.next() => *last = place,
            _ => ranges.push((place, place)),
        }
    }
    ranges
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// About how much a row adds to a segment before it is compressed, and to its mailbox's row.
pub fn weight(row: &LogRow) -> usize {
    let source = row.source.as_ref().map_or(0, |source| {
        let origin = source.origin.as_ref().map_or(0, |origin| origin.as_str().len());
        source.device.as_str().len() + origin + source.id.as_ref().map_or(0, String::len)
    });
    row.stanza.len() + 2 * row.peer.as_str().len() + 2 * source + 64 * row.sent.len() + 256
}

impl SegmentRow {
    /// The rows of these bytes, if they are this segment, whole.
    pub fn unpack(&self, bytes: &[u8], account: &BareJid) -> Result<Vec<LogRow>, SegmentFault> {
        let damaged = SegmentFault::Damaged;
        if hexadecimal(&Sha256::digest(bytes)) != self.digest {
            return Err(damaged);
        }
        let versioned = bytes.strip_prefix(MAGIC).ok_or(damaged)?;
        let (version, rest) = versioned.split_first().ok_or(damaged)?;
        if *version != VERSION {
            return Err(SegmentFault::Unknown);
        }
        let (digest, body) = rest.split_at_checked(DIGEST_BYTES).ok_or(damaged)?;
        if Sha256::digest(body).as_slice() != digest {
            return Err(damaged);
        }
        let text =
            decompress_to_vec_zlib_with_limit(body, SEGMENT_INFLATED_BYTES_MAX).map_err(|_| damaged)?;
        let text = std::str::from_utf8(&text).map_err(|_| damaged)?;
        let mut lines = text.split('\n');
        let heading: Heading =
            lines.next().and_then(|line| serde_json::from_str(line).ok()).ok_or(damaged)?;
        let rows: Result<Vec<LogRow>, _> = lines.map(serde_json::from_str).collect();
        let rows = rows.map_err(|_| damaged)?;
        let ends = rows.first().map(|row| row.seq).zip(rows.last().map(|row| row.seq));
        let is_it = heading.account == *account
            && heading.count == rows.len() as u64
            && ends == Some((self.first, self.last));
        if is_it { Ok(rows) } else { Err(damaged) }
    }

    /// Whether the archive does not show what is at this place.
    pub fn hides(&self, seq: StanzaSeq) -> bool {
        self.hidden.iter().any(|(first, last)| (*first..=*last).contains(&seq))
    }

    /// Whether a message that the query selects and the archive shows may be in it.
    pub fn may_have(&self, query: &Query) -> bool {
        self.shown.is_some()
            && self.last > query.after
            && query.before.is_none_or(|before| self.first < before)
            && query.start.is_none_or(|start| self.end >= start)
            && query.end.is_none_or(|end| self.start <= end)
            && query
                .with
                .as_ref()
                .is_none_or(|with| self.peers.iter().any(|share| share.peer == *with && share.shown > 0))
    }

    /// How many of its messages a query selects that the archive shows; `None` if its rows have to
    /// be looked at.
    pub fn shown(&self, query: &Query) -> Option<u64> {
        if !self.may_have(query) {
            return Some(0);
        }
        let whole = self.first > query.after
            && query.before.is_none_or(|before| self.last < before)
            && query.start.is_none_or(|start| self.start >= start)
            && query.end.is_none_or(|end| self.end <= end);
        let counted = |share: &&Share| query.with.as_ref().is_none_or(|with| share.peer == *with);
        whole.then(|| self.peers.iter().filter(counted).map(|share| share.shown).sum())
    }

    /// Which of these places of another mailbox's log are in it.
    pub fn received<'a>(
        &'a self,
        peer: &BareJid,
        places: &'a [StanzaSeq],
    ) -> impl Iterator<Item = StanzaSeq> + 'a {
        let share = self.peers.iter().find(|share| share.peer == *peer);
        let ranges = share.map(|share| share.places.as_slice()).unwrap_or_default();
        let holds = |place: StanzaSeq| ranges.iter().any(|(first, last)| (*first..=*last).contains(&place));
        places.iter().copied().filter(move |place| holds(*place))
    }
}

/// How much of these rows the archive shows.
pub fn shown_of<'a>(rows: impl Iterator<Item = &'a LogRow>, query: &'a Query, account: &'a BareJid) -> Size {
    Size::of(rows.filter(|row| query.selects(row) && is_shown(row, account)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{FRAME_BYTES_MAX, Limits};
    use crate::log::example::row;

    fn account() -> BareJid {
        BareJid::parse("a@d").unwrap()
    }

    fn received(seq: u64, place: u64) -> LogRow {
        LogRow { direction: Direction::In, peer_seq: StanzaSeq(place), source: None, ..row(seq) }
    }

    fn packed() -> (Vec<LogRow>, Packed) {
        let mut rows: Vec<LogRow> = (5..25).map(row).collect();
        rows.extend([25, 26, 27, 29].map(|seq| received(seq, seq + 100)));
        rows.push(LogRow { peer: account(), at: Millis(7), stanza: "\u{0}\"\n语".into(), ..row(30) });
        let packed = pack(&account(), Millis(3), &rows).unwrap();
        (rows, packed)
    }

    #[test]
    fn a_segment_is_read_back_as_it_was() {
        let (rows, Packed { row, sources, bytes }) = packed();
        assert_eq!(row.unpack(&bytes, &account()), Ok(rows.clone()));
        assert_eq!((row.first, row.last, row.bytes), (StanzaSeq(5), StanzaSeq(30), bytes.len() as u64));
        assert_eq!((row.start, row.end), (Millis(7), Millis(29_000)));
        assert_eq!(row.shown.unwrap().1.seq, StanzaSeq(29), "a note's sent half is not shown");
        assert_eq!(sources.len(), 21);
        assert!(row.name.starts_with("a@d/3/5-30-"));
        assert_eq!(pack(&account(), Millis(3), &rows).unwrap().bytes, bytes, "the same run, the same bytes");
    }

    #[test]
    fn whatever_is_changed_or_cut_is_noticed() {
        let (_, Packed { row, bytes, .. }) = packed();
        for cut in 0..bytes.len() {
            assert_eq!(row.unpack(&bytes[..cut], &account()), Err(SegmentFault::Damaged));
            let mut changed = bytes.clone();
            changed[cut] ^= 0x10;
            assert_eq!(row.unpack(&changed, &account()), Err(SegmentFault::Damaged));
        }
        let other = BareJid::parse("b@d").unwrap();
        assert_eq!(row.unpack(&bytes, &other), Err(SegmentFault::Damaged), "another's is not ours");
        // Even if its row agrees.
        let as_stored =
            |bytes: &[u8]| SegmentRow { digest: hexadecimal(&Sha256::digest(bytes)), ..row.clone() };
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(as_stored(&changed).unpack(&changed, &account()).is_err(), "byte {at}");
        }
        let mut later = bytes.clone();
        later[MAGIC.len()] = VERSION + 1;
        assert_eq!(as_stored(&later).unpack(&later, &account()), Err(SegmentFault::Unknown));
    }

    #[test]
    fn the_largest_rows_fit() {
        let long = |seq| LogRow { stanza: "\u{1}".repeat(2 * FRAME_BYTES_MAX), ..row(seq) };
        let Packed { row, bytes, .. } = pack(&account(), Millis(0), &[long(1)]).unwrap();
        assert_eq!(row.unpack(&bytes, &account()).unwrap().len(), 1);
        let weight = weight(&long(1));
        assert!(weight < Limits::DEFAULT.segment_bytes_max);
    }

    #[test]
    fn its_row_knows_what_need_not_be_looked_up() {
        let (rows, Packed { row, .. }) = packed();
        let query = |after, before, with: Option<&str>| Query {
            after: StanzaSeq(after),
            before: Some(StanzaSeq(before)),
            with: with.map(|with| BareJid::parse(with).unwrap()),
            ..Query::ALL
        };
        assert_eq!(row.shown(&query(0, 99, None)), Some(24));
        assert_eq!(row.shown(&query(0, 99, Some("b@d"))), Some(24));
        assert_eq!(row.shown(&query(0, 99, Some("a@d"))), Some(0));
        assert_eq!(row.shown(&query(0, 99, Some("c@d"))), Some(0));
        assert_eq!(row.shown(&query(0, 5, None)), Some(0));
        assert_eq!(row.shown(&query(30, 99, None)), Some(0));
        assert_eq!(row.shown(&query(5, 99, None)), None);
        assert_eq!(row.shown(&Query { start: Some(Millis(8)), ..Query::ALL }), None);
        assert_eq!(row.shown(&Query { start: Some(Millis(30_000)), ..Query::ALL }), Some(0));
        assert_eq!(shown_of(rows.iter(), &query(5, 99, None), &account()).count, 23);
        let peer = BareJid::parse("b@d").unwrap();
        let places = [125, 127, 128, 129, 5].map(StanzaSeq);
        let found: Vec<u64> = row.received(&peer, &places).map(|seq| seq.0).collect();
        assert_eq!(found, [125, 127, 129]);
        assert_eq!(row.received(&account(), &places).count(), 0);
        assert_eq!(row.peers[1].places.len(), 2, "places in a row are one range");
    }
}
