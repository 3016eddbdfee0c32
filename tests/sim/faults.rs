//! What goes wrong, and how it is mended.

use crate::fact::Fact;
use crate::net::{Way, Wire};
use crate::plan::Fault;
use crate::sometimes::Mark;
use crate::world::{Due, World};
use shared::client::{Command, Input};
use shared::memory::ClientStore;

const LIE: &str = "<a xmlns='urn:xmpp:sm:3' h='4000000000'/>";
/// A request.
const PING: &str = "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
const HOUR_MS: u64 = 3_600_000;

impl World {
    /// One thing goes wrong, of those that the plan allows.
    pub fn disaster(&mut self) {
        let pause = self.dice.pause(self.plan.horizon_ms / self.plan.disasters.max(1));
        self.after(pause, Due::Disaster);
        let faults: Vec<Fault> = self.plan.faults.iter().copied().collect();
        let Some(fault) = self.dice.pick(&faults).copied() else { return };
        let device = self.dice.below(self.devices.len() as u64) as usize;
        let account = self.dice.below(self.mailboxes.len() as u64) as usize;
        self.trace.event(self.now, "world", "disaster", &format!("{fault:?}"));
        match fault {
            Fault::Cut => self.cut_some(),
            Fault::HalfOpen => {
                if let Some(link) = self.some_link() {
                    self.tolls.cuts += 1;
                    self.net.kill(link);
                    self.shake(link);
                }
            }
            Fault::Stall => {
                let until = self.now + self.dice.below(60_000);
                let link = self.some_link();
                if let Some(link) = link.and_then(|link| self.net.get_mut(link)) {
                    link.stalled_until = until;
                }
            }
            Fault::DeviceDies => self.fuse_tab(device),
            Fault::LongAway => {
                self.devices[device].away_until = self.now + self.plan.horizon_ms / 3;
                let no = self.devices[device].newest;
                self.tab_dies(device, no);
            }
            Fault::MailboxDies => self.mailboxes[account].fuse = Some(self.dice.below(16)),
            Fault::Redeploy => self.redeploy(),
            Fault::Hibernate => self.hibernate(account),
            Fault::RelayDiskFails => self.mailboxes[account].disk_fails = true,
            Fault::ClockJumps => self.jump(device, account),
            Fault::TwoTabs => self.second_tab(device),
            Fault::SignOut => self.sign_out(device),
            Fault::Evict => self.evict(device),
            Fault::CallsLost => self.silent_until = self.now + self.dice.below(self.plan.horizon_ms),
            // These lie in wait for everything that happens.
            Fault::SlowNetwork
            | Fault::Refuse
            | Fault::SlowDisk
            | Fault::DiskFails
            | Fault::WakesDrift
            | Fault::Liar => {}
        }
    }

    /// Whether this is the frame before which a new connection stalls.
    pub fn stalls_here(&mut self, link: u64) -> bool {
        let Some(known) = self.net.get_mut(link) else { return false };
        let Some(left) = known.stalls_after else { return false };
        known.stalls_after = left.checked_sub(1);
        if left == 0 {
            known.stalled_until = self.now + 1 + self.dice.below(60_000);
        }
        left == 0
    }

    fn some_link(&mut self) -> Option<u64> {
        let live: Vec<u64> =
            self.net.links().filter(|(_, link)| link.here && link.there).map(|(id, _)| id).collect();
        self.dice.pick(&live).copied()
    }

    fn shake(&mut self, link: u64) {
        if let Some(device) = self.net.get(link).map(|link| link.device) {
            self.watch.ledger.shake(device);
        }
    }

    fn cut_some(&mut self) {
        let Some(link) = self.some_link() else { return };
        self.tolls.cuts += 1;
        self.shake(link);
        self.tail_lost(link, Way::Up);
        self.tail_lost(link, Way::Down);
    }

    /// One direction ends: a part of what is on its way arrives, and then the end, soon, late,
    /// or never.
    pub fn tail_lost(&mut self, link: u64, way: Way) {
        let waiting = self.net.waiting(link, way);
        let arrive = match self.script {
            Some(all) => {
                if all {
                    waiting
                } else {
                    0
                }
            }
            None => self.dice.below(waiting as u64 + 1) as usize,
        };
        let notice = match self.dice.below(10) {
            0..6 => Some(self.now + self.dice.below(50)),
            6..9 => Some(self.now + self.dice.below(60_000)),
            _ if self.script.is_some() => Some(self.now),
            _ => None,
        };
        if let Some(due) = self.net.cut(link, way, arrive, notice) {
            self.at(due, Due::Frame(link, way));
        }
    }

    /// The device's side of a connection is gone.
    pub fn abandon(&mut self, link: u64) {
        if let Some(known) = self.net.get_mut(link) {
            known.here = false;
            self.tail_lost(link, Way::Up);
            self.net.forget(link);
        }
    }

