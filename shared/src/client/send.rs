//! The outbox and the owed confirmations, towards the relay. A row is written with the number
//! that its stanza gets on the stream before the stanza leaves, so that after any crash the
//! relay's `h` tells which rows it has.

use super::rows::{OUTCOME_UNKNOWN, Op, OutboxRow, OwedRow, SentAs, Status};
use super::{ClientEngine, Entry, stanzas};
use crate::bad::{self, Bug};
use crate::id::OriginId;

impl ClientEngine {
    /// Gives the link what waits, as far as the window allows. Confirmations go first: they are
    /// few, and somebody waits for them.
    pub(super) fn drain(&mut self) {
        if !self.is_online() {
            return;
        }
        let sm = self.link.as_ref().is_some_and(|link| link.sm);
        while self.window.entries().count() < self.config.limits.client_window_stanzas_max {
            if let Some(row) = self.owed.next() {
                let row = row.clone();
                self.send_owed(row, sm);
            } else if let Some(row) = self.outbox.next() {
                let row = row.clone();
                self.send_message(row, sm);
            } else {
                break;
            }
        }
    }

    fn send_message(&mut self, mut row: OutboxRow, sm: bool) {
        row.sent_as = sm.then(|| self.number(Entry::Message(row.origin.clone())));
        row.tries = row.tries.saturating_add(1);
        self.gate.write(Op::PutOutbox(row.clone()));
        let sent = self.badly(&row);
        self.say(&stanzas::message(&sent));
        let origin = row.origin.clone();
        self.outbox.put(row);
        if bad::is(Bug::OutboxDroppedOnSend) {
            self.forget_outbox(&origin);
        }
        if sm {
            self.sent_one();
        }
    }

    /// The row, unless a bug is switched on.
    fn badly(&mut self, row: &OutboxRow) -> OutboxRow {
        let mut row = row.clone();
        if bad::is(Bug::NewIdOnRetry) && row.tries > 1 {
            row.origin = OriginId(self.entropy.token());
        }
        row
    }

    fn send_owed(&mut self, mut row: OwedRow, sm: bool) {
        if sm {
            row.sent_as = Some(self.number(Entry::Owed(row.key.clone())));
            self.gate.write(Op::PutOwed(row.clone()));
            self.say(&stanzas::owed(&row));
            self.owed.put(row);
            self.sent_one();
        } else {
            // Nothing will ever confirm it: to have handed it over is all there is.
            self.say(&stanzas::owed(&row));
            self.forget_owed(&row.key);
        }
    }

    /// The number that the next stanza has on the stream.
    fn number(&mut self, entry: Entry) -> SentAs {
        let number = self.window.push(entry);
        SentAs { stream: self.session.stream, number: number.0 }
    }

    /// A new message, durable first. It may go out in the same batch.
    pub(super) fn queue_message(&mut self, row: OutboxRow) {
        let origin = row.origin.clone();
        self.outbox.put(row);
        self.outbox.wait(&origin);
        self.drain();
        if self.outbox.is_waiting(&origin)
            && let Some(row) = self.outbox.get(&origin)
        {
            self.gate.write(Op::PutOutbox(row.clone()));
        }
    }

    pub(super) fn forget_outbox(&mut self, origin: &OriginId) {
        if self.outbox.remove(origin).is_some() {
            self.gate.write(Op::DeleteOutbox(origin.clone()));
        }
    }

    pub(super) fn forget_owed(&mut self, key: &String) {
        if self.owed.remove(key).is_some() {
            self.gate.write(Op::DeleteOwed(key.clone()));
        }
    }

    /// Before the outbox is sent on a new session: what was handed to a relay longer ago than a
    /// relay remembers could come out twice. The user decides.
    pub(super) fn give_up_the_old(&mut self) {
        let (now, horizon) = (self.now, self.config.limits.client_retry_ms_max);
        let old = |row: &&OutboxRow| row.tries > 0 && now.since(row.created) >= horizon;
        let old: Vec<OriginId> = self.outbox.rows().filter(old).map(|row| row.origin.clone()).collect();
        for origin in old {
            self.forget_outbox(&origin);
            let key = super::rows::MessageKey::of_origin(&self.config.account, &origin);
            if let Some(mut row) = self.timeline.get(&key).cloned()
                && row.status < Status::Failed
            {
                row.status = Status::Failed;
                row.failure = Some(OUTCOME_UNKNOWN.to_owned());
                self.save_outgoing(row);
            }
        }
    }
}
