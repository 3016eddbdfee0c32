//! Promise 6: *Sent* means that the relay has it; *delivered*, that it is on a recipient's disk; *read*,
//! that a person there has looked; *failed*, that it did not arrive. And what a person is told
//! is on the disk.

use super::{Checker, End, Findings};
use crate::fact::Fact;
use crate::ledger::Ledger;
use shared::client::Event;
use shared::client::rows::{Direction, MessageRow, OUTCOME_UNKNOWN, Op, Status};

pub struct Truthful;

impl Checker for Truthful {
    fn name(&self) -> &'static str {
        "6 truth"
    }

    fn see(&mut self, fact: &Fact<'_>, ledger: &Ledger, findings: &mut Findings<'_>) {
        match fact {
            Fact::Committed { device, ops, .. } => {
                for op in *ops {
                    if let Op::PutMessage(row) = op {
                        findings.check(is_true(row, ledger), || format!("device {device} says {row:?}"));
                    }
                }
            }
            Fact::Told { device, event: Event::Message(row), store } => {
                let stored = store.messages.get(&row.key);
                findings.check(stored.is_some_and(|stored| stored.status >= row.status), || {
                    format!("device {device} shows {row:?}, and has {stored:?}")
                });
            }
            _ => {}
        }
    }

    fn end(&mut self, _end: &End<'_>, ledger: &Ledger, findings: &mut Findings<'_>) {
        for (number, entry) in ledger.entries.iter().enumerate().filter(|(_, entry)| !entry.liar) {
            let definite = entry.failed.as_deref().is_some_and(|why| why != OUTCOME_UNKNOWN);
            let arrived = ledger.cast.devices_of(entry.to).find(|device| entry.on.contains(device));
            findings.check(!definite || arrived.is_none(), || {
                format!("m{number} is said to have failed and is on device {arrived:?}: {entry:?}")
            });
        }
    }
}

fn is_true(row: &MessageRow, ledger: &Ledger) -> bool {
    let Some((number, entry)) = ledger.of(&row.body) else { return true };
    if row.direction == Direction::Incoming || entry.liar {
        return true;
    }
    let arrived = || ledger.cast.devices_of(entry.to).any(|device| entry.on.contains(&device));
    let looked = || ledger.looked.get(&entry.to).is_some_and(|looked| looked.contains(&number));
    match row.status {
        Status::Queued | Status::Failed => true,
        Status::Sent => !entry.accepted.is_empty(),
        Status::Delivered => arrived(),
        // XEP-0333: a marker is for a message and all before it. One that the recipient's browser
        // has thrown away is among them.
        Status::Read => arrived() && (looked() || entry.swept),
    }
}
