//! Many seeds, their sums, and the first that broke a promise.

use crate::ledger::Account;
use crate::run::{Outcome, run};
use crate::sometimes::Marks;
use crate::world::Tolls;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// The sums of a batch.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Seeds that were run.
    pub seeds: u64,
    /// The account of them all.
    pub account: Account,
    /// What was seen.
    pub marks: Marks,
    /// What it cost.
    pub tolls: Tolls,
    /// The runs that broke a promise.
    pub broken: Vec<Outcome>,
}

impl Batch {
    /// Adds a run.
    pub fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.account += outcome.account;
        self.marks.add(&outcome.marks);
        self.tolls += outcome.tolls;
        if !outcome.violations.is_empty() {
            self.broken.push(outcome);
        }
    }

    fn join(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.account += other.account;
        self.marks.add(&other.marks);
        self.tolls += other.tolls;
        self.broken.extend(other.broken);
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { attempted, promised, acknowledged, delivered, lost, recovered, refused, withdrawn } =
            self.account;
        let found = |checker: &str| {
            let broken = self.broken.iter().flat_map(|outcome| &outcome.violations);
            broken.filter(|violation| violation.checker.starts_with(checker)).count()
        };
        writeln!(
            f,
            "attempted {attempted} / promised {promised} / acknowledged {acknowledged} / delivered {delivered} / \
             lost {lost} / duplicated {} / unexpected {} / recovered {recovered} / refused {refused} / \
             withdrawn {withdrawn}",
            found("2 "),
            found("3 "),
        )?;
        let Tolls { deaths, cuts, simulated_ms, events, frames } = self.tolls;
        write!(
            f,
            "{} seeds, {} violations; {deaths} deaths, {cuts} links cut, {frames} frames, {events} events, \
             {} simulated hours",
            self.seeds,
            self.broken.len(),
            simulated_ms / 3_600_000,
        )
    }
}

/// Runs `count` seeds from `first` on `threads` threads, as long as `go_on` says so and until
/// `broken_max` have broken a promise. Which thread runs a seed makes no difference to it.
pub fn run_seeds(
    first: u64,
    count: u64,
    threads: usize,
    broken_max: usize,
    go_on: impl Fn() -> bool + Sync,
) -> Batch {
    let next = AtomicU64::new(first);
    let stop = AtomicBool::new(false);
    let work = || {
        let mut batch = Batch::default();
        while !stop.load(Ordering::Relaxed) && go_on() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first.saturating_add(count) {
                break;
            }
            batch.add(run(seed));
            if batch.broken.len() >= broken_max {
                stop.store(true, Ordering::Relaxed);
            }
        }
        batch
    };
    let mut all = Batch::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            if let Ok(batch) = worker.join() {
                all.join(batch);
            }
        }
    });
    all.broken.sort_by_key(|outcome| outcome.seed);
    all
}
