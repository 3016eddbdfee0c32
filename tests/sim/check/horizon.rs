//! Promise 12: A message that is sent again is recognised as long as the limits say.

use super::{Checker, Findings};
use crate::fact::Fact;
use crate::ledger::Ledger;
use shared::id::OriginId;
use shared::limits::Limits;
use shared::relay::rows::Op;
use shared::time::Millis;
use std::collections::BTreeMap;

pub struct Horizon {
    limits: Limits,
    had: BTreeMap<(usize, OriginId, String), Millis>,
}

impl Horizon {
    pub fn new(limits: Limits) -> Self {
        Self { limits, had: BTreeMap::new() }
    }
}

impl Checker for Horizon {
    fn name(&self) -> &'static str {
        "12 horizon"
    }

    fn see(&mut self, fact: &Fact<'_>, _ledger: &Ledger, findings: &mut Findings<'_>) {
        let Fact::Stored { account, ops, .. } = fact else { return };
        for op in *ops {
            let Op::Append(row) = op else { continue };
            let Some(origin) = row.source.as_ref().and_then(|source| source.origin.clone()) else { continue };
            let before = self.had.insert((*account, origin, row.peer.to_string()), row.at);
            let within = before.is_some_and(|at| row.at.since(at) < self.limits.dedup_horizon_ms);
            findings.check(!within, || format!("account {account} has {:?} twice", row.source));
        }
    }
}
