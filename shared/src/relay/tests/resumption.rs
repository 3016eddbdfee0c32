//! A number that was given to a stanza is never given to another one (XEP-0198 §5), also where
//! what had it need not be sent again.

use super::world::{Device, World, jid};
use crate::id::{DeviceId, StanzaSeq};
use crate::relay::Input;
use crate::wire::Element;

/// Somebody is typing to Bob: it counts, and nobody needs it a second time.
const TYPING: &str = "<message xmlns='jabber:client' to='b@d'>\
    <composing xmlns='http://jabber.org/protocol/chatstates'/></message>";
const PRESENCE: &str = "<presence xmlns='jabber:client'><status>here</status></presence>";

/// Alice, a laptop of Bob's, and a phone of his that acks only when it comes back.
fn three() -> (World, Device, Device, Device) {
    let mut world = World::new();
    let alice = Device::online(&mut world, "a", "phone");
    let laptop = Device::online(&mut world, "b", "laptop");
    let mut phone = Device::online(&mut world, "b", "phone");
    phone.drain(&mut world);
    phone.acks = false;
    (world, alice, laptop, phone)
}

fn lose_link(world: &mut World, device: &Device) {
    world.sent.remove(&device.link);
    world.input(&device.account.clone(), Input::LinkDown(device.link));
}

fn cursor(world: &mut World) -> StanzaSeq {
    world.disk(&jid("b")).rows.devices[&DeviceId::from("phone")].cursor
}

#[test]
fn a_message_is_not_lost_to_a_resume_that_was_long_on_its_way() {
    for presence in [false, true] {
        let (mut world, mut alice, mut laptop, mut phone) = three();
        // A second connection that nobody will hear of again, but for this one frame.
        let live = phone.link;
        phone.authenticate(&mut world);
        let dead = std::mem::replace(&mut phone.link, live);
        let late = phone.resume_frame();

        let before = phone.handled;
        if presence {
            laptop.send(&mut world, PRESENCE);
        } else {
            alice.send(&mut world, TYPING);
        }
        phone.drain(&mut world);
        assert_eq!(phone.handled, before.next(), "it had what need not be sent again");

        world.input(&jid("b"), Input::Frame(dead, &late));
        assert!(!phone.connected(&world), "the relay goes on with the other connection");
        alice.message(&mut world, "b@d", "hello");
        assert!(phone.resume(&mut world));
        phone.drain(&mut world);
        assert_eq!(phone.bodies, ["hello"], "presence: {presence}");
    }
}

#[test]
fn what_need_not_be_sent_again_has_its_place_taken_by_a_stanza_that_counts() {
    let (mut world, mut alice, mut laptop, mut phone) = three();
    let before = phone.handled;
    alice.send(&mut world, TYPING);
    alice.message(&mut world, "b@d", "one");
    laptop.send(&mut world, PRESENCE);
    alice.message(&mut world, "b@d", "two");
    alice.send(&mut world, TYPING);
    lose_link(&mut world, &phone);

    let had = phone.stanzas.len();
    assert!(phone.resume(&mut world));
    let again: Vec<&str> = phone.stanzas[had..].iter().map(|e| e.name.as_str()).collect();
    assert_eq!(again, ["iq", "message", "presence", "message", "iq"]);
    assert_eq!(phone.handled.since(before), 5);
    let place = phone.stanzas.last().map(Element::to_frame).unwrap();
    assert_eq!(place, "<iq xmlns='jabber:client' id='nothing' type='result'/>");

    alice.message(&mut world, "b@d", "three");
    phone.drain(&mut world);
    let all_but_the_newest = crate::sm::Handled(phone.handled.0 - 1);
    phone.say(&mut world, &format!("<a xmlns='urn:xmpp:sm:3' h='{all_but_the_newest}'/>"));
    assert_eq!(cursor(&mut world), StanzaSeq(2), "the newest is not confirmed by what came before it");
    phone.acks = true;
    phone.say(&mut world, &format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", phone.handled));
    assert_eq!(cursor(&mut world), StanzaSeq(3));
    assert_eq!(phone.bodies, ["one", "two", "three"]);
}

#[test]
fn numbers_stay_in_step_over_any_number_of_resumptions() {
    let (mut world, mut alice, _laptop, mut phone) = three();
    for n in 0..10 {
        alice.send(&mut world, TYPING);
        alice.message(&mut world, "b@d", &n.to_string());
        alice.send(&mut world, TYPING);
        if n % 3 == 0 {
            phone.drain(&mut world);
        }
        lose_link(&mut world, &phone);
        if n % 2 == 0 {
            alice.send(&mut world, TYPING);
        }
        assert!(phone.resume(&mut world), "round {n}: {}", phone.last_nonza());
    }
    phone.acks = true;
    world.pass(1_000);
    phone.drain(&mut world);
    assert_eq!(phone.bodies, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(cursor(&mut world), StanzaSeq(10));
}

#[test]
fn what_was_handled_is_said_also_where_the_next_stream_begins_before_the_disk_answers() {
    let (mut world, _alice, mut laptop, mut phone) = three();
    lose_link(&mut world, &phone);
    world.pass(crate::limits::Limits::DEFAULT.resume_window_ms + 1);
    phone.authenticate(&mut world);
    let resume = phone.resume_frame();
    world.slow_disk = true;
    laptop.send(&mut world, PRESENCE);
    world.input(&jid("b"), Input::Frame(phone.link, &resume));
    phone.bind_unseen(&mut world);
    while world.held() {
        world.settle(true);
    }
    phone.drain(&mut world);
    let failed = phone.nonzas.iter().rev().find(|e| e.name == "failed").map(Element::to_frame).unwrap();
    assert!(failed.contains("h='1'"), "{failed}");
}
