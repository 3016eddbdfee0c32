//! A mailbox's store: cases by hand, and cases by seed.

use crate::draw::{Dice, EXACT_MAX, JIDS, ODD_TEXTS, jid, long};
use crate::mailbox_rows::{
    account_row, device_row, drawn_items, drawn_op, drawn_segments, keys, log_row, marks, sent_on, source,
    stream_row,
};
use crate::script::{Keeps, Script, value};
use serde::Serialize;
use serde_json::Value;
use shared::archive::Query;
use shared::id::{DeviceId, StanzaSeq};
use shared::jid::BareJid;
use shared::limits::FRAME_BYTES_MAX;
use shared::log::{Direction, ItemStore, LogRow, LogStore, SentOn, Source};
use shared::memory::MailboxStore;
use shared::relay::rows::{AccountRow, CapsRow, DeviceRow, Marks, Op, ResultRow, StreamRow};
use shared::sasl::ServerKeys;
use shared::sm::Handled;
use shared::time::Millis;

/// What [`LogStore`] is asked.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "ask", content = "with", rename_all = "lowercase")]
pub enum Ask {
    /// [`LogStore::page`].
    Page(StanzaSeq, usize),
    /// [`LogStore::select`].
    Select(Query, usize),
    /// [`LogStore::size`].
    Size(Query),
    /// [`LogStore::received`].
    Received(BareJid, Vec<StanzaSeq>),
    /// [`LogStore::segments`].
    Segments(StanzaSeq, Option<StanzaSeq>, bool, usize),
    /// [`LogStore::sources`], newest first.
    Sources(Millis, usize),
    /// [`ItemStore::items`], in the order of their names.
    Items(String, Vec<String>),
}

impl Keeps for MailboxStore {
    type Op = Op;
    type Ask = Ask;

    fn apply(&mut self, op: &Op) {
        MailboxStore::apply(self, op);
    }

    fn rows(&self) -> Value {
        value(&MailboxStore::rows(self))
    }

    fn answer(&self, ask: &Ask) -> Value {
        match ask {
            Ask::Page(after, limit) => value(&self.page(*after, *limit)),
            Ask::Select(query, limit) => value(&self.select(query, *limit)),
            Ask::Size(query) => value(&self.size(query)),
            Ask::Received(peer, places) => value(&self.received(peer, places)),
            Ask::Segments(after, before, newest_first, limit) => {
                value(&self.segments(*after, *before, *newest_first, *limit))
            }
            Ask::Sources(since, limit) => value(&self.sources(*since, *limit)),
            Ask::Items(node, ids) => {
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                value(&self.items(node, &ids))
            }
        }
    }
}

/// Scripts of drawn batches, beside those by hand.
const DRAWN: u64 = 40;
const DRAWN_STEPS: usize = 30;
/// A store may look for own messages in steps; this is more than one of them.
const LONG_LOG: u64 = 2_300;
/// Above every place in a log: clients count their own places from 2^51 up.
const PLACE_MAX: u64 = 1 << 52;

pub(crate) trait Mailbox: Keeps<Op = Op, Ask = Ask> {}
impl<S: Keeps<Op = Op, Ask = Ask>> Mailbox for S {}

/// The whole contract of a mailbox's store.
pub fn scripts<S: Mailbox>(seed: u64) -> Vec<Script<S>> {
    let mut scripts = vec![
        never_written(),
        first_batch_refused(),
        every_field(),
        in_order(),
        odd_texts(),
        extreme_numbers(),
        large_stanzas(),
        refused_anywhere(),
        taken_place(),
        tail(),
        pages(),
        queries(),
        places_of_others(),
        sources(),
        long_log(),
        many_of_each(),
        crate::items::published(),
        crate::items::many(),
    ];
    scripts.extend(super::mailbox_segments::scripts());
    scripts.extend((0..DRAWN).map(|number| drawn(seed, number)));
    scripts
}

fn never_written<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("a mailbox that nobody wrote to has no rows");
    script.commit(vec![]).reopen();
    script.ask(Ask::Page(StanzaSeq(0), 10)).ask(Ask::Sources(Millis(0), 10));
    script
}

fn first_batch_refused<S: Mailbox>() -> Script<S> {
    let mut script =
        Script::named("a first batch that cannot be written leaves nothing, and the next one stands");
    let good = Op::Append(log_row(1));
    script.refuse(vec![good.clone(), good.clone()]).ask(Ask::Page(StanzaSeq(0), 10));
    script.refuse(vec![Op::PutMarks(marks(1, 1)), good.clone(), good.clone()]).reopen();
    script.refuse(vec![good.clone(), good.clone()]).commit(vec![good]).reopen();
    script.ask(Ask::Page(StanzaSeq(0), 10));
    script
}

