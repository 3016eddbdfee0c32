//! Recognising what is sent again (R04, R65).

use crate::bad::{self, Bug};
use crate::id::{DeviceId, OriginId, StanzaSeq};
use crate::jid::{BareJid, Jid};
use crate::limits::Limits;
use crate::log::{LogRow, LogStore, Sending, Source};
use crate::time::Millis;
use std::collections::{BTreeMap, VecDeque};

/// Recognises a message that its sender sends again (R04, R65).
///
/// By origin-id always. By a bare `id` only for the same device, recipient and payload within
/// the resume window: foreign clients reuse short ids, and losing a distinct message is worse
/// than showing one twice.
#[derive(Clone, Debug)]
pub struct Repeats {
    limits: Limits,
    origins: BTreeMap<OriginKey, StanzaSeq>,
    oldest_first: VecDeque<OriginKey>,
    by_id: BTreeMap<IdKey, (StanzaSeq, Millis)>,
    ids_oldest_first: VecDeque<(IdKey, StanzaSeq)>,
}

/// To somebody else it is another message, whatever its sender calls it.
type OriginKey = (OriginId, BareJid);
/// Device, `id` and digest of recipient and payload.
type IdKey = (DeviceId, String, u64);

impl Repeats {
    /// Nothing was sent yet.
    pub fn new(limits: Limits) -> Self {
        let (origins, oldest_first, by_id, ids_oldest_first) = Default::default();
        Self { limits, origins, oldest_first, by_id, ids_oldest_first }
    }

