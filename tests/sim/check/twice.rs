//! Promise 2: Nothing is shown twice: a timeline has one row of a message.

use super::{Checker, Findings};
use crate::fact::Fact;
use crate::ledger::{Ledger, number};
use shared::client::rows::{MessageKey, Op, Status};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Twice {
    /// By device and message: the row it is.
    rows: BTreeMap<(usize, u64), MessageKey>,
}

impl Checker for Twice {
    fn name(&self) -> &'static str {
        "2 twice"
    }

    fn see(&mut self, fact: &Fact<'_>, _ledger: &Ledger, findings: &mut Findings<'_>) {
        match fact {
            Fact::Committed { device, ops, .. } => {
                for op in *ops {
                    self.committed(*device, op, findings);
                }
            }
            Fact::Wiped { device } => self.rows.retain(|(other, _), _| other != device),
            _ => {}
        }
    }
}

impl Twice {
    fn committed(&mut self, device: usize, op: &Op, findings: &mut Findings<'_>) {
        match op {
            Op::PutMessage(row) => {
                let Some(number) = number(&row.body) else { return };
                // One that came back and was tried again stands beside it where it was not
                // tried again.
                if row.status == Status::Failed {
                    self.rows.remove(&(device, number));
                    return;
                }
                let before = self.rows.insert((device, number), row.key.clone());
                findings.check(before.as_ref().is_none_or(|key| *key == row.key), || {
                    format!("m{number} is on device {device} as {before:?} and as {:?}", row.key)
                });
            }
            Op::DeleteMessage(key) => self.rows.retain(|(other, _), row| *other != device || row != key),
            Op::Clear => self.rows.retain(|(other, _), _| *other != device),
            _ => {}
        }
    }
}
