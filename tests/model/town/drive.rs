//! Carries what the engines say: what a browser, a runtime and a network would do.

use super::rules::Seen;
use super::{BOTH, Caller, Client, Cut, Leg, Mailbox, Part, Pending, Town, Wire, jid};
use shared::client::rows::Op;
use shared::client::{self, Event, LinkState};
use shared::id::LinkId;
use shared::memory::ClientStore;
use shared::relay::{self, CallId, Called, TransferReply};
use std::collections::{BTreeMap, VecDeque};

impl Town {
    pub(super) fn client(&mut self, who: usize, input: client::Input<'_>) {
        let now = self.now;
        self.clients[who].change().engine.handle(now, input);
        self.drain_client(who);
    }

    fn drain_client(&mut self, who: usize) {
        loop {
            let client = self.clients[who].change();
            match client.engine.poll() {
                client::Output::Commit(no, ops) => client.pending = Some(Pending { no, ops }),
                client::Output::Connect(link, _) => client.dialling = Some(link),
                client::Output::Send(link, frame) => {
                    self.see(Seen::ClientSays(who, &frame));
                    let mut wires = self.wires[who].iter_mut();
                    if let Some(wire) = wires.find(|wire| wire.near == link && wire.is_whole()) {
                        wire.up.push_back(frame);
                    }
                }
                client::Output::Close(link) => {
                    client.dialling.take_if(|dialled| *dialled == link);
                    self.client_lets_go(who, link);
                }
                client::Output::Notify(Event::Link(state)) => {
                    client.online = matches!(state, LinkState::Online { .. });
                }
                client::Output::Notify(Event::Message(row)) => self.see(Seen::Shown(who, &row)),
                client::Output::Notify(_) => {}
                client::Output::WakeAt(at) => {
                    client.wake = at;
                    return;
                }
            }
        }
    }

    pub(super) fn commit(&mut self, who: usize) {
        if let Some(Pending { no, ops }) = self.clients[who].change().pending.take() {
            self.write(who, &ops);
            self.client(who, client::Input::Committed(no));
        }
    }

    pub(super) fn commit_all(&mut self, who: usize) {
        while self.clients[who].pending.is_some() {
            self.commit(who);
        }
    }

    fn write(&mut self, who: usize, ops: &[Op]) {
        for op in ops {
            self.see(Seen::Written(who, op));
            self.clients[who].change().store.apply(op);
        }
    }

    /// Returns what the mailbox answered, if it was called.
    pub(super) fn relay(&mut self, who: usize, input: relay::Input<'_>) -> Option<TransferReply> {
        let now = self.now;
        let Mailbox { engine, store, .. } = self.mailboxes[who].change();
        engine.handle(now, input, &*store);
        let mut replied = None;
        loop {
            let mailbox = self.mailboxes[who].change();
            match mailbox.engine.poll() {
                relay::Output::Commit(no, ops) => {
                    ops.iter().for_each(|op| mailbox.store.apply(op));
                    mailbox.engine.handle(now, relay::Input::Committed(no), &mailbox.store);
                }
                relay::Output::Send(link, frame) => {
                    self.see(Seen::RelaySays(who, &frame));
                    let mut wires = self.wires[who].iter_mut();
                    if let Some(wire) = wires.find(|wire| wire.far == link && wire.is_whole()) {
                        wire.down.push_back(frame);
                    }
                }
                relay::Output::Close(link, _) => self.relay_lets_go(who, link),
                relay::Output::Remember(link, state) => drop(mailbox.links.insert(link, state)),
                relay::Output::Transfer(request) => {
                    let caller = (who, mailbox.loads);
                    self.see(Seen::Called(who, &request));
                    self.calls.insert(caller, Leg::Call(request));
                }
                relay::Output::Reply(_, reply) => replied = Some(reply),
                // Nothing gets a week old in a town of this size.
                segment @ (relay::Output::PutSegment(..)
                | relay::Output::GetSegment(_)
                | relay::Output::DeleteSegment(_)
                | relay::Output::SegmentFault(..)) => unreachable!("{segment:?}"),
                relay::Output::WakeAt(at) => {
                    mailbox.wake = at;
                    return replied;
                }
            }
        }
    }

    fn client_lets_go(&mut self, who: usize, link: LinkId) {
        for wire in self.wires[who].iter_mut().filter(|wire| wire.near == link) {
            wire.client_gone = true;
            wire.down.clear();
        }
        self.wires[who].retain(|wire| !(wire.client_gone && wire.relay_gone));
    }

