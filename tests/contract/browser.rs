//! A browser's store: cases by hand, and cases by seed.

use crate::browser_rows::{account, conversation, drawn_op, key, message, outbox, owed, session};
use crate::draw::{Dice, EXACT_MAX, JIDS, ODD_TEXTS, jid, long};
use crate::script::{Keeps, Script, value};
use serde::Serialize;
use serde_json::{Value, json};
use shared::client::rows::{
    AccountRow, ConversationRow, Direction, Markable, MessageRow, Op, OutboxRow, Owed, OwedRow, PROVISIONAL,
    SentAs, SessionRow, Status, Times,
};
use shared::id::OriginId;
use shared::jid::BareJid;
use shared::limits::{FRAME_BYTES_MAX, Limits};
use shared::memory::ClientStore;
use shared::time::Millis;

/// What views ask beside an engine's load.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "ask", content = "with", rename_all = "lowercase")]
pub enum Ask {
    /// The newest so many messages of a conversation before a place, in timeline order.
    Page(BareJid, Option<u64>, u32),
    /// Who is signed in.
    Account,
    /// Newest first.
    Conversations,
    /// What a dying leader may have changed: the [`NEWS_MAX`] newest messages and those that
    /// may still rise, and every conversation. By key.
    News,
}

/// How many of the newest messages are told again after a change of the lead.
pub const NEWS_MAX: usize = 200;
/// Scripts of drawn batches, beside those by hand.
const DRAWN: u64 = 40;
const DRAWN_STEPS: usize = 30;

impl Keeps for ClientStore {
    type Op = Op;
    type Ask = Ask;

    fn apply(&mut self, op: &Op) {
        ClientStore::apply(self, op);
    }

    fn rows(&self) -> Value {
        value(&ClientStore::rows(self, Limits::DEFAULT.client_recent_keys_max))
    }

    fn answer(&self, ask: &Ask) -> Value {
        match ask {
            Ask::Page(conversation, before, limit) => {
                let mut page = self.timeline(conversation);
                page.retain(|row| before.is_none_or(|before| row.order < before));
                value(&page.split_off(page.len().saturating_sub(*limit as usize)))
            }
            Ask::Account => value(&self.account),
            Ask::Conversations => {
                let mut rows: Vec<_> = self.conversations.values().collect();
                rows.sort_by(|a, b| b.last_at.cmp(&a.last_at).then_with(|| a.jid.cmp(&b.jid)));
                value(&rows)
            }
            Ask::News => {
                let newest = ClientStore::rows(self, NEWS_MAX).recent;
                let is_told = |row: &&MessageRow| row.awaiting.is_some() || newest.contains(&row.key);
                let messages: Vec<_> = self.messages.values().filter(is_told).collect();
                let conversations: Vec<_> = self.conversations.values().collect();
                json!([value(&messages), value(&conversations)])
            }
        }
    }
}

trait Browser: Keeps<Op = Op, Ask = Ask> {}
impl<S: Keeps<Op = Op, Ask = Ask>> Browser for S {}

/// The whole contract of a browser's store.
#[expect(private_bounds, reason = "a name for a long bound")]
pub fn scripts<S: Browser>(seed: u64) -> Vec<Script<S>> {
    let mut scripts = vec![
        never_written(),
        every_field(),
        in_order(),
        odd_texts(),
        extreme_numbers(),
        large_bodies(),
        refused_anywhere(),
        awaiting(),
        recent(),
        shared_places(),
        pages(),
        conversations(),
        news(),
        cleared(),
    ];
    scripts.extend((0..DRAWN).map(|number| drawn(seed, number)));
    scripts
}

fn never_written<S: Browser>() -> Script<S> {
    let mut script = Script::named("a browser that nobody used has no rows");
    script.commit(vec![]).reopen().ask(Ask::Account).ask(Ask::Conversations).ask(Ask::News);
    script.ask(Ask::Page(jid("ann@localhost"), None, 10));
    script
}

