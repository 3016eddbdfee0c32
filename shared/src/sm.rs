//! The arithmetic of stream management (XEP-0198 §4), for both roles and without XML.
//!
//! Both sides count stanzas from the start of a stream, modulo 2³². What was sent stays in a
//! [`Window`] until the peer's count covers it; what comes out of the window is confirmed.

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
/// **Invariant:** the entries are those that `sent` counts beyond `acked`, in order. After a
/// crash some of them may be unknown ([`Window::restore`]); their numbers are still counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window<T> {
    acked: Handled,
    sent: Handled,
    entries: VecDeque<(Handled, T)>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { acked: Handled::ZERO, sent: Handled::ZERO, entries: VecDeque::new() }
    }
}

impl<T> Window<T> {
    /// Takes up a stream from stored entries, each with its number. `sent` is the highest
    /// number known to have been used.
    pub fn restore(acked: Handled, sent: Handled, mut entries: Vec<(Handled, T)>) -> Self {
        entries.sort_by_key(|(number, _)| number.since(acked));
        Self { acked, sent, entries: entries.into() }
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
        if newly > self.sent.since(self.acked) {
            // XEP-0198 §4: also where a count goes backwards, which is the same thing modulo 2³².
            return Err(TooHigh { handled, sent: self.sent });
        }
        let base = self.acked;
        let count = self.entries.iter().take_while(|(number, _)| number.since(base) <= newly).count();
        self.acked = handled;
        Ok(self.entries.drain(..count).map(|(_, entry)| entry).collect())
    }

    /// The stream goes on after a break (XEP-0198 §5): the peer has handled this many, and what
    /// is sent next follows on that. Returns what is confirmed and what must be sent again.
    pub fn resume(&mut self, handled: Handled) -> Result<(Vec<T>, Vec<T>), TooHigh> {
        let confirmed = self.ack(handled)?;
        self.sent = handled;
        let again = self.entries.drain(..).map(|(_, entry)| entry).collect();
        Ok((confirmed, again))
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
        assert_eq!(window.resume(Handled(1)), Ok((vec![3], vec![4])));
        assert_eq!(window.push(4), Handled(2));
    }

    #[test]
    fn what_was_skipped_is_counted_and_not_sent_again() {
        let mut window = window_at(0);
        window.push(10);
        window.skip();
        window.push(30);
        assert_eq!(window.resume(Handled(1)), Ok((vec![10], vec![30])));
        assert_eq!(window.outstanding(), 0);
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
