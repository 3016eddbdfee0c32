//! The gate: nothing leaves before the rows it depends on are on disk.
//!
//! An engine collects row operations in an *open batch* and queues every output behind it.
//! [`Gate::poll`] hands the batch out as a commit and releases outputs from the front of the
//! queue while their batch is committed, so an output also waits for everything queued before
//! it: XMPP counts by order.
//!
//! One batch is out at a time. What gathers meanwhile goes into the next one, so a slow disk
//! makes bigger commits and not a longer queue of them.
//!
//! **Invariant:** a [`DurableCount`] is a number of stanzas whose rows, and the counter itself,
//! are committed. Only this file can make one.

use crate::bad::{self, Bug};
use crate::sm::Handled;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;

/// The number of a batch. Batches are committed in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct BatchNo(pub u64);

/// A count of handled stanzas that may be told to the peer (XEP-0198 §4 `h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DurableCount(Handled);

impl DurableCount {
    /// The number for the `h` attribute.
    pub fn handled(self) -> Handled {
        self.0
    }
}

/// What [`Gate::poll`] hands out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Released<O, E> {
    /// Rows to write, all or none.
    Commit(BatchNo, Vec<O>),
    /// An effect whose rows are on disk.
    Effect(E),
}

/// Orders effects `E` behind row operations `O`; `K` names the streams whose counters it keeps.
#[derive(Clone)]
pub struct Gate<K, O, E> {
    open: Vec<O>,
    open_counts: Vec<(K, Handled)>,
    in_flight: Option<(BatchNo, Vec<(K, Handled)>)>,
    next: BatchNo,
    committed: BatchNo,
    queue: VecDeque<(BatchNo, E)>,
    durable: Vec<(K, Handled)>,
    /// Streams that are over; what is queued may still have to say their counts.
    over: Vec<K>,
}

/// Batches are shown by how far they are from the last committed one: what a gate does next does
/// not depend on how many there were before, and two gates that do the same look the same.
impl<K: fmt::Debug, O: fmt::Debug, E: fmt::Debug> fmt::Debug for Gate<K, O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ahead = |no: &BatchNo| no.0.saturating_sub(self.committed.0);
        let queue: Vec<(u64, &E)> = self.queue.iter().map(|(after, effect)| (ahead(after), effect)).collect();
        f.debug_struct("Gate")
            .field("open", &self.open)
            .field("open_counts", &self.open_counts)
            .field("in_flight", &self.in_flight.as_ref().map(|(no, counts)| (ahead(no), counts)))
            .field("next", &ahead(&self.next))
            .field("queue", &queue)
            .field("durable", &self.durable)
            .finish()
    }
}

impl<K: Copy + PartialEq, O, E> Default for Gate<K, O, E> {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            open_counts: Vec::new(),
            in_flight: None,
            next: BatchNo(1),
            committed: BatchNo(0),
            queue: VecDeque::new(),
            durable: Vec::new(),
            over: Vec::new(),
        }
    }
}

impl<K: Copy + PartialEq, O, E> Gate<K, O, E> {
    /// Adds a row operation to the open batch.
    pub fn write(&mut self, op: O) {
        self.open.push(op);
    }

    /// Says that the open batch holds the counter `handled` of stream `key` and the rows of
    /// every stanza it counts.
    pub fn count(&mut self, key: K, handled: Handled) {
        self.open_counts.push((key, handled));
    }

    /// Starts a stream's counter at a number that was loaded from the store.
    pub fn load_count(&mut self, key: K, handled: Handled) {
        set(&mut self.durable, key, handled);
    }

    /// Forgets a stream's counter, once nothing is left that may say it.
    pub fn forget(&mut self, key: K) {
        self.over.push(key);
    }

    fn forget_over(&mut self) {
        let over = std::mem::take(&mut self.over);
        self.durable.retain(|(key, _)| !over.contains(key));
    }

    /// Queues an effect behind everything written and queued so far.
    pub fn effect(&mut self, effect: E) {
        let after = match (&self.in_flight, self.open.is_empty()) {
            (_, false) => self.next,
            (Some((no, _)), true) => *no,
            (None, true) => self.committed,
        };
        let after = if bad::is(Bug::GateOpen) { BatchNo(0) } else { after };
        self.queue.push_back((after, effect));
    }

    /// The next commit or released effect; `None` when all that is left waits for the disk.
    pub fn poll(&mut self) -> Option<Released<O, E>> {
        if self.in_flight.is_none() && !self.open.is_empty() {
            let no = self.next;
            self.next = BatchNo(no.0 + 1);
            self.in_flight = Some((no, std::mem::take(&mut self.open_counts)));
            return Some(Released::Commit(no, std::mem::take(&mut self.open)));
        }
        let Some((after, _)) = self.queue.front() else {
            if self.in_flight.is_none() {
                self.forget_over();
            }
            return None;
        };
        if *after > self.committed {
            return None;
        }
        self.queue.pop_front().map(|(_, effect)| Released::Effect(effect))
    }

