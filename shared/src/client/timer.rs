//! The engine's timers: a closed list, each set or not. One wake-up serves them all.

use crate::time::Millis;

/// What the engine waits for by the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Timer {
    /// The next try to connect.
    Retry,
    /// The connection must be ready by then.
    Dial,
    /// Ask for an ack of what is outstanding.
    Ask,
    /// Something must have been heard by then, or the link is dead.
    Silence,
    /// Nothing was heard for long: ask whether the relay is there.
    Probe,
    /// The connection has proved stable: the next failure starts at the shortest pause.
    Stable,
}

/// In the order in which due timers are served.
pub(super) const ALL: [Timer; 6] =
    [Timer::Silence, Timer::Dial, Timer::Retry, Timer::Stable, Timer::Probe, Timer::Ask];

/// When each timer is due.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    set: Vec<(Timer, Millis)>,
}

impl Timers {
    /// Sets a timer, replacing the time it had.
    pub(super) fn set(&mut self, timer: Timer, at: Millis) {
        self.clear(timer);
        self.set.push((timer, at));
    }

    /// Sets a timer unless it is set.
    pub(super) fn set_if_clear(&mut self, timer: Timer, at: Millis) {
        if !self.is_set(timer) {
            self.set.push((timer, at));
        }
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.set.retain(|(other, _)| *other != timer);
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.set.iter().any(|(other, _)| *other == timer)
    }

    /// Whether it is due; if so it is cleared.
    pub(super) fn take_due(&mut self, timer: Timer, now: Millis) -> bool {
        let due = self.set.iter().any(|(other, at)| *other == timer && *at <= now);
        if due {
            self.clear(timer);
        }
        due
    }

    /// Moves every deadline this much nearer.
    pub(super) fn pull(&mut self, ms: u64) {
        self.set.iter_mut().for_each(|(_, at)| *at = Millis(at.0.saturating_sub(ms)));
    }

    /// The earliest.
    pub(super) fn next(&self) -> Option<Millis> {
        self.set.iter().map(|(_, at)| *at).min()
    }
}
