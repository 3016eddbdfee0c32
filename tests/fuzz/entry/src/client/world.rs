//! One tab with its stores in memory: a driver that answers commits when the script says so.

use super::ledger::{Ledger, account};
use super::relay::Relay;
use crate::relay::SMALL;
use crate::{leaf, trace};
use shared::client::rows::{AccountRow, Op, Rows};
use shared::client::{ClientEngine, Command, Config, Event, Input, Output};
use shared::gate::BatchNo;
use shared::id::{DeviceId, LinkId};
use shared::limits::Limits;
use shared::memory::ClientStore;
use shared::time::Millis;
use shared::wire::{read_frame, stanza};
use std::collections::BTreeSet;

/// What one input may lead to. An engine that is not done by then never is.
const OUTPUTS_MAX: usize = 10_000;
const URL: &str = "wss://d/xmpp-websocket";

/// See the module.
pub struct World {
    engine: ClientEngine,
    /// What is committed.
    pub store: ClientStore,
    /// What must hold.
    pub ledger: Ledger,
    /// The other end.
    pub relay: Relay,
    limits: Limits,
    /// The clock.
    pub now: Millis,
    loads: u8,
    link: Option<LinkId>,
    gone: BTreeSet<LinkId>,
    /// The connection that the engine has asked for is open.
    pub is_up: bool,
    held: Option<(BatchNo, Vec<Op>)>,
    last_batch: BatchNo,
    /// Commits wait for [`World::commit`].
    pub slow: bool,
    finished: bool,
    /// Every origin-id that the user's messages were given, the newest with its message.
    origins: BTreeSet<String>,
    newest: Option<Command>,
    /// When the engine wants to be woken.
    pub wake: Option<Millis>,
}

/// The account that everybody here knows the password of.
pub fn account_row() -> AccountRow {
    AccountRow {
        jid: account(),
        device: DeviceId::from("dev"),
        url: URL.to_owned(),
        credential: leaf::credential().clone(),
    }
}

fn config(limits: Limits, loads: u8) -> Config {
    let device = DeviceId::from("dev");
    Config { account: account(), device, url: URL.to_owned(), seed: [loads; 32], limits }
}

impl World {
    /// A tab as `flags` describe it: `d` real limits, `n` nobody is signed in.
    pub fn new(flags: &str) -> Self {
        let limits = if flags.contains('d') { Limits::DEFAULT } else { SMALL };
        let account = (!flags.contains('n')).then(account_row);
        let store = ClientStore { account, ..ClientStore::default() };
        Self::on(store.rows(limits.client_recent_keys_max), store, limits, Ledger::default())
    }

    /// A tab on rows from anywhere: only what never depends on rows is checked.
    pub fn on_any(rows: Rows) -> Self {
        let mut store = ClientStore {
            account: rows.account.clone(),
            session: rows.session.clone(),
            ..ClientStore::default()
        };
        let puts = rows.outbox.iter().cloned().map(Op::PutOutbox);
        let puts = puts.chain(rows.owed.iter().cloned().map(Op::PutOwed));
        let puts = puts.chain(rows.conversations.iter().cloned().map(Op::PutConversation));
        let puts = puts.chain(rows.awaiting.iter().cloned().map(Op::PutMessage));
        puts.for_each(|op| store.apply(&op));
        let ledger = Ledger::of_any_rows();
        Self::on(rows, store, SMALL, ledger)
    }

    fn on(rows: Rows, store: ClientStore, limits: Limits, ledger: Ledger) -> Self {
        let mut world = Self {
            engine: ClientEngine::load(rows, config(limits, 0)),
            store,
            ledger,
            relay: Relay::default(),
            limits,
            now: Millis(1_700_000_000_000),
            loads: 0,
            link: None,
            gone: BTreeSet::new(),
            is_up: false,
            held: None,
            last_batch: BatchNo(0),
            slow: false,
            finished: false,
            origins: BTreeSet::new(),
            newest: None,
            wake: None,
        };
        world.settle();
        world
    }

    /// One input and everything that follows from it.
    pub fn input(&mut self, input: Input<'_>) {
        trace(|| format!("{} -> {input:?}", self.now.0));
        self.finished |= matches!(input, Input::CommitFailed(_));
        self.engine.handle(self.now, input);
        self.settle();
    }

    /// The user acts.
    pub fn command(&mut self, command: Command) {
        self.input(Input::Command(command));
    }

    /// Whether a message has a name of its own, or is the newest one again.
    pub fn is_fresh(&mut self, origin: &str, send: &Command) -> bool {
        let again = self.newest.as_ref() == Some(send);
        let fresh = self.origins.insert(origin.to_owned());
        if fresh {
            self.newest = Some(send.clone());
        }
        fresh || again
    }

    fn settle(&mut self) {
        self.drain();
        while !self.slow && !self.finished && self.held.is_some() {
            self.apply_held();
        }
    }

    fn apply_held(&mut self) {
        let Some((no, ops)) = self.held.take() else { return };
        self.write(&ops);
        self.engine.handle(self.now, Input::Committed(no));
        self.drain();
    }

