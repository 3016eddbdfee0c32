//! Driving a device: its tabs' engines, its stores, its connections. The counterpart of the
//! browser's driver.

use crate::fact::Fact;
use crate::keys;
use crate::net::{Way, Wire};
use crate::nodes::{Tab, by_clock};
use crate::plan::Fault;
use crate::said::Said;
use crate::sometimes::Mark;
use crate::world::{Due, URL, World};
use shared::client::rows::{Direction, MessageKey, MessageRow, OUTCOME_UNKNOWN, Op, Status};
use shared::client::{ClientEngine, Command, Config, Event, Input, LinkState, Output};
use shared::id::LinkId;
use shared::time::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// Outputs for one input. More is a loop.
const OUTPUTS_MAX: u32 = 20_000;

impl World {
    /// Starts the app on a device, unless it runs or is away.
    pub fn start(&mut self, device: usize) {
        let Some(here) = self.devices.get(device) else { return };
        if here.leader().is_some() {
            return;
        }
        if here.away_until > self.now && !self.healing {
            let back = here.away_until;
            return self.at(back, Due::Start(device));
        }
        self.take_lead(device);
    }

    /// A new tab takes the lead; an older one may still be there.
    pub fn take_lead(&mut self, device: usize) {
        let seed = self.dice.seed();
        let Some(here) = self.devices.get_mut(device) else { return };
        let Some(mailbox) = self.mailboxes.get(here.account) else { return };
        here.newest += 1;
        let limits = self.plan.limits;
        let config = Config {
            account: mailbox.jid.clone(),
            device: here.name.clone(),
            url: URL.to_owned(),
            seed,
            limits,
        };
        let engine = ClientEngine::load(here.store.rows(limits.client_recent_keys_max), config);
        let no = here.newest;
        here.tabs.push(Tab {
            no,
            engine,
            pending: None,
            link: None,
            wake: 0,
            fuse: None,
            state: None,
            shown: BTreeMap::new(),
            stored: BTreeSet::new(),
        });
        let signed_out = here.store.account.is_none();
        self.trace.event(self.now, &self.devices[device].label, "starts", &format!("tab {no}"));
        self.drain_tab(device, no);
        if signed_out {
            self.after(100, Due::SignIn(device));
        }
    }

    /// A person gives the password.
    pub fn sign_in(&mut self, device: usize) {
        let Some(no) = self.devices.get(device).map(|here| here.newest) else { return };
        if self.devices[device].store.account.is_some() {
            // Somebody who is signing out may not be out yet.
            if self.healing && !self.devices[device].is_settled() {
                self.after(2_000, Due::SignIn(device));
            }
            return;
        }
        let register = self.plan.registers && self.devices[device].account == 0;
        let password = keys::PASSWORD.to_owned();
        self.tab_input(device, no, Input::Command(Command::SignIn { password, register }));
        // Somebody who was refused, or had no connection, tries again.
        self.after(20_000, Due::SignIn(device));
    }

    /// An input for a tab.
    pub fn tab_input(&mut self, device: usize, no: u32, input: Input<'_>) {
        let Some(here) = self.devices.get_mut(device) else { return };
        let now = by_clock(self.now, here.skew);
        let Some(tab) = here.tab(no) else { return };
        tab.engine.handle(now, input);
        self.drain_tab(device, no);
    }

    fn drain_tab(&mut self, device: usize, no: u32) {
        for _ in 0..OUTPUTS_MAX {
            let Some(tab) = self.devices.get_mut(device).and_then(|here| here.tab(no)) else { return };
            match &mut tab.fuse {
                Some(0) => return self.tab_dies(device, no),
                Some(fuse) => *fuse -= 1,
                None => {}
            }
            match tab.engine.poll() {
                Output::Commit(batch, ops) => {
                    let twice = tab.pending.replace((batch, ops)).is_some();
                    assert!(!twice, "one commit at a time");
                    let ms = if self.healing { 0 } else { self.dice.between(self.plan.disk_ms) };
                    self.after(ms, Due::Disk { device, tab: no });
                }
                Output::Connect(local, _) => self.dial(device, no, local),
                Output::Send(local, text) => self.send_up(device, no, local, text),
                Output::Close(local) => self.close_here(device, no, local),
                Output::Notify(event) => self.told(device, no, event),
                Output::WakeAt(at) => return self.wake_tab_at(device, no, at),
            }
        }
        panic!("the engine of {} does not come to rest", self.devices[device].label);
    }

    fn wake_tab_at(&mut self, device: usize, no: u32, at: Option<Millis>) {
        let drift = self.drift();
        let here = &mut self.devices[device];
        let clock = by_clock(self.now, here.skew);
        let Some(tab) = here.tab(no) else { return };
        tab.wake += 1;
        let wake = tab.wake;
        if let Some(at) = at {
            // A timer runs by how long, not by the clock on the wall.
            self.after(at.since(clock) + drift, Due::TabWakes { device, tab: no, wake });
        }
    }

