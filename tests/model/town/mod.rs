//! The real engines of two accounts, each with one device, and everything between them.
//!
//! [`Town`] is one state of it and [`Act`] one thing that happens. `drive` carries what the
//! engines say, as a browser, a runtime and a network would; `rules` is what must hold; `explore`
//! walks through every order in which things can happen.
//!
//! # What is one act
//!
//! Fewer, larger acts make fewer states. Each of these hides no order that matters:
//!
//! - *A mailbox's commit* belongs to what caused it: its disk is done before the next event comes.
//!   A crash between the commit and what it lets go is a crash right after, which loses all that
//!   was let go: connections with what is on its way, and calls.
//! - *Opening a connection* goes as far as the frame that names the session (`<resume/>`, or
//!   bind). Up to there both ends change nothing but what they know of this connection. A device
//!   whose disk is busy dials when it is done: until then its frames would wait anyway.
//! - *Time* stands still while anything else can happen, unless [`Left::haste`] lets it pass. Then
//!   it goes to the next deadline, and all that is due by then is done in one order.
//! - *An answer* to a call between mailboxes comes with the call's arrival where
//!   [`Scope::late_answers`] is off. It is lost, or its caller is, by acts of their own. What is
//!   not seen then is the answer overtaken by what the call caused, such as a receipt.
//! - When nothing can go wrong any more, *a device reads first*: where its disk is not busy and its
//!   user does nothing, a frame that has come is its only possible input, and reading it writes
//!   to no disk. So it commutes with whatever anybody else does, and no rule sees the difference.
//!
//! One is a bound: [`Scope::quick_disks`] lets a device's commits be done at once after the last
//! thing that went wrong. How a slow disk gathers what comes meanwhile is then tried before that,
//! and after it only where the scope is small.

#[cfg(feature = "known-bad")]
mod bad;
mod drive;
mod explore;
mod part;
mod rules;

use part::Part;
use shared::client::rows::Op;
use shared::client::{self, ClientEngine, Command};
use shared::gate::BatchNo;
use shared::id::{DeviceId, LinkId, OriginId};
use shared::jid::BareJid;
use shared::limits::Limits;
use shared::memory::{ClientStore, MailboxStore};
use shared::relay::{self, Called, LinkState, Registration, RelayEngine, TransferReply, TransferRequest};
use shared::time::Millis;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// An account, its device and its mailbox all have the same index.
const ALICE: usize = 0;
const BOB: usize = 1;
const BOTH: [usize; 2] = [ALICE, BOB];
const NAMES: [&str; 2] = ["alice", "bob"];

/// What alice sends, in this order: origin-id and text.
const MESSAGES: [&str; 2] = ["m1", "m2"];

const START: Millis = Millis(1_700_000_000_000);
/// When all is done, this is waited for what is due soon: acks that are asked for or told.
const LULL_MS: u64 = 1_000;
/// By then everything has been tried again often enough.
const PATIENCE_MS: u64 = 180_000;

/// A device: its engine, its disk, and what its disk is busy with.
#[derive(Clone, Debug)]
struct Client {
    engine: ClientEngine,
    store: ClientStore,
    pending: Option<Pending>,
    wake: Option<Millis>,
    online: bool,
    /// Asked for and not answered.
    dialling: Option<LinkId>,
    loads: u8,
}

/// A commit that is out. Its number is the only one that is, so it tells nothing.
#[derive(Clone)]
struct Pending {
    no: BatchNo,
    ops: Vec<Op>,
}

/// A mailbox, and what the runtime keeps of its connections.
#[derive(Clone, Debug)]
struct Mailbox {
    engine: RelayEngine,
    store: MailboxStore,
    links: BTreeMap<LinkId, LinkState>,
    wake: Option<Millis>,
    loads: u8,
}

/// A connection, each end under the name that its engine has for it, with what is on its way.
#[derive(Clone, Debug)]
struct Wire {
    near: LinkId,
    far: LinkId,
    up: VecDeque<String>,
    down: VecDeque<String>,
    /// The device has let go. What it said before is still on its way.
    client_gone: bool,
    relay_gone: bool,
}

/// Which mailbox called, and in which of its lives: an earlier one hears no answer.
type Caller = (usize, u8);

/// A call between mailboxes, on its way there or back.
#[derive(Clone, Debug)]
enum Leg {
    Call(TransferRequest),
    Answer(Called, TransferReply),
}