fn every_field<S: Browser>() -> Script<S> {
    let mut script = Script::named("every row comes back with every field as it was written");
    let sent_as = Some(SentAs { stream: 3, number: 4 });
    let millis = |at| Some(Millis(at));
    let full = MessageRow {
        direction: Direction::Outgoing,
        status: Status::Failed,
        times: Times { sent: millis(1), delivered: millis(2), read: millis(3) },
        failure: Some("gone".into()),
        awaiting: Some(1),
        ..message("full", 7)
    };
    let partly = Times { delivered: millis(0), ..Times::default() };
    let chat = ConversationRow {
        unread: 4,
        last_direction: Some(Direction::Outgoing),
        accepted: true,
        draft: "draft".into(),
        markable: Some(Markable { key: key("marked"), id: "its id".into() }),
        newest: Some(key("full")),
        ..conversation("ann@localhost", 9)
    };
    script.commit(vec![
        Op::PutMessage(full),
        Op::PutMessage(MessageRow { times: partly, ..message("bare", 8) }),
        Op::PutOutbox(OutboxRow { sent_as, tries: 2, ..outbox("tried", 1) }),
        Op::PutOutbox(outbox("new", 2)),
        Op::PutOwed(OwedRow { sent_as, kind: Owed::Displayed, ..owed("d:full", 1) }),
        Op::PutOwed(owed("r:full", 2)),
        Op::PutConversation(chat),
        Op::PutConversation(conversation("anna@localhost", 8)),
        Op::PutSession(session(1)),
        Op::PutAccount(account(4096)),
    ]);
    script.reopen().ask(Ask::Page(jid("ann@localhost"), None, 10)).ask(Ask::Conversations).ask(Ask::News);
    let statuses = [Status::Queued, Status::Sent, Status::Failed, Status::Delivered, Status::Read];
    let row =
        |(status, order): (Status, u64)| MessageRow { status, awaiting: Some(1), ..message("x", order) };
    script.commit(statuses.into_iter().zip(20..).map(row).map(Op::PutMessage).collect()).reopen();
    script
}

fn in_order<S: Browser>() -> Script<S> {
    let mut script = Script::named("the operations of a batch apply in their order, and batches in theirs");
    let put = |order| Op::PutMessage(MessageRow { awaiting: Some(1), ..message("m", order) });
    let gone = || Op::DeleteMessage(key("m"));
    script.commit(vec![put(1), gone()]).commit(vec![gone(), put(2)]).commit(vec![put(3), put(4)]);
    script.commit(vec![put(5), gone(), put(6), gone()]).commit(vec![gone()]).commit(vec![put(7)]);
    let put = |order| Op::PutOutbox(outbox("origin", order));
    let gone = || Op::DeleteOutbox("origin".into());
    script.commit(vec![put(1), gone()]).commit(vec![gone(), put(2)]).commit(vec![
        put(3),
        put(4),
        gone(),
        put(5),
    ]);
    let put = |order| Op::PutOwed(owed("r:m", order));
    let gone = || Op::DeleteOwed("r:m".into());
    script.commit(vec![put(1), gone()]).commit(vec![gone(), put(2)]).commit(vec![
        put(3),
        put(4),
        gone(),
        put(5),
    ]);
    let put = |at| Op::PutConversation(conversation("ann@localhost", at));
    script.commit(vec![put(1), put(2)]).commit(vec![put(1)]);
    script.commit(vec![Op::PutSession(session(2)), Op::PutSession(session(1))]);
    script.commit(vec![Op::PutAccount(account(2)), Op::PutAccount(account(1))]).commit(vec![]).reopen();
    script
}