    /// A tab's timer rings; one that was set anew since rings for nothing, and sometimes does.
    pub fn tab_wakes(&mut self, device: usize, no: u32, wake: u64) {
        let Some(tab) = self.devices.get_mut(device).and_then(|here| here.tab(no)) else { return };
        let current = tab.wake == wake;
        if current || self.befalls(Fault::WakesDrift, 200) {
            self.tab_input(device, no, Input::Wake);
        }
    }

    /// A commit is over.
    pub fn disk_done(&mut self, device: usize, no: u32) {
        let fails = self.befalls(Fault::DiskFails, 25);
        let here = &mut self.devices[device];
        let leads = here.newest == no;
        let Some((batch, ops)) = here.tab(no).and_then(|tab| tab.pending.take()) else { return };
        if fails || !leads {
            self.marks.hit(if leads { Mark::DeviceCommitFailed } else { Mark::TabFencedOff });
            self.trace.event(self.now, &self.devices[device].label, "disk", "failed");
            self.tab_input(device, no, Input::CommitFailed(batch));
            return self.tab_ends(device, no);
        }
        self.apply(device, &ops);
        self.note_stored(device, no, &ops);
        self.tab_input(device, no, Input::Committed(batch));
    }

    fn note_stored(&mut self, device: usize, no: u32, ops: &[Op]) {
        let Some(tab) = self.devices[device].tab(no) else { return };
        for op in ops {
            match op {
                Op::PutMessage(row) => drop(tab.stored.insert(row.key.clone())),
                Op::DeleteMessage(key) => drop(tab.stored.remove(key)),
                Op::Clear => tab.stored.clear(),
                _ => {}
            }
        }
    }

    fn apply(&mut self, device: usize, ops: &[Op]) {
        let here = &mut self.devices[device];
        ops.iter().for_each(|op| here.store.apply(op));
        self.trace.event(self.now, &here.label, "stored", &format!("{} rows", ops.len()));
        self.watch.see(&Fact::Committed { device, ops, store: &here.store });
        let unknown =
            |op: &Op| matches!(op, Op::PutMessage(row) if row.failure.as_deref() == Some(OUTCOME_UNKNOWN));
        if ops.iter().any(unknown) {
            self.marks.hit(Mark::OutcomeUnknown);
        }
    }

    /// The power fails, the browser crashes, the tab is closed: whatever is in memory is gone.
    pub fn tab_dies(&mut self, device: usize, no: u32) {
        let kept = self.script.unwrap_or_else(|| self.dice.chance(500));
        let here = &mut self.devices[device];
        let leads = here.newest == no;
        let Some(tab) = here.tab(no) else { return };
        self.tolls.deaths += 1;
        if let Some((_, ops)) = tab.pending.take().filter(|_| leads) {
            self.marks.hit(if kept { Mark::CommitKeptWithoutTab } else { Mark::CommitLostWithTab });
            if kept {
                self.apply(device, &ops);
            }
        }
        self.trace.event(self.now, &self.devices[device].label, "dies", &format!("tab {no}"));
        self.tab_ends(device, no);
    }

    /// A tab is gone; another is opened if it led.
    fn tab_ends(&mut self, device: usize, no: u32) {
        let here = &mut self.devices[device];
        let Some(at) = here.tabs.iter().position(|tab| tab.no == no) else { return };
        let tab = here.tabs.remove(at);
        if let Some((_, link)) = tab.link {
            self.abandon(link);
        }
        self.watch.see(&Fact::TabDied { device, tab: no });
        if self.devices[device].newest == no {
            let ms = if self.healing || self.script.is_some() { 10 } else { self.dice.below(3_000) };
            self.after(ms, Due::Start(device));
        }
    }

    fn dial(&mut self, device: usize, no: u32, local: LinkId) {
        let account = self.devices[device].account;
        let link = self.net.dial(device, no, local, account);
        if let Some(tab) = self.devices[device].tab(no)
            && let Some((_, old)) = tab.link.replace((local, link))
        {
            self.abandon(old);
        }
        let refused = self.befalls(Fault::Refuse, 300)
            || (!self.healing && self.mailboxes[account].down_until > self.now);
        let fast = self.plan.has(Fault::SlowNetwork) && self.dice.chance(500);
        if let Some(known) = self.net.get_mut(link) {
            known.fast = fast;
        }
        let ms = self.latency_of(link);
        self.after(ms, Due::Dialled(link, !refused));
    }