    /// Reads the memory back from the log: from the store, and from the rows on their way there.
    pub fn load<'a>(
        store: &dyn LogStore,
        uncommitted: impl Iterator<Item = &'a LogRow>,
        now: Millis,
        limits: Limits,
    ) -> Self {
        let since = Millis(now.0.saturating_sub(limits.dedup_horizon_ms));
        let mut sources = store.sources(since, limits.dedup_entries_max);
        sources.extend(uncommitted.filter_map(Sending::of));
        sources.sort_by_key(|sending| sending.seq);
        sources.dedup_by_key(|sending| sending.seq);
        let mut repeats = Self::new(limits);
        for sending in sources {
            // What is later than now is of an age that nobody knows. A bare id of it might be a
            // new message's, and losing one is worse than showing one twice.
            if sending.at <= now || sending.source.origin.is_some() {
                repeats.remember(&sending, now);
            }
        }
        repeats
    }

    /// The first copy's place, if this message to this account is a repeat.
    pub fn find(&self, peer: &BareJid, source: &Source, now: Millis) -> Option<StanzaSeq> {
        if bad::is(Bug::DedupSkipped) {
            return None;
        }
        match &source.origin {
            Some(origin) => self.origins.get(&(origin.clone(), peer.clone())).copied(),
            None => {
                let (seq, at) = self.by_id.get(&Self::id_key(source)?)?;
                (now.since(*at) <= self.limits.resume_window_ms).then_some(*seq)
            }
        }
    }

    /// Remembers a message that was appended.
    pub fn remember(&mut self, sending: &Sending, now: Millis) {
        let Sending { seq, at, peer, source } = sending;
        if let Some(origin) = &source.origin {
            let key = (origin.clone(), peer.clone());
            if self.origins.insert(key.clone(), *seq).is_none() {
                self.oldest_first.push_back(key);
            }
            let max = if bad::is(Bug::DedupForgets) { 1 } else { self.limits.dedup_entries_max };
            while self.oldest_first.len() > max {
                if let Some(oldest) = self.oldest_first.pop_front() {
                    self.origins.remove(&oldest);
                }
            }
        } else if let Some(key) = Self::id_key(source) {
            self.forget_ids(now);
            if now.since(*at) <= self.limits.resume_window_ms {
                self.by_id.insert(key.clone(), (*seq, *at));
                self.ids_oldest_first.push_back((key, *seq));
            }
        }
    }

    /// Lets go the oldest that are out of time, or too many.
    fn forget_ids(&mut self, now: Millis) {
        while let Some((key, seq)) = self.ids_oldest_first.front() {
            let newest = self.by_id.get(key).filter(|(newest, _)| newest == seq);
            let over = |(_, at): &(StanzaSeq, Millis)| now.since(*at) > self.limits.resume_window_ms;
            let is_full = self.ids_oldest_first.len() >= self.limits.dedup_entries_max;
            if newest.is_some_and(|newest| !over(newest)) && !is_full {
                return;
            }
            if newest.is_some() {
                self.by_id.remove(key);
            }
            self.ids_oldest_first.pop_front();
        }
    }

    fn id_key(source: &Source) -> Option<IdKey> {
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
    use crate::log::example::{row, source};
    use crate::memory::MailboxStore;

    fn find(repeats: &Repeats, source: &Source, now: Millis) -> Option<StanzaSeq> {
        repeats.find(&BareJid::parse("b@d").unwrap(), source, now)
    }

    fn remember(repeats: &mut Repeats, seq: StanzaSeq, at: Millis, source: &Source, now: Millis) {
        let peer = BareJid::parse("b@d").unwrap();
        repeats.remember(&Sending { seq, at, peer, source: source.clone() }, now);
    }

    #[test]
    fn to_somebody_else_it_is_another_message_and_the_first_is_still_known() {
        let mut repeats = Repeats::new(Limits::DEFAULT);
        let source = source("phone", Some("o"), "1", 1);
        let [b, c] = ["b@d", "c@d"].map(|peer| BareJid::parse(peer).unwrap());
        for (seq, peer) in [(1, &b), (2, &c)] {
            assert_eq!(repeats.find(peer, &source, Millis(0)), None);
            let sending =
                Sending { seq: StanzaSeq(seq), at: Millis(0), peer: peer.clone(), source: source.clone() };
            repeats.remember(&sending, Millis(0));
        }
        assert_eq!(repeats.find(&b, &source, Millis(0)), Some(StanzaSeq(1)));
        assert_eq!(repeats.find(&c, &source, Millis(0)), Some(StanzaSeq(2)));
    }

    #[test]
    fn a_repeat_is_known_by_its_origin_id_from_any_device_and_after_a_load() {
        let log = [row(1), row(2)].map(|row| (row.seq, row)).into();
        let store = MailboxStore { log, ..Default::default() };
        let now = Millis(Limits::DEFAULT.dedup_horizon_ms);
        let repeats = Repeats::load(&store, [&row(3)].into_iter(), now, Limits::DEFAULT);
        assert_eq!(find(&repeats, &source("laptop", Some("o2"), "x", 9), now), Some(StanzaSeq(2)));
        assert_eq!(
            find(&repeats, &source("laptop", Some("o3"), "x", 9), now),
            Some(StanzaSeq(3)),
            "on its way"
        );
        assert_eq!(find(&repeats, &source("laptop", Some("o4"), "1", 2), now), None);
    }

    #[test]
    fn a_bare_id_is_a_repeat_only_from_the_same_device_with_the_same_payload_in_time() {
        let mut repeats = Repeats::new(Limits::DEFAULT);
        let first = source("phone", None, "1", 77);
        remember(&mut repeats, StanzaSeq(1), Millis(0), &first, Millis(0));
        assert_eq!(find(&repeats, &first, Millis(Limits::DEFAULT.resume_window_ms)), Some(StanzaSeq(1)));
        assert_eq!(find(&repeats, &first, Millis(Limits::DEFAULT.resume_window_ms + 1)), None, "too late");
        assert_eq!(find(&repeats, &source("phone", None, "1", 78), Millis(0)), None, "another payload");
        assert_eq!(find(&repeats, &source("laptop", None, "1", 77), Millis(0)), None, "another device");
        assert_eq!(find(&repeats, &source("phone", None, "2", 77), Millis(0)), None, "another id");
    }

    #[test]
    fn bare_ids_are_remembered_beside_each_other_and_only_in_time() {
        let mut repeats = Repeats::new(Limits::DEFAULT);
        let window = Limits::DEFAULT.resume_window_ms;
        let bare = |digest| source("phone", None, "1", digest);
        remember(&mut repeats, StanzaSeq(1), Millis(0), &bare(1), Millis(0));
        remember(&mut repeats, StanzaSeq(2), Millis(window), &bare(2), Millis(window));
        assert_eq!(find(&repeats, &bare(1), Millis(window)), Some(StanzaSeq(1)));
        remember(&mut repeats, StanzaSeq(3), Millis(window + 1), &bare(3), Millis(window + 1));
        assert_eq!(repeats.by_id.len(), 2, "what can be found no more is not kept");
        remember(&mut repeats, StanzaSeq(4), Millis(0), &bare(4), Millis(window + 1));
        assert_eq!(repeats.by_id.len(), 2, "nor is what is too old when it is loaded");
    }

    #[test]
    fn the_memory_for_repeats_is_bounded() {
        let mut repeats = Repeats::new(Limits::DEFAULT);
        for seq in 1..=Limits::DEFAULT.dedup_entries_max as u64 + 5 {
            let source = source("phone", Some(&format!("o{seq}")), "", 0);
            remember(&mut repeats, StanzaSeq(seq), Millis(0), &source, Millis(0));
        }
        assert_eq!(repeats.origins.len(), Limits::DEFAULT.dedup_entries_max);
        assert_eq!(find(&repeats, &source("phone", Some("o5"), "", 0), Millis(0)), None);
        assert!(find(&repeats, &source("phone", Some("o6"), "", 0), Millis(0)).is_some());
    }
}