fn odd_texts<S: Browser>() -> Script<S> {
    let mut script = Script::named("texts come back letter by letter, also as keys, however odd");
    for (text, order) in ODD_TEXTS.into_iter().zip(1..) {
        let odd = || text.to_owned();
        let failure = Some(odd());
        let marked = Markable { key: key(text), id: odd() };
        let mut signed_in = AccountRow { device: text.into(), url: odd(), ..account(1) };
        signed_in.credential.salt = odd();
        script.commit(vec![
            Op::PutMessage(MessageRow {
                body: odd(),
                id: odd(),
                failure,
                awaiting: Some(1),
                ..message(text, order)
            }),
            Op::PutOutbox(OutboxRow { body: odd(), ..outbox(text, order) }),
            Op::PutOwed(OwedRow { id: odd(), ..owed(text, order) }),
            Op::PutConversation(ConversationRow {
                last_text: odd(),
                draft: odd(),
                newest: Some(key(text)),
                markable: Some(marked),
                ..conversation("ann@localhost", order)
            }),
            Op::PutSession(SessionRow { sm_id: odd(), bound: odd(), ..session(1) }),
            Op::PutAccount(signed_in),
        ]);
    }
    script.commit(JIDS.map(|with| Op::PutConversation(conversation(with, 1))).into()).reopen();
    script.ask(Ask::Conversations).ask(Ask::Page(jid("ann@localhost"), None, 100));
    script.commit(ODD_TEXTS[..9].iter().map(|text| Op::DeleteMessage(key(text))).collect());
    script.commit(ODD_TEXTS[9..].iter().map(|text| Op::DeleteOutbox((*text).into())).collect());
    script.commit(ODD_TEXTS.map(|text| Op::DeleteOwed(text.into())).into()).reopen();
    script
}

fn extreme_numbers<S: Browser>() -> Script<S> {
    let mut script = Script::named("numbers come back exactly, up to the highest that are used");
    let last = SentAs { stream: u32::MAX, number: u32::MAX };
    for order in [0, 1, 1 << 32, PROVISIONAL - 1, PROVISIONAL, 2 * PROVISIONAL, EXACT_MAX - 1] {
        let at = Millis(EXACT_MAX);
        let times = Times { sent: Some(Millis(0)), delivered: Some(at), read: Some(at) };
        let name = format!("{order}");
        script.commit(vec![
            Op::PutMessage(MessageRow { at, times, awaiting: Some(u8::MAX), ..message(&name, order) }),
            Op::PutOutbox(OutboxRow {
                created: at,
                tries: u32::MAX,
                sent_as: Some(last),
                ..outbox(&name, order)
            }),
            Op::PutOwed(OwedRow { since: at, sent_as: Some(last), ..owed(&name, order) }),
            Op::PutConversation(ConversationRow {
                unread: u32::MAX,
                ..conversation("ann@localhost", EXACT_MAX)
            }),
            Op::PutSession(SessionRow { handled: u32::MAX, seen: EXACT_MAX, ..session(u32::MAX) }),
            Op::PutAccount(account(u32::MAX)),
        ]);
        for before in [None, Some(order), Some(order + 1), Some(0), Some(EXACT_MAX)] {
            script.ask(Ask::Page(jid("ann@localhost"), before, 3));
        }
    }
    script.reopen().ask(Ask::News);
    script
}

fn large_bodies<S: Browser>() -> Script<S> {
    let mut script = Script::named("texts of the greatest size come back whole");
    for (character, order) in ['x', 'é', '语', '\u{10ffff}', '"', '\u{0}'].into_iter().zip(1..) {
        let body = long(character, FRAME_BYTES_MAX);
        let row = MessageRow { body: body.clone(), awaiting: Some(1), ..message("m", order) };
        let draft = ConversationRow { draft: body.clone(), ..conversation("ann@localhost", order) };
        script.commit(vec![
            Op::PutMessage(row),
            Op::PutOutbox(OutboxRow { body, ..outbox("origin", order) }),
            Op::PutConversation(draft),
        ]);
    }
    script.reopen().ask(Ask::Page(jid("ann@localhost"), None, 10));
    script
}

/// A number that JavaScript does not hold is the one thing that a row can have and a browser
/// cannot write. (Full disks and failing requests are the browser suite's.)
fn refused_anywhere<S: Browser>() -> Script<S> {
    let mut script = Script::named("an operation that cannot be carried out leaves nothing of its batch");
    let stands = vec![Op::PutMessage(message("m", 1)), Op::PutOutbox(outbox("origin", 1))];
    script.commit(stands);
    let bad = [
        Op::PutMessage(message("m", EXACT_MAX + 1)),
        Op::PutOutbox(outbox("origin", u64::MAX)),
        Op::PutOwed(OwedRow { since: Millis(EXACT_MAX + 1), ..owed("r:m", 1) }),
        Op::PutConversation(conversation("ann@localhost", EXACT_MAX + 1)),
        Op::PutSession(SessionRow { seen: EXACT_MAX + 1, ..session(1) }),
    ];
    for (bad, order) in bad.into_iter().zip(2..) {
        for place in 0..5 {
            let mut ops = vec![
                Op::PutMessage(message("another", order)),
                Op::DeleteMessage(key("m")),
                Op::Clear,
                Op::PutOutbox(outbox("another", order)),
            ];
            ops.insert(place, bad.clone());
            script.refuse(ops);
        }
        script.commit(vec![Op::PutMessage(message("m", order))]).reopen();
    }
    script
}