    fn relay_lets_go(&mut self, who: usize, link: LinkId) {
        self.mailboxes[who].change().links.remove(&link);
        for wire in self.wires[who].iter_mut().filter(|wire| wire.far == link) {
            wire.relay_gone = true;
            wire.up.clear();
        }
        self.wires[who].retain(|wire| !(wire.client_gone && wire.relay_gone));
    }

    pub(super) fn up(&mut self, who: usize, at: usize) {
        let wire = &mut self.wires[who][at];
        let link = wire.far;
        match wire.up.pop_front() {
            Some(frame) => drop(self.relay(who, relay::Input::Frame(link, &frame))),
            None => {
                self.relay_lets_go(who, link);
                self.relay(who, relay::Input::LinkDown(link));
            }
        }
    }

    pub(super) fn down(&mut self, who: usize, at: usize) {
        let wire = &mut self.wires[who][at];
        let link = wire.near;
        match wire.down.pop_front() {
            Some(frame) => self.client(who, client::Input::Frame(link, &frame)),
            None => {
                self.client_lets_go(who, link);
                self.client(who, client::Input::LinkDown(link));
            }
        }
    }

    /// Opens the connection and carries everything up to the frame that names the session.
    pub(super) fn dial(&mut self, who: usize) {
        let Some(near) = self.clients[who].change().dialling.take() else { return };
        // A device that starts anew counts its links from one again.
        let far = LinkId(near.0 + 1_000 * u64::from(self.clients[who].loads));
        let (up, down) = (VecDeque::new(), VecDeque::new());
        self.wires[who].push(Wire { near, far, up, down, client_gone: false, relay_gone: false });
        self.client(who, client::Input::LinkUp(near));
        self.relay(who, relay::Input::LinkUp(far));
        while let Some(at) = self.wires[who].iter().position(|wire| wire.far == far && wire.is_whole()) {
            let wire = &self.wires[who][at];
            let names_session = |frame: &String| frame.starts_with("<resume") || frame.contains("<bind");
            if wire.up.front().is_some_and(|frame| !names_session(frame)) {
                self.up(who, at);
            } else if !wire.down.is_empty() {
                self.down(who, at);
            } else {
                break;
            }
        }
    }

    pub(super) fn call(&mut self, caller: Caller) {
        if let Some(reply) = self.carry_call(caller)
            && !self.scope.late_answers
        {
            self.answered(caller, reply.0, Some(reply.1));
        }
    }

    fn carry_call(&mut self, caller: Caller) -> Option<(Called, TransferReply)> {
        let Some(Leg::Call(request)) = self.calls.remove(&caller) else { return None };
        let callee = 1 - caller.0;
        let reply = self.relay(callee, relay::Input::Transfer(CallId(0), &request))?;
        self.see(Seen::Answered(callee, &request, &reply));
        if !self.lives(&caller) {
            return None;
        }
        if self.scope.late_answers {
            self.calls.insert(caller, Leg::Answer(request.called(), reply.clone()));
        }
        Some((request.called(), reply))
    }

    /// An answer comes back, or gets lost on the way.
    pub(super) fn answer(&mut self, caller: Caller, arrives: bool) {
        let under_way = match self.calls.get(&caller) {
            Some(Leg::Answer(called, reply)) => Some((*called, reply.clone())),
            Some(Leg::Call(_)) => self.carry_call(caller),
            None => None,
        };
        self.calls.remove(&caller);
        if let Some((called, reply)) = under_way {
            self.answered(caller, called, Some(reply).filter(|_| arrives));
        }
    }

    pub(super) fn lose_call(&mut self, caller: Caller) {
        if let Some(Leg::Call(request)) = self.calls.remove(&caller) {
            self.answered(caller, request.called(), None);
        }
    }

    fn answered(&mut self, caller: Caller, called: Called, reply: Option<TransferReply>) {
        self.relay(caller.0, relay::Input::Transferred(jid(1 - caller.0), called, reply));
    }

    pub(super) fn wake(&mut self) {
        let Some(deadline) = self.deadline() else { return };
        self.now = self.now.max(deadline);
        for who in BOTH {
            if self.clients[who].wake.is_some_and(|at| at <= self.now) {
                self.client(who, client::Input::Wake);
            }
            if self.mailboxes[who].wake.is_some_and(|at| at <= self.now) {
                self.relay(who, relay::Input::Wake);
            }
        }
    }

