//! Two or more real mailboxes with stores in memory, and devices that speak stream management
//! as a foreign client would. Power can be cut at any step of any mailbox.

use crate::gate::BatchNo;
use crate::id::LinkId;
use crate::jid::BareJid;
use crate::limits::Limits;
use crate::memory::MailboxStore;
use crate::relay::rows::Op;
use crate::relay::{CallId, Config, Input, LinkState, Output, Registration, RelayEngine};
use crate::relay::{TransferReply, TransferRequest};
use crate::sasl::{ClientExchange, Mechanism, Secret};
use crate::sm::{Handled, Window};
use crate::time::Millis;
use crate::wire::{Element, ns, read_frame, stanza};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A mailbox's store, and how much was written to it.
#[derive(Default)]
pub struct Disk {
    pub rows: MailboxStore,
    pub written: usize,
}

impl Disk {
    fn apply(&mut self, op: Op) {
        self.written += 1;
        self.rows.apply(&op);
    }
}

struct Mailbox {
    engine: RelayEngine,
    disk: Disk,
    links: BTreeMap<LinkId, Option<LinkState>>,
    wake: Option<Millis>,
}

/// Every mailbox of the domain `d`, and what its connections were sent.
pub struct World {
    pub now: Millis,
    limits: Limits,
    mailboxes: BTreeMap<BareJid, Mailbox>,
    pub sent: BTreeMap<LinkId, VecDeque<String>>,
    pub closed: BTreeMap<LinkId, u16>,
    next_link: u64,
    pub steps: usize,
    pub crash_at: Option<usize>,
    pub crashes: usize,
    /// Commits are not answered until [`World::settle`].
    pub slow_disk: bool,
    held: Vec<(BareJid, BatchNo, Vec<Op>)>,
    /// Mailboxes called, in order.
    pub called: Vec<BareJid>,
    /// Mailboxes that no call reaches.
    pub away: BTreeSet<BareJid>,
    /// Calls arrive, and their answers do not.
    pub answers_lost: bool,
    /// What was answered to the newest call, once it has left.
    pub answer: Option<TransferReply>,
}

pub fn jid(name: &str) -> BareJid {
    BareJid::new(name, "d").unwrap()
}

fn config(account: &BareJid, seed: u8, limits: Limits) -> Config {
    let mut bytes = [seed; 32];
    bytes.iter_mut().zip(account.as_str().bytes()).for_each(|(byte, letter)| *byte ^= letter);
    Config { account: account.clone(), registration: Registration::Open, seed: bytes, limits }
}

impl World {
    pub fn new() -> Self {
        Self::with(Limits::DEFAULT)
    }

    pub fn with(limits: Limits) -> Self {
        Self {
            now: Millis(1_700_000_000_000),
            limits,
            mailboxes: BTreeMap::new(),
            sent: BTreeMap::new(),
            closed: BTreeMap::new(),
            next_link: 1,
            steps: 0,
            crash_at: None,
            crashes: 0,
            slow_disk: false,
            held: Vec::new(),
            called: Vec::new(),
            away: BTreeSet::new(),
            answers_lost: false,
            answer: None,
        }
    }

    /// The disk is done with everything it was given, or has failed.
    pub fn settle(&mut self, succeed: bool) {
        self.slow_disk = false;
        for (account, no, ops) in std::mem::take(&mut self.held) {
            if succeed {
                ops.into_iter().for_each(|op| self.mailbox(&account).disk.apply(op));
                self.input(&account, Input::Committed(no));
            } else {
                self.input(&account, Input::CommitFailed(no));
            }
        }
    }

    /// Whether the disk has something that it has not answered.
    pub fn held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Everything that left for this connection and was not taken.
    pub fn waiting(&self, link: LinkId) -> usize {
        self.sent.get(&link).map_or(0, VecDeque::len)
    }

    fn mailbox(&mut self, account: &BareJid) -> &mut Mailbox {
        let (now, limits) = (self.now, self.limits);
        self.mailboxes.entry(account.clone()).or_insert_with(|| Mailbox {
            engine: RelayEngine::load(now, Default::default(), Vec::new(), config(account, 1, limits)),
            disk: Disk::default(),
            links: BTreeMap::new(),
            wake: None,
        })
    }

