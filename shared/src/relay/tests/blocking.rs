//! Blocking (XEP-0191): who is not heard is told so, and nothing of him is stored.

use super::world::{Device, World, jid};
use crate::id::StanzaSeq;
use crate::limits::Limits;
use crate::relay::{TransferItem, TransferReply, TransferRequest};
use crate::wire::{Element, ns};

const LIST: &str = "<blocklist xmlns='urn:xmpp:blocking'/>";

fn ask(world: &mut World, device: &mut Device, kind: &str, request: &str) -> Element {
    device.send(world, &format!("<iq xmlns='jabber:client' type='{kind}' id='i'>{request}</iq>"));
    device.stanzas.iter().rev().find(|e| e.attr("id") == Some("i")).unwrap().clone()
}

fn change(world: &mut World, device: &mut Device, what: &str, jids: &[&str]) -> Element {
    let items: String = jids.iter().map(|jid| format!("<item jid='{jid}'/>")).collect();
    ask(world, device, "set", &format!("<{what} xmlns='urn:xmpp:blocking'>{items}</{what}>"))
}

fn listed(world: &mut World, device: &mut Device) -> Vec<String> {
    let reply = ask(world, device, "get", LIST);
    let list = reply.child(ns::BLOCKING, "blocklist").unwrap();
    list.children().map(|item| item.attr("jid").unwrap().to_owned()).collect()
}

fn two() -> (World, Device, Device) {
    let mut world = World::new();
    let alice = Device::online(&mut world, "a", "phone");
    let bob = Device::online(&mut world, "b", "phone");
    (world, alice, bob)
}

fn failed(body: &str) -> (String, String) {
    (body.to_owned(), "service-unavailable".to_owned())
}

#[test]
fn the_list_is_kept_in_order_and_without_repeats_over_a_crash() {
    let (mut world, _, mut bob) = two();
    assert!(listed(&mut world, &mut bob).is_empty());
    change(&mut world, &mut bob, "block", &["z@d", "A@D", "a@d"]);
    change(&mut world, &mut bob, "block", &["m@d/x"]);
    world.crash(&jid("b"));
    assert!(bob.resume(&mut world));
    assert_eq!(listed(&mut world, &mut bob), ["a@d", "m@d/x", "z@d"]);
    change(&mut world, &mut bob, "unblock", &["m@d/x"]);
    assert_eq!(listed(&mut world, &mut bob), ["a@d", "z@d"]);
    change(&mut world, &mut bob, "unblock", &[]);
    assert!(listed(&mut world, &mut bob).is_empty());
}

#[test]
fn who_is_blocked_is_told_once_and_nothing_of_him_is_stored() {
    for jid_blocked in ["a@d", "a@d/phone", "d"] {
        let (mut world, mut alice, mut bob) = two();
        alice.message(&mut world, "b@d", "before");
        change(&mut world, &mut bob, "block", &[jid_blocked]);
        alice.message(&mut world, "b@d", "blocked");
        alice.send(
            &mut world,
            "<message xmlns='jabber:client' to='b@d'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
        );
        alice.drain(&mut world);
        assert_eq!(alice.errors(), [failed("blocked")], "{jid_blocked}");
        change(&mut world, &mut bob, "unblock", &[jid_blocked]);
        alice.message(&mut world, "b@d", "after");
        for _ in 0..3 {
            world.pass(1_000);
            bob.drain(&mut world);
            alice.drain(&mut world);
        }
        assert_eq!(bob.bodies, ["before", "after"], "{jid_blocked}");
        assert!(!bob.stanzas.iter().any(|e| e.to_frame().contains("composing")));
        assert_eq!(alice.errors(), [failed("blocked")], "{jid_blocked}");
        assert_eq!(world.disk(&jid("b")).rows.log.len(), 2);
    }
}

#[test]
fn another_device_of_who_is_blocked_by_device_is_heard() {
    let (mut world, mut alice, mut bob) = two();
    let mut laptop = Device::online(&mut world, "a", "laptop");
    change(&mut world, &mut bob, "block", &["a@d/phone"]);
    alice.message(&mut world, "b@d", "from the phone");
    laptop.message(&mut world, "b@d", "from the laptop");
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["from the laptop"]);
    assert_eq!(alice.errors(), [failed("from the phone")]);
}

#[test]
fn what_was_refused_stays_refused_when_the_call_comes_again_and_he_is_heard_by_then() {
    let (mut world, _, mut bob) = two();
    let item = |seq: u64| TransferItem {
        seq: StanzaSeq(seq),
        news: 0,
        stanza: format!(
            "<message xmlns='jabber:client' from='a@d/phone' to='b@d' id='{seq}'><body>{seq}</body></message>"
        ),
    };
    let call = |seq| TransferRequest { from: jid("a"), to: jid("b"), items: vec![item(seq)] };
    change(&mut world, &mut bob, "block", &["a@d"]);
    assert_eq!(world.transfer(&call(1)), Some(TransferReply::Blocked(vec![StanzaSeq(1)])));
    change(&mut world, &mut bob, "unblock", &["a@d"]);
    assert_eq!(world.transfer(&call(1)), Some(TransferReply::Refused(vec![StanzaSeq(1)])));
    assert_eq!(world.transfer(&call(2)), Some(TransferReply::Accepted));
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["2"]);
}

