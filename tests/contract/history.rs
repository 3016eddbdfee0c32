//! The model: what stands is read from the whole history of operations, newest first. Slow, plain,
//! and made differently from the stores in memory, so that a mistake is not made twice.

use crate::script::{Keeps, value};
use crate::{browser, mailbox};
use serde_json::{Value, json};
use shared::archive::{Query, Size};
use shared::client::rows::{MessageRow, Op as BrowserOp};
use shared::cold::SegmentRow;
use shared::id::StanzaSeq;
use shared::limits::Limits;
use shared::log::{Direction, LogRow, Sending};
use shared::relay::rows::{ItemNote, ItemRow, Marks, Op as MailboxOp};
use std::cmp::Reverse;

/// Everything ever committed to a mailbox.
#[derive(Default)]
pub struct MailboxHistory(Vec<MailboxOp>);

/// Everything ever committed to a browser.
#[derive(Default)]
pub struct BrowserHistory(Vec<BrowserOp>);

/// For each key that any operation names, the row that the newest of them left, by key.
fn standing<O, K: Ord, R>(ops: &[O], names: impl Fn(&O) -> Option<(K, Option<R>)>) -> Vec<R> {
    let mut named: Vec<(K, Option<R>)> = Vec::new();
    for (key, row) in ops.iter().rev().filter_map(names) {
        if named.iter().all(|(known, _)| *known != key) {
            named.push((key, row));
        }
    }
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named.into_iter().filter_map(|(_, row)| row).collect()
}

fn newest<O, R>(ops: &[O], is: impl Fn(&O) -> Option<R>) -> Option<R> {
    ops.iter().rev().find_map(is)
}

/// Where messages share a place, their keys decide.
fn newest_first(messages: &mut [MessageRow]) {
    messages.sort_by(|a, b| b.order.cmp(&a.order).then_with(|| b.key.cmp(&a.key)));
}

impl MailboxHistory {
    /// Nothing before the newest clearing counts.
    fn ops(&self) -> &[MailboxOp] {
        let cleared = self.0.iter().rposition(|op| *op == MailboxOp::Clear);
        &self.0[cleared.map_or(0, |at| at + 1)..]
    }

    fn log(&self) -> Vec<LogRow> {
        let ops = self.ops();
        let appended = |(at, op): (usize, &MailboxOp)| match op {
            MailboxOp::Append(row) => Some((at, row.clone())),
            _ => None,
        };
        let dropped = |(at, op): (usize, &MailboxOp)| match op {
            MailboxOp::DropLog(first, last) => Some((at, *first..=*last)),
            _ => None,
        };
        let drops: Vec<_> = ops.iter().enumerate().filter_map(dropped).collect();
        let is_dropped = |at: usize, row: &LogRow| {
            drops.iter().any(|(later, places)| *later > at && places.contains(&row.seq))
        };
        let rows = ops.iter().enumerate().filter_map(appended);
        let mut rows: Vec<LogRow> =
            rows.filter(|(at, row)| !is_dropped(*at, row)).map(|(_, row)| row).collect();
        rows.sort_by_key(|row| row.seq);
        rows
    }

    /// An item stands if nothing took it away since: neither its own end nor its node's.
    fn items(&self) -> Vec<ItemRow> {
        let mut items: Vec<ItemRow> = Vec::new();
        for (place, op) in self.ops().iter().enumerate() {
            let MailboxOp::PutItem(row) = op else { continue };
            let is_over = self.ops()[place + 1..].iter().any(|later| match later {
                MailboxOp::PutItem(other) => (&other.node, &other.id) == (&row.node, &row.id),
                MailboxOp::DeleteItem(node, id) => (node, id) == (&row.node, &row.id),
                MailboxOp::DeleteNode(node) => *node == row.node,
                _ => false,
            });
            if !is_over {
                items.push(row.clone());
            }
        }
        items.sort_by(|a, b| (&a.node, &a.id).cmp(&(&b.node, &b.id)));
        items
    }

