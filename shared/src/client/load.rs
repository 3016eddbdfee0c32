//! From rows to an engine that goes on where they are.

use super::connect::Link;
use super::queue::{Queue, Queued};
use super::rows::{ConversationRow, Op, Rows, SessionRow};
use super::timeline::Timeline;
use super::timer::{Timer, Timers};
use super::{ClientEngine, Config, Entry, Event, LinkState};
use crate::entropy::Entropy;
use crate::gate::Gate;
use crate::id::LinkId;
use crate::sm::{Handled, Window};
use crate::time::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// Half of the numbers of a stream: what lies less than this ahead is ahead (RFC 1982 §3.2).
const HALF: u32 = 1 << 31;

impl ClientEngine {
    /// Takes up where the stores are. Crash recovery is the same call.
    pub fn load(rows: Rows, config: Config) -> Self {
        let session = rows.session.unwrap_or_else(no_session);
        let outbox = queue(rows.outbox);
        let owed = queue(rows.owed);
        let window = restored(&session, &outbox, &owed);
        let mut timeline = Timeline::new(config.limits);
        for key in &rows.recent {
            timeline.learn(key);
        }
        let settled: Vec<_> = rows.awaiting.into_iter().filter_map(|row| timeline.put(row)).collect();
        let orders = timeline.rows().map(|row| row.order);
        let orders = orders.chain(outbox.rows().map(Queued::order)).chain(owed.rows().map(Queued::order));
        let last_order = orders.max().unwrap_or(0);
        let conversations: BTreeMap<_, ConversationRow> =
            rows.conversations.into_iter().map(|row| (row.jid.clone(), row)).collect();
        let mut engine = Self {
            entropy: Entropy::new(config.seed),
            config,
            now: Millis(0),
            gate: Gate::default(),
            finished: false,
            timers: Timers::default(),
            link: None::<Link>,
            last_link: LinkId(0),
            attempts: 0,
            acked_too_much: false,
            account: rows.account,
            sign_in: None,
            refused: false,
            session,
            session_unwritten: false,
            window,
            setup_confirmed: false,
            queue_told: (outbox.len(), owed.len()),
            outbox,
            owed,
            timeline,
            conversations,
            last_order,
            typing: BTreeSet::new(),
            typing_to: BTreeSet::new(),
        };
        engine.gate.load_count(engine.session.stream, Handled(engine.session.handled));
        for mut row in settled {
            row.awaiting = None;
            engine.gate.write(Op::PutMessage(row));
        }
        if engine.account.is_some() {
            // The time is not known here: it is due at the first wake.
            engine.timers.set(Timer::Retry, Millis(0));
        } else {
            engine.notify(Event::Link(LinkState::SignedOut));
        }
        let (outbox, owed) = engine.queue_told;
        engine.notify(Event::Queue { outbox, owed });
        engine
    }

    /// Forgets everything that rows stand for: they are gone.
    pub(super) fn forget_all(&mut self) {
        self.account = None;
        self.sign_in = None;
        self.refused = false;
        // The stream's number goes on: a last `<a/>` of the old one may still wait in the gate.
        self.session = SessionRow { stream: self.session.stream, ..no_session() };
        self.session_unwritten = false;
        self.window = Window::default();
        self.setup_confirmed = false;
        self.outbox = Queue::default();
        self.owed = Queue::default();
        self.timeline = Timeline::new(self.config.limits);
        self.conversations = BTreeMap::new();
        self.typing = BTreeSet::new();
        self.typing_to = BTreeSet::new();
    }
}

fn no_session() -> SessionRow {
    SessionRow { sm_id: String::new(), stream: 0, handled: 0, bound: String::new(), seen: 0 }
}

fn queue<R: Queued>(rows: Vec<R>) -> Queue<R> {
    let mut queue = Queue::default();
    rows.into_iter().for_each(|row| queue.put(row));
    queue
}

/// The window as far as rows tell: which messages and confirmations were given which numbers.
/// How far the relay had acked and how much else was sent is not known, so it takes any `h`
/// within half of all numbers around the oldest entry.
fn restored(
    session: &SessionRow,
    outbox: &Queue<super::OutboxRow>,
    owed: &Queue<super::OwedRow>,
) -> Window<Entry> {
    let number = |sent: Option<super::rows::SentAs>| {
        sent.filter(|sent| sent.stream == session.stream).map(|sent| Handled(sent.number))
    };
    let messages =
        outbox.rows().filter_map(|row| Some((number(row.sent_as)?, Entry::Message(row.origin.clone()))));
    let confirmations =
        owed.rows().filter_map(|row| Some((number(row.sent_as)?, Entry::Owed(row.key.clone()))));
    let entries: Vec<_> = messages.chain(confirmations).collect();
    let oldest = oldest(entries.iter().map(|(number, _)| *number));
    let (acked, sent) = (oldest.0.wrapping_sub(HALF), oldest.0.wrapping_add(HALF - 1));
    Window::recover(Handled(acked), Handled(sent), entries)
}

/// The number from which all others are ahead. They lie within one window of each other.
fn oldest(numbers: impl Iterator<Item = Handled>) -> Handled {
    numbers.reduce(|a, b| if b.since(a) < HALF { a } else { b }).unwrap_or_default()
}
