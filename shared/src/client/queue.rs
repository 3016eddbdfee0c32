//! Rows that wait until the relay has them, in the order in which they were written: the outbox
//! and the owed confirmations.

use super::rows::{OutboxRow, OwedRow};
use crate::id::OriginId;
use std::collections::{BTreeMap, BTreeSet};

/// A row of such a queue.
pub(super) trait Queued {
    type Name: Ord + Clone;
    fn name(&self) -> Self::Name;
    fn order(&self) -> u64;
}

impl Queued for OutboxRow {
    type Name = OriginId;
    fn name(&self) -> OriginId {
        self.origin.clone()
    }
    fn order(&self) -> u64 {
        self.order
    }
}

impl Queued for OwedRow {
    type Name = String;
    fn name(&self) -> String {
        self.key.clone()
    }
    fn order(&self) -> u64 {
        self.order
    }
}

/// All rows of a store, and which of them the connection has not been given.
///
/// **Invariant:** whatever waits has a row.
#[derive(Clone, Debug)]
pub(super) struct Queue<R: Queued> {
    rows: BTreeMap<u64, R>,
    orders: BTreeMap<R::Name, u64>,
    waiting: BTreeSet<u64>,
}

impl<R: Queued> Default for Queue<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), orders: BTreeMap::new(), waiting: BTreeSet::new() }
    }
}

impl<R: Queued> Queue<R> {
    /// Adds or replaces a row.
    pub(super) fn put(&mut self, row: R) {
        if let Some(before) = self.orders.insert(row.name(), row.order())
            && before != row.order()
        {
            self.rows.remove(&before);
            self.waiting.remove(&before);
        }
        self.rows.insert(row.order(), row);
    }

    pub(super) fn get(&self, name: &R::Name) -> Option<&R> {
        self.rows.get(self.orders.get(name)?)
    }

    pub(super) fn remove(&mut self, name: &R::Name) -> Option<R> {
        let order = self.orders.remove(name)?;
        self.waiting.remove(&order);
        self.rows.remove(&order)
    }

    /// Lets a row wait for the connection.
    pub(super) fn wait(&mut self, name: &R::Name) {
        if let Some(order) = self.orders.get(name) {
            self.waiting.insert(*order);
        }
    }

    pub(super) fn is_waiting(&self, name: &R::Name) -> bool {
        self.orders.get(name).is_some_and(|order| self.waiting.contains(order))
    }

    /// Lets every row wait for which the test holds, and no other.
    pub(super) fn wait_where(&mut self, test: impl Fn(&R) -> bool) {
        self.waiting = self.rows.iter().filter(|(_, row)| test(row)).map(|(order, _)| *order).collect();
    }

    /// The oldest row that waits; it waits no longer.
    pub(super) fn next(&mut self) -> Option<&mut R> {
        let order = self.waiting.pop_first()?;
        self.rows.get_mut(&order)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &R> {
        self.rows.values()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}
