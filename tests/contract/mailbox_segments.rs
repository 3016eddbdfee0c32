//! What a mailbox's store must do with runs of its log that are elsewhere.

use crate::draw::jid;
use crate::mailbox::{Ask, Mailbox};
use crate::mailbox_rows::{account_row, contact_row, device_row, item, log_row, marks, node_row, source};
use crate::script::Script;
use shared::archive::Query;
use shared::cold::{End, Moving, SegmentRow, Share};
use shared::id::StanzaSeq;
use shared::log::{LogRow, Sending};
use shared::relay::rows::Op;
use shared::time::Millis;

pub fn scripts<S: Mailbox>() -> Vec<Script<S>> {
    vec![run_moves(), between(), sources_stay(), interrupted(), cleared()]
}

fn own(seq: u64) -> LogRow {
    LogRow { source: Some(source(seq)), at: Millis(seq * 10), ..log_row(seq) }
}

pub fn segment(first: u64, last: u64) -> SegmentRow {
    let end = |seq| End { seq: StanzaSeq(seq), at: Millis(seq * 10) };
    SegmentRow {
        first: StanzaSeq(first),
        last: StanzaSeq(last),
        name: format!("ann@localhost/3/{first}-{last}"),
        digest: "回执".into(),
        bytes: 7,
        start: Millis(first * 10),
        end: Millis(last * 10),
        shown: Some((end(first), end(last))),
        hidden: vec![(StanzaSeq(first), StanzaSeq(last))],
        peers: vec![Share {
            peer: jid("bob@localhost"),
            count: last - first,
            shown: 1,
            places: vec![(StanzaSeq(1), StanzaSeq(4))],
        }],
    }
}

fn moved(first: u64, last: u64) -> [Op; 2] {
    let sources = (first..=last).filter_map(|seq| Sending::of(&own(seq))).collect();
    [Op::PutSegment(segment(first, last), sources), Op::DropLog(StanzaSeq(first), StanzaSeq(last))]
}

fn all<S: Mailbox>(script: &mut Script<S>) {
    script.ask(Ask::Segments(StanzaSeq(0), None, false, 100)).ask(Ask::Page(StanzaSeq(0), 100));
    script.ask(Ask::Sources(Millis(0), 100)).ask(Ask::Size(Query::ALL)).ask(Ask::Select(Query::ALL, 100));
}

fn run_moves<S: Mailbox>() -> Script<S> {
    let mut script =
        Script::named("a run leaves the log with its segment, and its last place is not given again");
    script.commit((1..=12).map(|seq| Op::Append(own(seq))).chain([Op::PutMarks(marks(8, 8))]).collect());
    script.commit(moved(1, 4).into()).reopen();
    all(&mut script);
    // All or nothing: a place that is taken.
    script.refuse(moved(5, 8).into_iter().chain([Op::Append(own(12))]).collect()).reopen();
    all(&mut script);
    script.commit(moved(5, 12).into()).reopen();
    all(&mut script);
    script.commit(vec![Op::Append(own(13))]).reopen();
    all(&mut script);
    script
}

fn between<S: Mailbox>() -> Script<S> {
    let mut script =
        Script::named("segments are found by the places between which they lie, from either end");
    script.commit([(1, 4), (5, 5), (6, 30), (40, 44)].map(|(first, last)| moved(first, last)).concat());
    for after in [0, 1, 3, 4, 5, 6, 29, 30, 35, 39, 40, 43, 44, 99] {
        for before in [None, Some(1), Some(5), Some(6), Some(31), Some(41), Some(99)] {
            for newest_first in [false, true] {
                for limit in [0, 1, 2, 9] {
                    script.ask(Ask::Segments(StanzaSeq(after), before.map(StanzaSeq), newest_first, limit));
                }
            }
        }
    }
    script
}

fn sources_stay<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("own messages of a segment are told until they are forgotten");
    script.commit((1..=20).map(|seq| Op::Append(own(seq))).collect());
    script.commit([moved(1, 5), moved(6, 10), moved(11, 15)].concat());
    for (since, limit) in [(0, 100), (0, 7), (0, 5), (51, 100), (110, 100), (160, 100), (300, 1)] {
        script.ask(Ask::Sources(Millis(since), limit));
    }
    script.commit(vec![Op::ForgetSources(Millis(50))]).ask(Ask::Sources(Millis(0), 100));
    script.commit(vec![Op::ForgetSources(Millis(51))]).reopen().ask(Ask::Sources(Millis(0), 100));
    script.commit(vec![Op::ForgetSources(Millis(1_000))]).reopen();
    all(&mut script);
    script
}

fn interrupted<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("a run that is being moved is known until it is moved");
    let moving = |name: &str| {
        let (first, last, name) = (StanzaSeq(1), StanzaSeq(2), name.to_owned());
        Op::PutMoving(Some(Moving { first, last, name }))
    };
    script.commit(vec![Op::Append(own(1)), Op::Append(own(2)), moving("one")]).reopen();
    script.commit(vec![moving("another"), Op::PutAccount(account_row(1))]).reopen();
    script.commit(moved(1, 2).into_iter().chain([Op::PutMoving(None)]).collect()).reopen();
    script.commit(vec![Op::PutMoving(None)]).reopen();
    script.commit(vec![Op::DeleteSegment(StanzaSeq(1)), Op::DeleteSegment(StanzaSeq(9))]).reopen();
    all(&mut script);
    script
}

fn cleared<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("what is cleared is as it was before anything was written");
    let some = || {
        let rows = (1..=6).map(|seq| Op::Append(own(seq)));
        let others = [
            Op::PutAccount(account_row(1)),
            Op::PutDevice(device_row("phone")),
            Op::PutPeer(jid("bob@localhost"), StanzaSeq(7)),
            Op::PutMarks(marks(1, 1)),
            Op::PutContact(contact_row("bob@localhost")),
            Op::PutNode(node_row("a")),
            item("a", "x", 1),
        ];
        rows.chain(others).chain(moved(1, 2)).collect::<Vec<_>>()
    };
    script.commit(some()).commit(vec![Op::Clear]);
    all(&mut script);
    script.reopen();
    all(&mut script);
    script.commit(some()).commit(vec![Op::Clear, Op::PutMarks(marks(6, 6))]).reopen();
    all(&mut script);
    script.commit(some()).reopen();
    script.refuse(vec![Op::Clear, Op::Append(own(1)), Op::Append(own(1))]).reopen();
    all(&mut script);
    script.commit([vec![Op::Clear], some(), vec![Op::Clear, Op::Append(own(1))]].concat()).reopen();
    all(&mut script);
    script
}