fn awaiting<S: Browser>() -> Script<S> {
    let mut script = Script::named("a load gets those messages whole that may still rise, and no others");
    let row = |number: u64, awaiting| {
        Op::PutMessage(MessageRow { awaiting, ..message(&format!("m{number}"), number) })
    };
    script.commit((1..=40).map(|number| row(number, (number % 3 == 0).then_some(1))).collect()).reopen();
    // Settled, or awaited again.
    script.commit(vec![row(3, None), row(4, Some(1)), Op::DeleteMessage(key("m6"))]).reopen();
    script.commit((1..=40).map(|number| row(number, None)).collect()).reopen();
    script
}

fn recent<S: Browser>() -> Script<S> {
    let mut script = Script::named("a load gets the newest keys up to the limit, oldest first");
    let max = Limits::DEFAULT.client_recent_keys_max as u64;
    // Keys and places in different orders.
    let row = |order: u64| {
        Op::PutMessage(MessageRow {
            body: String::new(),
            ..message(&format!("{:05}", order * 7919 % 10_007), order)
        })
    };
    script.commit((1..max).map(row).collect()).commit(vec![row(max)]).commit(vec![row(max + 1)]);
    script.commit((max + 2..max + 150).map(row).collect()).reopen();
    script.commit(vec![row(PROVISIONAL + 1), row(0)]).commit(vec![Op::Clear]);
    script
}

/// No relay gives a place twice, but nothing that is loaded may depend on it.
fn shared_places<S: Browser>() -> Script<S> {
    let mut script = Script::named("the newest keys are the newest also where messages share a place");
    let max = Limits::DEFAULT.client_recent_keys_max as u64;
    let row = |number: u64, order| {
        Op::PutMessage(MessageRow { body: String::new(), ..message(&format!("{number:05}"), order) })
    };
    let oldest = (0..5).map(|number| row(number, 1));
    script.commit(oldest.chain((5..max + 2).map(|number| row(number, number))).collect()).reopen();
    let newest = (0..3).map(|number| row(90_000 + number, PROVISIONAL));
    script.commit(newest.collect()).ask(Ask::News);
    let crowd = NEWS_MAX as u64 + 50;
    script.commit((0..crowd).map(|number| row(91_000 + number, PROVISIONAL + 1)).collect()).ask(Ask::News);
    script
}

fn pages<S: Browser>() -> Script<S> {
    let mut script =
        Script::named("a page is the newest messages of one conversation before a place, oldest first");
    let row = |with: &str, order: u64| MessageRow {
        conversation: jid(with),
        ..message(&format!("{with} {order}"), order)
    };
    let places = [3, 1, 2, 9, 5, PROVISIONAL, PROVISIONAL + 7];
    let all = JIDS.iter().flat_map(|with| places.map(|order| Op::PutMessage(row(with, order))));
    script.commit(all.collect());
    for before in
        [None, Some(0), Some(1), Some(2), Some(4), Some(9), Some(10), Some(PROVISIONAL), Some(EXACT_MAX)]
    {
        for limit in [1, 2, 3, 7, 100] {
            script.ask(Ask::Page(jid("ann@localhost"), before, limit));
        }
    }
    for with in JIDS.into_iter().chain(["ann", "nobody@localhost"]) {
        script.ask(Ask::Page(jid(with), None, 100));
    }
    // The relay has given its place; another goes to another conversation.
    let moved = MessageRow { order: 12, ..row("ann@localhost", PROVISIONAL) };
    let changed = MessageRow { conversation: jid("anna@localhost"), order: 13, ..row("ann@localhost", 1) };
    let named =
        |row: MessageRow, key_as: u64| MessageRow { key: key(&format!("ann@localhost {key_as}")), ..row };
    script
        .commit(vec![Op::PutMessage(named(moved, PROVISIONAL)), Op::PutMessage(named(changed, 1))])
        .reopen();
    for with in JIDS {
        script.ask(Ask::Page(jid(with), None, 100));
    }
    script
}

