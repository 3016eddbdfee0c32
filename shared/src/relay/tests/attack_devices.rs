//! What a device must not lose, see twice, or be told wrongly, whenever its mailbox sleeps, dies or is
//! behind.

use super::attack::*;
use super::pep::{item, publish};
use super::pep_caps::{events, interested};
use super::world::{Device, World, jid};
use crate::limits::Limits;
use crate::relay::Input;

// Loss, duplicates, order.

#[test]
fn what_was_sent_ahead_and_acked_after_the_rest_was_sent_does_not_come_again() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "desk");
    bob.acks = false;
    bob.send(&mut world, QUIET);
    alice.message(&mut world, "b@d", "for all");
    alice.message(&mut world, "b@d/desk", "for the desk");
    bob.drain(&mut world);
    let ahead = bob.handled;
    assert_eq!(bob.bodies, ["for the desk"]);
    bob.send(&mut world, AVAILABLE);
    assert_eq!(bob.bodies, ["for the desk", "for all"]);
    bob.say(&mut world, &format!("<a xmlns='urn:xmpp:sm:3' h='{ahead}'/>"));
    bob.acks = true;
    begin_again(&mut world, &mut bob, AVAILABLE);
    let times = bob.bodies.iter().filter(|body| *body == "for the desk").count();
    assert_eq!(times, 1, "it was acked: {:?}", bob.bodies);
}

#[test]
fn what_is_for_a_device_of_negative_priority_comes_though_it_was_away_when_it_was_sent() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "desk");
    bob.send(&mut world, QUIET);
    lose(&mut world, &bob);
    alice.message(&mut world, "b@d/desk", "for the desk");
    assert!(bob.resume(&mut world));
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["for the desk"]);
}

#[test]
fn what_is_for_a_device_of_negative_priority_comes_when_its_window_has_room_again() {
    let mut world = World::with(Limits { window_stanzas_max: 4, ..Limits::DEFAULT });
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "desk");
    bob.acks = false;
    bob.send(&mut world, QUIET);
    for n in 0..8 {
        alice.message(&mut world, "b@d/desk", &format!("message {n}"));
    }
    bob.drain(&mut world);
    bob.acks = true;
    bob.say(&mut world, &format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", bob.handled));
    bob.drain(&mut world);
    assert_eq!(bob.bodies.len(), 8, "{:?}", bob.bodies);
}

#[test]
fn an_ack_that_is_due_when_the_stream_is_closed_says_no_less_than_before() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    alice.request_ack(&mut world);
    world.slow_disk = true;
    alice.message(&mut world, "b@d", "x");
    alice.request_ack(&mut world);
    alice.say(&mut world, CLOSE);
    world.settle(true);
    while let Some(frame) = world.sent.get_mut(&alice.link).and_then(|sent| sent.pop_front()) {
        assert!(!frame.contains("<a xmlns='urn:xmpp:sm:3' h='0'/>"), "{frame}");
    }
}

#[test]
fn the_answer_to_a_removal_waits_for_the_disk_on_a_stream_without_acks_too() {
    let mut world = World::new();
    Device::online(&mut world, "b", "laptop");
    let mut bob = Device::offline("b", "desk");
    bob.authenticate(&mut world);
    bob.bind_unmanaged(&mut world);
    world.slow_disk = true;
    bob.say(
        &mut world,
        "<iq xmlns='jabber:client' type='set' id='gone'><remove xmlns='urn:counterfoil:devices:0' id='laptop'/></iq>",
    );
    assert!(world.held());
    assert!(answer(&bob, "gone").is_none(), "told before it was on disk");
    world.settle(true);
    bob.drain(&mut world);
    assert!(answer(&bob, "gone").is_some());
}

#[test]
fn every_request_to_a_device_that_never_comes_back_is_answered() {
    let (mut world, mut alice, bob) = friends(Limits::DEFAULT);
    lose(&mut world, &bob);
    alice.send(&mut world, ASK);
    pass(&mut world, Limits::DEFAULT.resume_window_ms + 60_000, &mut [&mut alice]);
    assert!(alice.connected(&world));
    assert!(answer(&alice, "ask").is_some(), "nobody will answer it any more");
}

#[test]
fn a_request_to_a_device_that_left_long_ago_is_answered() {
    let (mut world, mut alice, bob) = friends(Limits::DEFAULT);
    lose(&mut world, &bob);
    pass(&mut world, Limits::DEFAULT.resume_window_ms + 60_000, &mut [&mut alice]);
    assert_eq!(sees(&alice, "b@d/desk").as_deref(), Some("unavailable"));
    alice.send(&mut world, ASK);
    alice.drain(&mut world);
    assert!(answer(&alice, "ask").is_some(), "its stream cannot be resumed");
}

