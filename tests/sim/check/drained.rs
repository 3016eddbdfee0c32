//! Promise 8: When nothing fails any more, every queue is empty after a bounded time.

use super::{Checker, End, Findings};
use crate::ledger::{Ledger, number};
use shared::client::rows::Status;

pub struct Drained;

impl Checker for Drained {
    fn name(&self) -> &'static str {
        "8 drained"
    }

    fn end(&mut self, end: &End<'_>, ledger: &Ledger, findings: &mut Findings<'_>) {
        if end.receipts {
            receipts_came(end, ledger, findings);
        }
        findings.check(end.restless.is_none(), || format!("no rest: {:?}", end.restless));
        for device in end.devices.iter().filter(|device| !device.liar) {
            findings.check(device.is_settled(), || {
                let state = device.leader().map(|tab| tab.state);
                let (outbox, owed) = (device.store.outbox.values(), device.store.owed.values());
                let rows = (outbox.collect::<Vec<_>>(), owed.collect::<Vec<_>>());
                format!("{} is {state:?}, has {} tabs and {rows:?}", device.label, device.tabs.len())
            });
        }
        for (account, mailbox) in end.mailboxes.iter().enumerate() {
            for device in ledger.cast.devices_of(account) {
                let Some((_, name, _)) = ledger.cast.devices.get(device) else { continue };
                let waits = mailbox.waits_for(name);
                findings.check(waits.is_none(), || {
                    format!("{}: {name} has not confirmed {waits:?}", mailbox.jid)
                });
            }
        }
    }
}

/// A sender who was told nothing false is in the end told the truth: it arrived.
fn receipts_came(end: &End<'_>, ledger: &Ledger, findings: &mut Findings<'_>) {
    for (message, entry) in ledger.entries.iter().enumerate().filter(|(_, entry)| entry.must_arrive()) {
        let Some(device) = end.devices.get(entry.device) else { continue };
        let mut rows = device.store.messages.values();
        let row = rows.find(|row| number(&row.body) == Some(message as u64));
        findings.check(row.is_some_and(|row| row.status >= Status::Delivered), || {
            format!("m{message} arrived, and its sender has {row:?}")
        });
    }
}