/// See the module.
#[derive(Clone, Debug)]
struct Town {
    now: Millis,
    clients: [Part<Client>; 2],
    mailboxes: [Part<Mailbox>; 2],
    wires: [Vec<Wire>; 2],
    calls: BTreeMap<Caller, Leg>,
    sent: usize,
    scope: Scope,
    left: Left,
    /// The first rule that was seen broken as something left an engine.
    fault: Option<&'static str>,
    /// The engines have this bug.
    #[cfg(feature = "known-bad")]
    bug: Option<shared::bad::Bug>,
}

/// What is to happen.
#[derive(Clone, Copy, Debug)]
struct Scope {
    messages: usize,
    /// An ack is asked for after so many stanzas.
    ack_every: u32,
    /// Answers to calls take their time.
    late_answers: bool,
    /// When nothing can go wrong any more, a device's disk is done at once.
    quick_disks: bool,
}

/// What may still go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Left {
    /// Crashes of devices; of mailboxes; mailboxes that sleep and wake.
    devices: u8,
    mailboxes: u8,
    naps: u8,
    cuts: u8,
    /// Devices whose name somebody else binds.
    usurped: u8,
    /// Calls, or their answers.
    lost: u8,
    /// How often time may pass although something could happen.
    haste: u8,
}

/// Something happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    /// Alice sends her next message.
    Send,
    /// A device's disk is done.
    Commit(usize),
    /// The next frame arrives at the mailbox; after the last one, the end.
    Up(usize, usize),
    /// The next frame arrives at the device; after the last one, the end.
    Down(usize, usize),
    /// A connection opens, and is authenticated.
    Dial(usize),
    /// A call arrives.
    Call(Caller),
    /// Its answer arrives.
    Answer(Caller),
    /// Time goes to the next thing that anybody waits for.
    Wake,
    /// ... although something else could happen.
    Haste,
    /// A device's power fails. `applied`: the commit that its disk is busy with is on it
    /// afterwards. What it had said is lost with its connection.
    CrashDevice {
        who: usize,
        applied: bool,
    },
    /// A mailbox's power fails. `late`: its call that is under way arrives.
    CrashMailbox {
        who: usize,
        late: bool,
    },
    /// A mailbox is put to sleep and woken: memory is lost, connections are not.
    Nap(usize),
    Cut(usize, Cut),
    /// Another client of the account binds the device's name and goes. The session is lost.
    Usurp(usize),
    /// A call does not arrive.
    LoseCall(Caller),
    /// A call arrives, and its answer does not.
    LoseAnswer(Caller),
}

/// How a connection breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cut {
    /// Both ends notice, and what was under way is lost.
    Both,
    /// The device notices. What it said arrives late, perhaps after it came back.
    Client,
    /// The mailbox notices. What it said arrives late.
    Mailbox,
}

fn jid(who: usize) -> BareJid {
    BareJid::new(NAMES[who], "d").expect("a JID")
}

/// Every life of an engine has one seed: what it draws follows from what happened to it, and is
/// not what an earlier life drew.
fn seed(kind: u8, who: usize, loads: u8) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..3].copy_from_slice(&[kind, who as u8, loads]);
    seed
}

impl Scope {
    fn limits(&self) -> Limits {
        Limits { ack_every_stanzas: self.ack_every, ..Limits::DEFAULT }
    }
}

impl Client {
    fn load(who: usize, scope: &Scope, store: ClientStore, loads: u8) -> Self {
        let config = client::Config {
            account: jid(who),
            device: DeviceId::from("device"),
            url: "wss://d/x".to_owned(),
            seed: seed(1, who, loads),
            limits: scope.limits(),
        };
        let engine = ClientEngine::load(store.rows(Limits::DEFAULT.client_recent_keys_max), config);
        Self { engine, store, pending: None, wake: None, online: false, dialling: None, loads }
    }
}

impl Mailbox {
    fn load(
        who: usize,
        scope: &Scope,
        now: Millis,
        store: MailboxStore,
        links: BTreeMap<LinkId, LinkState>,
        loads: u8,
    ) -> Self {
        let config = relay::Config {
            account: jid(who),
            registration: Registration::Open,
            seed: seed(2, who, loads),
            limits: scope.limits(),
            cold: false,
        };
        let engine = RelayEngine::load(now, store.rows(), links.clone().into_iter().collect(), config);
        Self { engine, store, links, wake: None, loads }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ops.fmt(f)
    }
}

impl Wire {
    fn is_whole(&self) -> bool {
        !self.client_gone && !self.relay_gone
    }
}

