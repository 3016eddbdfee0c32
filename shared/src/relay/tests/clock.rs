//! What a mailbox does by the clock: deadlines that survive a clock that is set back, and how
//! often a device is asked for an ack.

use super::world::{Device, World, jid};
use crate::limits::{AUTHENTICATION_MS_MAX, Limits, TRANSFER_RETRY_MS_MIN};
use crate::relay::Input;

const HOUR: u64 = 3_600_000;
const LIMITS: Limits = Limits::DEFAULT;

/// Alice, and Bob with everything acked, whose device answers nothing from here on.
fn alice_and_a_silent_bob(limits: Limits) -> (World, Device, Device) {
    let mut world = World::with(limits);
    let alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    world.pass(1_000);
    bob.drain(&mut world);
    bob.acks = false;
    (world, alice, bob)
}

#[test]
fn an_ack_is_asked_for_in_time_by_a_clock_that_was_set_back() {
    let (mut world, mut alice, mut bob) = alice_and_a_silent_bob(LIMITS);
    let before = bob.asked();
    alice.message(&mut world, "b@d", "hello");
    world.set_back(HOUR);
    world.pass(LIMITS.ack_idle_ms);
    bob.drain(&mut world);
    assert_eq!(bob.asked(), before + 1);
}

#[test]
fn an_ack_that_does_not_come_is_given_up_in_time_by_a_clock_that_was_set_back() {
    for hibernates in [false, true] {
        let (mut world, mut alice, mut bob) = alice_and_a_silent_bob(LIMITS);
        alice.message(&mut world, "b@d", "hello");
        world.pass(LIMITS.ack_idle_ms);
        if hibernates {
            world.now = world.now.minus(HOUR);
            world.hibernate(&jid("b"));
        }
        world.set_back(HOUR);
        world.pass(LIMITS.ack_timeout_ms - 1);
        bob.drain(&mut world);
        assert!(bob.connected(&world));
        world.pass(1);
        assert!(!bob.connected(&world), "hibernates: {hibernates}");
    }
}

#[test]
fn a_device_is_told_what_the_relay_has_in_time_by_a_clock_that_was_set_back() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    alice.message(&mut world, "nobody@d", "hello");
    world.set_back(HOUR);
    world.pass(LIMITS.tell_idle_ms);
    alice.drain(&mut world);
    assert_eq!(alice.unacked(), 0);
}

#[test]
fn a_transfer_is_tried_again_in_time_by_a_clock_that_was_set_back() {
    let (mut world, mut alice, mut bob) = alice_and_a_silent_bob(LIMITS);
    world.away.insert(jid("b"));
    alice.message(&mut world, "b@d", "hello");
    world.set_back(HOUR);
    world.away.clear();
    world.pass(TRANSFER_RETRY_MS_MIN);
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["hello"]);
}

#[test]
fn a_silent_connection_is_closed_in_time_by_a_clock_that_was_set_back() {
    for hibernates in [false, true] {
        let mut world = World::new();
        let silent = world.connect(&jid("a"));
        if hibernates {
            world.now = world.now.minus(HOUR);
            world.hibernate(&jid("a"));
        }
        world.set_back(HOUR);
        world.pass(AUTHENTICATION_MS_MAX - 1);
        assert_eq!(world.closed.get(&silent), None);
        world.pass(1);
        assert_eq!(world.closed.get(&silent), Some(&1000), "hibernates: {hibernates}");
    }
}

#[test]
fn a_session_is_over_in_time_by_a_clock_that_was_set_back() {
    let (mut world, _alice, mut bob) = alice_and_a_silent_bob(LIMITS);
    world.input(&jid("b"), Input::LinkDown(bob.link));
    world.set_back(HOUR);
    world.pass(LIMITS.resume_window_ms + 1);
    assert!(!bob.resume(&mut world));
}

