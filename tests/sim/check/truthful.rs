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
                let same = |stored: &&MessageRow| {
                    stored.status >= row.status
                        && (&stored.body, &stored.conversation) == (&row.body, &row.conversation)
                        && stored.direction == row.direction
                };
                findings.check(stored.as_ref().is_some_and(same), || {
                    format!("device {device} shows {row:?}, and has {stored:?}")
                });
            }
            _ => {}
        }
    }

    fn end(&mut self, end: &End<'_>, ledger: &Ledger, findings: &mut Findings<'_>) {
        screens_show_the_disk(end, findings);
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

/// What came to the disk while a tab led is on its screen, as it is on the disk.
fn screens_show_the_disk(end: &End<'_>, findings: &mut Findings<'_>) {
    for device in end.devices.iter().filter(|device| !device.liar) {
        let Some(tab) = device.leader() else { continue };
        for key in &tab.stored {
            let (shown, stored) = (tab.shown.get(key), device.store.messages.get(key));
            findings
                .check(shown == stored, || format!("{} shows {shown:?}, and has {stored:?}", device.label));
        }
    }
}