    /// The segments that stand, in order, with the own messages that they still have.
    fn segments(&self) -> Vec<(SegmentRow, Vec<Sending>)> {
        let ops = self.ops();
        let mut standing: Vec<(SegmentRow, Vec<Sending>)> = Vec::new();
        for (at, op) in ops.iter().enumerate() {
            let MailboxOp::PutSegment(row, sources) = op else { continue };
            let mut later = ops.iter().skip(at + 1);
            let is_replaced = later.clone().any(|op| match op {
                MailboxOp::PutSegment(newer, _) => newer.first == row.first,
                MailboxOp::DeleteSegment(first) => *first == row.first,
                _ => false,
            });
            let newest = sources.iter().map(|sending| sending.at).max();
            let is_forgotten = later.any(|op| match op {
                MailboxOp::ForgetSources(before) => newest.is_some_and(|newest| newest < *before),
                _ => false,
            });
            if !is_replaced {
                standing.push((row.clone(), if is_forgotten { Vec::new() } else { sources.clone() }));
            }
        }
        standing.sort_by_key(|(row, _)| row.first);
        standing
    }
}

impl Keeps for MailboxHistory {
    type Op = MailboxOp;
    type Ask = mailbox::Ask;

    fn apply(&mut self, op: &MailboxOp) {
        self.0.push(op.clone());
    }

    fn rows(&self) -> Value {
        let account = newest(self.ops(), |op| match op {
            MailboxOp::PutAccount(row) => Some(row.clone()),
            _ => None,
        });
        let marks = newest(self.ops(), |op| match op {
            MailboxOp::PutMarks(marks) => Some(*marks),
            _ => None,
        });
        let marks = marks.unwrap_or(Marks::default());
        let devices = standing(self.ops(), |op| match op {
            MailboxOp::PutDevice(row) => Some((row.device.clone(), Some(row.clone()))),
            MailboxOp::DeleteDevice(id) => Some((id.clone(), None)),
            _ => None,
        });
        let peers = standing(self.ops(), |op| match op {
            MailboxOp::PutPeer(peer, seq) => Some((peer.clone(), Some((peer.clone(), *seq)))),
            _ => None,
        });
        let contacts = standing(self.ops(), |op| match op {
            MailboxOp::PutContact(row) => Some((row.jid.clone(), Some(row.clone()))),
            MailboxOp::DeleteContact(jid) => Some((jid.clone(), None)),
            _ => None,
        });
        let nodes = standing(self.ops(), |op| match op {
            MailboxOp::PutNode(row) => Some((row.node.clone(), Some(row.clone()))),
            MailboxOp::DeleteNode(node) => Some((node.clone(), None)),
            _ => None,
        });
        let items: Vec<ItemNote> = self.items().iter().map(ItemNote::from).collect();
        let log = self.log();
        let cold = self.segments().last().map_or(0, |(row, _)| row.last.0);
        let last = log.last().map_or(0, |row| row.seq.0).max(cold);
        let moving = newest(self.ops(), |op| match op {
            MailboxOp::PutMoving(moving) => Some(moving.clone()),
            _ => None,
        });
        let is_in_tail = |row: &LogRow| row.seq > marks.checkpoint || row.seq > marks.transferred;
        let tail: Vec<LogRow> = log.into_iter().filter(is_in_tail).collect();
        json!({
            "account": value(&account), "marks": value(&marks), "devices": value(&devices),
            "peers": value(&peers), "contacts": value(&contacts), "tail": value(&tail), "last": last,
            "nodes": value(&nodes), "items": value(&items),
            "cold": cold, "moving": value(&moving.flatten()),
        })
    }

