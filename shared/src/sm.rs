//! The arithmetic of stream management (XEP-0198 §4), for both roles and without XML.
//!
//! Both sides count stanzas from the start of a stream, modulo 2³². What was sent stays in a
//! [`Window`] until the peer's count covers it; what comes out of the window is confirmed.

use crate::bad::{self, Bug};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;

/// A count of stanzas on one stream, modulo 2³².
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Handled(pub u32);

impl Handled {
    /// The count at the start of a stream.
    pub const ZERO: Self = Self(0);

    /// One more (XEP-0198 §4: 2³²−1 is followed by 0).
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How many stanzas lie between `earlier` and this count, going forward.
    pub fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Reads an `h` attribute: a decimal unsigned 32-bit number and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok().map(Self)).flatten()
    }
}

impl fmt::Display for Handled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The peer acked more than it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooHigh {
    /// What it claims.
    pub handled: Handled,
    /// What it was sent.
    pub sent: Handled,
}

/// What was sent on a stream and is not yet confirmed, oldest first.
///
/// **Invariant:** a number that was given to a stanza is never given to another one. A peer that
/// comes back says how many it has, and it may have said so before, on a connection that nobody
/// knows to be dead: if a number meant something else by then, its count would confirm what it
/// never had.
///
/// The entries are those of the stanzas that `sent` counts beyond `acked` that must be confirmed,
/// in order. Other stanzas leave gaps. After a crash it may not be known how many there were
/// ([`Window::recover`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window<T> {
    acked: Handled,
    sent: Handled,
    /// `sent` is the number of the newest stanza, and not only a bound of it.
    exact: bool,
    entries: VecDeque<(Handled, T)>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { acked: Handled::ZERO, sent: Handled::ZERO, exact: true, entries: VecDeque::new() }
    }
}

impl<T> Window<T> {
    /// Takes up a stream whose newest stanza had the number `sent`.
    pub fn restore(acked: Handled, sent: Handled, mut entries: Vec<(Handled, T)>) -> Self {
        entries.sort_by_key(|(number, _)| number.since(acked));
        Self { acked, sent, exact: true, entries: entries.into() }
    }

    /// Takes up a stream after a crash: no number beyond `sent_max` was used, and every stanza
    /// that must be confirmed is among the entries.
    pub fn recover(acked: Handled, sent_max: Handled, entries: Vec<(Handled, T)>) -> Self {
        Self { exact: false, ..Self::restore(acked, sent_max, entries) }
    }

    /// Counts a stanza as sent and keeps it. Returns its number.
    pub fn push(&mut self, entry: T) -> Handled {
        self.sent = self.sent.next();
        self.entries.push_back((self.sent, entry));
        self.sent
    }

    /// Counts a stanza as sent that need not be kept: its loss is harmless.
    pub fn skip(&mut self) -> Handled {
        self.sent = self.sent.next();
        self.sent
    }

    /// The peer has handled this many. Returns what that confirms, oldest first.
    pub fn ack(&mut self, handled: Handled) -> Result<Vec<T>, TooHigh> {
        let newly = handled.since(self.acked);
        if bad::is(Bug::NoWrap) && !(self.acked.0..=self.sent.0).contains(&handled.0) {
            return Err(TooHigh { handled, sent: self.sent });
        }
        if newly > self.sent.since(self.acked) {
            // XEP-0198 §4: also where a count goes backwards, which is the same thing modulo 2³².
            return Err(TooHigh { handled, sent: self.sent });
        }
        let base = self.acked;
        let count = self.entries.iter().take_while(|(number, _)| number.since(base) <= newly).count();
        self.acked = handled;
        Ok(self.entries.drain(..count).map(|(_, entry)| entry).collect())
    }

    /// The stream goes on after a break (XEP-0198 §5): the peer has handled this many. Returns
    /// what that confirms; [`Window::unacked`] is what must be sent again.
    pub fn resume(&mut self, handled: Handled) -> Result<Vec<T>, TooHigh> {
        let confirmed = self.ack(handled)?;
        if !self.exact {
            // Connections do not outlive a crash, so nobody has a count of what was beyond.
            self.sent = self.entries.back().map_or(handled, |(number, _)| *number);
            self.exact = true;
        }
        if bad::is(Bug::NumbersReused) {
            self.sent = handled;
            for (number, _) in &mut self.entries {
                self.sent = self.sent.next();
                *number = self.sent;
            }
        }
        Ok(confirmed)
    }

    /// Every number that was used and is not acked, in order, and what must be confirmed under
    /// it. Something must be sent again under each of them.
    pub fn unacked(&self) -> impl Iterator<Item = Option<&T>> {
        let mut entries = self.entries.iter().peekable();
        (1..=self.outstanding()).map(move |ahead| {
            let entry = entries.next_if(|(number, _)| number.since(self.acked) == ahead);
            entry.map(|(_, entry)| entry)
        })
    }

    /// How many stanzas wait for confirmation.
    pub fn outstanding(&self) -> u32 {
        self.sent.since(self.acked)
    }