fn conversations<S: Browser>() -> Script<S> {
    let mut script = Script::named("conversations are told newest first");
    let times = [5, 9, 5, 1, EXACT_MAX, 0];
    let row = |(with, at): (&str, u64)| Op::PutConversation(conversation(with, at));
    script.commit(JIDS.into_iter().zip(times).map(row).collect()).ask(Ask::Conversations).reopen();
    script.commit(vec![row((JIDS[3], 100))]).ask(Ask::Conversations);
    script
}

fn news<S: Browser>() -> Script<S> {
    let mut script = Script::named("a new leader tells the newest messages and those that may still rise");
    let max = NEWS_MAX as u64;
    let row =
        |order: u64, awaiting| MessageRow { awaiting, ..message(&format!("m{}", 1_000 - order), order) };
    script.commit((1..max).map(|order| Op::PutMessage(row(order, None))).collect()).ask(Ask::News);
    script.commit(vec![Op::PutMessage(row(max, None))]).ask(Ask::News);
    let more = (max + 1..max + 30).map(|order| Op::PutMessage(row(order, (order % 2 == 0).then_some(1))));
    let old = (3..6).map(|order| Op::PutMessage(row(order, Some(1))));
    script.commit(more.chain(old).collect()).reopen().ask(Ask::News);
    script
}

fn cleared<S: Browser>() -> Script<S> {
    let mut script = Script::named("clearing empties every store, in its place in the batch");
    let one_of_each = |name: &str| {
        vec![
            Op::PutMessage(MessageRow { awaiting: Some(1), ..message(name, 1) }),
            Op::PutOutbox(outbox(name, 1)),
            Op::PutOwed(owed(name, 1)),
            Op::PutConversation(conversation("ann@localhost", 1)),
            Op::PutSession(session(1)),
            Op::PutAccount(account(1)),
        ]
    };
    let then = |first: Vec<Op>, second: Vec<Op>| first.into_iter().chain(second).collect::<Vec<_>>();
    script
        .commit(one_of_each("a"))
        .ask(Ask::Account)
        .commit(vec![Op::Clear])
        .ask(Ask::Account)
        .reopen()
        .ask(Ask::News);
    script.commit(then(one_of_each("a"), vec![Op::Clear])).reopen();
    script.commit(then(one_of_each("a"), then(vec![Op::Clear], one_of_each("b")))).reopen();
    script.commit(then(vec![Op::Clear], one_of_each("c"))).ask(Ask::Conversations);
    script.commit(vec![
        Op::Clear,
        Op::PutSession(session(9)),
        Op::DeleteOutbox(OriginId("c".into())),
        Op::Clear,
    ]);
    script.commit(vec![Op::Clear]).reopen().ask(Ask::Page(jid("ann@localhost"), None, 10));
    script
}

fn drawn<S: Browser>(seed: u64, number: u64) -> Script<S> {
    let mut dice = Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(number));
    let mut script = Script::named(format!("drawn batches, {seed}.{number}"));
    let mut order = 0;
    for _ in 0..DRAWN_STEPS {
        match dice.below(12) {
            0 => drop(script.reopen()),
            1 => drop(script.ask(Ask::Page(
                dice.jid(),
                dice.maybe(|dice| dice.upto(order + 1)),
                1 + dice.below(4) as u32,
            ))),
            2 => drop(script.ask(Ask::Conversations)),
            3 => drop(script.ask(Ask::News)),
            4 => {
                let mut ops = dice.some(5, |dice| drawn_op(dice, &mut order));
                ops.insert(dice.below(ops.len() + 1), Op::PutMessage(message("bad", EXACT_MAX + 1)));
                script.refuse(ops);
            }
            _ => {
                let ops = dice.some(8, |dice| drawn_op(dice, &mut order));
                script.commit(ops);
            }
        }
    }
    script.reopen();
    script
}
