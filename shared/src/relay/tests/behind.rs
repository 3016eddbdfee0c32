//! A device that takes nothing and asks for more: what is kept for it is bounded, and nothing of
//! what it says is lost.

use super::world::{Device, World, jid};
use crate::id::DeviceId;
use crate::limits::Limits;
use crate::relay::Input;

const LIMITS: Limits =
    Limits { window_stanzas_max: 4, unacked_stanzas_max: 10, kept_bytes_max: 1_000, ..Limits::DEFAULT };
const TYPING: &str = "<message xmlns='jabber:client' to='b@d'>\
    <composing xmlns='http://jabber.org/protocol/chatstates'/></message>";
const PING: &str = "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";

/// Alice, and a device of Bob's that acks nothing.
fn alice_and_a_deaf_bob() -> (World, Device, Device) {
    let mut world = World::with(LIMITS);
    let alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    bob.say(&mut world, &format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", bob.handled));
    bob.acks = false;
    (world, alice, bob)
}

fn kept(world: &mut World) -> (usize, usize) {
    let device = &world.disk(&jid("b")).rows.devices[&DeviceId::from("phone")];
    let stanzas = &device.stream.as_ref().unwrap().stanzas;
    (stanzas.len(), stanzas.iter().map(|(_, text)| text.len()).sum())
}

#[test]
fn what_is_kept_for_a_device_that_does_not_ack_is_bounded_by_number_and_by_bytes() {
    let long = format!("<iq xmlns='jabber:client' type='get' id='{}'><what/></iq>", "p".repeat(200));
    for (request, most) in [(PING, (10, 1_000)), (long.as_str(), (4, 2_000))] {
        let (mut world, mut alice, mut bob) = alice_and_a_deaf_bob();
        let mut refused = 0;
        for _ in 0..30 {
            bob.send(&mut world, request);
            if !bob.connected(&world) {
                assert!(bob.last_nonza().contains("close"), "{}", bob.last_nonza());
                assert!(bob.nonzas.iter().any(|e| e.to_frame().contains("<resource-constraint")));
                refused += 1;
                assert!(bob.resume(&mut world), "it may come back");
            }
        }
        assert!(refused > 0);
        let (stanzas, bytes) = kept(&mut world);
        assert!(stanzas <= most.0 && bytes <= most.1, "{stanzas} stanzas, {bytes} bytes");

        // Nothing of what it said is lost: it is heard as soon as it takes what it asked for.
        bob.message(&mut world, "a@d", "at last");
        bob.acks = true;
        for _ in 0..40 {
            if !bob.connected(&world) {
                assert!(bob.resume(&mut world));
            }
            world.pass(LIMITS.ack_idle_ms);
            bob.drain(&mut world);
        }
        alice.drain(&mut world);
        assert_eq!(alice.bodies, ["at last"]);
        assert_eq!(kept(&mut world), (0, 0));
        let answers = bob.stanzas.iter().filter(|e| e.attr("id").is_some_and(|id| id.starts_with('p')));
        assert!(answers.count() >= 30, "each request was answered");
    }
}

#[test]
fn who_types_at_a_device_that_does_not_ack_gives_it_no_more_numbers() {
    let (mut world, mut alice, mut bob) = alice_and_a_deaf_bob();
    let before = bob.handled;
    for _ in 0..50 {
        alice.send(&mut world, TYPING);
    }
    alice.message(&mut world, "b@d", "hello");
    bob.drain(&mut world);
    assert_eq!(bob.handled.since(before), LIMITS.unacked_stanzas_max);
    assert!(bob.connected(&world), "it is not its fault");

    world.sent.remove(&bob.link);
    world.input(&jid("b"), Input::LinkDown(bob.link));
    bob.acks = true;
    assert!(bob.resume(&mut world));
    world.pass(LIMITS.ack_idle_ms);
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["hello"]);
}

#[test]
fn one_stanza_alone_does_not_make_a_row_that_no_store_takes() {
    let quotes = "\"".repeat(200_000);
    let request = format!("<iq xmlns='jabber:client' type='get' id='{quotes}'><what/></iq>");
    let many = "<p:a/>".repeat(4_000);
    let presence = format!("<presence xmlns='jabber:client' xmlns:p='{}'>{many}</presence>", &quotes[..200]);
    for stanza in [request, presence] {
        let mut world = World::new();
        let mut bob = Device::online(&mut world, "b", "phone");
        bob.acks = false;
        bob.send(&mut world, &stanza);
        let refused = bob.last_stanza().contains("type='error'") || !bob.connected(&world);
        assert!(refused, "{:.300}", bob.last_stanza());
        let row = &world.disk(&jid("b")).rows.devices[&DeviceId::from("phone")];
        let bytes = format!("{row:?}").len();
        assert!(bytes < 300_000, "{bytes}");
    }
}