    /// Number of the newest stanza sent.
    pub fn sent(&self) -> Handled {
        self.sent
    }

    /// Number up to which all is confirmed.
    pub fn acked(&self) -> Handled {
        self.acked
    }

    /// What waits, with its numbers, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = (Handled, &T)> {
        self.entries.iter().map(|(number, entry)| (*number, entry))
    }

    /// What waits, with its numbers, taken out.
    pub fn into_numbered(self) -> Vec<(Handled, T)> {
        self.entries.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window_at(start: u32) -> Window<u32> {
        Window::restore(Handled(start), Handled(start), Vec::new())
    }

    #[test]
    fn an_ack_confirms_from_the_front_and_only_once() {
        let mut window = window_at(0);
        for n in 1..=4 {
            assert_eq!(window.push(n), Handled(n));
        }
        assert_eq!(window.ack(Handled(2)), Ok(vec![1, 2]));
        assert_eq!(window.ack(Handled(2)), Ok(vec![]));
        assert_eq!(window.outstanding(), 2);
        assert_eq!(window.ack(Handled(4)), Ok(vec![3, 4]));
    }

    #[test]
    fn an_ack_beyond_what_was_sent_or_before_what_was_acked_is_too_high() {
        let mut window = window_at(0);
        window.push(1);
        window.push(2);
        assert_eq!(window.ack(Handled(3)), Err(TooHigh { handled: Handled(3), sent: Handled(2) }));
        assert_eq!(window.ack(Handled(2)), Ok(vec![1, 2]));
        assert!(window.ack(Handled(1)).is_err());
    }

    #[test]
    fn counts_pass_two_to_the_thirty_second() {
        let mut window = window_at(u32::MAX - 1);
        for n in 1..=4 {
            window.push(n);
        }
        assert_eq!(window.sent(), Handled(2));
        assert_eq!(window.ack(Handled(0)), Ok(vec![1, 2]));
        assert_eq!(window.resume(Handled(1)), Ok(vec![3]));
        assert_eq!(window.unacked().collect::<Vec<_>>(), [Some(&4)]);
        assert_eq!(window.push(5), Handled(3));
    }

    #[test]
    fn a_number_keeps_its_meaning_when_the_stream_is_resumed() {
        let mut window = window_at(0);
        window.push(10);
        window.skip();
        window.push(30);
        window.skip();
        assert_eq!(window.resume(Handled(1)), Ok(vec![10]));
        assert_eq!(window.unacked().collect::<Vec<_>>(), [None, Some(&30), None]);
        assert_eq!(window.push(50), Handled(5), "2 and 4 are not given again");
        assert_eq!(window.ack(Handled(4)), Ok(vec![30]));
    }

    #[test]
    fn after_a_crash_numbers_go_on_behind_the_last_that_must_be_confirmed() {
        let mut window = Window::recover(Handled(2), Handled(66), vec![(Handled(4), 'a')]);
        assert_eq!(window.resume(Handled(2)), Ok(vec![]));
        assert_eq!(window.unacked().collect::<Vec<_>>(), [None, Some(&'a')]);
        assert_eq!(window.push('b'), Handled(5));
        let mut ahead = Window::recover(Handled(2), Handled(66), vec![(Handled(4), 'a')]);
        assert_eq!(ahead.resume(Handled(9)), Ok(vec!['a']), "what was not kept was counted");
        assert_eq!(ahead.push('b'), Handled(10));
    }

    #[test]
    fn an_h_is_digits_and_fits() {
        assert_eq!(Handled::parse("4294967295"), Some(Handled(u32::MAX)));
        for bad in ["", "-1", "+1", "4294967296", "1.0", " 1", "x"] {
            assert_eq!(Handled::parse(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        /// Against a naive list of everything sent, from any start and over any acks.
        #[test]
        fn the_window_is_the_list_of_what_was_sent_and_not_acked(
            start: u32,
            steps in proptest::collection::vec((0u8..3, 0u32..6), 1..60),
        ) {
            let mut window = window_at(start);
            let (mut all, mut acked): (Vec<Option<u32>>, usize) = (Vec::new(), 0);
            for (step, amount) in steps {
                match step {
                    0 => { window.push(all.len() as u32); all.push(Some(all.len() as u32)); }
                    1 => { window.skip(); all.push(None); }
                    _ => {
                        let upto = acked + amount as usize;
                        let result = window.ack(Handled(start.wrapping_add(upto as u32)));
                        if upto > all.len() {
                            proptest::prop_assert!(result.is_err());
                        } else {
                            let expected: Vec<u32> = all[acked..upto].iter().flatten().copied().collect();
                            proptest::prop_assert_eq!(result, Ok(expected));
                            acked = upto;
                        }
                    }
                }
                let kept: Vec<u32> = window.entries().map(|(_, entry)| *entry).collect();
                let expected: Vec<u32> = all[acked..].iter().flatten().copied().collect();
                proptest::prop_assert_eq!(kept, expected);
                proptest::prop_assert_eq!(window.outstanding() as usize, all.len() - acked);
            }
        }
    }
}
