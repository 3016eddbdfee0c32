//! Promise 1: Nothing that was accepted is lost: it is in every timeline it belongs in, or its sender
//! sees that it failed.

use super::{Checker, End, Findings};
use crate::ledger::Ledger;

pub struct Lost;

impl Checker for Lost {
    fn name(&self) -> &'static str {
        "1 lost"
    }

    fn end(&mut self, _end: &End<'_>, ledger: &Ledger, findings: &mut Findings<'_>) {
        for (number, entry) in ledger.entries.iter().enumerate().filter(|(_, entry)| entry.must_arrive()) {
            for device in entry.devices(&ledger.cast) {
                findings.check(ledger.has(device, number as u64), || {
                    format!("m{number} is not on device {device}: {entry:?}")
                });
            }
        }
    }
}