    /// What a mailbox wants remembered of a connection.
    pub fn remembered(&mut self, account: &BareJid, link: LinkId) -> Option<LinkState> {
        self.mailbox(account).links.get(&link).cloned().flatten()
    }

    pub fn disk(&mut self, account: &BareJid) -> &mut Disk {
        &mut self.mailbox(account).disk
    }

    pub fn connect(&mut self, account: &BareJid) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.mailbox(account).links.insert(link, None);
        self.input(account, Input::LinkUp(link));
        link
    }

    /// The power fails: connections and everything in memory are gone.
    pub fn crash(&mut self, account: &BareJid) {
        self.crashes += 1;
        let (now, seed, limits) = (self.now, self.crashes as u8 + 1, self.limits);
        let mailbox = self.mailbox(account);
        let links = std::mem::take(&mut mailbox.links);
        mailbox.engine =
            RelayEngine::load(now, mailbox.disk.rows.rows(), Vec::new(), config(account, seed, limits));
        for link in links.into_keys() {
            self.closed.insert(link, 1006);
        }
    }

    /// The object sleeps and wakes: connections and what was remembered with them stay.
    pub fn hibernate(&mut self, account: &BareJid) {
        let (now, limits) = (self.now, self.limits);
        let mailbox = self.mailbox(account);
        let links = mailbox.links.iter().filter_map(|(id, state)| Some((*id, state.clone()?))).collect();
        mailbox.engine = RelayEngine::load(now, mailbox.disk.rows.rows(), links, config(account, 99, limits));
    }

    /// The clock is set back, and every mailbox learns of it.
    pub fn set_back(&mut self, ms: u64) {
        self.now = self.now.minus(ms);
        for account in self.mailboxes.keys().cloned().collect::<Vec<_>>() {
            self.input(&account, Input::Wake);
        }
    }

    /// A call from another mailbox. What it answers has left it, whether it stands afterwards or
    /// not.
    pub fn transfer(&mut self, request: &TransferRequest) -> Option<TransferReply> {
        // It may itself call before it has answered, and be called back.
        let outer = self.answer.take();
        self.input(&request.to, Input::Transfer(CallId(0), request));
        std::mem::replace(&mut self.answer, outer)
    }

    /// What a mailbox answers to somebody else's request for what it publishes.
    pub fn asked(&mut self, account: &BareJid, from: &crate::jid::Jid, iq: &Element) -> Option<Element> {
        let mailbox = self.mailbox(account);
        mailbox.engine.pep_asked(from, iq, &mailbox.disk.rows)
    }

    /// What a mailbox hands over when somebody else's device comes.
    pub fn send_last_items(&mut self, account: &BareJid, to: &crate::jid::Jid) -> Vec<String> {
        let (now, mailbox) = (self.now, self.mailbox(account));
        mailbox.engine.send_last_items(to, &mailbox.disk.rows);
        mailbox.engine.handle(now, Input::Wake, &mailbox.disk.rows);
        let handed = std::iter::from_fn(|| match mailbox.engine.poll() {
            Output::WakeAt(_) => None,
            output => Some(output),
        });
        let requests = handed.filter_map(|output| match output {
            Output::Transfer(request) => Some(request),
            _ => None,
        });
        requests.flat_map(|request| request.items).map(|item| item.stanza).collect()
    }

    pub fn pass(&mut self, ms: u64) {
        let until = self.now.plus(ms);
        loop {
            let due: Option<(Millis, BareJid)> =
                self.mailboxes.iter().filter_map(|(id, m)| Some((m.wake?, id.clone()))).min();
            match due {
                Some((at, account)) if at <= until => {
                    self.now = self.now.max(at);
                    self.mailbox(&account).wake = None;
                    self.input(&account, Input::Wake);
                }
                _ => break,
            }
        }
        self.now = until;
    }

    /// One input and everything that follows from it, in every mailbox.
    pub fn input(&mut self, account: &BareJid, input: Input<'_>) {
        let now = self.now;
        let mailbox = self.mailbox(account);
        if let Input::LinkDown(link) = &input {
            mailbox.links.remove(link);
        }
        mailbox.engine.handle(now, input, &mailbox.disk.rows);
        loop {
            self.steps += 1;
            if self.crash_at == Some(self.steps) {
                return self.crash(account);
            }
            let slow = self.slow_disk;
            let mailbox = self.mailbox(account);
            match mailbox.engine.poll() {
                Output::Commit(no, ops) if slow => self.held.push((account.clone(), no, ops)),
                Output::Commit(no, ops) => {
                    ops.into_iter().for_each(|op| mailbox.disk.apply(op));
                    mailbox.engine.handle(now, Input::Committed(no), &mailbox.disk.rows);
                }
                Output::Send(link, text) => self.sent.entry(link).or_default().push_back(text),
                Output::Close(link, code) => {
                    mailbox.links.remove(&link);
                    self.closed.insert(link, code);
                }
                Output::Remember(link, state) => {
                    mailbox.links.insert(link, Some(state));
                }
                Output::Transfer(request) => {
                    let to = request.to.clone();
                    self.called.push(to.clone());
                    let reply = if self.away.contains(&to) { None } else { self.transfer(&request) };
                    let reply = reply.filter(|_| !self.answers_lost);
                    let mailbox = self.mailbox(account);
                    mailbox.engine.handle(
                        now,
                        Input::Transferred(to, request.called(), reply),
                        &mailbox.disk.rows,
                    );
                }
                Output::Reply(_, reply) => self.answer = Some(reply),
                Output::WakeAt(at) => {
                    mailbox.wake = at;
                    return;
                }
            }
        }
    }
}

