//! Promise 4: A sender's messages keep their order, and all devices of an account show one order.

use super::{Checker, End, Findings};
use crate::fact::Fact;
use crate::ledger::{Ledger, number};
use crate::nodes::Device;
use crate::said::Said;
use shared::client::rows::Status;
use shared::jid::BareJid;
use shared::log::Direction;
use shared::relay::rows::Op;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Ordered {
    /// The newest message of each device in its account's log.
    newest: BTreeMap<usize, u64>,
}

impl Checker for Ordered {
    fn name(&self) -> &'static str {
        "4 order"
    }

    fn see(&mut self, fact: &Fact<'_>, ledger: &Ledger, findings: &mut Findings<'_>) {
        let Fact::Stored { ops, .. } = fact else { return };
        for op in *ops {
            let Op::Append(row) = op else { continue };
            if row.direction != Direction::Out {
                continue;
            }
            let Said::Stanza(stanza) = Said::of(&row.stanza) else { continue };
            let Some((number, entry)) = stanza.body.and_then(|body| ledger.of(body)) else { continue };
            // One that was tried again has its place where it was tried again.
            if entry.liar || entry.origins.len() > 1 {
                continue;
            }
            let before = self.newest.insert(entry.device, number);
            findings.check(before.is_none_or(|before| before < number), || {
                format!("device {} sent m{number} after {before:?}", entry.device)
            });
        }
    }

    fn end(&mut self, end: &End<'_>, ledger: &Ledger, findings: &mut Findings<'_>) {
        let honest = || end.devices.iter().filter(|device| !device.liar);
        for device in honest() {
            for conversation in device.store.conversations.keys() {
                let timeline = timeline(device, conversation, ledger);
                senders_order(device, &timeline, ledger, findings);
                for other in honest().filter(|other| other.account == device.account) {
                    let others = self::timeline(other, conversation, ledger);
                    let common: Vec<u64> =
                        timeline.iter().filter(|message| others.contains(message)).copied().collect();
                    let theirs: Vec<u64> =
                        others.iter().filter(|message| timeline.contains(message)).copied().collect();
                    findings.check(common == theirs, || {
                        format!("{} has {common:?}, {} has {theirs:?}", device.label, other.label)
                    });
                }
            }
        }
    }
}

/// What the relay has and has not given back, in the order in which it is shown.
fn timeline(device: &Device, conversation: &BareJid, ledger: &Ledger) -> Vec<u64> {
    let rows = device.store.timeline(conversation).into_iter();
    let settled = rows.filter(|row| row.status != Status::Failed && row.status != Status::Queued);
    let numbers = settled.filter_map(|row| number(&row.body));
    numbers.filter(|message| ledger.entries.get(*message as usize).is_some_and(|e| !e.liar)).collect()
}

fn senders_order(device: &Device, timeline: &[u64], ledger: &Ledger, findings: &mut Findings<'_>) {
    let mut newest = BTreeMap::new();
    for message in timeline {
        let Some(entry) = ledger.entries.get(*message as usize) else { continue };
        if entry.origins.len() > 1 {
            continue;
        }
        let before = newest.insert(entry.device, *message);
        findings.check(before.is_none_or(|before| before < *message), || {
            format!("{} shows m{message} after {before:?}: {timeline:?}", device.label)
        });
    }
}
