//! Two or more real mailboxes with stores in memory. Power can be cut at any step of any mailbox.

use super::blobs::{Answer, Blobs};
pub use super::device::{Device, PASSWORD};
use crate::gate::BatchNo;
use crate::id::LinkId;
use crate::jid::BareJid;
use crate::limits::Limits;
use crate::memory::MailboxStore;
use crate::relay::rows::Op;
use crate::relay::{CallId, Config, Input, LinkState, Output, Registration, RelayEngine};
use crate::relay::{TransferReply, TransferRequest};
use crate::time::Millis;
use crate::wire::Element;
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
    /// Where segments are.
    pub blobs: Blobs,
}

pub fn jid(name: &str) -> BareJid {
    BareJid::new(name, "d").unwrap()
}

fn config(account: &BareJid, seed: u8, limits: Limits) -> Config {
    let mut bytes = [seed; 32];
    bytes.iter_mut().zip(account.as_str().bytes()).for_each(|(byte, letter)| *byte ^= letter);
    Config { account: account.clone(), registration: Registration::Open, seed: bytes, limits, cold: true }
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
            blobs: Blobs::default(),
        }
    }

    /// The blob store does what it was asked for and did not do.
    pub fn settle_blobs(&mut self) {
        self.blobs.slow = false;
        for (account, output) in std::mem::take(&mut self.blobs.held) {
            self.blob(&account, output);
        }
    }

    fn blob(&mut self, account: &BareJid, output: Output) {
        match self.blobs.carry_out(account, output) {
            Some(Answer::Put(name, stored)) => self.input(account, Input::SegmentPut(&name, stored)),
            Some(Answer::Got(name, got)) => {
                let got = got.as_deref().map_err(|fault| *fault);
                self.input(account, Input::Segment(&name, got));
            }
            Some(Answer::Deleted(name, deleted)) => {
                self.input(account, Input::SegmentDeleted(&name, deleted));
            }
            None => {}
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

    /// When a mailbox wants to be woken.
    pub fn wakes_at(&mut self, account: &BareJid) -> Option<Millis> {
        self.mailbox(account).wake
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

    /// One input and everything that follows from it, in every mailbox and in the blob store.
    pub fn input(&mut self, account: &BareJid, input: Input<'_>) {
        self.input_alone(account, input);
        while let Some((account, output)) = self.blobs.asked.pop_front() {
            self.blob(&account, output);
        }
    }

    /// ... but for the blob store.
    fn input_alone(&mut self, account: &BareJid, input: Input<'_>) {
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
                Output::SegmentFault(name, fault) => self.blobs.faults.push((name, fault)),
                blob @ (Output::PutSegment(..) | Output::GetSegment(_) | Output::DeleteSegment(_)) => {
                    self.blobs.asked.push_back((account.clone(), blob));
                }
                Output::WakeAt(at) => {
                    mailbox.wake = at;
                    return;
                }
            }
        }
    }
}