fn every_field<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("every row comes back with every field as it was written");
    let full = StreamRow {
        rows: vec![(Handled(3), StanzaSeq(1)), (Handled(5), StanzaSeq(2))],
        results: vec![(
            Handled(6),
            ResultRow { seq: StanzaSeq(1), bytes: 39, query: "query".into(), offline: true },
        )],
        stanzas: vec![(Handled(4), "<iq type='result'/>".into())],
        suspended: Some(Millis(5)),
        presence: Some("<presence/>".into()),
        carbons: true,
        ..stream_row(1)
    };
    let bare = StreamRow { sm_id_hash: String::new(), ..stream_row(2) };
    let caps = |notify| CapsRow { node: "client".into(), ver: "v=".into(), hash: "sha-1".into(), notify };
    let asked = Some(caps(None));
    let told = Some(caps(Some(vec!["node".into(), "other".into()])));
    let devices = [
        DeviceRow { stream: Some(full), caps: told, ..device_row("full") },
        DeviceRow { stream: Some(bare), named: false, caps: asked, ..device_row("bare") },
        device_row("without a stream"),
    ];
    let mut ops = vec![Op::PutAccount(account_row(1)), Op::PutMarks(Marks { streams: 9, ..marks(0, 0) })];
    ops.push(Op::PutPeer(jid("bob@localhost"), StanzaSeq(7)));
    ops.extend(devices.map(Op::PutDevice));
    script.commit(ops);
    let own = Source { origin: None, id: None, accept: true, ..source(1) };
    let rows = [
        LogRow { direction: Direction::In, peer_seq: StanzaSeq(4), ..log_row(1) },
        LogRow { source: Some(source(2)), ..log_row(2) },
        LogRow { source: Some(own), ..log_row(3) },
        LogRow { sent: vec![sent_on(1), sent_on(2)], transferred: StanzaSeq(2), ..log_row(4) },
    ];
    script.commit(rows.map(Op::Append).into()).reopen();
    script.commit(vec![Op::PutAccount(account_row(2)), Op::DeleteDevice("full".into())]).reopen();
    script.ask(Ask::Page(StanzaSeq(0), 10)).ask(Ask::Sources(Millis(0), 10));
    script
}

fn in_order<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("the operations of a batch apply in their order, and batches in theirs");
    let put = |seen: u64| Op::PutDevice(DeviceRow { last_seen: Millis(seen), ..device_row("phone") });
    let delete = || Op::DeleteDevice("phone".into());
    script.commit(vec![put(1), delete()]).commit(vec![delete(), put(2)]).commit(vec![put(3), put(4)]);
    script.commit(vec![put(5), delete(), put(6), delete()]).commit(vec![delete()]).commit(vec![put(7)]);
    script.commit(vec![delete()]).commit(vec![]).reopen();
    let peer = |seq| Op::PutPeer(jid("bob@localhost"), StanzaSeq(seq));
    script.commit(vec![peer(5), peer(4)]).commit(vec![peer(9)]).commit(vec![peer(3)]).reopen();
    script.commit(vec![Op::PutMarks(marks(1, 1)), Op::PutMarks(marks(0, 0))]);
    script.commit(vec![Op::PutAccount(account_row(2)), Op::PutAccount(account_row(1))]);
    // Places need not come in their order.
    script.commit([5, 2, 9, 1].map(|seq| Op::Append(log_row(seq))).into()).reopen();
    script
}

fn odd_texts<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("texts come back letter by letter, however odd");
    for (text, seq) in ODD_TEXTS.into_iter().zip(1..) {
        let stream = StreamRow {
            sm_id_hash: text.into(),
            stanzas: vec![(Handled(1), text.into())],
            presence: Some(text.into()),
            ..stream_row(seq)
        };
        let source =
            Source { device: text.into(), origin: Some(text.into()), id: Some(text.into()), ..source(seq) };
        let keys = ServerKeys { salt: text.into(), stored_key: text.into(), ..keys(1) };
        script.commit(vec![
            Op::Append(LogRow { stanza: text.into(), source: Some(source), ..log_row(seq) }),
            Op::PutDevice(DeviceRow { stream: Some(stream), ..device_row(text) }),
            Op::PutAccount(AccountRow { sha1: keys, ..account_row(1) }),
        ]);
    }
    let peers = JIDS.iter().zip(1..).map(|(peer, seq)| Op::PutPeer(jid(peer), StanzaSeq(seq)));
    script.commit(peers.collect()).reopen();
    script.commit(ODD_TEXTS.map(|text| Op::DeleteDevice(text.into())).into()).reopen();
    script.ask(Ask::Page(StanzaSeq(0), 100)).ask(Ask::Sources(Millis(0), 100));
    script
}