    /// The store has this batch. A number that is not out is ignored: it is late news. Returns
    /// whether it was out.
    pub fn committed(&mut self, no: BatchNo) -> bool {
        let Some((no, counts)) = self.in_flight.take_if(|(out, _)| *out == no) else { return false };
        self.committed = no;
        for (key, handled) in counts {
            set(&mut self.durable, key, handled);
        }
        true
    }

    /// What may be told the peer about this stream.
    pub fn durable(&self, key: K) -> DurableCount {
        let found = self.durable.iter().find(|(other, _)| *other == key);
        DurableCount(found.map_or(Handled::ZERO, |(_, handled)| *handled))
    }

    /// Drops queued effects for which the test holds: their connection is gone.
    pub fn discard(&mut self, mut test: impl FnMut(&E) -> bool) {
        self.queue.retain(|(_, effect)| !test(effect));
    }

    /// What has not left, for whoever gives the gate up.
    pub fn into_queued(self) -> impl Iterator<Item = E> {
        self.queue.into_iter().map(|(_, effect)| effect)
    }
}

fn set<K: Copy + PartialEq>(counts: &mut Vec<(K, Handled)>, key: K, handled: Handled) {
    match counts.iter_mut().find(|(other, _)| *other == key) {
        Some((_, count)) => *count = handled,
        None => counts.push((key, handled)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Released::{Commit, Effect};

    type TestGate = Gate<u8, char, &'static str>;

    #[test]
    fn an_effect_waits_for_the_rows_before_it() {
        let mut gate = TestGate::default();
        gate.write('a');
        gate.effect("needs a");
        assert_eq!(gate.poll(), Some(Commit(BatchNo(1), vec!['a'])));
        assert_eq!(gate.poll(), None);
        gate.committed(BatchNo(1));
        assert_eq!((gate.poll(), gate.poll()), (Some(Effect("needs a")), None));
    }

    #[test]
    fn an_effect_without_rows_waits_only_for_what_is_queued_before_it() {
        let mut gate = TestGate::default();
        gate.effect("free");
        assert_eq!(gate.poll(), Some(Effect("free")));
        gate.write('a');
        gate.effect("needs a");
        assert!(matches!(gate.poll(), Some(Commit(..))));
        gate.effect("queued behind");
        assert_eq!(gate.poll(), None);
        gate.committed(BatchNo(1));
        assert_eq!((gate.poll(), gate.poll()), (Some(Effect("needs a")), Some(Effect("queued behind"))));
    }

    #[test]
    fn rows_gather_while_a_batch_is_out() {
        let mut gate = TestGate::default();
        gate.write('a');
        assert_eq!(gate.poll(), Some(Commit(BatchNo(1), vec!['a'])));
        gate.write('b');
        gate.effect("needs b");
        gate.write('c');
        assert_eq!(gate.poll(), None);
        gate.committed(BatchNo(1));
        assert_eq!(gate.poll(), Some(Commit(BatchNo(2), vec!['b', 'c'])));
        assert_eq!(gate.poll(), None);
        gate.committed(BatchNo(1));
        assert_eq!(gate.poll(), None, "a commit reported twice is old news");
        gate.committed(BatchNo(2));
        assert_eq!(gate.poll(), Some(Effect("needs b")));
    }

    #[test]
    fn a_count_is_durable_with_its_batch_and_not_before() {
        let mut gate = TestGate::default();
        gate.load_count(7, Handled(3));
        gate.write('a');
        gate.count(7, Handled(4));
        let _ = gate.poll();
        gate.write('b');
        gate.count(7, Handled(5));
        assert_eq!(gate.durable(7).handled(), Handled(3));
        gate.committed(BatchNo(1));
        assert_eq!(gate.durable(7).handled(), Handled(4));
        assert_eq!(gate.durable(8).handled(), Handled(0));
        gate.forget(7);
        let _ = gate.poll();
        gate.committed(BatchNo(2));
        assert_eq!(gate.poll(), None);
        assert_eq!(gate.durable(7).handled(), Handled(0), "a forgotten stream stays forgotten");
    }

    #[test]
    fn what_is_queued_still_says_the_count_of_a_stream_that_is_over() {
        let mut gate = TestGate::default();
        gate.load_count(7, Handled(3));
        gate.write('a');
        gate.effect("its last ack");
        gate.forget(7);
        let _ = gate.poll();
        assert_eq!(gate.poll(), None);
        gate.committed(BatchNo(1));
        assert_eq!(gate.poll(), Some(Effect("its last ack")));
        assert_eq!(gate.durable(7).handled(), Handled(3));
        assert_eq!(gate.poll(), None);
        assert_eq!(gate.durable(7).handled(), Handled(0));
    }

    #[test]
    fn a_stream_is_forgotten_where_it_waits_and_no_other_with_it() {
        for out in [false, true] {
            let mut gate = TestGate::default();
            gate.write('a');
            gate.count(7, Handled(1));
            gate.count(8, Handled(2));
            if out {
                let _ = gate.poll();
            }
            gate.forget(7);
            let _ = gate.poll();
            gate.committed(BatchNo(1));
            assert_eq!(gate.poll(), None);
            assert_eq!((gate.durable(7).handled(), gate.durable(8).handled()), (Handled(0), Handled(2)));
        }
    }
}
