//! One mailbox with its store in memory: a driver that answers commits when the script says so.

use super::ledger::Ledger;
use super::{SMALL, account};
use crate::{leaf, trace};
use shared::cold::SegmentFault;
use shared::gate::BatchNo;
use shared::id::{LinkId, StanzaSeq};
use shared::limits::Limits;
use shared::memory::MailboxStore;
use shared::relay::rows::{AccountRow, Op};
use shared::relay::{
    CallId, Called, Config, Input, LinkState, Output, Registration, RelayEngine, TransferReply,
    TransferRequest,
};
use shared::time::Millis;
use std::collections::BTreeMap;

/// What one input may lead to. An engine that is not done by then never is.
const OUTPUTS_MAX: usize = 10_000;
/// Connections a script can speak of at a time.
pub const SLOTS: usize = 4;

/// A call to another mailbox.
pub struct Call {
    /// The engine that made it.
    life: u8,
    /// What it hands over.
    pub request: TransferRequest,
}

/// See the module.
pub struct World {
    engine: RelayEngine,
    /// What is committed.
    pub store: MailboxStore,
    /// Its segments.
    blobs: BTreeMap<String, Vec<u8>>,
    /// What must hold.
    pub ledger: Ledger,
    limits: Limits,
    registration: Registration,
    /// The clock.
    pub now: Millis,
    latest: Millis,
    loads: u8,
    next_link: u64,
    slots: [Option<LinkId>; SLOTS],
    links: BTreeMap<LinkId, Option<LinkState>>,
    held: Option<(BatchNo, Vec<Op>)>,
    last_batch: BatchNo,
    /// Commits wait for [`World::commit`].
    pub slow: bool,
    poisoned: bool,
    /// It was loaded, and nothing has happened.
    asleep: bool,
    /// When the engine wants to be woken.
    pub wake: Option<Millis>,
    /// Calls to other mailboxes that have no answer yet.
    pub calls: Vec<Call>,
    next_call: u64,
    /// Answers came that no call of this engine had asked for.
    stale_answers: bool,
    /// What was sent on each connection since it was last asked for.
    pub sent: BTreeMap<LinkId, Vec<String>>,
}

/// The account that everybody here knows the password of.
pub fn account_row() -> AccountRow {
    AccountRow {
        sha1: leaf::keys().clone(),
        sha256: leaf::keys().clone(),
        created: Millis(0),
        blocked: Vec::new(),
        archiving: Default::default(),
        removed: false,
        begins: StanzaSeq(0),
    }
}

impl World {
    /// A mailbox as `flags` describe it: `d` real limits, `r` nobody has registered, `c` and nobody
    /// may.
    pub fn new(flags: &str) -> Self {
        let mut store = MailboxStore::default();
        if !flags.contains(['c', 'r']) {
            store.account = Some(account_row());
        }
        Self::with(store, flags)
    }

    /// The same with these rows.
    pub fn with(store: MailboxStore, flags: &str) -> Self {
        let limits = if flags.contains('d') { Limits::DEFAULT } else { SMALL };
        let registration = if flags.contains('c') { Registration::Closed } else { Registration::Open };
        Self::on(store, Vec::new(), limits, registration, Ledger::new(limits))
    }

    /// A mailbox on rows from anywhere: only what never depends on rows is checked.
    pub fn on_any(store: MailboxStore, links: BTreeMap<LinkId, LinkState>) -> Self {
        let mut ledger = Ledger::new(SMALL);
        ledger.lenient = true;
        Self::on(store, links.into_iter().collect(), SMALL, Registration::Open, ledger)
    }

    fn on(
        store: MailboxStore,
        links: Vec<(LinkId, LinkState)>,
        limits: Limits,
        registration: Registration,
        ledger: Ledger,
    ) -> Self {
        let now = Millis(1_700_000_000_000);
        let config = Config { account: account(), registration, seed: [0; 32], limits, cold: true };
        let mut world = Self {
            engine: RelayEngine::load(now, store.rows(), links.clone(), config),
            ledger,
            blobs: BTreeMap::new(),
            store,
            limits,
            registration,
            now,
            latest: now,
            loads: 0,
            next_link: links.iter().map(|(id, _)| id.0).max().unwrap_or(0).saturating_add(1),
            slots: [None; SLOTS],
            links: links.into_iter().map(|(id, state)| (id, Some(state))).collect(),
            held: None,
            last_batch: BatchNo(0),
            slow: false,
            poisoned: false,
            asleep: true,
            wake: None,
            calls: Vec::new(),
            next_call: 1,
            stale_answers: false,
            sent: BTreeMap::new(),
        };
        world.ledger.loaded(&world.store);
        world.settle();
        world
    }

    /// The connection in a slot.
    pub fn link(&self, slot: usize) -> Option<LinkId> {
        self.slots[slot % SLOTS]
    }

