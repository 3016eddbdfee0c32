//! `shared::log` over a store, against a book in which nothing is ever crossed out.
//!
//! The book finds a repeat by reading back. How far it reads is what the limits promise: the
//! newest messages up to a number, and after a load none older than the horizon.

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use shared::id::{DeviceId, OriginId, StanzaSeq};
use shared::jid::BareJid;
use shared::limits::Limits;
use shared::log::{Direction, Head, LogRow, Sending, Source};
use shared::memory::MailboxStore;
use shared::relay::rows::Op;
use shared::repeats::Repeats;
use shared::sm::Handled;
use shared::time::Millis;

const CASES: u32 = 2_000;
const STEPS: usize = 80;
/// Small, so that every one of them is met.
const LIMITS: Limits =
    Limits { dedup_entries_max: 4, dedup_horizon_ms: 1_000, resume_window_ms: 300, ..Limits::DEFAULT };

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    /// A device sends a message: it is a repeat, or appended.
    Send(Name),
    /// Another mailbox hands a message over.
    Receive,
    /// So many more rows are in the store, and nobody knows yet.
    Store(usize),
    /// The commit is reported.
    Report,
    Page(StanzaSeq, usize),
    Row(StanzaSeq),
    /// What is not in the store is lost.
    Reload,
}

/// What a message can be recognised by.
#[derive(Clone, PartialEq, Debug)]
struct Name {
    device: u8,
    origin: Option<u8>,
    id: Option<u8>,
    digest: u64,
}

#[derive(Clone, PartialEq, Debug)]
enum Outcome {
    Nothing,
    Repeat(StanzaSeq),
    Appended(StanzaSeq),
    Rows(Vec<LogRow>),
}

#[derive(Clone, Debug)]
struct Book {
    now: Millis,
    /// The place before the first row.
    before: u64,
    rows: Vec<LogRow>,
    /// How many of them are in the store.
    stored: usize,
    /// Own messages before this row are remembered as of the last load: these of them.
    loaded: usize,
    recalled: Vec<StanzaSeq>,
    outcome: Outcome,
}

fn source(name: &Name) -> Source {
    Source {
        device: DeviceId(format!("d{}", name.device)),
        stream: 1,
        handled: Handled(1),
        origin: name.origin.map(|origin| OriginId(format!("o{origin}"))),
        id: name.id.map(|id| id.to_string()),
        digest: name.digest,
        accept: false,
    }
}

fn peer() -> BareJid {
    BareJid::new("peer", "d").expect("a JID")
}

impl Book {
    fn append(&mut self, source: Option<Source>) -> StanzaSeq {
        let seq = StanzaSeq(self.before + self.rows.len() as u64 + 1);
        self.rows.push(LogRow {
            seq,
            at: self.now,
            direction: if source.is_some() { Direction::Out } else { Direction::In },
            peer: peer(),
            peer_seq: StanzaSeq(0),
            source,
            sent: Vec::new(),
            transferred: StanzaSeq(0),
            archived: true,
            stanza: format!("row {seq}"),
        });
        seq
    }

    /// Own messages that are remembered, newest first.
    fn remembered(&self) -> impl Iterator<Item = (&LogRow, &Source)> {
        let since = self.rows[self.loaded..].iter().rev();
        let before = self.rows[..self.loaded].iter().rev();
        let recalled = before.filter(|row| self.recalled.contains(&row.seq));
        since.chain(recalled).filter_map(|row| Some((row, row.source.as_ref()?)))
    }

    fn find(&self, wanted: &Source) -> Option<StanzaSeq> {
        match &wanted.origin {
            Some(origin) => {
                let mut named =
                    self.remembered().filter_map(|(row, source)| Some((row.seq, source.origin.as_ref()?)));
                let mut newest = named.by_ref().take(LIMITS.dedup_entries_max);
                newest.find(|(_, known)| *known == origin).map(|(seq, _)| seq)
            }
            None => {
                wanted.id.as_ref()?;
                let key = |source: &Source| (source.device.clone(), source.id.clone(), source.digest);
                let is_bare = |source: &Source| source.origin.is_none() && source.id.is_some();
                let bare = self.remembered().filter(|(_, source)| is_bare(source));
                let mut newest = bare.take(LIMITS.dedup_entries_max);
                let mut same = newest.by_ref().filter(|(_, source)| key(source) == key(wanted));
                let (row, _) = same.next()?;
                (self.now.since(row.at) <= LIMITS.resume_window_ms).then_some(row.seq)
            }
        }
    }

    fn reload(&mut self) {
        self.rows.truncate(self.stored);
        self.loaded = self.rows.len();
        let since = self.now.0.saturating_sub(LIMITS.dedup_horizon_ms);
        let own = self.rows.iter().rev().filter(|row| row.source.is_some() && row.at.0 >= since);
        self.recalled = own.take(LIMITS.dedup_entries_max).map(|row| row.seq).collect();
    }
}