// Presence that is a lie.

#[test]
fn a_device_that_the_relay_lost_has_left_though_the_mailbox_sleeps_meanwhile() {
    let (mut world, mut alice, _bob) = friends(Limits::DEFAULT);
    world.crash(&jid("b"));
    for _ in 0..12 {
        world.input(&jid("b"), Input::Wake);
        pass(&mut world, 300_000, &mut [&mut alice]);
        world.hibernate(&jid("b"));
    }
    world.input(&jid("b"), Input::Wake);
    alice.drain(&mut world);
    assert_eq!(sees(&alice, "b@d/desk").as_deref(), Some("unavailable"), "an hour after it was lost");
}

#[test]
fn presence_that_was_held_is_not_told_after_newer_presence() {
    let limits = Limits { unacked_stanzas_max: 12, window_stanzas_max: 6, ..Limits::DEFAULT };
    let (mut world, mut alice, mut bob) = friends(limits);
    let mut carol = Device::online(&mut world, "c", "x");
    bob.acks = false;
    let ack = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", bob.handled);
    bob.say(&mut world, &ack);
    bob.say(&mut world, "<inactive xmlns='urn:xmpp:csi:0'/>");
    alice.send(&mut world, "<presence xmlns='jabber:client'><show>away</show></presence>");
    for n in 0..14 {
        let iq = ASK.replace("'ask'", &format!("'ask{n}'"));
        carol.send(&mut world, &iq);
    }
    alice.send(&mut world, UNAVAILABLE);
    bob.drain(&mut world);
    assert_eq!(sees(&bob, "a@d/phone").as_deref(), Some("available"));
    assert!(!bob.stanzas.iter().any(|s| s.to_frame().contains("away")), "it is held");
    bob.acks = true;
    bob.say(&mut world, &format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", bob.handled));
    bob.say(&mut world, "<active xmlns='urn:xmpp:csi:0'/>");
    bob.drain(&mut world);
    assert_eq!(sees(&bob, "a@d/phone").as_deref(), Some("unavailable"));
}

#[test]
fn who_is_there_without_acks_is_still_there_when_the_mailbox_has_slept() {
    let (mut world, mut alice, mut bob) = friends(Limits::DEFAULT);
    bob.say(&mut world, CLOSE);
    bob.authenticate(&mut world);
    bob.bind_unmanaged(&mut world);
    bob.say(&mut world, AVAILABLE);
    world.hibernate(&jid("b"));
    alice.drain(&mut world);
    alice.stanzas.clear();
    alice.say(&mut world, CLOSE);
    begin_again(&mut world, &mut alice, AVAILABLE);
    alice.drain(&mut world);
    assert_eq!(sees(&alice, "b@d/desk").as_deref(), Some("available"), "{:?}", alice.stanzas);
}

#[test]
fn who_was_there_without_acks_is_seen_to_leave_when_the_relay_dies() {
    let (mut world, mut alice, mut bob) = friends(Limits::DEFAULT);
    bob.say(&mut world, CLOSE);
    bob.authenticate(&mut world);
    bob.bind_unmanaged(&mut world);
    bob.say(&mut world, AVAILABLE);
    alice.drain(&mut world);
    assert_eq!(sees(&alice, "b@d/desk").as_deref(), Some("available"));
    world.crash(&jid("b"));
    world.input(&jid("b"), Input::Wake);
    pass(&mut world, 3_600_000, &mut [&mut alice]);
    assert_eq!(sees(&alice, "b@d/desk").as_deref(), Some("unavailable"));
}

#[test]
fn who_was_told_of_a_presence_directly_is_told_of_its_end_though_the_mailbox_has_slept() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::offline("b", "desk");
    bob.authenticate(&mut world);
    bob.bind_unmanaged(&mut world);
    bob.say(&mut world, AVAILABLE);
    bob.say(&mut world, "<presence xmlns='jabber:client' to='a@d/phone'/>");
    alice.drain(&mut world);
    assert_eq!(sees(&alice, "b@d/desk").as_deref(), Some("available"));
    world.hibernate(&jid("b"));
    lose(&mut world, &bob);
    alice.drain(&mut world);
    assert_eq!(sees(&alice, "b@d/desk").as_deref(), Some("unavailable"));
}

