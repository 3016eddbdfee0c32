//! The twelve checkers of the guarantee, each in its own file. Each sees facts and says what
//! promise was broken; none decides anything else.

mod bounded;
mod counts;
mod drained;
mod horizon;
mod invented;
mod isolated;
mod logged;
mod lost;
mod ordered;
mod status;
mod truthful;
mod twice;

use crate::fact::{Fact, Violation};
use crate::ledger::Ledger;
use crate::nodes::{Device, Mailbox};
use crate::sometimes::{Mark, Marks};
use shared::limits::Limits;

/// What a checker writes its findings to.
pub struct Findings<'a> {
    checker: &'static str,
    found: &'a mut Vec<Violation>,
    marks: &'a mut Marks,
}

impl Findings<'_> {
    /// A promise was not kept.
    pub fn add(&mut self, what: String) {
        self.found.push(Violation { checker: self.checker, what });
    }

    /// Something worth having seen.
    pub fn mark(&mut self, mark: Mark) {
        self.marks.hit(mark);
    }

    /// A promise was not kept unless this holds.
    pub fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.add(what());
        }
    }
}

/// The end of a run, when nothing fails any more and all is quiet.
pub struct End<'a> {
    /// The devices.
    pub devices: &'a [Device],
    /// The mailboxes.
    pub mailboxes: &'a [Mailbox],
    /// What is not at rest though it should be.
    pub restless: Option<String>,
    /// Whether every receipt must have come: no store was lost.
    pub receipts: bool,
}

/// One of the twelve.
trait Checker {
    fn name(&self) -> &'static str;
    fn see(&mut self, _fact: &Fact<'_>, _ledger: &Ledger, _findings: &mut Findings<'_>) {}
    fn end(&mut self, _end: &End<'_>, _ledger: &Ledger, _findings: &mut Findings<'_>) {}
}

/// All of them.
pub struct Checkers {
    checkers: Vec<Box<dyn Checker>>,
    /// What they found.
    pub found: Vec<Violation>,
    /// What they saw.
    pub marks: Marks,
}

impl Checkers {
    /// For a run with these limits, whose streams begin at these counts.
    pub fn new(limits: Limits, wrap: Option<u32>) -> Self {
        let checkers: Vec<Box<dyn Checker>> = vec![
            Box::new(lost::Lost),
            Box::new(twice::Twice::default()),
            Box::new(invented::Invented),
            Box::new(ordered::Ordered::default()),
            Box::new(counts::Counts::new(wrap)),
            Box::new(truthful::Truthful),
            Box::new(status::Statuses::default()),
            Box::new(drained::Drained),
            Box::new(bounded::Bounded::new(limits)),
            Box::new(isolated::Isolated),
            Box::new(logged::Logged::default()),
            Box::new(horizon::Horizon::new(limits)),
        ];
        Self { checkers, found: Vec::new(), marks: Marks::default() }
    }

    /// Shows all of them a fact.
    pub fn see(&mut self, fact: &Fact<'_>, ledger: &Ledger) {
        for checker in &mut self.checkers {
            let mut findings =
                Findings { checker: checker.name(), found: &mut self.found, marks: &mut self.marks };
            checker.see(fact, ledger, &mut findings);
        }
    }

    /// The run is over.
    pub fn end(&mut self, end: &End<'_>, ledger: &Ledger) {
        for checker in &mut self.checkers {
            let mut findings =
                Findings { checker: checker.name(), found: &mut self.found, marks: &mut self.marks };
            checker.end(end, ledger, &mut findings);
        }
    }
}