impl ReferenceStateMachine for Book {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let before = prop_oneof![Just(0), 0u64..5, Just(1u64 << 51)];
        (before, 0u64..2_000)
            .prop_map(|(before, now)| Self {
                now: Millis(now),
                before,
                rows: Vec::new(),
                stored: 0,
                loaded: 0,
                recalled: Vec::new(),
                outcome: Outcome::Nothing,
            })
            .boxed()
    }

    fn transitions(book: &Self) -> BoxedStrategy<Step> {
        let name = (0u8..2, proptest::option::of(0u8..7), proptest::option::weighted(0.8, 0u8..2), 0u64..2);
        let name = name.prop_map(|(device, origin, id, digest)| Name { device, origin, id, digest });
        let place = book.before.saturating_sub(2)..book.before + book.rows.len() as u64 + 3;
        let place = place.prop_map(StanzaSeq);
        prop_oneof![
            8 => name.prop_map(Step::Send),
            2 => Just(Step::Receive),
            2 => (0u64..400).prop_map(Step::Pass),
            4 => (0usize..4).prop_map(Step::Store),
            2 => Just(Step::Report),
            3 => (place.clone(), 0usize..8).prop_map(|(after, limit)| Step::Page(after, limit)),
            2 => place.prop_map(Step::Row),
            1 => Just(Step::Reload),
        ]
        .boxed()
    }

    fn apply(mut book: Self, step: &Step) -> Self {
        book.outcome = Outcome::Nothing;
        match step {
            Step::Pass(ms) => book.now = book.now.plus(*ms),
            Step::Send(name) => {
                let source = source(name);
                book.outcome = match book.find(&source) {
                    Some(first) => Outcome::Repeat(first),
                    None => Outcome::Appended(book.append(Some(source))),
                };
            }
            Step::Receive => book.outcome = Outcome::Appended(book.append(None)),
            Step::Store(more) => book.stored = (book.stored + more).min(book.rows.len()),
            Step::Report => {}
            Step::Page(after, limit) => {
                let above = book.rows.iter().filter(|row| row.seq > *after);
                book.outcome = Outcome::Rows(above.take(*limit).cloned().collect());
            }
            Step::Row(seq) => {
                let row = book.rows.iter().filter(|row| row.seq == *seq);
                book.outcome = Outcome::Rows(row.cloned().collect());
            }
            Step::Reload => book.reload(),
        }
        book
    }
}

struct Real {
    store: MailboxStore,
    head: Head,
    repeats: Repeats,
}

impl StateMachineTest for Real {
    type SystemUnderTest = Self;
    type Reference = Book;

    fn init_test(book: &Book) -> Self {
        let store = MailboxStore::default();
        Self { store, head: Head::at(StanzaSeq(book.before)), repeats: Repeats::new(LIMITS) }
    }

    fn apply(mut real: Self, book: &Book, step: Step) -> Self {
        let newest = |head: &Head| head.last().next();
        let outcome = match step {
            Step::Pass(_) => Outcome::Nothing,
            Step::Send(name) => {
                let source = source(&name);
                match real.repeats.find(&peer(), &source, book.now) {
                    Some(first) => Outcome::Repeat(first),
                    None => {
                        let seq = newest(&real.head);
                        let row = book.rows.last().cloned().expect("the book has it");
                        real.repeats.remember(&Sending::of(&row).expect("an own message"), book.now);
                        real.head.append(row);
                        Outcome::Appended(seq)
                    }
                }
            }
            Step::Receive => {
                let seq = newest(&real.head);
                real.head.append(book.rows.last().cloned().expect("the book has it"));
                Outcome::Appended(seq)
            }
            Step::Store(_) => {
                let rows = book.rows[real.store.log.len()..book.stored].iter().cloned();
                rows.for_each(|row| real.store.apply(&Op::Append(row)));
                Outcome::Nothing
            }
            Step::Report => {
                let upto = real.store.log.keys().next_back().copied();
                real.head.committed(upto.unwrap_or(StanzaSeq(book.before)));
                Outcome::Nothing
            }
            Step::Page(after, limit) => Outcome::Rows(real.head.page(&real.store, after, limit)),
            Step::Row(seq) => Outcome::Rows(real.head.row(&real.store, seq).into_iter().collect()),
            Step::Reload => {
                let last = real.store.log.keys().next_back().copied();
                real.head = Head::at(last.unwrap_or(StanzaSeq(book.before)));
                real.repeats = Repeats::load(&real.store, real.head.uncommitted(), book.now, LIMITS);
                Outcome::Nothing
            }
        };
        assert_eq!(outcome, book.outcome);
        real
    }

    fn check_invariants(real: &Self, book: &Book) {
        let last = book.rows.last().map_or(StanzaSeq(book.before), |row| row.seq);
        assert_eq!(real.head.last(), last);
        // The promise itself, whatever was loaded when: within both limits nothing is forgotten.
        let own = book.rows.iter().rev().filter_map(|row| Some((row, row.source.as_ref()?)));
        for (row, source) in own.take(LIMITS.dedup_entries_max) {
            let by_origin = source.origin.is_some();
            let kept_ms = if by_origin { LIMITS.dedup_horizon_ms } else { LIMITS.resume_window_ms };
            if (by_origin || source.id.is_some()) && book.now.since(row.at) <= kept_ms {
                assert_eq!(real.repeats.find(&peer(), source, book.now), Some(row.seq), "{source:?}");
            }
        }
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_log_is_the_list_of_what_was_appended_and_knows_its_repeats(sequential 1..STEPS => Real);
}

#[cfg(feature = "known-bad")]
#[test]
fn a_log_that_forgets_is_caught() {
    use shared::bad::Bug;
    for bug in [Bug::DedupSkipped, Bug::DedupForgets] {
        assert!(crate::finds::<Real>(bug, CASES, 1..STEPS), "{bug:?}");
    }
}