    /// A new connection in a slot; whatever was there is left alone.
    pub fn connect(&mut self, slot: usize) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.slots[slot % SLOTS] = Some(link);
        self.links.insert(link, None);
        self.input(Input::LinkUp(link));
        link
    }

    /// The connection in a slot ends.
    pub fn disconnect(&mut self, slot: usize) {
        if let Some(link) = self.slots[slot % SLOTS].take() {
            self.links.remove(&link);
            self.input(Input::LinkDown(link));
        }
    }

    /// A text arrives on a connection.
    pub fn frame(&mut self, link: LinkId, text: &str) {
        if self.links.contains_key(&link) {
            let state = self.links.get(&link).and_then(Option::as_ref);
            self.ledger.heard(link, state.filter(|_| !self.poisoned), text);
        }
        self.input(Input::Frame(link, text));
        self.ledger.taken();
    }

    /// Another mailbox calls.
    pub fn transfer(&mut self, request: &TransferRequest) {
        let call = CallId(self.next_call);
        self.next_call += 1;
        if !self.poisoned {
            self.ledger.called(call, request, &self.store);
        }
        self.input(Input::Transfer(call, request));
    }

    /// A call to another mailbox has an answer, or is known to have none.
    pub fn transferred(&mut self, to: shared::jid::BareJid, called: Called, reply: Option<TransferReply>) {
        let is_it = |call: &Call| call.request.to == to && call.request.called() == called;
        // Such an answer may be taken for that to a call which has not left yet.
        self.stale_answers |= !self.calls.iter().any(|call| is_it(call) && call.life == self.loads);
        while let Some(place) = self.calls.iter().position(is_it) {
            let call = self.calls.remove(place);
            if reply.is_some() && !self.poisoned {
                self.ledger.settled(&call.request);
            }
        }
        self.input(Input::Transferred(to, called, reply));
    }

    /// One input and everything that follows from it.
    pub fn input(&mut self, input: Input<'_>) {
        trace(|| format!("{} -> {input:?}", self.now.0));
        let failed = !self.poisoned && matches!(input, Input::CommitFailed(_));
        self.poisoned |= failed;
        self.latest = self.now;
        self.asleep = false;
        self.engine.handle(self.now, input, &self.store);
        self.settle();
        assert!(!failed || self.links.is_empty(), "{:?} outlive their engine", self.links.keys());
    }

    fn settle(&mut self) {
        self.drain();
        while !self.slow && !self.poisoned && self.held.is_some() {
            self.apply_held();
        }
    }

    fn apply_held(&mut self) {
        let Some((no, ops)) = self.held.take() else { return };
        self.write(&ops);
        self.engine.handle(self.now, Input::Committed(no), &self.store);
        self.drain();
    }

    fn write(&mut self, ops: &[Op]) {
        for op in ops {
            self.ledger.written(op, &self.store);
            self.store.apply(op);
        }
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            let output = self.engine.poll();
            trace(|| format!("    {output:?}"));
            if self.poisoned {
                let last_words = match &output {
                    Output::Send(_, text) => text.contains("internal-server-error"),
                    Output::Close(_, code) => *code == 1011,
                    Output::WakeAt(at) => at.is_none(),
                    _ => false,
                };
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
                Output::Send(link, text) => {
                    self.ledger.sent(link, self.links.contains_key(&link), &text, &self.store);
                    self.sent.entry(link).or_default().push(text);
                }
                Output::Close(link, _) => {
                    self.ledger.closed(link);
                    self.links.remove(&link);
                }
                Output::Remember(link, state) => {
                    self.ledger.remembered(link, &state);
                    self.links.insert(link, Some(state));
                }
                Output::Transfer(request) => {
                    self.ledger.transfers(&request, &self.store);
                    let life = self.loads;
                    let under_way = |call: &Call| call.life == life && call.request.to == request.to;
                    let twice = !self.stale_answers && self.calls.iter().any(under_way);
                    assert!(!twice, "{} is called twice at a time", request.to);
                    self.calls.push(Call { life, request });
                }
                Output::Reply(call, reply) => self.ledger.replied(call, reply, &self.store),
                Output::PutSegment(name, bytes) => {
                    self.blobs.insert(name.clone(), bytes);
                    self.engine.handle(self.now, Input::SegmentPut(&name, true), &self.store);
                }
                Output::GetSegment(name) => {
                    let got = self.blobs.get(&name).map(Vec::as_slice).ok_or(SegmentFault::Missing);
                    self.engine.handle(self.now, Input::Segment(&name, got), &self.store);
                }
                Output::DeleteSegment(name) => {
                    self.blobs.remove(&name);
                    self.engine.handle(self.now, Input::SegmentDeleted(&name, true), &self.store);
                }
                Output::SegmentFault(..) => {}
            }
        }
        panic!("one input and {OUTPUTS_MAX} outputs, with no end");
    }

    fn drained(&mut self, wake: Option<Millis>) {
        // What is overdue when it is loaded waits for the first input.
        let due = self.asleep || wake.is_none_or(|at| at > self.latest);
        assert!(due, "woken at {wake:?}, and it is {:?}", self.latest);
        self.wake = wake;
    }

    /// The disk is done with what it was given.
    pub fn commit(&mut self) {
        if !self.poisoned {
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

    /// The power fails, before or after the disk took the commit that was out. Everything that is
    /// only in memory is gone.
    pub fn crash(&mut self, written: bool) {
        let held = self.held.take();
        if let Some((_, ops)) = held.filter(|_| written) {
            self.write(&ops);
        }
        self.slots = [None; SLOTS];
        self.links.clear();
        self.ledger.lost_links();
        self.load(Vec::new());
    }

    /// The mailbox sleeps and wakes. It does not while something is under way.
    pub fn hibernate(&mut self) {
        if self.held.is_some() || self.poisoned {
            return;
        }
        let links = self.links.iter().filter_map(|(id, state)| Some((*id, state.clone()?))).collect();
        self.load(links);
    }

    fn load(&mut self, links: Vec<(LinkId, LinkState)>) {
        self.loads = self.loads.wrapping_add(1);
        let awake = !links.is_empty();
        let config = Config {
            account: account(),
            registration: self.registration,
            seed: [self.loads; 32],
            limits: self.limits,
            cold: true,
        };
        self.engine = RelayEngine::load(self.now, self.store.rows(), links, config);
        (self.poisoned, self.asleep) = (false, true);
        (self.last_batch, self.latest) = (BatchNo(0), self.now);
        if !awake {
            self.ledger.loaded(&self.store);
        }
        self.settle();
    }

    /// Whether the engine has given up.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }
}
