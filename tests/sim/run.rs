//! One seed from beginning to end, and what it came to.

use crate::fact::Violation;
use crate::ledger::Account;
use crate::plan::{Fault, Plan};
use crate::sometimes::Marks;
use crate::world::{Tolls, World};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The checker's name of a panic.
pub const PANIC: &str = "0 panic";

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The promises that were not kept.
    pub violations: Vec<Violation>,
    /// Its account.
    pub account: Account,
    /// What was seen.
    pub marks: Marks,
    /// What it cost.
    pub tolls: Tolls,
    /// Equal for equal runs.
    pub hash: u64,
    /// What happened, if it was kept.
    pub lines: Vec<String>,
}

/// Runs what the seed decides.
pub fn run(seed: u64) -> Outcome {
    run_plan(Plan::of(seed), false)
}

/// Runs a plan. A panic of an engine is a violation like any other.
pub fn run_plan(plan: Plan, keep_trace: bool) -> Outcome {
    let mut world = World::new(plan, keep_trace);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let mut violations = std::mem::take(&mut world.watch.checkers.found);
    if let Err(panic) = ended {
        let what = panic.downcast_ref::<String>().cloned();
        let what = what.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        violations.push(Violation { checker: PANIC, what: what.unwrap_or_default() });
    }
    Outcome {
        seed: world.plan.seed,
        violations,
        account: world.watch.ledger.account(),
        marks: world.marks.clone(),
        tolls: world.tolls,
        hash: world.trace.hash(),
        lines: world.trace.lines().to_vec(),
    }
}

/// The plan with as few kinds of fault, acts and disasters as still break the same promise.
pub fn shrink(seed: u64, checker: &str) -> Plan {
    let breaks = |plan: &Plan| {
        run_plan(plan.clone(), false).violations.iter().any(|violation| violation.checker == checker)
    };
    let mut plan = Plan::of(seed);
    for fault in Fault::ALL {
        let fewer = plan.without(fault);
        if plan.has(fault) && breaks(&fewer) {
            plan = fewer;
        }
    }
    for _ in 0..6 {
        let mut shorter = plan.clone();
        shorter.horizon_ms = plan.horizon_ms * 2 / 3;
        shorter.acts = (plan.acts * 2 / 3).max(1);
        shorter.disasters = plan.disasters * 2 / 3;
        if breaks(&shorter) {
            plan = shorter;
        }
    }
    plan
}
