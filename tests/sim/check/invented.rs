//! Promise 3: Nothing is invented: every row is of a message that somebody wrote, in the conversation
//! and with the author that it has.

use super::{Checker, Findings};
use crate::fact::Fact;
use crate::ledger::Ledger;
use shared::client::rows::{Direction, MessageRow, Op};

pub struct Invented;

impl Checker for Invented {
    fn name(&self) -> &'static str {
        "3 invented"
    }

    fn see(&mut self, fact: &Fact<'_>, ledger: &Ledger, findings: &mut Findings<'_>) {
        let Fact::Committed { device, ops, .. } = fact else { return };
        for op in *ops {
            if let Op::PutMessage(row) = op {
                findings.check(is_right(*device, row, ledger), || format!("device {device}: {row:?}"));
            }
        }
    }
}

fn is_right(device: usize, row: &MessageRow, ledger: &Ledger) -> bool {
    let other = ledger.cast.account(&row.conversation);
    // A liar may write what he likes, under his own name.
    if row.direction == Direction::Incoming
        && ledger.cast.devices.iter().any(|(who, _, liar)| Some(*who) == other && *liar)
    {
        return true;
    }
    let Some((_, entry)) = ledger.of(&row.body) else { return false };
    let Some((account, ..)) = ledger.cast.devices.get(device) else { return false };
    match row.direction {
        Direction::Outgoing => entry.from == *account && other == Some(entry.to),
        Direction::Incoming => entry.to == *account && other == Some(entry.from),
    }
}
