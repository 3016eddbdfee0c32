//! Client state indication (XEP-0352): states wait while nobody looks, and nothing else does.

use super::modern::{BIND, PHONE, agent};
use super::world::{Device, World, jid};
use crate::limits::CSI_HELD_BYTES_MAX;
use crate::relay::Input;
use crate::wire::stanza;

const INACTIVE: &str = "<inactive xmlns='urn:xmpp:csi:0'/>";
const ACTIVE: &str = "<active xmlns='urn:xmpp:csi:0'/>";
const PING: &str = "<iq xmlns='jabber:client' type='get' id='ping' to='d'><ping xmlns='urn:xmpp:ping'/></iq>";

/// Bob's phone, which nobody looks at, and his laptop; and Alice.
fn people() -> (World, Device, Device, Device) {
    let mut world = World::new();
    let alice = Device::online(&mut world, "a", "phone");
    let mut phone = Device::online(&mut world, "b", "phone");
    let laptop = Device::online(&mut world, "b", "laptop");
    phone.drain(&mut world);
    phone.say(&mut world, INACTIVE);
    phone.stanzas.clear();
    (world, alice, phone, laptop)
}

fn shows(world: &mut World, device: &mut Device, show: &str) {
    device.send(world, &format!("<presence xmlns='jabber:client'><show>{show}</show></presence>"));
}

fn types(world: &mut World, device: &mut Device, to: &str, state: &str) {
    device.send(
        world,
        &format!(
            "<message xmlns='jabber:client' to='{to}' type='chat'>\
             <{state} xmlns='http://jabber.org/protocol/chatstates'/><no-store xmlns='urn:xmpp:hints'/></message>"
        ),
    );
}

/// What it was sent, each by a word that tells it.
fn words(world: &mut World, device: &mut Device) -> Vec<String> {
    device.drain(world);
    let taken = std::mem::take(&mut device.stanzas);
    let word = |element: &crate::wire::Element| {
        let body = stanza::body(element);
        let show = element.child("jabber:client", "show").map(crate::wire::Element::text);
        let state = element.children().next().map(|child| child.name.clone());
        body.or(show).or(state).or(element.attr("type").map(str::to_owned)).unwrap_or_default()
    };
    taken.iter().map(word).collect()
}

#[test]
fn it_is_offered_and_its_two_words_are_no_stanzas() {
    let (mut world, _, mut phone, _) = people();
    assert!(phone.nonzas.iter().any(|e| e.to_frame().contains("<csi xmlns='urn:xmpp:csi:0'/>")));
    phone.say(&mut world, ACTIVE);
    phone.say(&mut world, ACTIVE);
    phone.request_ack(&mut world);
    assert_eq!(phone.unacked(), 0);
    assert!(phone.last_nonza().contains("h='1'"), "the presence and nothing more: {}", phone.last_nonza());
    phone.say(&mut world, "<asleep xmlns='urn:xmpp:csi:0'/>");
    assert!(!phone.connected(&world));
}

#[test]
fn of_each_device_only_the_newest_presence_comes_and_before_the_answer_that_follows() {
    let (mut world, _, mut phone, mut laptop) = people();
    for show in ["away", "xa", "dnd"] {
        shows(&mut world, &mut laptop, show);
    }
    assert!(words(&mut world, &mut phone).is_empty());
    phone.say(&mut world, ACTIVE);
    phone.send(&mut world, PING);
    assert_eq!(words(&mut world, &mut phone), ["dnd", "result"]);
    shows(&mut world, &mut laptop, "chat");
    assert_eq!(words(&mut world, &mut phone), ["chat"]);
}

#[test]
fn messages_receipts_and_answers_never_wait() {
    let (mut world, mut alice, mut phone, mut laptop) = people();
    shows(&mut world, &mut laptop, "away");
    alice.message(&mut world, "b@d", "hello");
    alice.send(
        &mut world,
        "<message xmlns='jabber:client' to='b@d'><received xmlns='urn:xmpp:receipts' id='1'/></message>",
    );
    alice.send(
        &mut world,
        "<message xmlns='jabber:client' to='b@d' type='headline'><body>news</body></message>",
    );
    phone.send(&mut world, PING);
    assert_eq!(words(&mut world, &mut phone), ["hello", "received", "news", "result"]);
}

