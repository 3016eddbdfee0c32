//! Promise 11: The logs are the union of what was accepted: places are given in order and once, a
//! message that one mailbox hands over is in the other exactly once.

use super::{Checker, End, Findings};
use crate::fact::Fact;
use crate::ledger::Ledger;
use shared::id::StanzaSeq;
use shared::log::{Direction, LogRow};
use shared::relay::rows::Op;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Logged {
    last: BTreeMap<usize, StanzaSeq>,
    peers: BTreeSet<(usize, String, StanzaSeq)>,
}

impl Checker for Logged {
    fn name(&self) -> &'static str {
        "11 log"
    }

    fn see(&mut self, fact: &Fact<'_>, _ledger: &Ledger, findings: &mut Findings<'_>) {
        let Fact::Stored { account, ops, .. } = fact else { return };
        for op in *ops {
            let Op::Append(row) = op else { continue };
            let last = self.last.entry(*account).or_default();
            findings.check(row.seq == last.next(), || format!("account {account}: {last} then {}", row.seq));
            *last = row.seq;
            if row.direction == Direction::In {
                let new = self.peers.insert((*account, row.peer.to_string(), row.peer_seq));
                findings.check(new, || format!("account {account} has {} twice: {row:?}", row.peer_seq));
            }
        }
    }

    fn end(&mut self, end: &End<'_>, ledger: &Ledger, findings: &mut Findings<'_>) {
        for sender in end.mailboxes {
            for row in sender.store.log.values().filter(|row| row.direction == Direction::Out) {
                let Some(to) = ledger.cast.account(&row.peer) else { continue };
                let there = self.peers.contains(&(to, sender.jid.to_string(), row.seq));
                findings.check(there || is_bounced(row, &sender.store.log), || {
                    format!("{} never handed over {row:?}", sender.jid)
                });
            }
        }
    }
}

/// Whether the mailbox has written that this message came back.
fn is_bounced(row: &LogRow, log: &BTreeMap<StanzaSeq, LogRow>) -> bool {
    log.values().any(|other| other.direction == Direction::Back && other.peer_seq == row.seq)
}