/// A device that speaks XMPP and stream management, and keeps what it was told.
pub struct Device {
    pub account: BareJid,
    resource: String,
    pub link: LinkId,
    pub sm_id: String,
    pub handled: Handled,
    pub window: Window<String>,
    pub bodies: Vec<String>,
    pub stanzas: Vec<Element>,
    pub nonzas: Vec<Element>,
    pub acks: bool,
    pub resumptions: usize,
}

pub const PASSWORD: &str = "correct horse";

impl Device {
    /// Registers the account if need be, and brings a device of it online.
    pub fn online(world: &mut World, name: &str, resource: &str) -> Self {
        let mut device = Self::offline(name, resource);
        device.authenticate(world);
        device.bind(world);
        device
    }

    /// One that has never been there.
    pub fn offline(name: &str, resource: &str) -> Self {
        Self {
            account: jid(name),
            resource: resource.to_owned(),
            link: LinkId(0),
            sm_id: String::new(),
            handled: Handled::ZERO,
            window: Window::default(),
            bodies: Vec::new(),
            stanzas: Vec::new(),
            nonzas: Vec::new(),
            acks: true,
            resumptions: 0,
        }
    }

    pub fn say(&mut self, world: &mut World, frame: &str) {
        world.input(&self.account.clone(), Input::Frame(self.link, frame));
        self.drain(world);
    }

    fn say_element(&mut self, world: &mut World, element: Element) {
        self.say(world, &element.to_frame());
    }

    pub fn authenticate(&mut self, world: &mut World) {
        self.link = world.connect(&self.account);
        let open = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='d' version='1.0'/>";
        self.say(world, open);
        let name = self.account.local().unwrap().to_owned();
        if world.disk(&self.account.clone()).rows.account.is_none() {
            let query = Element::new(ns::REGISTER, "query")
                .with(Element::new(ns::REGISTER, "username").with_text(&name))
                .with(Element::new(ns::REGISTER, "password").with_text(PASSWORD));
            self.say_element(world, stanza::iq("set", "r", query));
        }
        let (mut exchange, first) = ClientExchange::begin(Mechanism::ScramSha256, &name, "nonce");
        let auth = Element::new(ns::SASL, "auth").with_attr("mechanism", "SCRAM-SHA-256");
        self.say_element(world, auth.with_text(STANDARD.encode(first)));
        let Some(challenge) = self.nonzas.iter().rev().find(|e| e.name == "challenge") else { return };
        let challenge = STANDARD.decode(challenge.text()).unwrap();
        let (last, _) = exchange.respond(&challenge, Secret::Password(PASSWORD)).unwrap();
        self.say_element(world, Element::new(ns::SASL, "response").with_text(STANDARD.encode(last)));
        self.say(world, open);
    }

    pub fn bind(&mut self, world: &mut World) {
        self.bind_unseen(world);
        self.send(world, "<presence xmlns='jabber:client'/>");
    }