    /// A connection is open on both sides, or refused.
    pub fn dialled(&mut self, link: u64, open: bool) {
        // Often right before it asks for its old stream: what it asks may come when it is gone.
        let stalls = self.befalls(Fault::Stall, 200);
        let stalls_after = stalls.then(|| if self.dice.chance(500) { 4 } else { self.dice.below(9) });
        let Some(known) = self.net.get_mut(link) else { return };
        known.stalls_after = stalls_after;
        let (device, no, local, account) = (known.device, known.tab, known.local, known.account);
        if !known.here {
            return self.net.forget(link);
        }
        if !open {
            known.here = false;
            self.net.forget(link);
            self.drop_link(device, no, link);
            return self.tab_input(device, no, Input::LinkDown(local));
        }
        known.there = true;
        self.relay_link_up(account, link);
        self.tab_input(device, no, Input::LinkUp(local));
    }

    fn drop_link(&mut self, device: usize, no: u32, link: u64) {
        if let Some(tab) = self.devices[device].tab(no)
            && tab.link.is_some_and(|(_, current)| current == link)
        {
            tab.link = None;
        }
    }

    fn send_up(&mut self, device: usize, no: u32, local: LinkId, text: String) {
        let link = self.devices[device].tab(no).and_then(|tab| tab.link);
        let Some((_, link)) = link.filter(|(current, _)| *current == local) else { return };
        let said = Said::of(&text);
        self.frame_seen(link, Way::Up, false, &said);
        self.put(link, Way::Up, Wire::Text(text));
    }

    fn close_here(&mut self, device: usize, no: u32, local: LinkId) {
        let link = self.devices[device].tab(no).and_then(|tab| tab.link);
        let Some((_, link)) = link.filter(|(current, _)| *current == local) else { return };
        self.drop_link(device, no, link);
        let Some(known) = self.net.get_mut(link) else { return };
        known.here = false;
        if known.stalled_until > self.now {
            self.marks.hit(Mark::DeviceGaveUpRelay);
        }
        self.put(link, Way::Up, Wire::End);
    }

    /// What arrives at a device.
    pub fn arrives_here(&mut self, link: u64, wire: Wire) {
        let Some(known) = self.net.get_mut(link) else { return };
        if !known.here {
            return;
        }
        let (device, no, local) = (known.device, known.tab, known.local);
        match wire {
            Wire::Text(text) => {
                let text = if self.devices[device].liar { self.tampered_down(text) } else { text };
                self.trace.frame(self.now, &self.devices[device].label, "hears", link, &text);
                let said = Said::of(&text);
                self.frame_seen(link, Way::Down, true, &said);
                self.tab_input(device, no, Input::Frame(local, &text));
            }
            Wire::Binary => {}
            Wire::End => {
                known.here = false;
                self.net.forget(link);
                self.drop_link(device, no, link);
                self.watch.ledger.shake(device);
                self.tab_input(device, no, Input::LinkDown(local));
            }
        }
    }

    /// A frame is put in, or comes out.
    pub fn frame_seen(&mut self, link: u64, way: Way, arrived: bool, said: &Said<'_>) {
        let Some(known) = self.net.get(link) else { return };
        let (device, tab) = (known.device, known.tab);
        // On a connection that the device has given up it says nothing any more, but what it had
        // said may still arrive.
        let leads = known.here && self.devices[device].newest == tab;
        self.watch.see(&Fact::Frame { link, device, tab, leads, way, arrived, said });
    }

    /// A screen is told something.
    fn told(&mut self, device: usize, no: u32, event: Event) {
        let here = &mut self.devices[device];
        let leads = here.newest == no;
        let Some(tab) = here.tab(no) else { return };
        match &event {
            Event::Link(state) => tab.state = Some(*state),
            Event::Message(row) => {
                let text = format!("{} {:?} {:?}", row.body, row.direction, row.status);
                tab.shown.insert(row.key.clone(), row.clone());
                self.trace.event(self.now, &self.devices[device].label, "shows", &text);
            }
            Event::MessageGone(_, key) => drop(tab.shown.remove(key)),
            Event::SignedIn => self.signed_in(device),
            _ => {}
        }
        if leads {
            let store = &self.devices[device].store;
            self.watch.see(&Fact::Told { device, event: &event, store });
            if matches!(event, Event::Link(LinkState::Online { .. })) {
                self.trace.event(self.now, &self.devices[device].label, "is", "online");
            }
        }
    }

    /// Who has signed in anew chooses the same contacts.
    fn signed_in(&mut self, device: usize) {
        if self.plan.registers && self.devices[device].account == 0 {
            self.marks.hit(Mark::Registered);
        }
        self.after(0, Due::Act(device));
    }

    /// Whether a person sees that this device's message failed for good, and may try it again.
    pub fn refused(&self, device: usize) -> Option<(MessageKey, bool)> {
        let rows = self.devices.get(device)?.store.messages.values();
        let mut failed =
            rows.filter(|row| row.direction == Direction::Outgoing && row.status == Status::Failed);
        let own = |row: &&MessageRow| {
            self.watch.ledger.of(&row.body).is_some_and(|(_, entry)| entry.device == device)
        };
        failed.find(own).map(|row| (row.key.clone(), row.failure.as_deref() != Some(OUTCOME_UNKNOWN)))
    }
}
