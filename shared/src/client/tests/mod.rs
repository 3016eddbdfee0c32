//! The engine against a tiny relay and a store in memory, with a clock and a disk that the test
//! holds in its hands.

mod crash;
mod gating;
mod gone;
mod login;
mod messages;
mod relay;
mod session;

use super::rows::*;
use super::*;
use crate::gate::BatchNo;
use crate::id::DeviceId;
use crate::limits::Limits;
use crate::memory::ClientStore;
use relay::Relay;
use std::collections::VecDeque;

/// The stores, and what must hold of them at every moment.
#[derive(Clone, Default)]
struct Store {
    rows: ClientStore,
    /// Every origin-id that ever had a row in the outbox.
    promised: BTreeSet<OriginId>,
}

impl std::ops::Deref for Store {
    type Target = ClientStore;

    fn deref(&self) -> &ClientStore {
        &self.rows
    }
}

impl std::ops::DerefMut for Store {
    fn deref_mut(&mut self) -> &mut ClientStore {
        &mut self.rows
    }
}

impl Store {
    /// A person sees all that is stored.
    fn seen(&self, peer: &str) -> Command {
        let peer = jid(peer);
        let newest = self.conversations.get(&peer).and_then(|row| row.newest.clone());
        Command::Displayed(peer, newest.unwrap_or(MessageKey(String::new())))
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::PutMessage(row) => {
                if let Some(before) = self.messages.get(&row.key) {
                    assert!(row.status >= before.status, "status goes back: {before:?} {row:?}");
                }
            }
            Op::PutOutbox(row) => drop(self.promised.insert(row.origin.clone())),
            Op::Clear => self.promised.clear(),
            _ => {}
        }
        self.rows.apply(op);
    }

    fn rows(&self) -> Rows {
        self.rows.rows(Limits::DEFAULT.client_recent_keys_max)
    }
}

struct World {
    now: u64,
    tick: usize,
    /// How many steps a commit takes.
    lag: usize,
    /// Steps until the power is cut.
    fuse: Option<usize>,
    store: Store,
    pending: VecDeque<(usize, BatchNo, Vec<Op>)>,
    /// Commits stay where they are.
    stuck: bool,
    /// ... from when this is sent.
    sticks_at: Option<&'static str>,
    engine: ClientEngine,
    link: Option<LinkId>,
    reachable: bool,
    connects: Vec<String>,
    relay: Relay,
    sent: Vec<String>,
    events: Vec<Event>,
    wake: Option<Millis>,
    loads: u8,
}

fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

fn key(origin: &str) -> MessageKey {
    MessageKey::of_origin(&jid("alice@d"), &OriginId::from(origin))
}

fn config(loads: u8) -> Config {
    Config {
        account: jid("alice@d"),
        device: DeviceId::from("dev"),
        url: "wss://d/xmpp-websocket".into(),
        seed: [loads; 32],
        limits: Limits::DEFAULT,
    }
}

fn send(origin: &str, body: &str) -> Command {
    Command::Send { origin: OriginId::from(origin), to: jid("bob@d"), body: body.into() }
}

fn sign_in(register: bool) -> Command {
    Command::SignIn { password: "pencil".into(), register }
}

/// A message from bob as the relay delivers it.
fn from_bob(origin: &str, body: &str) -> String {
    format!(
        "<message xmlns='jabber:client' type='chat' from='bob@d/phone' to='alice@d' id='{origin}'><body>{body}</body><origin-id xmlns='urn:xmpp:sid:0' id='{origin}'/><request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>{{SEQ}}</message>"
    )
}

fn receipt_from(from: &str, id: &str) -> String {
    format!(
        "<message xmlns='jabber:client' type='chat' from='{from}' to='alice@d'><received xmlns='urn:xmpp:receipts' id='{id}'/>{{SEQ}}</message>"
    )
}

fn displayed_from(from: &str, id: &str) -> String {
    format!(
        "<message xmlns='jabber:client' type='chat' from='{from}' to='alice@d'><displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/>{{SEQ}}</message>"
    )
}

impl World {
    /// Nobody is signed in.
    fn new() -> Self {
        Self::on(Store::default(), Relay::new(Some("pencil")))
    }

    fn on(store: Store, relay: Relay) -> Self {
        let mut world = Self {
            now: 1_700_000_000_000,
            tick: 0,
            lag: 0,
            fuse: None,
            engine: ClientEngine::load(store.rows(), config(0)),
            store,
            pending: VecDeque::new(),
            stuck: false,
            sticks_at: None,
            link: None,
            reachable: true,
            connects: Vec::new(),
            relay,
            sent: Vec::new(),
            events: Vec::new(),
            wake: None,
            loads: 0,
        };
        world.settle();
        world
    }

    /// Signed in, online, everything quiet.
    fn online() -> Self {
        let mut world = Self::new();
        world.command(sign_in(false));
        world.advance(1000);
        assert!(world.engine.is_online());
        world.sent.clear();
        world.events.clear();
        world
    }

    fn command(&mut self, command: Command) {
        self.input(Input::Command(command));
    }

    /// A frame from the relay, past its bookkeeping.
    fn frame(&mut self, frame: &str) {
        self.relay.out.push(frame.to_owned());
        self.settle();
    }

    fn deliver(&mut self, stanza: &str) -> u64 {
        let seq = self.relay.deliver(stanza);
        self.settle();
        seq
    }

    /// A stanza that no mailbox keeps, counted.
    fn say(&mut self, stanza: &str) {
        self.relay.say(stanza);
        self.settle();
    }

    fn input(&mut self, input: Input<'_>) {
        self.engine.handle(Millis(self.now), input);
        self.settle();
    }

