//! `shared::sm::Window` against the list of everything that was sent.
//!
//! The list knows no arithmetic modulo 2³²: a count means the place in the list that has this
//! number, found by looking, and a count that no place has is too high.

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use shared::sm::{Handled, TooHigh, Window};

const CASES: u32 = 2_000;
const STEPS: usize = 60;
/// Half of all numbers: how far around its entries a device that lost its counters takes counts.
const HALF: u32 = 1 << 31;

#[derive(Clone, Debug)]
enum Step {
    Push,
    Skip,
    Ack(Handled),
    /// The stream goes on under the numbers it had.
    Resume(Handled),
    /// ... and what was not confirmed is sent again under new numbers, as a device does it.
    ResumeAnew(Handled),
    /// The holder sleeps and wakes: it knows everything that matters.
    Wake,
    /// A relay crashes: it knows the entries, and a number that none was sent beyond.
    RestartRelay {
        lease: u32,
        turn: usize,
    },
    /// A device crashes and resumes: it knows the entries and nothing else.
    RestartDevice(Handled),
}

/// What the last step must have returned.
#[derive(Clone, PartialEq, Debug)]
enum Outcome {
    Nothing,
    Number(Handled),
    Confirmed(Result<Vec<usize>, TooHigh>),
}

/// Every stanza from the start of the stream: which it was, if it must be confirmed.
#[derive(Clone, Debug)]
struct Sent {
    start: u32,
    stanzas: Vec<Option<usize>>,
    acked: usize,
    minted: usize,
    /// Since a crash the newest stanzas are only known not to be more than these.
    guessed: bool,
    outcome: Outcome,
}

impl Sent {
    fn number(&self, count: usize) -> Handled {
        Handled(((u64::from(self.start) + count as u64) % (1 << 32)) as u32)
    }

    fn count(&self, h: Handled) -> Result<usize, TooHigh> {
        let too_high = TooHigh { handled: h, sent: self.number(self.stanzas.len()) };
        (self.acked..=self.stanzas.len()).find(|count| self.number(*count) == h).ok_or(too_high)
    }

    fn ack(&mut self, h: Handled) -> Result<Vec<usize>, TooHigh> {
        let count = self.count(h)?;
        let confirmed = kept(&self.stanzas[self.acked..count]);
        self.acked = count;
        Ok(confirmed)
    }

    fn resume(&mut self, h: Handled) -> Result<Vec<usize>, TooHigh> {
        let confirmed = self.ack(h)?;
        // Nobody has a count of what no connection is known to have carried.
        while self.guessed && self.stanzas.len() > self.acked && self.stanzas.last() == Some(&None) {
            self.stanzas.pop();
        }
        self.guessed = false;
        Ok(confirmed)
    }

    fn resume_anew(&mut self, h: Handled) -> Result<Vec<usize>, TooHigh> {
        let confirmed = self.resume(h)?;
        let again = kept(&self.stanzas[self.acked..]);
        self.stanzas.truncate(self.acked);
        self.stanzas.extend(again.into_iter().map(Some));
        Ok(confirmed)
    }
}

fn kept(stanzas: &[Option<usize>]) -> Vec<usize> {
    stanzas.iter().flatten().copied().collect()
}

impl ReferenceStateMachine for Sent {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let start = prop_oneof![Just(0), u32::MAX - 8..=u32::MAX, HALF - 4..HALF + 4, any::<u32>()];
        let sent = |start| Self {
            start,
            stanzas: Vec::new(),
            acked: 0,
            minted: 0,
            guessed: false,
            outcome: Outcome::Nothing,
        };
        start.prop_map(sent).boxed()
    }

    fn transitions(sent: &Self) -> BoxedStrategy<Step> {
        let (acked, newest) = (sent.number(sent.acked).0, sent.number(sent.stanzas.len()).0);
        let outstanding = (sent.stanzas.len() - sent.acked) as u32;
        let right = (0..=outstanding).prop_map(move |n| Handled(acked.wrapping_add(n)));
        let h = prop_oneof![
            6 => right.clone(),
            1 => (1u32..6).prop_map(move |n| Handled(newest.wrapping_add(n))),
            1 => (1u32..6).prop_map(move |n| Handled(acked.wrapping_sub(n))),
            1 => any::<u32>().prop_map(Handled),
        ];
        let sends = if sent.guessed { 0 } else { 8 };
        prop_oneof![
            sends => prop_oneof![3 => Just(Step::Push), 1 => Just(Step::Skip)],
            4 => h.clone().prop_map(Step::Ack),
            1 => h.clone().prop_map(Step::Resume),
            1 => h.prop_map(Step::ResumeAnew),
            1 => Just(Step::Wake),
            1 => (0u32..70, 0usize..9).prop_map(|(lease, turn)| Step::RestartRelay { lease, turn }),
            1 => right.prop_map(Step::RestartDevice),
        ]
        .boxed()
    }

    fn preconditions(sent: &Self, step: &Step) -> bool {
        match step {
            // Until the peer is back there is nobody to send to, and nothing to remember.
            Step::Push | Step::Skip | Step::Wake => !sent.guessed,
            // It takes any count: which ones are wrong it cannot know.
            Step::RestartDevice(h) => sent.count(*h).is_ok(),
            _ => true,
        }
    }

    fn apply(mut sent: Self, step: &Step) -> Self {
        sent.outcome = match *step {
            Step::Push => {
                sent.minted += 1;
                sent.stanzas.push(Some(sent.minted));
                Outcome::Number(sent.number(sent.stanzas.len()))
            }
            Step::Skip => {
                sent.stanzas.push(None);
                Outcome::Number(sent.number(sent.stanzas.len()))
            }
            Step::Ack(h) => Outcome::Confirmed(sent.ack(h)),
            Step::Resume(h) => Outcome::Confirmed(sent.resume(h)),
            Step::ResumeAnew(h) | Step::RestartDevice(h) => Outcome::Confirmed(sent.resume_anew(h)),
            Step::Wake => Outcome::Nothing,
            Step::RestartRelay { lease, .. } => {
                sent.stanzas.extend((0..lease).map(|_| None));
                sent.guessed = true;
                Outcome::Nothing
            }
        };
        sent
    }
}

