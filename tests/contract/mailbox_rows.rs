//! Rows of a mailbox: plain ones to build cases on, and drawn ones.

use crate::draw::{Dice, jid};
use crate::mailbox::Ask;
use crate::mailbox_segments::segment;
use shared::cold::Moving;
use shared::id::{DeviceId, OriginId, StanzaSeq};
use shared::log::{Direction, LogRow, SentOn, Source};
use shared::relay::rows::{
    Access, AccountRow, AgentRow, CapsRow, ContactRow, DeviceRow, ItemRow, Marks, News, NodeRow, Op,
    ResultRow, StreamRow, TokenRow,
};
use shared::relay::{Flexible, Taken};
use shared::sasl::ServerKeys;
use shared::sasl::ht::TokenKeys;
use shared::sm::Handled;
use shared::time::Millis;

pub fn drawn_op(dice: &mut Dice, last: &mut u64) -> Op {
    let device = |dice: &mut Dice| DeviceId(dice.pick(&["phone", "tablet", "laptop 💻"]).to_owned());
    let node = |dice: &mut Dice| dice.pick(&NODES).to_owned();
    let name = |dice: &mut Dice| dice.pick(&ITEMS).to_owned();
    match dice.below(23) {
        0..5 => {
            *last += 1;
            Op::Append(drawn_log_row(dice, *last))
        }
        5..8 => {
            let device = device(dice);
            let stream = dice.maybe(drawn_stream);
            let (cursor, last_seen) = (dice.seq(), dice.millis());
            Op::PutDevice(DeviceRow {
                device,
                cursor,
                stream,
                last_seen,
                name: dice.maybe(Dice::text),
                named: dice.flag(),
                taken: drawn_taken(dice),
                there: dice.maybe(|dice| dice.some(2, |dice| dice.jid().into())),
                agent: dice.maybe(drawn_agent),
                caps: dice.maybe(|dice| CapsRow {
                    node: dice.text(),
                    ver: dice.text(),
                    hash: dice.text(),
                    notify: dice.maybe(|dice| dice.some(3, Dice::text)),
                }),
            })
        }
        8 => Op::DeleteDevice(device(dice)),
        9 => Op::PutAccount(account_row(dice.counter())),
        10 => Op::PutPeer(dice.jid(), dice.seq()),
        11 => Op::PutContact(drawn_contact(dice)),
        12 => Op::DeleteContact(dice.jid()),
        13 => Op::PutNode(NodeRow {
            access: dice.pick(&[Access::Open, Access::Presence, Access::Whitelist]),
            persist: dice.flag(),
            items_max: dice.maybe(Dice::number),
            send_last: dice.flag(),
            notify_retract: dice.flag(),
            node: node(dice),
        }),
        14 => Op::DeleteNode(node(dice)),
        15..18 => {
            let (order, at, payload) = (dice.number(), dice.millis(), dice.text());
            Op::PutItem(ItemRow { node: node(dice), id: name(dice), order, at, payload })
        }
        18 => Op::DeleteItem(node(dice), name(dice)),
        19 => Op::PutMoving(dice.maybe(|dice| Moving {
            first: dice.seq(),
            last: dice.seq(),
            name: dice.text(),
        })),
        20 => {
            let first = drawn_segment(dice);
            Op::PutSegment(segment(first, first + dice.upto(9)), Vec::new())
        }
        21 => Op::DeleteSegment(StanzaSeq(drawn_segment(dice))),
        _ => {
            let (checkpoint, transferred) =
                (StanzaSeq(dice.upto(*last + 1)), StanzaSeq(dice.upto(*last + 1)));
            let (streams, roster, news) = (dice.number(), dice.number(), dice.number());
            Op::PutMarks(Marks { checkpoint, transferred, streams, roster, news })
        }
    }
}

/// Where one of a few segments begins: above every log that is drawn, ten places apart.
fn drawn_segment(dice: &mut Dice) -> u64 {
    100_000 + 10 * dice.upto(4)
}

pub fn drawn_segments(dice: &mut Dice) -> Ask {
    let place = |dice: &mut Dice| StanzaSeq(drawn_segment(dice) + dice.upto(9));
    Ask::Segments(place(dice), dice.maybe(place), dice.flag(), dice.below(6))
}

pub fn drawn_items(dice: &mut Dice) -> Ask {
    Ask::Items(dice.pick(&NODES).to_owned(), dice.some(4, |dice| dice.pick(&ITEMS).to_owned()))
}

fn drawn_log_row(dice: &mut Dice, seq: u64) -> LogRow {
    LogRow {
        seq: StanzaSeq(seq),
        at: dice.millis(),
        direction: if dice.flag() { Direction::In } else { Direction::Out },
        peer: dice.jid(),
        peer_seq: dice.seq(),
        source: dice.maybe(|dice| Source {
            device: DeviceId(dice.text()),
            stream: dice.number(),
            handled: dice.handled(),
            origin: dice.maybe(|dice| OriginId(dice.text())),
            id: dice.maybe(Dice::text),
            digest: u64::from(dice.counter()) << 32 | u64::from(dice.counter()),
            accept: dice.flag(),
        }),
        sent: dice.some(3, |dice| SentOn { stream: dice.number(), number: dice.handled() }),
        transferred: dice.seq(),
        archived: dice.flag(),
        stanza: dice.text(),
    }
}

pub fn contact_row(name: &str) -> ContactRow {
    ContactRow {
        jid: jid(name),
        listed: true,
        name: None,
        groups: vec![],
        to: true,
        from: false,
        ask: false,
        approved: false,
        request: None,
        owed: vec![],
        heard: 3,
        changed: Millis(5),
    }
}

