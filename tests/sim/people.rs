//! What people do: write, look, try again, take away, close.

use crate::fact::Fact;
use crate::net::{Way, Wire};
use crate::sometimes::Mark;
use crate::world::{Due, World};
use shared::client::rows::{Direction, MessageKey, Status};
use shared::client::{Command, Input};
use shared::id::OriginId;
use shared::jid::BareJid;

impl World {
    /// A person does something, and will again.
    pub fn act(&mut self, device: usize) {
        let pause = self.act_pause();
        self.after(pause, Due::Act(device));
        let Some(here) = self.devices.get(device) else { return };
        let Some(no) = here.leader().map(|tab| tab.no) else { return };
        if here.store.account.is_none() {
            return;
        }
        let peers: Vec<(usize, BareJid)> = self
            .watch
            .ledger
            .cast
            .accounts
            .iter()
            .cloned()
            .enumerate()
            .filter(|(n, _)| *n != here.account)
            .collect();
        for (_, peer) in &peers {
            if !self.devices[device].store.conversations.get(peer).is_some_and(|row| row.accepted) {
                self.tab_input(device, no, Input::Command(Command::Accept(peer.clone())));
            }
        }
        let Some((to, peer)) = self.dice.pick(&peers).cloned() else { return };
        match self.dice.below(100) {
            0..54 => self.write(device, no, to, peer),
            54..70 => self.look(device, no, peer),
            70..85 => {
                let composing = self.dice.chance(500);
                self.tab_input(device, no, Input::Command(Command::Typing(peer, composing)));
            }
            85..88 => self.tab_input(device, no, Input::Command(Command::Draft(peer, "draft".into()))),
            88..95 => self.settle_refused(device, no),
            95..98 => self.take_away(device, no),
            _ => self.tab_input(device, no, Input::Command(Command::Reconnect)),
        }
    }

    /// A person writes, sometimes several at once.
    fn write(&mut self, device: usize, no: u32, to: usize, peer: BareJid) {
        let several = if self.dice.chance(150) { self.dice.between((2, 8)) } else { 1 };
        for _ in 0..several {
            self.write_one(device, no, to, &peer);
        }
    }

    /// One message.
    pub fn write_one(&mut self, device: usize, no: u32, to: usize, peer: &BareJid) {
        if self.devices[device].tab(no).is_none() {
            return;
        }
        let body = self.watch.ledger.next_body(device, to);
        let origin = OriginId(format!("o-{body}"));
        self.trace.event(self.now, &self.devices[device].label, "writes", &body);
        self.watch.see(&Fact::Wrote { device, to, origin: &origin, body: &body });
        let send = Command::Send { origin, to: peer.clone(), body };
        self.tab_input(device, no, Input::Command(send));
    }

    /// A person looks at a conversation: at all that is stored there.
    pub fn look(&mut self, device: usize, no: u32, peer: BareJid) {
        let here = &self.devices[device];
        let rows = here.store.messages.values().filter(|row| row.conversation == peer);
        let incoming = rows.filter(|row| row.direction == Direction::Incoming);
        let ledger = &self.watch.ledger;
        let seen: Vec<u64> =
            incoming.filter_map(|row| ledger.of(&row.body)).map(|(number, _)| number).collect();
        let newest = here.store.conversations.get(&peer).and_then(|row| row.newest.clone());
        let account = here.account;
        self.watch.see(&Fact::Looked { account, messages: &seen });
        let key = newest.unwrap_or(MessageKey(String::new()));
        self.tab_input(device, no, Input::Command(Command::Displayed(peer, key)));
    }

    /// Tries a refused message again, or takes it away.
    fn settle_refused(&mut self, device: usize, no: u32) {
        let Some((key, definite)) = self.refused(device) else { return };
        let again = definite && self.dice.chance(700);
        if again {
            self.marks.hit(Mark::TriedAgain);
        }
        let command = if again { Command::Retry(key) } else { Command::Discard(key) };
        self.tab_input(device, no, Input::Command(command));
    }

    /// Takes the newest message away, if it has not left.
    fn take_away(&mut self, device: usize, no: u32) {
        let rows = self.devices[device].store.messages.values();
        let queued = rows.filter(|row| row.status == Status::Queued).max_by_key(|row| row.order);
        if let Some(key) = queued.map(|row| row.key.clone()) {
            self.tab_input(device, no, Input::Command(Command::Discard(key)));
        }
    }

    /// Puts something on its way.
    pub fn put(&mut self, link: u64, way: Way, wire: Wire) {
        let due = self.now + self.latency_of(link);
        let liar = self.net.get(link).is_some_and(|known| self.devices[known.device].liar);
        let wires = match wire {
            Wire::Text(text) if liar && way == Way::Up => self.tampered_up(text),
            wire => vec![wire],
        };
        for wire in wires {
            if let Some(due) = self.net.put(link, way, wire, due) {
                self.at(due, Due::Frame(link, way));
            }
        }
    }

    /// The oldest thing in a pipe arrives, unless nothing passes.
    pub fn arrives(&mut self, link: u64, way: Way) {
        let Some(known) = self.net.get(link) else { return };
        let until = known.stalled_until;
        if until > self.now && !self.healing {
            return self.at(until, Due::Frame(link, way));
        }
        if way == Way::Up && self.stalls_here(link) {
            return self.after(0, Due::Frame(link, way));
        }
        let Some(wire) = self.net.take(link, way) else { return };
        self.tolls.frames += 1;
        match way {
            Way::Up => self.arrives_there(link, wire),
            Way::Down => self.arrives_here(link, wire),
        }
    }
}