#[test]
fn a_room_message_to_a_device_arrives_or_its_sender_learns_that_it_did_not() {
    let (mut world, mut alice, mut bob) = friends(Limits::DEFAULT);
    lose(&mut world, &bob);
    alice.send(
        &mut world,
        "<message xmlns='jabber:client' type='groupchat' id='g' to='b@d/desk'><body>room</body></message>",
    );
    alice.drain(&mut world);
    assert!(bob.resume(&mut world));
    bob.drain(&mut world);
    let learned = alice.errors().iter().any(|(id, _)| id == "g");
    assert!(learned || bob.bodies == ["room"], "it is handled, and gone");
}

#[test]
fn what_a_friend_published_reaches_a_device_that_was_away_for_a_moment() {
    let mut world = World::new();
    let mut alice = interested(&mut world, "phone", &["n"]);
    let mut bob = Device::online(&mut world, "b", "desk");
    alice.send(&mut world, "<presence xmlns='jabber:client' type='subscribe' to='b@d'/>");
    bob.send(&mut world, "<presence xmlns='jabber:client' type='subscribed' to='a@d'/>");
    alice.drain(&mut world);
    lose(&mut world, &alice);
    publish(&mut world, &mut bob, "n", &item("one", "1"), &[]);
    assert!(alice.resume(&mut world));
    alice.drain(&mut world);
    assert_eq!(events(&alice), ["n/one 1"]);
}

#[test]
fn a_device_that_makes_room_for_another_has_left() {
    let limits = Limits { devices_max: 1, ..Limits::DEFAULT };
    let mut world = World::with(limits);
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::offline("b", "desk");
    bob.authenticate(&mut world);
    bob.say(
        &mut world,
        "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
    );
    let full = bob.stanzas.last().unwrap().to_frame();
    let full = full.split("<jid>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    bob.say(&mut world, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    bob.send(&mut world, AVAILABLE);
    bob.send(&mut world, "<presence xmlns='jabber:client' to='a@d/phone'/>");
    alice.drain(&mut world);
    assert_eq!(sees(&alice, &full).as_deref(), Some("available"));
    lose(&mut world, &bob);
    // The wake-up comes late, and another device first.
    world.now = world.now.plus(Limits::DEFAULT.resume_window_ms - 5);
    let mut other = Device::offline("b", "laptop");
    other.authenticate(&mut world);
    world.now = world.now.plus(50);
    other.bind_unmanaged(&mut world);
    assert_eq!(other.stanzas.last().unwrap().attr("type"), Some("result"));
    assert_eq!(sees_after(&mut world, &mut alice, &full).as_deref(), Some("unavailable"));
}

#[test]
fn a_queue_comes_once_and_in_order_whichever_way_its_priority_and_its_connection_go() {
    let mut world = World::with(Limits { window_stanzas_max: 4, ..Limits::DEFAULT });
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "desk");
    for n in 0..40 {
        match n % 5 {
            0 => bob.send(&mut world, QUIET),
            2 => bob.send(&mut world, AVAILABLE),
            3 => {
                lose(&mut world, &bob);
                world.crash(&jid("b"));
                assert!(bob.resume(&mut world));
            }
            4 => world.hibernate(&jid("b")),
            _ => {}
        }
        alice.message(&mut world, "b@d", &format!("message {n:02}"));
        bob.drain(&mut world);
    }
    bob.send(&mut world, AVAILABLE);
    world.pass(5_000);
    bob.drain(&mut world);
    let all: Vec<String> = (0..40).map(|n| format!("message {n:02}")).collect();
    assert_eq!(bob.bodies, all);
}

#[test]
fn a_device_that_the_relay_lost_has_left_when_its_time_is_over() {
    let (mut world, mut alice, _bob) = friends(Limits::DEFAULT);
    world.crash(&jid("b"));
    world.input(&jid("b"), Input::Wake);
    pass(&mut world, 700_000, &mut [&mut alice]);
    assert_eq!(sees(&alice, "b@d/desk").as_deref(), Some("unavailable"));
}

#[test]
fn changes_of_a_subscription_that_are_sent_again_after_a_crash_undo_nothing() {
    let (mut world, mut alice, mut bob) = friends(Limits::DEFAULT);
    bob.request_ack(&mut world);
    bob.send(&mut world, "<presence xmlns='jabber:client' type='unsubscribe' to='a@d'/>");
    alice.send(&mut world, "<presence xmlns='jabber:client' type='subscribed' to='b@d'/>");
    bob.send(&mut world, "<presence xmlns='jabber:client' type='subscribe' to='a@d'/>");
    world.crash(&jid("b"));
    assert!(bob.resume(&mut world));
    let shown = world.disk(&jid("a")).rows.contacts[&jid("b")].from;
    let seen = world.disk(&jid("b")).rows.contacts[&jid("a")].to;
    assert_eq!((shown, seen), (true, true));
}
