//! Everything that can happen to a device, at random and all at once.

use super::attack::*;
use super::world::{Device, World, jid};
use crate::id::StanzaSeq;
use crate::limits::Limits;
use crate::relay::Input;
use crate::wire::{read_frame, stanza};
use std::collections::BTreeSet;

const LIST: &str = "<iq xmlns='jabber:client' type='get' id='list'><query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/offline'/></iq>";
const HOLD: &str = "<iq xmlns='jabber:client' type='get' id='hold'><summary xmlns='urn:counterfoil:offline:0' hold='true'/></iq>";
const RELEASE: &str =
    "<iq xmlns='jabber:client' type='set' id='release'><release xmlns='urn:counterfoil:offline:0'/></iq>";
const SEEDS: u64 = 40;

/// Bodies that a device has acked, and those that came again afterwards.
#[derive(Default)]
struct Ledger {
    seen: usize,
    numbers: Vec<(u32, String)>,
    acked: BTreeSet<String>,
    again: Vec<String>,
}

impl Ledger {
    fn look(&mut self, device: &Device) {
        let fresh = &device.stanzas[self.seen..];
        let first = device.handled.0 + 1 - (fresh.len() as u32).min(device.handled.0 + 1);
        for (at, stanza) in fresh.iter().enumerate() {
            let Some(body) = stanza::body(stanza) else { continue };
            if self.acked.contains(&body) {
                self.again.push(body.clone());
            }
            self.numbers.push((first + at as u32, body));
        }
        self.seen = device.stanzas.len();
    }

    fn ack(&mut self, h: u32) {
        let (acked, left) = std::mem::take(&mut self.numbers).into_iter().partition(|(n, _)| *n <= h);
        self.numbers = left;
        let acked: Vec<(u32, String)> = acked;
        self.acked.extend(acked.into_iter().map(|(_, body)| body));
    }
}

/// A device that goes through everything at once, and what it must not see.
struct Ordeal {
    world: World,
    alice: Device,
    bob: Device,
    ledger: Ledger,
    dice: u64,
    floor: u32,
    removed: BTreeSet<String>,
}

impl Ordeal {
    fn new(seed: u64) -> Self {
        let window_stanzas_max = 4 + 4 * (seed as usize % 3);
        let mut world = World::with(Limits { window_stanzas_max, checkpoint_rows: 5, ..Limits::DEFAULT });
        let alice = Device::online(&mut world, "a", "phone");
        let mut bob = Device::online(&mut world, "b", "desk");
        bob.acks = false;
        bob.drain(&mut world);
        let floor = bob.handled.0;
        let mut ordeal = Self {
            world,
            alice,
            bob,
            ledger: Ledger::default(),
            dice: seed,
            floor,
            removed: Default::default(),
        };
        ordeal.look();
        ordeal
    }

    fn throw(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    fn look(&mut self) {
        if self.bob.connected(&self.world) {
            self.bob.drain(&mut self.world);
        }
        self.ledger.look(&self.bob);
    }

    fn resume(&mut self) {
        self.look();
        self.ledger.ack(self.bob.handled.0);
        self.floor = self.bob.handled.0;
        assert!(self.bob.resume(&mut self.world));
    }

    fn begin(&mut self) {
        self.look();
        self.ledger.numbers.clear();
        self.bob.authenticate(&mut self.world);
        self.bob.bind_unseen(&mut self.world);
        self.ledger.seen = self.bob.stanzas.len();
        self.floor = 0;
        match self.throw(6) {
            0 => self.bob.send(&mut self.world, LIST),
            1 => self.bob.send(&mut self.world, HOLD),
            _ => {}
        }
        let presence = [QUIET, AVAILABLE][self.throw(2) as usize];
        self.bob.send(&mut self.world, presence);
    }

    fn ack(&mut self) {
        self.look();
        let left = self.throw(4) as u32;
        self.floor = self.bob.handled.0.saturating_sub(left).max(self.floor);
        self.ledger.ack(self.floor);
        self.bob.say(&mut self.world, &format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.floor));
    }

    fn message(&mut self, body: &str) {
        let to = ["b@d", "b@d/desk"][self.throw(2) as usize];
        if self.throw(4) == 0 {
            self.world.crash_at = Some(self.world.steps + self.throw(16) as usize);
        }
        self.alice.message(&mut self.world, to, body);
        self.world.crash_at = None;
        if !self.alice.connected(&self.world) {
            assert!(self.alice.resume(&mut self.world));
        }
    }

    /// The device has taken one message of the list by itself, or whatever else it is.
    fn remove(&mut self) {
        self.look();
        let Some(id) = self.one() else { return };
        let item = format!("<item action='remove' node='{id}'/>");
        let request = format!(
            "<iq xmlns='jabber:client' type='set' id='x{id}'><offline xmlns='http://jabber.org/protocol/offline'>{item}</offline></iq>"
        );
        self.bob.send(&mut self.world, &request);
        self.look();
        let ok = self
            .bob
            .stanzas
            .iter()
            .rev()
            .find(|s| s.attr("id") == Some(&format!("x{id}")))
            .is_some_and(|s| s.attr("type") == Some("result"));
        if ok {
            let body = self.body_of(id);
            self.removed.insert(body);
        }
    }

    fn one(&mut self) -> Option<u64> {
        let last = self.world.disk(&jid("b")).rows.log.keys().last()?.0;
        Some(1 + self.throw(last))
    }