fn extreme_numbers<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("numbers come back exactly, up to the highest that are used");
    let widest = Source { stream: EXACT_MAX, handled: Handled(u32::MAX), digest: u64::MAX, ..source(1) };
    let row = |seq: u64| LogRow {
        at: Millis(EXACT_MAX),
        peer_seq: StanzaSeq(EXACT_MAX),
        transferred: StanzaSeq(EXACT_MAX),
        source: Some(widest.clone()),
        sent: vec![SentOn { stream: u64::MAX, number: Handled(u32::MAX) }],
        ..log_row(seq)
    };
    for seq in [1, (1 << 31) - 1, 1 << 32, (1 << 51) - 1, 1 << 51, PLACE_MAX - 1] {
        script.commit(vec![Op::Append(row(seq))]).ask(Ask::Page(StanzaSeq(seq - 1), 2));
        script.ask(Ask::Sources(Millis(EXACT_MAX), 10));
    }
    let stream = StreamRow {
        acked: Handled(u32::MAX),
        sent_max: Handled(0),
        rows: vec![(Handled(u32::MAX), StanzaSeq(EXACT_MAX))],
        next: StanzaSeq(u64::MAX),
        ..stream_row(u64::MAX)
    };
    let device = DeviceRow { cursor: StanzaSeq(u64::MAX), stream: Some(stream), ..device_row("phone") };
    let blocked = JIDS.iter().map(|name| jid(name).into()).collect();
    let account = AccountRow { created: Millis(u64::MAX), blocked, ..account_row(u32::MAX) };
    script.commit(vec![Op::PutDevice(device), Op::PutAccount(account)]).reopen();
    script.commit(vec![Op::PutPeer(jid("bob@localhost"), StanzaSeq(EXACT_MAX))]);
    let marks = Marks {
        checkpoint: StanzaSeq(PLACE_MAX - 1),
        transferred: StanzaSeq(EXACT_MAX),
        streams: u64::MAX,
        ..Marks::default()
    };
    script.commit(vec![Op::PutMarks(marks)]).reopen();
    script
}

fn large_stanzas<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("stanzas of the greatest size come back whole");
    let rows = [('x', 1), ('é', 2), ('语', 3), ('\u{10ffff}', 4), ('"', 5), ('\u{0}', 6)];
    for (character, seq) in rows {
        let stanza = long(character, FRAME_BYTES_MAX);
        let before = Op::PutMarks(marks(seq - 1, seq - 1));
        script.commit(vec![Op::Append(LogRow { stanza, ..log_row(seq) }), before]);
    }
    let stanza = long('y', FRAME_BYTES_MAX);
    let batch = (7..15).map(|seq| Op::Append(LogRow { stanza: stanza.clone(), ..log_row(seq) }));
    script.commit(batch.chain([Op::PutMarks(marks(12, 12))]).collect()).reopen();
    script.ask(Ask::Page(StanzaSeq(2), 2));
    script
}

/// A good batch with an operation that cannot be carried out in its beginning, middle or end.
/// (Rows that are too long and full disks are the mailbox suite's.)
fn refused_anywhere<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("an operation that cannot be carried out leaves nothing of its batch");
    script.commit(vec![Op::Append(log_row(1)), Op::PutDevice(device_row("phone"))]);
    let bad = [
        Op::Append(log_row(1)),
        Op::Append(LogRow { at: Millis(EXACT_MAX + 1), ..log_row(9) }),
        Op::Append(LogRow { transferred: StanzaSeq(u64::MAX), ..log_row(9) }),
        Op::Append(log_row(u64::MAX)),
        Op::PutPeer(jid("bob@localhost"), StanzaSeq(EXACT_MAX + 1)),
    ];
    for (bad, seen) in bad.into_iter().zip(2..) {
        for place in 0..5 {
            let mut ops = vec![
                Op::Append(log_row(seen)),
                Op::DeleteDevice("phone".into()),
                Op::PutMarks(marks(seen, seen)),
                Op::PutAccount(account_row(1)),
            ];
            ops.insert(place, bad.clone());
            script.refuse(ops);
        }
        let phone = DeviceRow { last_seen: Millis(seen), ..device_row("phone") };
        script.commit(vec![Op::PutDevice(phone)]).reopen();
    }
    script
}

