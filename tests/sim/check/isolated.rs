//! Promise 10: No byte of one account reaches another: what a device is sent was written by its account
//! or to it.

use super::{Checker, Findings};
use crate::fact::Fact;
use crate::ledger::Ledger;
use crate::net::Way;
use crate::said::Said;

pub struct Isolated;

impl Checker for Isolated {
    fn name(&self) -> &'static str {
        "10 isolation"
    }

    fn see(&mut self, fact: &Fact<'_>, ledger: &Ledger, findings: &mut Findings<'_>) {
        let Fact::Frame { device, way: Way::Down, arrived: false, said, .. } = fact else { return };
        let Said::Stanza(stanza) = said else { return };
        let own =
            ledger.cast.devices.get(*device).and_then(|(account, ..)| ledger.cast.accounts.get(*account));
        let bare = stanza.to.map(|to| to.split('/').next().unwrap_or_default());
        findings.check(bare.is_none_or(|bare| own.is_some_and(|own| own.as_str() == bare)), || {
            format!("device {device} was sent what is for {bare:?}")
        });
        let Some(body) = stanza.body.filter(|body| !body.is_empty()) else { return };
        let account = ledger.cast.devices.get(*device).map(|(account, ..)| *account);
        let party = ledger.of(body).map(|(_, entry)| [Some(entry.from), Some(entry.to)]);
        findings.check(party.is_some_and(|party| party.contains(&account)), || {
            format!("device {device} was sent {body}")
        });
    }
}
