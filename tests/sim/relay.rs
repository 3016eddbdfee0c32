//! Driving the mailboxes: their engines, their storage, their calls to each other. The
//! counterpart of the Durable Object's driver.
//!
//! A commit is applied at once, as the object's SQLite does it, and its alarm with it: both
//! leave the object in one piece or not at all. What was to be said in the same turn may be lost
//! with the object.

use crate::fact::Fact;
use crate::net::{Way, Wire};
use crate::nodes::by_clock;
use crate::plan::Fault;
use crate::said::Said;
use crate::sometimes::Mark;
use crate::world::{Call, Due, World};
use shared::cold::SegmentFault;
use shared::id::{LinkId, StanzaSeq};
use shared::relay::{
    CallId, Config, Input, Output, Registration, RelayEngine, TransferReply, TransferRequest,
};
use shared::time::Millis;

/// Outputs for one input. More is a loop.
const OUTPUTS_MAX: u32 = 20_000;
/// When an object that is lost with work to do is woken.
const RECOVERY_MS: u64 = 60_000;
/// Up to here a timer wakes an object; later, its alarm.
const TIMER_MS_MAX: u64 = 15_000;
/// How long a call may take.
const CALL_MS_MAX: u64 = 10_000;

impl World {
    /// A connection reached a mailbox.
    pub fn relay_link_up(&mut self, account: usize, link: u64) {
        self.note_backlog(account, link);
        self.mailboxes[account].links.insert(LinkId(link), None);
        self.relay_input(account, Input::LinkUp(LinkId(link)));
    }

    /// Whether more waits for this device than it is sent at once.
    fn note_backlog(&mut self, account: usize, link: u64) {
        let mailbox = &self.mailboxes[account];
        let Some(device) = self.net.get(link).map(|link| &self.devices[link.device]) else { return };
        let waits =
            mailbox.waits_for(&device.name).map_or(0, |first| mailbox.store.log.range(first..).count());
        if waits > self.plan.limits.window_stanzas_max {
            self.marks.hit(Mark::CaughtUp);
        }
    }

    /// An input for a mailbox, which is loaded if it must be.
    pub fn relay_input(&mut self, account: usize, input: Input<'_>) {
        let seed = self.dice.seed();
        let limits = self.plan.limits;
        let Some(mailbox) = self.mailboxes.get_mut(account) else { return };
        let now = by_clock(self.now, mailbox.skew);
        let engine = mailbox.engine.get_or_insert_with(|| {
            let config = Config {
                account: mailbox.jid.clone(),
                registration: Registration::Open,
                seed,
                limits,
                cold: true,
            };
            let links = mailbox.links.iter().filter_map(|(link, state)| Some((*link, state.clone()?)));
            RelayEngine::load(now, mailbox.store.rows(), links.collect(), config)
        });
        engine.handle(now, input, &mailbox.store);
        self.drain_mailbox(account, now);
    }

    fn drain_mailbox(&mut self, account: usize, now: Millis) {
        let (mut failed, mut stored) = (false, false);
        for _ in 0..OUTPUTS_MAX {
            let mailbox = &mut self.mailboxes[account];
            match &mut mailbox.fuse {
                Some(0) => {
                    if stored {
                        self.marks.hit(Mark::MailboxDiedMidTurn);
                    }
                    return self.mailbox_dies(account);
                }
                Some(fuse) => *fuse -= 1,
                None => {}
            }
            let Some(engine) = mailbox.engine.as_mut() else { return };
            match engine.poll() {
                Output::Commit(batch, ops) => {
                    if std::mem::take(&mut mailbox.disk_fails) {
                        failed = true;
                        self.marks.hit(Mark::MailboxCommitFailed);
                        engine.handle(now, Input::CommitFailed(batch), &mailbox.store);
                        continue;
                    }
                    stored = true;
                    ops.iter().for_each(|op| mailbox.store.apply(op));
                    engine.handle(now, Input::Committed(batch), &mailbox.store);
                    let text = format!("{} rows", ops.len());
                    self.trace.event(self.now, mailbox.jid.as_str(), "stored", &text);
                    self.watch.see(&Fact::Stored { account, ops: &ops, store: &mailbox.store });
                    // Its timers are lost with it, and its alarm is not.
                    self.alarm_by(account, self.now + RECOVERY_MS);
                }
                Output::Send(link, text) => self.send_down(account, link, text),
                Output::Close(link, _) => self.close_there(account, link),
                Output::Remember(link, state) => {
                    if let Some(kept) = mailbox.links.get_mut(&link) {
                        *kept = Some(state);
                    }
                }
                Output::Transfer(request) => self.call(account, request),
                Output::Reply(call, reply) => self.reply(call, reply),
                Output::PutSegment(name, bytes) => {
                    mailbox.blobs.insert(name.clone(), bytes);
                    engine.handle(now, Input::SegmentPut(&name, true), &mailbox.store);
                }
                Output::GetSegment(name) => {
                    let got = mailbox.blobs.get(&name).map(Vec::as_slice).ok_or(SegmentFault::Missing);
                    engine.handle(now, Input::Segment(&name, got), &mailbox.store);
                }
                Output::DeleteSegment(name) => {
                    mailbox.blobs.remove(&name);
                    engine.handle(now, Input::SegmentDeleted(&name, true), &mailbox.store);
                }
                Output::SegmentFault(name, fault) => panic!("{name} is {fault:?}"),
                Output::WakeAt(at) => {
                    self.wake_mailbox_at(account, at, now);
                    if failed {
                        self.give_up(account);
                    }
                    return;
                }
            }
        }
        panic!("the engine of {} does not come to rest", self.mailboxes[account].jid);
    }

