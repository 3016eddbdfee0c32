//! Promise 9: Every queue is within its limit.

use super::{Checker, Findings};
use crate::fact::Fact;
use crate::ledger::Ledger;
use shared::client::rows::Op as ClientOp;
use shared::limits::Limits;
use shared::log::Direction;
use shared::relay::rows::Op as MailboxOp;

pub struct Bounded {
    limits: Limits,
}

impl Bounded {
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }
}

impl Checker for Bounded {
    fn name(&self) -> &'static str {
        "9 bounded"
    }

    fn see(&mut self, fact: &Fact<'_>, _ledger: &Ledger, findings: &mut Findings<'_>) {
        match fact {
            Fact::Stored { account, ops, store } => {
                for op in *ops {
                    let MailboxOp::PutDevice(row) = op else { continue };
                    let Some(stream) = &row.stream else { continue };
                    let (rows, stanzas) = (stream.rows.len(), stream.stanzas.len());
                    // The newest is the answer to what was heard while there was room for it.
                    let older = stream.stanzas.iter().rev().skip(1);
                    let bytes = older.map(|(_, text)| text.len()).sum::<usize>();
                    let within = rows <= self.limits.window_stanzas_max
                        && rows + stanzas <= self.limits.unacked_stanzas_max as usize + 1
                        && bytes < self.limits.kept_bytes_max;
                    findings.check(within, || {
                        let device = &row.device;
                        format!("account {account}, {device}: {rows} rows, {stanzas} stanzas, {bytes} bytes")
                    });
                }
                let confirmed = store.devices.values().map(|row| row.cursor).max().unwrap_or_default();
                let waiting = store.log.range(confirmed.next()..).map(|(_, row)| row);
                let waiting = waiting.filter(|row| row.direction == Direction::In);
                let (waiting, max) = (waiting.count(), self.limits.queue_stanzas_max);
                findings.check(waiting as u64 <= max + self.limits.transfer_items_max as u64, || {
                    format!("account {account}: {waiting} messages wait, {max} may")
                });
            }
            Fact::Committed { device, ops, store } => {
                if !ops.iter().any(|op| matches!(op, ClientOp::PutOutbox(_) | ClientOp::PutOwed(_))) {
                    return;
                }
                let Some(session) = &store.session else { return };
                let sent = store.outbox.values().map(|row| row.sent_as);
                let sent = sent.chain(store.owed.values().map(|row| row.sent_as)).flatten();
                let in_flight = sent.filter(|sent| sent.stream == session.stream).count();
                let max = self.limits.client_window_stanzas_max;
                findings.check(in_flight <= max, || format!("device {device}: {in_flight} of {max}"));
            }
            _ => {}
        }
    }
}