#[test]
fn nothing_overtakes_a_state_of_the_same_account() {
    let (mut world, mut alice, mut phone, mut laptop) = people();
    shows(&mut world, &mut laptop, "away");
    types(&mut world, &mut alice, "b@d", "composing");
    types(&mut world, &mut alice, "b@d", "paused");
    assert!(words(&mut world, &mut phone).is_empty());
    alice.message(&mut world, "b@d", "hello");
    assert_eq!(words(&mut world, &mut phone), ["paused", "hello"], "the laptop's waits on");
    laptop.message(&mut world, "b@d", "a note");
    assert_eq!(words(&mut world, &mut phone), ["away", "a note"]);
    types(&mut world, &mut alice, "b@d", "active");
    alice.send(
        &mut world,
        "<message xmlns='jabber:client' to='b@d' type='headline'><body>news</body></message>",
    );
    assert_eq!(words(&mut world, &mut phone), ["active", "news"]);
}

#[test]
fn what_is_held_sleeps_with_the_mailbox() {
    let (mut world, mut alice, mut phone, mut laptop) = people();
    shows(&mut world, &mut laptop, "away");
    world.hibernate(&jid("b"));
    types(&mut world, &mut alice, "b@d", "composing");
    assert!(words(&mut world, &mut phone).is_empty(), "it is still inactive");
    world.hibernate(&jid("b"));
    phone.say(&mut world, ACTIVE);
    assert_eq!(words(&mut world, &mut phone), ["away", "composing"]);
    world.hibernate(&jid("b"));
    shows(&mut world, &mut laptop, "xa");
    assert_eq!(words(&mut world, &mut phone), ["xa"]);
}

#[test]
fn a_resumed_stream_is_active_and_gets_what_was_held_behind_what_it_had_not_acked() {
    let (mut world, mut alice, mut phone, mut laptop) = people();
    phone.acks = false;
    shows(&mut world, &mut laptop, "away");
    alice.message(&mut world, "b@d", "hello");
    world.sent.remove(&phone.link);
    world.input(&jid("b"), Input::LinkDown(phone.link));
    assert!(phone.resume(&mut world));
    assert_eq!(words(&mut world, &mut phone), ["hello", "away"]);
    shows(&mut world, &mut laptop, "xa");
    assert_eq!(words(&mut world, &mut phone), ["xa"]);
    world.crash(&jid("b"));
    assert!(phone.resume(&mut world), "and its numbers are still right");
}

#[test]
fn more_than_may_be_held_is_sent() {
    let (mut world, _, mut phone, _) = people();
    let mut sent = 0;
    let all = loop {
        let mut somebody = Device::online(&mut world, &format!("x{sent}"), "phone");
        types(&mut world, &mut somebody, "b@d", "composing");
        sent += 1;
        assert!(sent * 100 < CSI_HELD_BYTES_MAX, "it is too much by now");
        let all = words(&mut world, &mut phone);
        if !all.is_empty() {
            break all;
        }
    };
    assert!(sent > 10 && all.len() == sent, "{sent} {}", all.len());
    let mut last = Device::online(&mut world, "last", "phone");
    types(&mut world, &mut last, "b@d", "composing");
    assert!(words(&mut world, &mut phone).is_empty(), "and it is held anew");
}

#[test]
fn a_session_may_begin_with_nobody_looking() {
    let (mut world, mut alice, _, mut laptop) = people();
    let mut device = Device::offline("b", "unused");
    let bind = BIND.replace("</bind>", &format!("{INACTIVE}</bind>"));
    device.scram2(&mut world, &format!("{}{bind}", agent(PHONE))).unwrap();
    device.send(&mut world, "<presence xmlns='jabber:client'/>");
    device.stanzas.clear();
    shows(&mut world, &mut laptop, "away");
    assert!(words(&mut world, &mut device).is_empty());
    alice.message(&mut world, "b@d", "hello");
    assert_eq!(words(&mut world, &mut device), ["hello"]);
    device.say(&mut world, ACTIVE);
    assert_eq!(words(&mut world, &mut device), ["", "away"], "the phone's presence, too");
}