#[test]
fn one_does_not_write_to_whom_one_blocks_and_always_to_oneself() {
    let (mut world, mut alice, mut bob) = two();
    let mut laptop = Device::online(&mut world, "b", "laptop");
    change(&mut world, &mut bob, "block", &["a@d", "b@d"]);
    bob.message(&mut world, "a@d", "hello");
    let error = bob.last_stanza();
    assert!(
        error.contains("<not-acceptable") && error.contains("<blocked xmlns='urn:xmpp:blocking:errors'"),
        "{error}"
    );
    bob.message(&mut world, "b@d", "a note");
    laptop.drain(&mut world);
    alice.drain(&mut world);
    assert_eq!(laptop.bodies, ["a note"]);
    assert!(alice.bodies.is_empty());
}

#[test]
fn every_device_that_has_asked_is_told_of_a_change_also_if_it_comes_back_later() {
    let (mut world, _, mut phone) = two();
    let mut laptop = Device::online(&mut world, "b", "laptop");
    let mut other = Device::online(&mut world, "b", "other");
    listed(&mut world, &mut laptop);
    laptop.drain(&mut world);
    world.input(&jid("b"), crate::relay::Input::LinkDown(laptop.link));
    change(&mut world, &mut phone, "block", &["z@d"]);
    world.crash(&jid("b"));
    assert!(laptop.resume(&mut world));
    laptop.drain(&mut world);
    other.drain(&mut world);
    let pushes = |device: &Device| {
        let pushes = device.stanzas.iter().filter(|e| e.attr("type") == Some("set"));
        pushes.map(|e| e.child(ns::BLOCKING, "block").unwrap().to_frame()).collect::<Vec<_>>()
    };
    assert_eq!(pushes(&laptop), ["<block xmlns='urn:xmpp:blocking'><item jid='z@d'/></block>"]);
    assert!(pushes(&other).is_empty() && pushes(&phone).is_empty());
}

#[test]
fn what_is_no_change_is_refused_by_name() {
    let (mut world, _, mut bob) = two();
    for (what, jids, condition) in [
        ("block", vec![], "bad-request"),
        ("block", vec!["a@@d"], "jid-malformed"),
        ("hide", vec!["a@d"], "feature-not-implemented"),
    ] {
        let answer = change(&mut world, &mut bob, what, &jids).to_frame();
        assert!(answer.contains(&format!("<{condition}")), "{what}: {answer}");
    }
    let many: Vec<String> = (0..1_001).map(|n| format!("u{n}@d")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(change(&mut world, &mut bob, "block", &many).to_frame().contains("<resource-constraint"));
    assert!(listed(&mut world, &mut bob).is_empty(), "all or nothing");
}

#[test]
fn nothing_overtakes_the_news_that_a_message_of_the_same_call_was_refused() {
    let (mut world, mut phone, mut bob) = two();
    let mut laptop = Device::online(&mut world, "a", "laptop");
    change(&mut world, &mut bob, "block", &["a@d/phone"]);
    world.away.insert(jid("b"));
    laptop.message(&mut world, "b@d", "one");
    phone.message(&mut world, "b@d", "unwanted");
    laptop.message(&mut world, "b@d", "two");
    world.away.clear();
    world.answers_lost = true;
    world.pass(3_000);
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["one"], "if he read \"two\", she would take \"unwanted\" for read, too");
    world.answers_lost = false;
    world.pass(5_000);
    phone.drain(&mut world);
    bob.drain(&mut world);
    assert_eq!(phone.errors(), [failed("unwanted")]);
    assert_eq!(bob.bodies, ["one", "two"]);
}

#[test]
fn who_cannot_be_told_of_a_change_has_to_ask_again() {
    let mut world = World::with(Limits { kept_bytes_max: 600, ..Limits::DEFAULT });
    let mut phone = Device::online(&mut world, "b", "phone");
    let mut laptop = Device::online(&mut world, "b", "laptop");
    listed(&mut world, &mut laptop);
    laptop.drain(&mut world);
    world.input(&jid("b"), crate::relay::Input::LinkDown(laptop.link));
    for n in 0..20 {
        change(&mut world, &mut phone, "block", &[&format!("z{n}@d")]);
        world.pass(1_000);
        phone.drain(&mut world);
    }
    assert!(!laptop.resume(&mut world), "its session would not know of all");
}