fn taken_place<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("a place in the log is given once");
    let other = |seq| Op::Append(LogRow { stanza: "<message>another</message>".into(), ..log_row(seq) });
    script.commit(vec![Op::Append(log_row(1)), Op::Append(log_row(2))]);
    script.refuse(vec![other(1)]).refuse(vec![other(2)]).refuse(vec![other(3), other(3)]);
    script.refuse(vec![other(3), other(4), other(1)]).reopen().refuse(vec![other(2)]);
    script.commit(vec![other(3)]).ask(Ask::Page(StanzaSeq(0), 10));
    script
}

fn tail<S: Mailbox>() -> Script<S> {
    let mut script =
        Script::named("a load gets the log above the lower mark, in order, and the newest place");
    script.commit((1..=12).filter(|seq| *seq != 6).map(|seq| Op::Append(log_row(seq))).collect());
    for (checkpoint, transferred) in [
        (0, 0),
        (5, 5),
        (5, 8),
        (8, 5),
        (0, 12),
        (12, 0),
        (6, 6),
        (11, 12),
        (12, 12),
        (13, 13),
        (EXACT_MAX, 4),
    ] {
        script.commit(vec![Op::PutMarks(marks(checkpoint, transferred))]).reopen();
    }
    script
}

fn pages<S: Mailbox>() -> Script<S> {
    let mut script =
        Script::named("a page is the first rows after a place, in order, and no more than asked for");
    script.commit([9, 1, 2, 3, 20, 5, 8].map(|seq| Op::Append(log_row(seq))).into());
    for after in [0, 1, 2, 3, 4, 8, 9, 19, 20, 21, PLACE_MAX] {
        for limit in [0, 1, 2, 3, 100, u32::MAX as usize] {
            script.ask(Ask::Page(StanzaSeq(after), limit));
        }
    }
    // Marks are about loading: they take nothing out of the log.
    script.commit(vec![Op::PutMarks(marks(20, 20))]).reopen().ask(Ask::Page(StanzaSeq(0), 100));
    script
}

fn queries<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("a query selects by place, time and person, from either end");
    let people = ["ann@localhost", "bob@localhost", "per%cent_--@localhost"];
    // The clock was set back once: time is no order.
    let times = [10, 20, 30, 5, 15, 25, 35, 40, 40];
    let rows = times.iter().zip(1u64..).map(|(at, seq)| {
        let peer = jid(people[seq as usize % people.len()]);
        // Bytes are counted, not letters.
        let (stanza, archived) = ("回执é".repeat(seq as usize), seq % 3 != 0);
        Op::Append(LogRow { at: Millis(*at), peer, stanza, archived, ..log_row(seq) })
    });
    script.commit(rows.collect());
    let withs = people.iter().map(|name| Some(jid(name))).chain([None, Some(jid("nobody@localhost"))]);
    for with in withs {
        for (after, before) in [(0, None), (3, None), (0, Some(7)), (2, Some(4)), (5, Some(5)), (9, None)] {
            for (start, end) in [(None, None), (Some(15), Some(35)), (None, Some(9)), (Some(41), None)] {
                for newest_first in [false, true] {
                    let query = Query {
                        after: StanzaSeq(after),
                        before: before.map(StanzaSeq),
                        start: start.map(Millis),
                        end: end.map(Millis),
                        with: with.clone(),
                        hidden_upto: StanzaSeq(if newest_first { 6 } else { after }),
                        newest_first,
                    };
                    script.ask(Ask::Select(query.clone(), 2)).ask(Ask::Select(query.clone(), 100));
                    script.ask(Ask::Size(query));
                }
            }
        }
    }
    let far = Query { end: Some(Millis(u64::MAX >> 1)), before: Some(StanzaSeq(PLACE_MAX)), ..Query::ALL };
    script.reopen().ask(Ask::Select(far, 100)).ask(Ask::Select(Query::ALL, 0));
    script
}