    fn answer(&self, ask: &mailbox::Ask) -> Value {
        let mut log = self.log();
        match ask {
            mailbox::Ask::Page(after, limit) => {
                log.retain(|row| row.seq > *after);
                log.truncate(*limit);
                value(&log)
            }
            mailbox::Ask::Select(query, limit) => {
                let mut rows = selected(log, query);
                rows.truncate(*limit);
                value(&rows)
            }
            mailbox::Ask::Size(query) => {
                let texts: Vec<String> = selected(log, query).into_iter().map(|row| row.stanza).collect();
                value(&Size { count: texts.len() as u64, bytes: texts.concat().len() as u64 })
            }
            mailbox::Ask::Received(peer, places) => {
                let here = |place: &&StanzaSeq| {
                    let mut theirs = log.iter().filter(|row| row.peer == *peer);
                    theirs.any(|row| row.direction == Direction::In && row.peer_seq == **place)
                };
                let mut here: Vec<_> = places.iter().filter(here).collect();
                here.sort();
                value(&here)
            }
            mailbox::Ask::Items(node, ids) => {
                let mut items = self.items();
                items.retain(|row| row.node == *node && ids.contains(&row.id));
                value(&items)
            }
            mailbox::Ask::Sources(since, limit) => {
                let moved = self.segments().into_iter().flat_map(|(_, sources)| sources);
                let mut own: Vec<Sending> = moved.chain(log.iter().filter_map(Sending::of)).collect();
                own.retain(|sending| sending.at >= *since);
                own.sort_by_key(|sending| Reverse(sending.seq));
                own.truncate(*limit);
                value(&own)
            }
            mailbox::Ask::Segments(after, before, newest_first, limit) => {
                let mut rows: Vec<SegmentRow> = self.segments().into_iter().map(|(row, _)| row).collect();
                rows.retain(|row| row.last > *after);
                rows.retain(|row| before.is_none_or(|before| row.first < before));
                if *newest_first {
                    rows.reverse();
                }
                rows.truncate(*limit);
                value(&rows)
            }
        }
    }
}

/// One bound after the other.
fn selected(mut log: Vec<LogRow>, query: &Query) -> Vec<LogRow> {
    let Query { after, before, start, end, with, hidden_upto, newest_first } = query;
    log.retain(|row| row.seq.0 > after.0);
    log.retain(|row| before.is_none_or(|before| row.seq.0 < before.0));
    log.retain(|row| !start.is_some_and(|start| row.at.0 < start.0));
    log.retain(|row| !end.is_some_and(|end| end.0 < row.at.0));
    log.retain(|row| with.as_ref().is_none_or(|with| with.as_str() == row.peer.as_str()));
    log.retain(|row| row.archived || hidden_upto.0 < row.seq.0);
    if *newest_first {
        log.reverse();
    }
    log
}

impl BrowserHistory {
    /// Nothing before the last `Clear` counts.
    fn since_clear(&self) -> &[BrowserOp] {
        let cleared = self.0.iter().rposition(|op| *op == BrowserOp::Clear);
        &self.0[cleared.map_or(0, |at| at + 1)..]
    }

    fn messages(&self) -> Vec<MessageRow> {
        standing(self.since_clear(), |op| match op {
            BrowserOp::PutMessage(row) => Some((row.key.clone(), Some(row.clone()))),
            BrowserOp::DeleteMessage(key) => Some((key.clone(), None)),
            _ => None,
        })
    }

    fn conversations(&self) -> Vec<shared::client::rows::ConversationRow> {
        standing(self.since_clear(), |op| match op {
            BrowserOp::PutConversation(row) => Some((row.jid.clone(), Some(row.clone()))),
            _ => None,
        })
    }
}

impl Keeps for BrowserHistory {
    type Op = BrowserOp;
    type Ask = browser::Ask;

    fn apply(&mut self, op: &BrowserOp) {
        self.0.push(op.clone());
    }

