//! Rows of a mailbox: plain ones to build cases on, and drawn ones.

use crate::draw::{Dice, jid};
use shared::id::{DeviceId, OriginId, StanzaSeq};
use shared::log::{Direction, LogRow, SentOn, Source};
use shared::relay::rows::{AccountRow, DeviceRow, Marks, Op, ResultRow, StreamRow};
use shared::sasl::ServerKeys;
use shared::sm::Handled;
use shared::time::Millis;

pub fn drawn_op(dice: &mut Dice, last: &mut u64) -> Op {
    let device = |dice: &mut Dice| DeviceId(dice.pick(&["phone", "tablet", "laptop 💻"]).to_owned());
    match dice.below(12) {
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
            })
        }
        8 => Op::DeleteDevice(device(dice)),
        9 => Op::PutAccount(account_row(dice.counter())),
        10 => Op::PutPeer(dice.jid(), dice.seq()),
        _ => {
            let (checkpoint, transferred) =
                (StanzaSeq(dice.upto(*last + 1)), StanzaSeq(dice.upto(*last + 1)));
            Op::PutMarks(Marks { checkpoint, transferred, streams: dice.number() })
        }
    }
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
        stanza: dice.text(),
    }
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
            (dice.handled(), ResultRow { seq: dice.seq(), bytes: dice.number(), query: dice.text() })
        }),
        stanzas: dice.some(3, |dice| (dice.handled(), dice.text())),
        noted: dice.seq(),
        next: dice.seq(),
        suspended: dice.maybe(Dice::millis),
        carbons: dice.flag(),
        held: dice.flag(),
        watches_blocklist: dice.flag(),
        presence: dice.maybe(Dice::text),
    }
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
    DeviceRow { device: name.into(), cursor, stream: None, last_seen, name: None, named: true }
}

pub fn stream_row(no: u64) -> StreamRow {
    StreamRow {
        no,
        sm_id_hash: "hash".into(),
        handled: Handled(1),
        acked: Handled(2),
        sent_max: Handled(66),
        rows: Vec::new(),
        results: Vec::new(),
        stanzas: Vec::new(),
        noted: StanzaSeq(3),
        next: StanzaSeq(4),
        suspended: None,
        carbons: false,
        held: false,
        watches_blocklist: false,
        presence: None,
    }
}

pub fn account_row(iterations: u32) -> AccountRow {
    AccountRow {
        sha1: keys(iterations),
        sha256: keys(4096),
        created: Millis(3),
        blocked: vec![],
        removed: false,
    }
}

pub fn keys(iterations: u32) -> ServerKeys {
    let [salt, stored_key, server_key] = ["c2FsdA==", "c3RvcmVk", "c2VydmVy"].map(str::to_owned);
    ServerKeys { salt, iterations, stored_key, server_key }
}

pub fn marks(checkpoint: u64, transferred: u64) -> Marks {
    Marks { checkpoint: StanzaSeq(checkpoint), transferred: StanzaSeq(transferred), streams: 1 }
}