fn places_of_others<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("which places of another log are here is told, of that log alone");
    let from = |seq: u64, direction, name: &str, place: u64| {
        Op::Append(LogRow { direction, peer: jid(name), peer_seq: StanzaSeq(place), ..log_row(seq) })
    };
    script.commit(vec![
        from(1, Direction::In, "ann@localhost", 4),
        from(2, Direction::In, "ann@localhost", 9),
        from(3, Direction::In, "bob@localhost", 5),
        from(4, Direction::Back, "ann@localhost", 6),
        from(5, Direction::Out, "ann@localhost", 0),
    ]);
    for name in ["ann@localhost", "bob@localhost", "nobody@localhost"] {
        for places in [vec![], vec![4], vec![5, 6], vec![4, 5, 6, 9], vec![1, 100], vec![9, 4]] {
            let mut places: Vec<StanzaSeq> = places.into_iter().map(StanzaSeq).collect();
            script.ask(Ask::Received(jid(name), places.clone()));
            places.reverse();
            script.ask(Ask::Received(jid(name), places));
        }
    }
    script.reopen();
    script
}

fn sources<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("own messages are told newest first, within limit and age");
    let own =
        |seq: u64| Op::Append(LogRow { source: Some(source(seq)), at: Millis(seq * 10), ..log_row(seq) });
    let others = |seq: u64| Op::Append(LogRow { at: Millis(seq * 10), ..log_row(seq) });
    script.commit(vec![own(1), others(2), own(3), own(4), others(5), others(6), own(7), others(8)]);
    for since in [0, 10, 11, 30, 31, 70, 71, 80, 81, EXACT_MAX] {
        for limit in [0, 1, 2, 3, 4, 5, 20_000] {
            script.ask(Ask::Sources(Millis(since), limit));
        }
    }
    script.commit(vec![Op::PutMarks(marks(8, 8))]).reopen().ask(Ask::Sources(Millis(0), 20_000));
    script
}

fn long_log<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("own messages far apart in a long log are found");
    let is_own = |seq: u64| seq.is_multiple_of(700) || seq == 1;
    let row = |seq: u64| LogRow {
        source: is_own(seq).then(|| source(seq)),
        at: Millis(seq),
        stanza: String::new(),
        ..log_row(seq)
    };
    let upto = |seq: u64| Op::PutMarks(marks(seq, seq));
    let all = (1..=LONG_LOG).map(|seq| Op::Append(row(seq)));
    script.commit(all.chain([upto(LONG_LOG - 3)]).collect()).reopen();
    for (since, limit) in [(0, 10), (0, 3), (0, 1), (650, 10), (701, 10), (1_400, 10), (LONG_LOG, 10)] {
        script.ask(Ask::Sources(Millis(since), limit));
    }
    script.ask(Ask::Page(StanzaSeq(LONG_LOG - 5), 100)).ask(Ask::Page(StanzaSeq(0), 150));
    script
}

fn many_of_each<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("many devices and correspondents are all loaded");
    let peers =
        (0..300).map(|number| Op::PutPeer(jid(&format!("peer{number}@localhost")), StanzaSeq(number)));
    let devices = (0..100).map(|number| Op::PutDevice(device_row(&format!("device {number}"))));
    script.commit(peers.chain(devices).collect()).reopen();
    let gone = (0..99).map(|number| Op::DeleteDevice(DeviceId(format!("device {number}"))));
    script.commit(gone.collect()).reopen();
    script
}

fn drawn<S: Mailbox>(seed: u64, number: u64) -> Script<S> {
    let mut dice = Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(number));
    let mut script = Script::named(format!("drawn batches, {seed}.{number}"));
    let mut last = 0;
    for _ in 0..DRAWN_STEPS {
        match dice.below(12) {
            10 => drop(script.ask(drawn_items(&mut dice))),
            11 => drop(script.ask(drawn_segments(&mut dice))),
            0 => drop(script.reopen()),
            1 => drop(script.ask(Ask::Page(StanzaSeq(dice.upto(last + 1)), dice.below(12)))),
            2 => drop(script.ask(Ask::Sources(dice.millis(), dice.below(6)))),
            3 => {
                let mut unused = last;
                let mut ops = dice.some(5, |dice| drawn_op(dice, &mut unused));
                let bad = match dice.maybe(|dice| 1 + dice.upto(last)) {
                    Some(seq) if seq <= last => vec![log_row(seq)],
                    _ => vec![log_row(unused + 1), log_row(unused + 1)],
                };
                let place = dice.below(ops.len() + 1);
                ops.splice(place..place, bad.into_iter().map(Op::Append));
                script.refuse(ops);
            }
            _ => {
                let ops = dice.some(8, |dice| drawn_op(dice, &mut last));
                script.commit(ops);
            }
        }
    }
    script.reopen();
    script
}