#[test]
fn a_device_that_acks_without_progress_is_not_asked_again_at_once() {
    let (mut world, mut alice, mut bob) = alice_and_a_silent_bob(LIMITS);
    let stuck = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", bob.handled);
    alice.message(&mut world, "b@d", "hello");
    world.pass(LIMITS.ack_idle_ms);
    bob.drain(&mut world);
    let asked = bob.asked();
    for round in 0..3 {
        bob.say(&mut world, &stuck);
        world.pass(LIMITS.ack_timeout_ms - 1);
        bob.drain(&mut world);
        assert_eq!(bob.asked(), asked + round, "it may have lost count");
        world.pass(1);
        bob.drain(&mut world);
        assert_eq!(bob.asked(), asked + round + 1, "but it is asked");
    }
    let answer = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", bob.handled);
    bob.say(&mut world, &answer);
    alice.message(&mut world, "b@d", "more");
    world.pass(LIMITS.ack_idle_ms);
    bob.drain(&mut world);
    assert_eq!(bob.asked(), asked + 4, "who makes progress is asked as everybody is");
}

#[test]
fn a_full_window_that_makes_no_progress_is_not_asked_about_as_fast_as_the_network_goes() {
    let limits = Limits { window_stanzas_max: 3, ..LIMITS };
    let (mut world, mut alice, mut bob) = alice_and_a_silent_bob(limits);
    let stuck = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", bob.handled);
    let asked = bob.asked();
    for n in 0..5 {
        alice.message(&mut world, "b@d", &n.to_string());
    }
    bob.drain(&mut world);
    assert_eq!((bob.bodies.len(), bob.asked()), (3, asked + 1));
    for _ in 0..20 {
        bob.say(&mut world, &stuck);
    }
    assert_eq!(bob.asked(), asked + 1);
}

#[test]
fn what_waits_for_room_waits_for_no_clock() {
    let limits = Limits { window_stanzas_max: 3, ..LIMITS };
    let (mut world, mut alice, mut bob) = alice_and_a_silent_bob(limits);
    let asked = bob.asked();
    let bodies: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    for body in &bodies {
        alice.message(&mut world, "b@d", body);
    }
    bob.drain(&mut world);
    assert_eq!(bob.asked(), asked + 1, "asked when the window is full, before anything is late");
    bob.acks = true;
    let answer = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", bob.handled);
    world.input(&jid("b"), Input::Frame(bob.link, &answer));
    bob.drain(&mut world);
    assert_eq!(bob.bodies, bodies);
}

#[test]
fn what_was_out_of_time_by_a_clock_that_was_ahead_is_remembered_when_it_is_set_back() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    alice.message(&mut world, "b@d", "one");
    let horizon = Limits::DEFAULT.dedup_horizon_ms;
    world.now = world.now.plus(2 * horizon);
    world.crash(&jid("a"));
    assert!(alice.resume(&mut world));
    // What is remembered is read when the first message needs it.
    alice.message(&mut world, "b@d", "two");
    world.set_back(2 * horizon);
    alice.message(&mut world, "b@d", "one");
    let sent = world.disk(&jid("a")).rows.log.values().filter(|row| row.source.is_some()).count();
    assert_eq!(sent, 2, "the second \"one\" is the first");
}

#[test]
fn a_bare_id_from_a_clock_that_was_ahead_swallows_no_message() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let ok = "<message xmlns='jabber:client' to='b@d' id='1'><body>ok</body></message>";
    alice.send(&mut world, ok);
    world.set_back(24 * HOUR);
    world.input(&jid("a"), Input::LinkDown(alice.link));
    world.pass(20 * HOUR);
    alice.authenticate(&mut world);
    alice.bind(&mut world);
    alice.send(&mut world, ok);
    let sent = world.disk(&jid("a")).rows.log.values().filter(|row| row.source.is_some()).count();
    assert_eq!(sent, 2, "20 hours later it is another \"ok\"");
}
