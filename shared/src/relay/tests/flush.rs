//! A queue is sent a window at a time, and goes on when half of the window is free.

use super::world::{Device, World, jid};
use crate::limits::Limits;

const LIMITS: Limits = Limits { window_stanzas_max: 100, ..Limits::DEFAULT };

/// Bob's phone, for which 250 messages waited, and which acks when it is told to.
fn bob_and_his_queue() -> (World, Device) {
    let mut world = World::with(LIMITS);
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    bob.say(&mut world, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
    for n in 1..=250 {
        alice.message(&mut world, "b@d", &format!("message {n}"));
    }
    bob.authenticate(&mut world);
    bob.bind_unseen(&mut world);
    bob.acks = false;
    bob.send(&mut world, "<presence xmlns='jabber:client'/>");
    (world, bob)
}

/// The device acks all it has but so many.
fn ack_all_but(bob: &mut Device, world: &mut World, left: u32) {
    bob.say(world, &format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", bob.handled.0 - left));
}

#[test]
fn a_queue_fills_the_window_and_goes_on_when_half_of_it_is_free() {
    let (mut world, mut bob) = bob_and_his_queue();
    let first = bob.bodies.len();
    assert!((95..=100).contains(&first), "{first} came");
    ack_all_but(&mut bob, &mut world, 51);
    assert_eq!(bob.bodies.len(), first, "half a window is not free yet");
    ack_all_but(&mut bob, &mut world, 50);
    assert_eq!(bob.bodies.len(), first + 50);
    ack_all_but(&mut bob, &mut world, 0);
    assert_eq!(bob.bodies.len(), first + 150);
    ack_all_but(&mut bob, &mut world, 0);
    let all: Vec<String> = (1..=250).map(|n| format!("message {n}")).collect();
    assert_eq!(bob.bodies, all);
}

#[test]
fn a_device_that_acks_too_little_for_more_is_asked_for_the_rest() {
    let (mut world, mut bob) = bob_and_his_queue();
    let asked = |bob: &Device| bob.nonzas.iter().filter(|e| e.name == "r").count();
    let before = asked(&bob);
    ack_all_but(&mut bob, &mut world, 80);
    assert_eq!(asked(&bob), before + 1);
    // It has nothing more to say: it is not asked again at once.
    ack_all_but(&mut bob, &mut world, 80);
    assert_eq!(asked(&bob), before + 1);
}

#[test]
fn acks_one_by_one_cost_a_row_each_and_no_more() {
    let (mut world, mut bob) = bob_and_his_queue();
    let account = jid("b");
    let (before, sent) = (world.disk(&account).written, bob.handled.0);
    for h in sent - 98..=sent {
        bob.say(&mut world, &format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>"));
    }
    assert!(bob.bodies.len() > 190, "the queue went on meanwhile");
    assert!(world.disk(&account).written - before <= 99);
}

#[test]
fn a_device_that_never_acks_is_sent_its_queue_in_turns() {
    let mut world = World::with(Limits { window_stanzas_max: 10, ..LIMITS });
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    bob.say(&mut world, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
    let all: Vec<String> = (1..=35).map(|n| n.to_string()).collect();
    all.iter().for_each(|body| alice.message(&mut world, "b@d", body));
    bob.authenticate(&mut world);
    bob.bind_unmanaged(&mut world);
    bob.say(&mut world, "<presence xmlns='jabber:client'/>");
    assert_eq!(bob.bodies, all[..10]);
    alice.message(&mut world, "b@d", "36");
    bob.drain(&mut world);
    assert_eq!(bob.bodies.len(), 10, "what comes meanwhile waits behind");
    world.hibernate(&jid("b"));
    world.input(&jid("b"), crate::relay::Input::Wake);
    world.pass(1_000);
    bob.drain(&mut world);
    assert_eq!(bob.bodies.len(), 36);
    assert_eq!(bob.bodies[..35], all);
}

#[test]
fn a_turn_is_bounded_by_its_bytes() {
    let mut world = World::with(Limits { flush_bytes_max: 3_000, ..LIMITS });
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    bob.say(&mut world, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
    let long = |n: u32| format!("{n}{}", "x".repeat(1_000));
    (1..=9).for_each(|n| alice.message(&mut world, "b@d", &long(n)));
    bob.authenticate(&mut world);
    bob.bind_unseen(&mut world);
    bob.acks = false;
    bob.send(&mut world, "<presence xmlns='jabber:client'/>");
    assert!(bob.bodies.len() <= 3, "{}", bob.bodies.len());
    bob.acks = true;
    for _ in 0..20 {
        world.pass(300);
        bob.drain(&mut world);
    }
    assert_eq!(bob.bodies, (1..=9).map(long).collect::<Vec<_>>());
}