fn drawn_contact(dice: &mut Dice) -> ContactRow {
    ContactRow {
        jid: dice.jid(),
        listed: dice.flag(),
        name: dice.maybe(Dice::text),
        groups: dice.some(3, Dice::text),
        to: dice.flag(),
        from: dice.flag(),
        ask: dice.flag(),
        approved: dice.flag(),
        request: dice.maybe(Dice::text),
        owed: dice.some(2, |dice| News { no: dice.number(), stanza: dice.text() }),
        heard: dice.number(),
        changed: dice.millis(),
    }
}

fn drawn_taken(dice: &mut Dice) -> Taken {
    let mut taken = Taken::default();
    for first in dice.some(3, |dice| dice.upto(1 << 50)) {
        taken.add(StanzaSeq(first), StanzaSeq(first + dice.upto(9)));
    }
    taken
}

fn drawn_stream(dice: &mut Dice) -> StreamRow {
    StreamRow {
        no: dice.number(),
        sm_id_hash: dice.text(),
        handled: dice.handled(),
        acked: dice.handled(),
        sent_max: dice.handled(),
        rows: dice.some(3, |dice| (dice.handled(), dice.seq())),
        results: dice.some(3, |dice| {
            (
                dice.handled(),
                ResultRow { seq: dice.seq(), bytes: dice.number(), query: dice.text(), offline: dice.flag() },
            )
        }),
        stanzas: dice.some(3, |dice| (dice.handled(), dice.text())),
        noted: dice.seq(),
        next: dice.seq(),
        ahead: dice.seq(),
        suspended: dice.maybe(Dice::millis),
        carbons: dice.flag(),
        held: dice.flag(),
        watches_blocklist: dice.flag(),
        interested: dice.flag(),
        flexible: Flexible { asked: dice.flag(), shown: dice.maybe(Dice::seq), from: dice.seq() },
        presence: dice.maybe(Dice::text),
        directed: dice.some(2, |dice| dice.jid().into()),
        missed: dice.some(2, |dice| (dice.jid().into(), dice.text())),
    }
}

fn drawn_agent(dice: &mut Dice) -> AgentRow {
    AgentRow {
        id_hash: dice.text(),
        software: dice.maybe(Dice::text),
        device: dice.maybe(Dice::text),
        tokens: dice.some(3, |dice| TokenRow {
            secret: dice.maybe(Dice::text),
            keys: TokenKeys { stored_key: dice.text(), responder: dice.text() },
            made: dice.millis(),
            expires: dice.millis(),
            count: dice.maybe(Dice::number),
            salt: dice.text(),
        }),
    }
}

/// Names of nodes and items that are drawn.
const NODES: [&str; 3] = ["urn:xmpp:avatar:data", "node", "Node"];
/// See [`NODES`].
const ITEMS: [&str; 4] = ["bob@localhost", "current", "", "回执"];

pub fn node_row(node: &str) -> NodeRow {
    NodeRow {
        node: node.into(),
        access: Access::Presence,
        persist: true,
        items_max: Some(1),
        send_last: true,
        notify_retract: false,
    }
}

pub fn item_row(node: &str, id: &str, order: u64) -> ItemRow {
    ItemRow {
        node: node.into(),
        id: id.into(),
        order,
        at: Millis(order),
        payload: format!("<p>{order}é</p>"),
    }
}

pub fn item(node: &str, id: &str, order: u64) -> Op {
    Op::PutItem(item_row(node, id, order))
}

pub fn log_row(seq: u64) -> LogRow {
    LogRow {
        seq: StanzaSeq(seq),
        at: Millis(1_000 + seq % 1_000_000),
        direction: Direction::Out,
        peer: jid("bob@localhost"),
        peer_seq: StanzaSeq(0),
        source: None,
        sent: Vec::new(),
        transferred: StanzaSeq(0),
        archived: true,
        stanza: format!("<message><body>{seq}</body></message>"),
    }
}

pub fn source(seq: u64) -> Source {
    Source {
        device: "phone".into(),
        stream: 1,
        handled: Handled(1),
        origin: Some(OriginId(format!("origin {seq}"))),
        id: Some("id".into()),
        digest: 0,
        accept: false,
    }
}

pub fn sent_on(stream: u64) -> SentOn {
    SentOn { stream, number: Handled(8) }
}

pub fn device_row(name: &str) -> DeviceRow {
    let (cursor, last_seen) = (StanzaSeq(1), Millis(2));
    DeviceRow {
        device: name.into(),
        cursor,
        stream: None,
        last_seen,
        name: None,
        named: true,
        taken: Default::default(),
        agent: None,
        caps: None,
        there: None,
    }
}

pub fn stream_row(no: u64) -> StreamRow {
    StreamRow {
        no,
        sm_id_hash: "hash".into(),
        handled: Handled(1),
        acked: Handled(2),
        sent_max: Handled(66),
        noted: StanzaSeq(3),
        next: StanzaSeq(4),
        ..StreamRow::default()
    }
}

pub fn account_row(iterations: u32) -> AccountRow {
    AccountRow {
        sha1: keys(iterations),
        sha256: keys(4096),
        created: Millis(3),
        blocked: vec![],
        archiving: Default::default(),
        removed: false,
        begins: StanzaSeq(0),
    }
}

pub fn keys(iterations: u32) -> ServerKeys {
    let [salt, stored_key, server_key] = ["c2FsdA==", "c3RvcmVk", "c2VydmVy"].map(str::to_owned);
    ServerKeys { salt, iterations, stored_key, server_key }
}

pub fn marks(checkpoint: u64, transferred: u64) -> Marks {
    Marks {
        checkpoint: StanzaSeq(checkpoint),
        transferred: StanzaSeq(transferred),
        streams: 1,
        ..Marks::default()
    }
}
