//! Rows of a browser: plain ones to build cases on, and drawn ones.

use crate::draw::{Dice, jid};
use shared::client::rows::{
    AccountRow, ConversationRow, Direction, Markable, MessageKey, MessageRow, Op, OutboxRow, Owed, OwedRow,
    SentAs, SessionRow, Status, Times,
};
use shared::id::{DeviceId, OriginId};
use shared::sasl::Credential;
use shared::time::Millis;

const STATUSES: [Status; 5] = [Status::Queued, Status::Sent, Status::Failed, Status::Delivered, Status::Read];

pub fn key(text: &str) -> MessageKey {
    MessageKey(text.to_owned())
}

/// One of the conversation with Ann.
pub fn message(key: &str, order: u64) -> MessageRow {
    MessageRow {
        key: MessageKey(key.to_owned()),
        conversation: jid("ann@localhost"),
        order,
        at: Millis(1_000 + order),
        direction: Direction::Incoming,
        body: format!("body of {key}"),
        status: Status::Delivered,
        times: Times::default(),
        failure: None,
        id: "id".into(),
        awaiting: None,
    }
}

pub fn outbox(origin: &str, order: u64) -> OutboxRow {
    OutboxRow {
        origin: origin.into(),
        order,
        to: jid("ann@localhost"),
        body: "body".into(),
        created: Millis(1),
        tries: 0,
        sent_as: None,
    }
}

pub fn owed(key: &str, order: u64) -> OwedRow {
    OwedRow {
        key: key.into(),
        kind: Owed::Receipt,
        to: jid("ann@localhost"),
        id: "id".into(),
        since: Millis(2),
        order,
        sent_as: None,
    }
}

pub fn conversation(with: &str, last_at: u64) -> ConversationRow {
    ConversationRow {
        jid: jid(with),
        unread: 0,
        last_text: "last".into(),
        last_at: Millis(last_at),
        last_direction: None,
        accepted: false,
        draft: String::new(),
        markable: None,
        newest: None,
    }
}

pub fn session(stream: u32) -> SessionRow {
    SessionRow { sm_id: "sm".into(), stream, handled: 1, bound: "ann@localhost/phone".into(), seen: 2 }
}

pub fn account(iterations: u32) -> AccountRow {
    let [salt, client_key, server_key] = ["c2FsdA==", "Y2xpZW50", "c2VydmVy"].map(str::to_owned);
    AccountRow {
        jid: jid("ann@localhost"),
        device: "phone".into(),
        url: "wss://localhost/xmpp-websocket".into(),
        credential: Credential { salt, iterations, client_key, server_key },
    }
}

/// An operation on one of a few keys. Messages get places that no other ever had: `order` counts.
pub fn drawn_op(dice: &mut Dice, order: &mut u64) -> Op {
    *order += 1;
    let at = if dice.once_in(3) { *order + shared::client::rows::PROVISIONAL } else { *order };
    let one_of = |dice: &mut Dice, kind: &str| format!("{kind}{}", dice.below(6));
    match dice.below(20) {
        0..7 => Op::PutMessage(drawn_message(dice, at)),
        7 => Op::DeleteMessage(MessageKey(one_of(dice, "o:"))),
        8..10 => {
            let (origin, sent_as) = (OriginId(one_of(dice, "")), dice.maybe(drawn_sent_as));
            let (created, tries) = (dice.millis(), dice.counter());
            Op::PutOutbox(OutboxRow { origin, sent_as, created, tries, body: dice.text(), ..outbox("", at) })
        }
        10 => Op::DeleteOutbox(OriginId(one_of(dice, ""))),
        11..13 => {
            let kind = dice.pick(&[Owed::Receipt, Owed::Displayed]);
            let (key, sent_as) = (one_of(dice, "r:"), dice.maybe(drawn_sent_as));
            Op::PutOwed(OwedRow { kind, id: dice.text(), since: dice.millis(), sent_as, ..owed(&key, at) })
        }
        13 => Op::DeleteOwed(one_of(dice, "r:")),
        14..16 => Op::PutConversation(drawn_conversation(dice)),
        16..18 => {
            let (sm_id, stream, handled) = (dice.text(), dice.counter(), dice.counter());
            Op::PutSession(SessionRow { sm_id, stream, handled, bound: dice.text(), seen: dice.number() })
        }
        18 => Op::PutAccount(AccountRow { device: DeviceId(dice.text()), ..account(dice.counter()) }),
        _ if dice.once_in(3) => Op::Clear,
        _ => Op::DeleteMessage(key("never there")),
    }
}

fn drawn_message(dice: &mut Dice, order: u64) -> MessageRow {
    let key = format!("o:{}", dice.below(12));
    MessageRow {
        conversation: dice.jid(),
        at: dice.millis(),
        direction: if dice.flag() { Direction::Incoming } else { Direction::Outgoing },
        body: dice.text(),
        status: dice.pick(&STATUSES),
        times: Times {
            sent: dice.maybe(Dice::millis),
            delivered: dice.maybe(Dice::millis),
            read: dice.maybe(Dice::millis),
        },
        failure: dice.maybe(Dice::text),
        id: dice.text(),
        awaiting: dice.maybe(|_| 1),
        ..message(&key, order)
    }
}

fn drawn_sent_as(dice: &mut Dice) -> SentAs {
    SentAs { stream: dice.counter(), number: dice.counter() }
}

fn drawn_conversation(dice: &mut Dice) -> ConversationRow {
    ConversationRow {
        jid: dice.jid(),
        unread: dice.counter(),
        last_text: dice.text(),
        last_at: dice.millis(),
        last_direction: dice.maybe(|dice| dice.pick(&[Direction::Incoming, Direction::Outgoing])),
        accepted: dice.flag(),
        draft: dice.text(),
        markable: dice.maybe(|dice| Markable { key: MessageKey(dice.text()), id: dice.text() }),
        newest: dice.maybe(|dice| MessageKey(dice.text())),
    }
}