    fn fuse_tab(&mut self, device: usize) {
        let fuse = self.dice.below(14);
        let no = self.devices[device].newest;
        if let Some(tab) = self.devices[device].tab(no) {
            tab.fuse = Some(fuse);
        }
    }

    fn redeploy(&mut self) {
        let back = self.now + self.dice.below(5_000);
        for account in 0..self.mailboxes.len() {
            self.mailboxes[account].down_until = back;
            self.mailbox_dies(account);
        }
    }

    /// An object sleeps when nothing holds it: no call is out, no timer is near.
    fn hibernate(&mut self, account: usize) {
        let calls =
            self.calls.values().any(|call| !call.over && (call.from == account || call.to == Some(account)));
        if !calls && self.mailboxes[account].engine.take().is_some() {
            self.marks.hit(Mark::MailboxSlept);
            // Its timer would have kept it in memory, so it rings.
            let wake = self.mailboxes[account].wake;
            self.mailboxes[account].wake = wake + 1;
            self.after(10, Due::Alarm(account));
            self.mailboxes[account].alarm = Some(self.now);
        }
    }

    fn jump(&mut self, device: usize, account: usize) {
        let by = self.dice.below(2 * HOUR_MS) as i64 - HOUR_MS as i64;
        if by < 0 {
            self.marks.hit(Mark::ClockSetBack);
        }
        if self.dice.chance(500) {
            self.devices[device].skew += by;
        } else {
            self.mailboxes[account].skew += by;
        }
    }

    fn second_tab(&mut self, device: usize) {
        let Some(no) = self.devices[device].leader().map(|tab| tab.no) else { return };
        // What the first is storing goes through before the second takes the lead, or not at all.
        if self.dice.chance(500) {
            self.disk_done(device, no);
        }
        self.take_lead(device);
        let ms = self.dice.below(20_000);
        self.after(ms, Due::Closes { device, tab: no });
    }

    fn sign_out(&mut self, device: usize) {
        let no = self.devices[device].newest;
        if self.devices[device].liar || self.devices[device].tab(no).is_none() {
            return;
        }
        if !self.devices[device].store.outbox.is_empty() {
            self.marks.hit(Mark::SignedOutWithOutbox);
        }
        self.tab_input(device, no, Input::Command(Command::SignOut));
        let ms = self.dice.between((2_000, 20_000));
        self.after(ms, Due::SignIn(device));
    }

    fn evict(&mut self, device: usize) {
        if self.devices[device].liar {
            return;
        }
        self.marks.hit(Mark::StoresLost);
        for tab in self.devices[device].tabs.iter_mut() {
            tab.pending = None;
        }
        self.devices[device].store = ClientStore::default();
        self.watch.see(&Fact::Wiped { device });
        let tabs: Vec<u32> = self.devices[device].tabs.iter().map(|tab| tab.no).collect();
        for no in tabs {
            self.tab_dies(device, no);
        }
    }

    /// What a liar's machine sends for what it was to send.
    pub fn tampered_up(&mut self, text: String) -> Vec<Wire> {
        if !self.befalls(Fault::Liar, 120) {
            return vec![Wire::Text(text)];
        }
        let instead = match self.dice.below(7) {
            0 => Wire::Text(LIE.to_owned()),
            1 => Wire::Text("<message".to_owned()),
            2 => Wire::Text("<!DOCTYPE x []><message/>".to_owned()),
            3 => Wire::Binary,
            4 => {
                let half = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at));
                Wire::Text(text[..half.unwrap_or_default()].to_owned())
            }
            5 => Wire::Text(
                "<message xmlns='jabber:client' to='bob@d' type='chat'><body/></message>".to_owned(),
            ),
            // More than anybody asks before it hears an answer.
            _ => return std::iter::repeat_n(Wire::Text(PING.to_owned()), 40).collect(),
        };
        vec![instead]
    }

    /// What a liar's relay is heard saying.
    pub fn tampered_down(&mut self, text: String) -> String {
        if !self.befalls(Fault::Liar, 60) {
            return text;
        }
        match self.dice.below(3) {
            0 => LIE.to_owned(),
            1 => "<message".to_owned(),
            _ => "<failed xmlns='urn:xmpp:sm:3'/>".to_owned(),
        }
    }

    /// Nothing fails from here on, and what is away comes back.
    pub fn now_heal(&mut self) {
        self.healing = true;
        self.trace.event(self.now, "world", "heals", "");
        for mailbox in &mut self.mailboxes {
            (mailbox.fuse, mailbox.disk_fails, mailbox.down_until) = (None, false, 0);
        }
        for device in 0..self.devices.len() {
            self.devices[device].away_until = 0;
            for tab in &mut self.devices[device].tabs {
                tab.fuse = None;
            }
            self.after(0, Due::Start(device));
            self.after(500, Due::SignIn(device));
        }
    }
}