    /// Without stream management and presence.
    pub fn bind_unmanaged(&mut self, world: &mut World) {
        let bind =
            Element::new(ns::BIND, "bind").with(Element::new(ns::BIND, "resource").with_text(&self.resource));
        self.say_element(world, stanza::iq("set", "b", bind));
        self.window = Window::default();
    }

    /// Without presence: nothing is sent to it yet.
    pub fn bind_unseen(&mut self, world: &mut World) {
        self.bind_unmanaged(world);
        self.say(world, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    }

    /// Sends a stanza and keeps it until it is acked.
    pub fn send(&mut self, world: &mut World, frame: &str) {
        self.window.push(frame.to_owned());
        self.say(world, frame);
    }

    pub fn message(&mut self, world: &mut World, to: &str, body: &str) {
        let frame = format!(
            "<message xmlns='jabber:client' to='{to}' type='chat' id='{body}'><body>{body}</body>\
             <origin-id xmlns='urn:xmpp:sid:0' id='o-{body}'/></message>"
        );
        self.send(world, &frame);
    }

    /// Whether its connection still stands.
    pub fn connected(&self, world: &World) -> bool {
        !world.closed.contains_key(&self.link)
    }

    /// Takes everything it was sent, and answers what asks for an answer.
    pub fn drain(&mut self, world: &mut World) {
        while let Some(frame) = world.sent.get_mut(&self.link).and_then(VecDeque::pop_front) {
            let element = read_frame(&frame, usize::MAX).unwrap();
            if stanza::kind(&element).is_some() {
                self.handled = self.handled.next();
                self.bodies.extend(stanza::body(&element));
                self.stanzas.push(element);
                continue;
            }
            match element.name.as_str() {
                "r" if self.acks => {
                    let a = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.handled);
                    world.input(&self.account.clone(), Input::Frame(self.link, &a));
                }
                "a" => drop(self.window.ack(h(&element)).unwrap()),
                "enabled" => {
                    self.sm_id = element.attr("id").unwrap().to_owned();
                    self.handled = Handled::ZERO;
                }
                _ => {}
            }
            self.nonzas.push(element);
        }
    }

    /// Comes back after a lost connection; returns whether the stream was resumed.
    pub fn resume(&mut self, world: &mut World) -> bool {
        self.authenticate(world);
        let resume = self.resume_frame();
        let before = self.nonzas.len();
        self.say(world, &resume);
        let answer =
            self.nonzas.iter().skip(before).find(|e| matches!(e.name.as_str(), "resumed" | "failed"));
        let Some(answer) = answer.cloned() else { return false };
        if answer.name == "failed" {
            return false;
        }
        self.resumptions += 1;
        self.window.resume(h(&answer)).unwrap();
        let again: Vec<String> = self.window.unacked().flatten().cloned().collect();
        for frame in again {
            self.say(world, &frame);
        }
        true
    }

    /// What it says to go on from where it is.
    pub fn resume_frame(&self) -> String {
        format!("<resume xmlns='urn:xmpp:sm:3' previd='{}' h='{}'/>", self.sm_id, self.handled)
    }

    /// How often it was asked for an ack.
    pub fn asked(&self) -> usize {
        self.nonzas.iter().filter(|e| e.name == "r").count()
    }

    /// The conditions of the errors it was sent, with the ids of what failed.
    pub fn errors(&self) -> Vec<(String, String)> {
        let errors = self.stanzas.iter().filter(|e| e.attr("type") == Some("error"));
        let condition = |e: &Element| Some(e.child(ns::CLIENT, "error")?.children().next()?.name.clone());
        errors.map(|e| (e.attr("id").unwrap().to_owned(), condition(e).unwrap())).collect()
    }

    /// Asks what the relay has.
    pub fn request_ack(&mut self, world: &mut World) {
        self.say(world, "<r xmlns='urn:xmpp:sm:3'/>");
    }

    pub fn unacked(&self) -> usize {
        self.window.entries().count()
    }

    pub fn last_nonza(&self) -> String {
        self.nonzas.last().map(Element::to_frame).unwrap_or_default()
    }

    pub fn last_stanza(&self) -> String {
        self.stanzas.last().map(Element::to_frame).unwrap_or_default()
    }
}

fn h(element: &Element) -> Handled {
    Handled::parse(element.attr("h").unwrap()).unwrap()
}