    fn wake_mailbox_at(&mut self, account: usize, at: Option<Millis>, now: Millis) {
        let drift = self.drift();
        let mailbox = &mut self.mailboxes[account];
        mailbox.wake += 1;
        let wake = mailbox.wake;
        if let Some(at) = at {
            let ms = at.since(now);
            self.after(ms + drift, Due::MailboxWakes { account, wake });
            if ms > TIMER_MS_MAX {
                self.alarm_by(account, self.now + ms);
            }
        }
    }

    fn alarm_by(&mut self, account: usize, at: u64) {
        let mailbox = &mut self.mailboxes[account];
        if mailbox.alarm.is_none_or(|set| set > at) {
            mailbox.alarm = Some(at);
            self.at(at, Due::Alarm(account));
        }
    }

    /// A mailbox's alarm rings, whether its object is in memory or not.
    pub fn alarm_rings(&mut self, account: usize) {
        let mailbox = &mut self.mailboxes[account];
        if mailbox.alarm.take_if(|at| *at <= self.now).is_none() {
            return;
        }
        if mailbox.engine.is_none() {
            self.marks.hit(Mark::AlarmRang);
        }
        self.relay_input(account, Input::Wake);
        if self.calls.values().any(|call| call.from == account && !call.over) {
            self.alarm_by(account, self.now + RECOVERY_MS);
        }
    }

    /// A mailbox's timer rings, if it was not set anew since; sometimes all the same.
    pub fn mailbox_wakes(&mut self, account: usize, wake: u64) {
        let mailbox = &self.mailboxes[account];
        if mailbox.engine.is_none() {
            return;
        }
        if mailbox.wake == wake || self.befalls(Fault::WakesDrift, 200) {
            self.relay_input(account, Input::Wake);
        }
    }

    fn send_down(&mut self, account: usize, link: LinkId, text: String) {
        if !self.mailboxes[account].links.contains_key(&link) {
            return;
        }
        let said = Said::of(&text);
        self.trace.frame(self.now, self.mailboxes[account].jid.as_str(), "says", link.0, &text);
        self.frame_seen(link.0, Way::Down, false, &said);
        if said == Said::TooHigh {
            self.marks.hit(Mark::LieRefused);
        }
        if text.contains("<connection-timeout") {
            self.marks.hit(Mark::RelayGaveUpDevice);
        }
        if text.contains("<conflict") {
            self.marks.hit(Mark::SessionTakenOver);
        }
        if text.contains(":error") && text.contains("<resource-constraint") {
            self.marks.hit(Mark::DeviceNotHeard);
        }
        if text.contains("<not-well-formed") || text.contains("<restricted-xml") {
            self.marks.hit(Mark::GarbageRefused);
        }
        self.put(link.0, Way::Down, Wire::Text(text));
    }

    fn close_there(&mut self, account: usize, link: LinkId) {
        self.mailboxes[account].links.remove(&link);
        if let Some(known) = self.net.get_mut(link.0) {
            known.there = false;
        }
        self.put(link.0, Way::Down, Wire::End);
    }

