//! Promise 7: A status never goes back, on the disk or on the screen.

use super::{Checker, Findings};
use crate::fact::Fact;
use crate::ledger::Ledger;
use shared::client::Event;
use shared::client::rows::{MessageKey, MessageRow, Op, Status};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Statuses {
    stored: BTreeMap<(usize, MessageKey), Status>,
    shown: BTreeMap<(usize, MessageKey), Status>,
}

impl Checker for Statuses {
    fn name(&self) -> &'static str {
        "7 status"
    }

    fn see(&mut self, fact: &Fact<'_>, _ledger: &Ledger, findings: &mut Findings<'_>) {
        match fact {
            Fact::Committed { device, ops, .. } => {
                for op in *ops {
                    match op {
                        Op::PutMessage(row) => raised(&mut self.stored, *device, row, findings),
                        Op::DeleteMessage(key) => drop(self.stored.remove(&(*device, key.clone()))),
                        Op::Clear => self.forget(*device),
                        _ => {}
                    }
                }
            }
            Fact::Wiped { device } => self.forget(*device),
            Fact::Told { device, event: Event::Message(row), .. } => {
                raised(&mut self.shown, *device, row, findings);
            }
            Fact::Told { device, event: Event::MessageGone(_, key), .. } => {
                self.shown.remove(&(*device, key.clone()));
            }
            // What a dead tab showed, the next one reads from the disk.
            Fact::TabDied { device, .. } => self.shown.retain(|(other, _), _| other != device),
            _ => {}
        }
    }
}

impl Statuses {
    fn forget(&mut self, device: usize) {
        self.stored.retain(|(other, _), _| *other != device);
        self.shown.retain(|(other, _), _| *other != device);
    }
}

fn raised(
    statuses: &mut BTreeMap<(usize, MessageKey), Status>,
    device: usize,
    row: &MessageRow,
    findings: &mut Findings<'_>,
) {
    let before = statuses.insert((device, row.key.clone()), row.status);
    findings.check(before.is_none_or(|before| before <= row.status), || {
        format!("device {device} had {before:?} for {row:?}")
    });
}
