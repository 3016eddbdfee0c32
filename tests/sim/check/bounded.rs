//! Promise 9: Every queue is within its limit.

use super::{Checker, Findings};
use crate::fact::Fact;
use crate::ledger::Ledger;
use shared::client::rows::Op as ClientOp;
use shared::limits::Limits;
use shared::log::Direction;
use shared::relay::rows::Op as MailboxOp;

/// Answers that a relay keeps until they are acked, beside the messages: a few for each request.
const STANZAS_MAX: usize = 200;

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
                    let within = rows <= self.limits.window_stanzas_max && stanzas <= STANZAS_MAX;
                    findings.check(within, || {
                        format!("account {account}, {}: {rows} rows, {stanzas} stanzas", row.device)
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