struct Real {
    window: Window<usize>,
    minted: usize,
}

impl Real {
    fn resume_anew(&mut self, h: Handled) -> Result<Vec<usize>, TooHigh> {
        let confirmed = self.window.resume(h)?;
        let again: Vec<usize> = self.window.unacked().flatten().copied().collect();
        self.window = Window::restore(h, h, Vec::new());
        for stanza in again {
            self.window.push(stanza);
        }
        Ok(confirmed)
    }

    fn step(&mut self, step: Step) -> Outcome {
        let window = std::mem::take(&mut self.window);
        let (acked, newest) = (window.acked(), window.sent());
        self.window = match step {
            Step::Wake => Window::restore(acked, newest, window.into_numbered()),
            Step::RestartRelay { lease, turn } => {
                let mut entries = window.into_numbered();
                let turn = turn.min(entries.len());
                entries.rotate_left(turn);
                Window::recover(acked, Handled(newest.0.wrapping_add(lease)), entries)
            }
            Step::RestartDevice(_) => {
                let entries = window.into_numbered();
                let oldest = entries.first().map_or(0, |(number, _)| number.0);
                let (from, to) = (oldest.wrapping_sub(HALF), oldest.wrapping_add(HALF - 1));
                Window::recover(Handled(from), Handled(to), entries)
            }
            _ => window,
        };
        match step {
            Step::Push => {
                self.minted += 1;
                Outcome::Number(self.window.push(self.minted))
            }
            Step::Skip => Outcome::Number(self.window.skip()),
            Step::Ack(h) => Outcome::Confirmed(self.window.ack(h)),
            Step::Resume(h) => Outcome::Confirmed(self.window.resume(h)),
            Step::ResumeAnew(h) | Step::RestartDevice(h) => Outcome::Confirmed(self.resume_anew(h)),
            Step::Wake | Step::RestartRelay { .. } => Outcome::Nothing,
        }
    }
}

impl StateMachineTest for Real {
    type SystemUnderTest = Self;
    type Reference = Sent;

    fn init_test(sent: &Sent) -> Self {
        let start = Handled(sent.start);
        Self { window: Window::restore(start, start, Vec::new()), minted: 0 }
    }

    fn apply(mut real: Self, sent: &Sent, step: Step) -> Self {
        assert_eq!(real.step(step), sent.outcome);
        real
    }

    fn check_invariants(Self { window, .. }: &Self, sent: &Sent) {
        assert_eq!(window.acked(), sent.number(sent.acked));
        assert_eq!(window.sent(), sent.number(sent.stanzas.len()));
        assert_eq!(window.outstanding() as usize, sent.stanzas.len() - sent.acked);
        let unacked = &sent.stanzas[sent.acked..];
        assert!(window.unacked().map(|stanza| stanza.copied()).eq(unacked.iter().copied()), "{window:?}");
        let numbered = (sent.acked + 1..).zip(unacked);
        let numbered = numbered.filter_map(|(count, stanza)| Some((sent.number(count), (*stanza)?)));
        assert!(window.entries().map(|(number, stanza)| (number, *stanza)).eq(numbered), "{window:?}");
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_window_is_the_list_of_what_was_sent_and_not_acked(sequential 1..STEPS => Real);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_count_is_a_place_on_a_circle(start: u32, steps in 0u32..1_000) {
        let earlier = Handled(start);
        let later = (0..steps).fold(earlier, |count, _| count.next());
        prop_assert_eq!(later.since(earlier), steps);
        prop_assert_eq!(u64::from(later.0), (u64::from(start) + u64::from(steps)) % (1 << 32));
        prop_assert_eq!(Handled::parse(&later.to_string()), Some(later));
    }
}

#[cfg(feature = "known-bad")]
#[test]
fn a_window_that_miscounts_is_caught() {
    use shared::bad::Bug;
    for bug in [Bug::NoWrap, Bug::NumbersReused] {
        assert!(crate::finds::<Real>(bug, CASES, 1..STEPS), "{bug:?}");
    }
}