impl Town {
    /// Both are signed in, online and know each other, and everything is acked.
    fn new(scope: Scope, left: Left) -> Self {
        let store = MailboxStore::default;
        let mut town = Self {
            now: START,
            clients: BOTH.map(|who| Part::new(Client::load(who, &scope, ClientStore::default(), 0))),
            mailboxes: BOTH
                .map(|who| Part::new(Mailbox::load(who, &scope, START, store(), BTreeMap::new(), 0))),
            wires: [Vec::new(), Vec::new()],
            calls: BTreeMap::new(),
            sent: scope.messages,
            scope,
            left: Left::default(),
            fault: None,
            #[cfg(feature = "known-bad")]
            bug: None,
        };
        for who in BOTH {
            let sign_in = Command::SignIn { password: "pencil".to_owned(), register: true };
            town.client(who, client::Input::Command(sign_in));
        }
        town.settle();
        for who in BOTH {
            town.client(who, client::Input::Command(Command::Accept(jid(1 - who))));
        }
        town.settle();
        assert!(BOTH.iter().all(|who| town.clients[*who].online) && town.fault.is_none());
        (town.sent, town.left) = (0, left);
        town.seal();
        town
    }

    /// Everything goes well, in one order, until nothing is left to do.
    fn settle(&mut self) {
        while let Some(act) = self.progress().first().copied().or(self.waits().then_some(Act::Wake)) {
            self.act(act);
        }
    }

    fn seal(&mut self) {
        self.clients.iter_mut().for_each(Part::seal);
        self.mailboxes.iter_mut().for_each(Part::seal);
    }

    fn digest(&self) -> u64 {
        let clients = self.clients.each_ref().map(Part::digest);
        let mailboxes = self.mailboxes.each_ref().map(Part::digest);
        let between = (&self.wires, &self.calls);
        part::digest(&(clients, mailboxes, between, self.now, self.sent, self.left, self.fault))
    }

    /// Whether a caller is still there.
    fn lives(&self, caller: &Caller) -> bool {
        self.mailboxes[caller.0].loads == caller.1
    }

    fn deadline(&self) -> Option<Millis> {
        let clients = self.clients.iter().filter_map(|client| client.wake);
        clients.chain(self.mailboxes.iter().filter_map(|mailbox| mailbox.wake)).min()
    }

    /// Whether anybody waits for something that matters.
    fn waits(&self) -> bool {
        let within = if self.all_is_done() { LULL_MS } else { PATIENCE_MS };
        self.deadline().is_some_and(|at| at <= self.now.plus(within)) && self.now < START.plus(PATIENCE_MS)
    }

    /// Nothing happens any more unless something goes wrong.
    fn is_quiet(&self) -> bool {
        self.progress().is_empty() && !self.waits()
    }

    fn act(&mut self, act: Act) {
        #[cfg(feature = "known-bad")]
        shared::bad::switch(self.bug);
        self.begin(act);
        if self.scope.quick_disks && self.left == Left::default() {
            BOTH.into_iter().for_each(|who| self.commit_all(who));
        }
        self.seal();
    }

    fn begin(&mut self, act: Act) {
        match act {
            Act::Send => {
                let text = MESSAGES[self.sent].to_owned();
                self.sent += 1;
                let send = Command::Send { origin: OriginId(text.clone()), to: jid(BOB), body: text };
                self.client(ALICE, client::Input::Command(send));
            }
            Act::Commit(who) => self.commit(who),
            Act::Up(who, at) => self.up(who, at),
            Act::Down(who, at) => self.down(who, at),
            Act::Dial(who) => self.dial(who),
            Act::Call(caller) => self.call(caller),
            Act::Answer(caller) => self.answer(caller, true),
            Act::Wake => self.wake(),
            Act::Haste => {
                self.left.haste -= 1;
                self.wake();
            }
            Act::CrashDevice { who, applied } => {
                self.left.devices -= 1;
                self.crash_device(who, applied);
            }
            Act::CrashMailbox { who, late } => {
                self.left.mailboxes -= 1;
                self.crash_mailbox(who, late);
            }
            Act::Nap(who) => {
                self.left.naps -= 1;
                self.nap(who);
            }
            Act::Cut(who, cut) => {
                self.left.cuts -= 1;
                self.cut(who, cut);
            }
            Act::Usurp(who) => {
                self.left.usurped -= 1;
                self.usurp(who);
            }
            Act::LoseCall(caller) => {
                self.left.lost -= 1;
                self.lose_call(caller);
            }
            Act::LoseAnswer(caller) => {
                self.left.lost -= 1;
                self.answer(caller, false);
            }
        }
    }
}