    /// What arrives at the relay.
    pub fn arrives_there(&mut self, link: u64, wire: Wire) {
        let Some(known) = self.net.get_mut(link) else { return };
        if !known.there {
            return;
        }
        let account = known.account;
        match wire {
            Wire::Text(text) => {
                self.trace.frame(self.now, self.mailboxes[account].jid.as_str(), "hears", link, &text);
                let said = Said::of(&text);
                self.frame_seen(link, Way::Up, true, &said);
                if let Said::Stanza(stanza) = said
                    && let Some((entry, origin)) =
                        stanza.body.and_then(|body| self.watch.ledger.of(body)).zip(stanza.origin)
                    && entry.1.accepted.contains(origin)
                {
                    self.marks.hit(Mark::RepeatSuppressed);
                }
                self.relay_input(account, Input::Frame(LinkId(link), &text));
            }
            Wire::Binary => self.relay_input(account, Input::Binary(LinkId(link))),
            Wire::End => {
                known.there = false;
                self.net.forget(link);
                self.mailboxes[account].links.remove(&LinkId(link));
                self.relay_input(account, Input::LinkDown(LinkId(link)));
            }
        }
    }

    fn call(&mut self, from: usize, request: TransferRequest) {
        self.alarm_by(from, self.now + RECOVERY_MS);
        let to = self.watch.ledger.cast.account(&request.to);
        let life = self.mailboxes[from].life;
        let id = self.calls.keys().next_back().map_or(1, |last| last + 1);
        self.calls.insert(id, Call { from, life, to, request, replied: false, over: false });
        // It is given up after a while, and may arrive all the same.
        self.after(CALL_MS_MAX, Due::Answer(id, None));
        if self.befalls(Fault::CallsLost, 150) {
            return;
        }
        let ms = self.latency();
        self.after(ms, Due::Call(id));
    }

    /// A call arrives at the mailbox it is for.
    pub fn call_arrives(&mut self, id: u64) {
        let Some(call) = self.calls.get(&id) else { return };
        let (request, to) = (call.request.clone(), call.to);
        let reachable = to.filter(|to| self.healing || self.mailboxes[*to].down_until <= self.now);
        let Some(to) = reachable else { return self.after(1_000, Due::Answer(id, None)) };
        let text = format!("{} items from {} upto {}", request.items.len(), request.from, request.upto());
        self.trace.event(self.now, self.mailboxes[to].jid.as_str(), "called", &text);
        let log = &self.mailboxes[to].store.log;
        let known = |seq| log.values().any(|row| row.peer == request.from && row.peer_seq == seq);
        if request.items.iter().any(|item| item.seq > StanzaSeq(0) && known(item.seq)) {
            self.marks.hit(Mark::TransferRepeated);
        }
        self.relay_input(to, Input::Transfer(CallId(id), &request));
        if self.calls.get(&id).is_some_and(|call| !call.replied) {
            self.after(1_000, Due::Answer(id, None));
        }
    }

    fn reply(&mut self, CallId(id): CallId, reply: TransferReply) {
        if matches!(reply, TransferReply::Refused(_)) {
            self.marks.hit(Mark::QueueFull);
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.replied = true;
        let silent = !self.healing && self.now < self.silent_until;
        if silent || self.befalls(Fault::CallsLost, 150) {
            return self.marks.hit(Mark::AnswerLost);
        }
        let ms = self.latency();
        self.after(ms, Due::Answer(id, Some(reply)));
    }

    /// What became of a call.
    pub fn answer_arrives(&mut self, id: u64, reply: Option<TransferReply>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if std::mem::replace(&mut call.over, true) {
            return;
        }
        let (from, life) = (call.from, call.life);
        let (to, called) = (call.request.to.clone(), call.request.called());
        if self.mailboxes[from].life == life {
            self.relay_input(from, Input::Transferred(to, called, reply));
        }
    }

    /// The store failed: the object starts anew, and its connections with it.
    fn give_up(&mut self, account: usize) {
        self.alarm_by(account, self.now + RECOVERY_MS);
        // Its process goes on, and so do its calls: their answers come to the next engine.
        let life = self.mailboxes[account].life;
        self.object_gone(account);
        self.mailboxes[account].life = life;
    }

    /// The object's process is gone.
    pub fn mailbox_dies(&mut self, account: usize) {
        self.tolls.deaths += 1;
        self.trace.event(self.now, self.mailboxes[account].jid.as_str(), "dies", "");
        self.object_gone(account);
    }

    fn object_gone(&mut self, account: usize) {
        let mailbox = &mut self.mailboxes[account];
        mailbox.engine = None;
        mailbox.fuse = None;
        mailbox.life += 1;
        mailbox.wake += 1;
        for (link, _) in std::mem::take(&mut mailbox.links) {
            if let Some(known) = self.net.get_mut(link.0) {
                known.there = false;
            }
            self.tail_lost(link.0, Way::Down);
        }
    }
}