    pub(super) fn crash_device(&mut self, who: usize, applied: bool) {
        if let Some(Pending { ops, .. }) = self.clients[who].change().pending.take()
            && applied
        {
            self.write(who, &ops);
        }
        for wire in std::mem::take(&mut self.wires[who]) {
            if wire.client_gone {
                // It had let go of this one before; that is on its way as it was.
                self.wires[who].push(wire);
            } else if !wire.relay_gone {
                self.relay_lets_go(who, wire.far);
                self.relay(who, relay::Input::LinkDown(wire.far));
            }
        }
        let client = self.clients[who].change();
        let (store, loads): (ClientStore, u8) = (client.store.clone(), client.loads + 1);
        self.clients[who] = Part::new(Client::load(who, &self.scope, store, loads));
        self.drain_client(who);
        self.client(who, client::Input::Wake);
    }

    pub(super) fn crash_mailbox(&mut self, who: usize, late: bool) {
        self.calls.retain(|caller, leg| caller.0 != who || late && matches!(leg, Leg::Call(_)));
        self.load_mailbox(who, BTreeMap::new());
        for wire in std::mem::take(&mut self.wires[who]) {
            if !wire.client_gone {
                self.client(who, client::Input::LinkDown(wire.near));
            }
        }
    }

    pub(super) fn nap(&mut self, who: usize) {
        self.load_mailbox(who, self.mailboxes[who].links.clone());
    }

    fn load_mailbox(&mut self, who: usize, links: BTreeMap<LinkId, relay::LinkState>) {
        let Mailbox { store, loads, .. } = &*self.mailboxes[who];
        let mailbox = Mailbox::load(who, &self.scope, self.now, store.clone(), links, loads + 1);
        self.mailboxes[who] = Part::new(mailbox);
        self.relay(who, relay::Input::Wake);
    }

    /// A copy of the device, without its session, comes as far as to be bound. It says no
    /// presence, so it is sent nothing of the log.
    pub(super) fn usurp(&mut self, who: usize) {
        let store =
            ClientStore { account: self.clients[who].store.account.clone(), ..ClientStore::default() };
        let mut copy = Client::load(who, &self.scope, store, u8::MAX).engine;
        let (near, far) = (LinkId(0), LinkId(u64::MAX));
        let (up, down) = (VecDeque::new(), VecDeque::new());
        self.wires[who].push(Wire { near, far, up, down, client_gone: false, relay_gone: false });
        self.relay(who, relay::Input::LinkUp(far));
        copy.handle(self.now, client::Input::Wake);
        let mut said = VecDeque::new();
        loop {
            match copy.poll() {
                client::Output::Connect(link, _) => copy.handle(self.now, client::Input::LinkUp(link)),
                client::Output::Commit(no, _) => copy.handle(self.now, client::Input::Committed(no)),
                client::Output::Send(link, frame) => said.push_back((link, frame)),
                client::Output::WakeAt(_) => {
                    let Some((link, frame)) = said.pop_front() else { break };
                    if frame.starts_with("<enable") {
                        break;
                    }
                    self.relay(who, relay::Input::Frame(far, &frame));
                    let wire = self.wires[who].iter_mut().find(|wire| wire.far == far);
                    for frame in wire.map(|wire| std::mem::take(&mut wire.down)).unwrap_or_default() {
                        copy.handle(self.now, client::Input::Frame(link, &frame));
                    }
                }
                _ => {}
            }
        }
        self.wires[who].retain(|wire| wire.far != far);
        self.relay_lets_go(who, far);
        self.relay(who, relay::Input::LinkDown(far));
    }

    pub(super) fn cut(&mut self, who: usize, cut: Cut) {
        let Some(wire) = self.wires[who].iter().find(|wire| wire.is_whole()) else { return };
        let (near, far) = (wire.near, wire.far);
        if cut != Cut::Mailbox {
            self.client_lets_go(who, near);
        }
        if cut != Cut::Client {
            self.relay_lets_go(who, far);
        }
        if cut != Cut::Mailbox {
            self.client(who, client::Input::LinkDown(near));
        }
        if cut != Cut::Client {
            self.relay(who, relay::Input::LinkDown(far));
        }
    }
}