    fn body_of(&mut self, id: u64) -> String {
        let log = &self.world.disk(&jid("b")).rows.log;
        let row = &log[&StanzaSeq(id)];
        stanza::body(&read_frame(&row.stanza, 100_000).unwrap()).unwrap()
    }

    fn receive(&mut self) {
        self.look();
        let Some(id) = self.one() else { return };
        let request = format!(
            "<iq xmlns='jabber:client' type='set' id='r{id}'><received xmlns='urn:counterfoil:offline:0' upto='{id}'/></iq>"
        );
        self.bob.send(&mut self.world, &request);
        for id in 1..=id {
            let body = self.body_of(id);
            self.removed.insert(body);
        }
        self.look();
    }

    fn step(&mut self) {
        let up = self.bob.connected(&self.world) && self.bob.link.0 != 0;
        match self.throw(14) {
            0 if up => self.bob.send(&mut self.world, QUIET),
            1 if up => self.bob.send(&mut self.world, AVAILABLE),
            2 | 3 if up => self.ack(),
            4 if up => {
                lose(&mut self.world, &self.bob);
                self.world.closed.insert(self.bob.link, 1006);
            }
            5 => self.world.crash(&jid("b")),
            6 => self.world.hibernate(&jid("b")),
            7 if !up => self.resume(),
            8 if !up || self.throw(4) == 0 => self.begin(),
            9 if up => self.bob.send(&mut self.world, RELEASE),
            10 if up => self.receive(),
            11 if up => self.remove(),
            12 => {
                self.look();
                self.world.pass(3_000);
                self.look();
                if !self.alice.connected(&self.world) {
                    assert!(self.alice.resume(&mut self.world));
                }
            }
            _ => {}
        }
        self.world.input(&jid("b"), Input::Wake);
        self.world.input(&jid("a"), Input::Wake);
        self.look();
    }
}

#[test]
fn whatever_happens_to_a_device_each_message_comes_and_none_comes_after_it_was_acked() {
    for seed in 0..SEEDS {
        let mut ordeal = Ordeal::new(seed);
        for n in 0..40 {
            ordeal.message(&format!("message {n:02}"));
            ordeal.step();
        }
        ordeal.look();
        let Ordeal { mut world, mut bob, mut alice, mut ledger, removed, .. } = ordeal;
        bob.acks = true;
        begin_again(&mut world, &mut bob, AVAILABLE);
        pass(&mut world, 30_000, &mut [&mut alice, &mut bob]);
        ledger.numbers.clear();
        ledger.look(&bob);
        let all = (0..40).map(|n| format!("message {n:02}"));
        let missing: Vec<String> =
            all.filter(|body| !bob.bodies.contains(body) && !removed.contains(body)).collect();
        assert!(missing.is_empty(), "seed {seed}: {missing:?}");
        assert!(ledger.again.is_empty(), "seed {seed}: {:?}", ledger.again);
    }
}

/// What is known of one account in another's mailbox: who sees whom, and how much is owed.
fn bits(world: &mut World, whose: &str, of: &str) -> (bool, bool, usize) {
    let row = world.disk(&jid(whose)).rows.contacts.get(&jid(of));
    row.map_or((false, false, 0), |row| (row.to, row.from, row.owed.len()))
}

#[test]
fn whatever_happens_between_two_mailboxes_they_agree_who_sees_whom_before_the_next_change() {
    for seed in 0..SEEDS {
        let mut dice = seed + 1;
        let mut throw = move |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        let (mut world, alice, bob) = friends(Limits::DEFAULT);
        let mut people = [alice, bob];
        let mut said = Vec::new();
        for _ in 0..12 {
            let who = throw(2) as usize;
            let other = ["b", "a"][who];
            let kind =
                ["subscribe", "subscribed", "unsubscribe", "unsubscribed", "remove"][throw(5) as usize];
            let frame = match kind {
                "remove" => format!(
                    "<iq xmlns='jabber:client' type='set' id='r'><query xmlns='jabber:iq:roster'>\
                     <item jid='{other}@d' subscription='remove'/></query></iq>"
                ),
                kind => format!("<presence xmlns='jabber:client' type='{kind}' to='{other}@d'/>"),
            };
            let trouble = throw(6);
            match trouble {
                0 => world.crash_at = Some(world.steps + throw(14) as usize),
                1 => drop(world.away.insert(jid(other))),
                2 => world.answers_lost = true,
                3 => world.hibernate(&jid(other)),
                _ => {}
            }
            said.push((who, kind, trouble));
            people[who].send(&mut world, &frame);
            world.pass(200);
            world.crash_at = None;
            world.away.clear();
            world.answers_lost = false;
            for person in &mut people {
                if !person.connected(&world) {
                    assert!(person.resume(&mut world), "seed {seed} {said:?}");
                }
                person.drain(&mut world);
            }
            let [alice, bob] = &mut people;
            pass(&mut world, 5_000, &mut [alice, bob]);
            let ((a_to, a_from, a_owes), (b_to, b_from, b_owes)) =
                (bits(&mut world, "a", "b"), bits(&mut world, "b", "a"));
            assert_eq!((a_owes, b_owes), (0, 0), "seed {seed} {said:?}");
            assert_eq!((a_to, b_to), (b_from, a_from), "seed {seed} {said:?}");
        }
    }
}