    fn write(&mut self, ops: &[Op]) {
        for op in ops {
            self.ledger.written(op, &self.store);
            self.store.apply(op);
        }
        self.ledger.committed(&self.store);
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            let output = self.engine.poll();
            trace(|| format!("    {output:?}"));
            if self.finished {
                let last_words = matches!(&output, Output::Close(_) | Output::WakeAt(None));
                assert!(last_words, "a failed commit is the end: {output:?}");
            }
            match output {
                Output::WakeAt(at) => return self.drained(at),
                Output::Commit(no, ops) => {
                    assert!(self.held.is_none(), "{:?} is out and {no:?} follows", self.held);
                    assert!(no > self.last_batch, "{no:?} follows on {:?}", self.last_batch);
                    self.last_batch = no;
                    self.held = Some((no, ops));
                }
                Output::Connect(link, _) => {
                    assert!(self.link.is_none(), "{:?} stands and {link:?} is asked for", self.link);
                    (self.link, self.is_up) = (Some(link), false);
                }
                Output::Send(link, text) => self.sent(link, &text),
                Output::Close(link) => {
                    self.gone.insert(link);
                    // One that was never opened, or is lost, may be closed all the same.
                    if self.link == Some(link) {
                        self.hang_up();
                    }
                }
                Output::Notify(event) => {
                    self.ledger.shown(&event, &self.store);
                    if event == Event::SignedOut {
                        self.relay.confirmed.clear();
                    }
                }
            }
        }
        panic!("one input and {OUTPUTS_MAX} outputs, with no end");
    }

    fn drained(&mut self, wake: Option<Millis>) {
        // What a load wants to be woken for was due before it knew the time.
        let due = wake.is_none_or(|at| at > self.now || at == Millis(0));
        assert!(due, "woken at {wake:?}, and it is {:?}", self.now);
        assert!(!self.finished || self.link.is_none(), "{:?} outlives its engine", self.link);
        self.wake = wake;
    }

    fn sent(&mut self, link: LinkId, text: &str) {
        if self.link != Some(link) {
            // The connection was lost while the engine, which had let go of it, waited for the disk.
            return assert!(self.gone.contains(&link), "{text} on a connection that never was");
        }
        assert!(self.is_up, "{text} on a connection that is not open");
        let element = self.ledger.sent(text, &self.store, &self.relay);
        self.relay.receive(&element);
        self.ledger.heard(&self.store, &self.relay);
    }

    fn hang_up(&mut self) {
        (self.link, self.is_up) = (None, false);
        self.relay.hang_up();
    }

    /// The connection that was asked for opens.
    pub fn link_up(&mut self) {
        if let Some(link) = self.link.filter(|_| !self.is_up) {
            self.is_up = true;
            self.input(Input::LinkUp(link));
        }
    }

    /// The connection breaks, or cannot be opened.
    pub fn link_down(&mut self) {
        if let Some(link) = self.link {
            self.gone.insert(link);
            self.hang_up();
            self.input(Input::LinkDown(link));
        }
    }

    /// News of a connection that the engine has no longer, or never had.
    pub fn stale_link(&mut self, place: usize, up: bool) {
        let link = self.gone.iter().nth(place).copied().unwrap_or(LinkId(u64::MAX));
        if self.link != Some(link) {
            self.input(if up { Input::LinkUp(link) } else { Input::LinkDown(link) });
            self.input(Input::Frame(link, "<a xmlns='urn:xmpp:sm:3' h='1'/>"));
        }
    }

    /// Something arrives that the good relay did not say.
    pub fn frame(&mut self, text: &str) {
        let Some(link) = self.link.filter(|_| self.is_up) else { return };
        self.ledger.lied_to = true;
        let counted = read_frame(text, usize::MAX).is_ok_and(|element| stanza::kind(&element).is_some());
        if counted {
            self.relay.arrives(None);
        }
        self.input(Input::Frame(link, text));
    }

    /// The next thing that the good relay says arrives. False if it is silent.
    pub fn next_frame(&mut self) -> bool {
        let Some(link) = self.link.filter(|_| self.is_up) else { return false };
        let Some(text) = self.relay.next() else { return false };
        self.input(Input::Frame(link, &text));
        true
    }

    /// The disk is done with what it was given.
    pub fn commit(&mut self) {
        if !self.finished {
            self.apply_held();
        }
    }

    /// The disk has failed.
    pub fn fail(&mut self) {
        if let Some((no, _)) = self.held.take() {
            self.input(Input::CommitFailed(no));
        }
    }

    /// News of a commit that is not out.
    pub fn stale_commit(&mut self, no: u64) {
        if self.held.as_ref().is_none_or(|(out, _)| out.0 != no) {
            self.input(Input::Committed(BatchNo(no)));
        }
    }

    /// The tab is closed, before or after the disk took the commit that was out, and opened again.
    pub fn crash(&mut self, written: bool) {
        let held = self.held.take();
        if let Some((_, ops)) = held.filter(|_| written) {
            self.write(&ops);
        }
        self.hang_up();
        self.gone.clear();
        self.loads = self.loads.wrapping_add(1);
        (self.finished, self.last_batch) = (false, BatchNo(0));
        let rows = self.store.rows(self.limits.client_recent_keys_max);
        self.engine = ClientEngine::load(rows, config(self.limits, self.loads));
        self.settle();
        self.input(Input::Wake);
    }

    /// Whether the engine has given up.
    pub fn is_finished(&self) -> bool {
        self.finished
    }
}