    fn handle(&mut self, input: Input<'_>) {
        self.engine.handle(Millis(self.now), input);
    }

    fn blown(&self) -> bool {
        self.fuse == Some(0)
    }

    /// Until nothing happens any more, or the power is cut.
    fn settle(&mut self) {
        loop {
            if self.blown() {
                return;
            }
            self.fuse = self.fuse.map(|left| left - 1);
            self.tick += 1;
            if !self.stuck && self.pending.front().is_some_and(|(due, ..)| *due <= self.tick) {
                let (_, no, ops) = self.pending.pop_front().unwrap();
                ops.iter().for_each(|op| self.store.apply(op));
                self.handle(Input::Committed(no));
            }
            match self.engine.poll() {
                Output::Commit(no, ops) => self.pending.push_back((self.tick + self.lag, no, ops)),
                Output::Connect(link, url) => {
                    self.connects.push(url);
                    if self.reachable {
                        self.link = Some(link);
                        self.handle(Input::LinkUp(link));
                    } else {
                        self.handle(Input::LinkDown(link));
                    }
                }
                Output::Send(link, frame) => {
                    if self.link == Some(link) {
                        self.check_leaving(&frame);
                        self.stuck |= self.sticks_at.is_some_and(|text| frame.starts_with(text));
                        self.sent.push(frame.clone());
                        self.relay.receive(&frame);
                        self.check_confirmed();
                    }
                }
                Output::Close(link) => {
                    if self.link == Some(link) {
                        self.link = None;
                        self.relay.hang_up();
                    }
                }
                Output::Notify(event) => {
                    self.check_event(&event);
                    self.events.push(event);
                }
                Output::WakeAt(at) => {
                    self.wake = at;
                    if let Some(link) = self.link
                        && !self.relay.out.is_empty()
                    {
                        let frame = self.relay.out.remove(0);
                        self.handle(Input::Frame(link, &frame));
                    } else if self.stuck || self.pending.is_empty() {
                        return;
                    }
                }
            }
        }
    }

    /// The gating table, seen from the wire.
    fn check_leaving(&self, frame: &str) {
        let element = crate::wire::read_frame(frame, 1 << 20).unwrap();
        if let ("a" | "resume", Some(session)) = (element.name.as_str(), &self.store.session) {
            let h = element.attr("h").unwrap();
            assert_eq!(h, session.handled.to_string(), "h is the committed count");
        }
        if element.name != "message" {
            return;
        }
        if let Some(body) = crate::wire::stanza::body(&element) {
            let origin = crate::wire::stanza::origin_id(&element).unwrap();
            let row = self.store.outbox.get(&origin).expect("a message leaves after its outbox row");
            assert_eq!(row.body, body);
            assert!(self.store.messages.contains_key(&key(origin.as_str())));
            if let Some(session) = &self.relay.session {
                let number = row.sent_as.map(|sent| sent.number);
                assert_eq!(number, Some(session.handled.wrapping_add(1)), "numbered as the relay counts");
            }
        }
        if let Some(received) = element.child(crate::wire::ns::RECEIPTS, "received") {
            let id = received.attr("id").unwrap();
            assert!(self.store.messages.values().any(|row| row.id == id), "a receipt leaves after its row");
            assert!(self.store.owed.values().any(|row| row.id == id));
        }
    }

    /// What the relay takes for confirmed is on the disk.
    fn check_confirmed(&self) {
        if let Some(session) = &self.store.session {
            let on_disk = |seq: &u64| *seq <= session.seen;
            assert!(self.relay.confirmed.iter().all(on_disk), "h covers what is not on disk");
        }
        assert_eq!(self.relay.faults, Vec::<String>::new());
    }

    fn check_event(&self, event: &Event) {
        match event {
            Event::Message(row) => {
                let stored = self.store.messages.get(&row.key);
                assert!(stored.is_some_and(|stored| stored.status >= row.status), "shown before stored");
            }
            Event::Conversation(row) => assert!(self.store.conversations.contains_key(&row.jid)),
            Event::SignedIn => assert!(self.store.account.is_some()),
            Event::SignedOut => assert!(self.store.account.is_none()),
            _ => {}
        }
    }

    /// Settles although the engine finds fault with the relay, which here is the point.
    fn relay_hears_no_faults(&mut self) {
        self.relay.deaf_to_faults = true;
        self.settle();
        self.relay.deaf_to_faults = false;
    }

    /// Lets time pass, with every wake on time.
    fn advance(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(at) = self.wake.filter(|at| at.0 <= end) {
            if self.blown() {
                return;
            }
            self.now = self.now.max(at.0);
            self.input(Input::Wake);
        }
        self.now = end;
    }

    /// The connection breaks, unnoticed by nobody.
    fn cut(&mut self) {
        self.relay.hang_up();
        if let Some(link) = self.link.take() {
            self.input(Input::LinkDown(link));
        }
    }

    /// The tab is closed and opened again: what was not committed never was.
    fn reload(&mut self) {
        (self.stuck, self.sticks_at) = (false, None);
        self.reload_with_this_disk();
    }

    fn reload_with_this_disk(&mut self) {
        self.relay.hang_up();
        (self.link, self.fuse) = (None, None);
        self.pending.clear();
        self.loads += 1;
        self.engine = ClientEngine::load(self.store.rows(), config(self.loads));
        self.settle();
        self.advance(0);
    }

    fn status(&self, origin: &str) -> Status {
        self.store.messages[&key(origin)].status
    }

    /// Frames sent that hold this text.
    fn sent_with(&self, text: &str) -> Vec<&String> {
        self.sent.iter().filter(|frame| frame.contains(text)).collect()
    }

    fn told(&self, test: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| test(event)).count()
    }
}