    fn rows(&self) -> Value {
        let ops = self.since_clear();
        let account = newest(ops, |op| match op {
            BrowserOp::PutAccount(row) => Some(row.clone()),
            _ => None,
        });
        let session = newest(ops, |op| match op {
            BrowserOp::PutSession(row) => Some(row.clone()),
            _ => None,
        });
        let outbox = standing(ops, |op| match op {
            BrowserOp::PutOutbox(row) => Some((row.origin.clone(), Some(row.clone()))),
            BrowserOp::DeleteOutbox(origin) => Some((origin.clone(), None)),
            _ => None,
        });
        let owed = standing(ops, |op| match op {
            BrowserOp::PutOwed(row) => Some((row.key.clone(), Some(row.clone()))),
            BrowserOp::DeleteOwed(key) => Some((key.clone(), None)),
            _ => None,
        });
        let mut messages = self.messages();
        let awaiting: Vec<_> = messages.iter().filter(|row| row.awaiting.is_some()).cloned().collect();
        newest_first(&mut messages);
        messages.truncate(Limits::DEFAULT.client_recent_keys_max);
        messages.reverse();
        let recent: Vec<_> = messages.into_iter().map(|row| row.key).collect();
        json!({
            "account": value(&account), "session": value(&session), "outbox": value(&outbox),
            "owed": value(&owed), "conversations": value(&self.conversations()),
            "awaiting": value(&awaiting), "recent": value(&recent),
        })
    }

    fn answer(&self, ask: &browser::Ask) -> Value {
        let mut messages = self.messages();
        match ask {
            browser::Ask::Page(conversation, before, limit) => {
                messages.retain(|row| row.conversation == *conversation);
                messages.retain(|row| before.is_none_or(|before| row.order < before));
                newest_first(&mut messages);
                messages.truncate(*limit as usize);
                messages.reverse();
                value(&messages)
            }
            browser::Ask::Account => Keeps::rows(self)["account"].take(),
            browser::Ask::Conversations => {
                let mut rows = self.conversations();
                rows.sort_by_key(|row| (std::cmp::Reverse(row.last_at), row.jid.clone()));
                value(&rows)
            }
            browser::Ask::News => {
                let may_rise = messages.clone().into_iter().filter(|row| row.awaiting.is_some());
                let mut told: Vec<MessageRow> = may_rise.collect();
                newest_first(&mut messages);
                messages.truncate(browser::NEWS_MAX);
                told.extend(messages);
                told.sort_by(|a, b| a.key.cmp(&b.key));
                told.dedup();
                json!([value(&told), value(&self.conversations())])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Script;
    use shared::memory::{ClientStore, MailboxStore};

    /// Two keepers of rows agree on every step.
    fn agree<A: Keeps, B: Keeps>(left: Vec<Script<A>>, right: Vec<Script<B>>) {
        assert_eq!(left.len(), right.len());
        let mut steps = 0;
        for (left, right) in left.into_iter().zip(right) {
            for (number, (a, b)) in left.steps.iter().zip(&right.steps).enumerate() {
                assert_eq!(a, b, "{}, step {number}", left.name);
                steps += 1;
            }
        }
        assert!(steps > 0, "there is nothing to agree on");
    }

    #[test]
    fn the_mailbox_in_memory_is_what_its_history_says() {
        for seed in 1..5 {
            agree(mailbox::scripts::<MailboxStore>(seed), mailbox::scripts::<MailboxHistory>(seed));
        }
    }

    #[test]
    fn the_browser_in_memory_is_what_its_history_says() {
        for seed in 1..5 {
            agree(browser::scripts::<ClientStore>(seed), browser::scripts::<BrowserHistory>(seed));
        }
    }

    #[test]
    fn a_seed_writes_the_same_scripts_again() {
        let json = |seed| {
            let mailbox = mailbox::scripts::<MailboxStore>(seed);
            let browser = browser::scripts::<ClientStore>(seed);
            crate::script::to_json(seed, &mailbox) + &crate::script::to_json(seed, &browser)
        };
        assert!(json(7) == json(7), "the same seed, other scripts");
        assert!(json(7) != json(8), "the seed changes nothing");
    }
}
