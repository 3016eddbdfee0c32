//! The offline protocol (`crate::offline`): a device that takes what waits in pages of its own.

use super::world::{Device, World, jid};
use crate::id::{DeviceId, StanzaSeq};
use crate::limits::Limits;
use crate::offline::Digest;
use crate::relay::Input;
use crate::wire::{Element, ns};

const SUMMARY: &str = "<summary xmlns='urn:counterfoil:offline:0' hold='true'/>";

/// Bob's phone is away while Alice writes, and comes back with a new session, held.
fn waiting(count: usize) -> (World, Device, Device) {
    let mut world = World::with(Limits { window_stanzas_max: 8, ..Limits::DEFAULT });
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    bob.say(&mut world, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
    for n in 1..=count {
        alice.message(&mut world, "b@d", &n.to_string());
    }
    bob.authenticate(&mut world);
    bob.bind_unseen(&mut world);
    (world, alice, bob)
}

fn ask(world: &mut World, device: &mut Device, kind: &str, request: &str) -> Element {
    device.send(world, &format!("<iq xmlns='jabber:client' type='{kind}' id='i'>{request}</iq>"));
    device.stanzas.iter().rev().find(|e| e.attr("id") == Some("i")).unwrap().clone()
}

fn summary(reply: &Element) -> (u64, Option<&str>, Option<&str>) {
    let summary = reply.child(ns::OFFLINE, "summary").unwrap();
    (summary.attr("count").unwrap().parse().unwrap(), summary.attr("first"), summary.attr("last"))
}

fn page(world: &mut World, device: &mut Device, after: u64) -> Vec<u64> {
    let had = device.stanzas.len();
    let after = if after > 0 { format!("<after>{after}</after>") } else { String::new() };
    let query = format!(
        "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>10</max>{after}</set></query>"
    );
    ask(world, device, "set", &query);
    let results = device.stanzas[had..].iter().filter_map(|e| e.child(ns::MAM, "result"));
    results.map(|result| result.attr("id").unwrap().parse().unwrap()).collect()
}

fn received(world: &mut World, device: &mut Device, upto: u64) -> Element {
    ask(world, device, "set", &format!("<received xmlns='urn:counterfoil:offline:0' upto='{upto}'/>"))
}

fn digest(ids: &[u64]) -> String {
    let mut digest = Digest::default();
    ids.iter().for_each(|id| digest.add(StanzaSeq(*id)));
    digest.text()
}

fn cursor(world: &mut World) -> StanzaSeq {
    world.disk(&jid("b")).rows.devices[&DeviceId::from("phone")].cursor
}

#[test]
fn what_waits_is_told_taken_in_pages_checked_and_confirmed_in_one_piece() {
    let (mut world, mut alice, mut bob) = waiting(35);
    let told = ask(&mut world, &mut bob, "get", SUMMARY);
    assert_eq!(summary(&told), (35, Some("1"), Some("35")));
    let stored: usize = world.disk(&jid("b")).rows.log.values().map(|row| row.stanza.len()).sum();
    let told = told.child(ns::OFFLINE, "summary").unwrap();
    assert_eq!(told.attr("bytes"), Some(stored.to_string().as_str()));
    bob.send(&mut world, "<presence xmlns='jabber:client'/>");
    assert!(bob.bodies.is_empty(), "nothing comes by itself");

    let (mut ids, mut sizes) = (Vec::new(), Vec::new());
    while ids.len() < 35 {
        let page = page(&mut world, &mut bob, ids.last().copied().unwrap_or_default());
        sizes.push(page.len());
        ids.extend(page);
    }
    assert_eq!(sizes, [10, 10, 10, 5]);
    assert_eq!(told.attr("digest"), Some(digest(&ids).as_str()));
    assert_eq!(cursor(&mut world), StanzaSeq(0), "nothing is confirmed yet");
    let after = received(&mut world, &mut bob, 35);
    assert_eq!(summary(&after), (0, None, None));
    assert_eq!(cursor(&mut world), StanzaSeq(35));

    alice.message(&mut world, "b@d", "live");
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["live"]);
}

#[test]
fn what_comes_meanwhile_waits_behind_the_rest() {
    let (mut world, mut alice, mut bob) = waiting(12);
    ask(&mut world, &mut bob, "get", SUMMARY);
    bob.send(&mut world, "<presence xmlns='jabber:client'/>");
    assert_eq!(page(&mut world, &mut bob, 0).len(), 10);
    alice.message(&mut world, "b@d", "13");
    bob.drain(&mut world);
    assert!(bob.bodies.is_empty());
    let after = received(&mut world, &mut bob, 12);
    assert_eq!(summary(&after), (1, Some("13"), Some("13")));
    alice.message(&mut world, "b@d", "14");
    bob.drain(&mut world);
    assert!(bob.bodies.is_empty(), "it is still held");
    assert_eq!(page(&mut world, &mut bob, 12), [13, 14]);
    received(&mut world, &mut bob, 14);
    alice.message(&mut world, "b@d", "15");
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["15"]);
}

#[test]
fn a_device_may_change_its_mind() {
    let (mut world, _, mut bob) = waiting(20);
    ask(&mut world, &mut bob, "get", SUMMARY);
    bob.send(&mut world, "<presence xmlns='jabber:client'/>");
    received(&mut world, &mut bob, 5);
    ask(&mut world, &mut bob, "set", "<release xmlns='urn:counterfoil:offline:0'/>");
    for _ in 0..10 {
        bob.drain(&mut world);
        world.pass(1_000);
    }
    assert_eq!(bob.bodies, (6..=20).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(cursor(&mut world), StanzaSeq(20));
}

#[test]
fn a_held_stream_is_held_after_every_interruption() {
    for how in ["resumed", "crashed", "asleep"] {
        let (mut world, mut alice, mut bob) = waiting(20);
        ask(&mut world, &mut bob, "get", SUMMARY);
        bob.send(&mut world, "<presence xmlns='jabber:client'/>");
        match how {
            "resumed" => world.input(&jid("b"), Input::LinkDown(bob.link)),
            "crashed" => world.crash(&jid("b")),
            _ => world.hibernate(&jid("b")),
        }
        if how != "asleep" {
            assert!(bob.resume(&mut world));
        }
        alice.message(&mut world, "b@d", "21");
        bob.drain(&mut world);
        assert!(bob.bodies.is_empty(), "{how}");
        received(&mut world, &mut bob, 21);
        alice.message(&mut world, "b@d", "22");
        bob.drain(&mut world);
        assert_eq!(bob.bodies, ["22"], "{how}");
    }
}

#[test]
fn a_device_that_is_paged_halfway_and_comes_anew_gets_the_rest_by_itself() {
    let (mut world, _, mut bob) = waiting(20);
    ask(&mut world, &mut bob, "get", SUMMARY);
    bob.send(&mut world, "<presence xmlns='jabber:client'/>");
    page(&mut world, &mut bob, 0);
    received(&mut world, &mut bob, 10);
    bob.authenticate(&mut world);
    bob.bind(&mut world);
    for _ in 0..10 {
        bob.drain(&mut world);
        world.pass(1_000);
    }
    assert_eq!(bob.bodies, (11..=20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn what_is_no_receipt_is_refused_and_one_too_many_changes_nothing() {
    let (mut world, _, mut bob) = waiting(20);
    for (request, condition) in [
        ("<received xmlns='urn:counterfoil:offline:0'/>", "bad-request"),
        ("<received xmlns='urn:counterfoil:offline:0' upto='-1'/>", "bad-request"),
        ("<received xmlns='urn:counterfoil:offline:0' upto='21'/>", "item-not-found"),
        ("<what xmlns='urn:counterfoil:offline:0'/>", "feature-not-implemented"),
    ] {
        let answer = ask(&mut world, &mut bob, "set", request).to_frame();
        assert!(answer.contains(&format!("<{condition}")), "{answer}");
    }
    received(&mut world, &mut bob, 15);
    assert_eq!(summary(&received(&mut world, &mut bob, 3)).0, 5);
    assert_eq!(cursor(&mut world), StanzaSeq(15));
    let empty = ask(&mut world, &mut bob, "get", "<summary xmlns='urn:counterfoil:offline:0'/>");
    assert_eq!(summary(&empty), (5, Some("16"), Some("20")));
}

#[test]
fn a_receipt_is_answered_when_it_is_on_disk() {
    let (mut world, _, mut bob) = waiting(3);
    ask(&mut world, &mut bob, "get", SUMMARY);
    world.slow_disk = true;
    let had = bob.stanzas.len();
    bob.send(
        &mut world,
        "<iq xmlns='jabber:client' type='set' id='late'><received xmlns='urn:counterfoil:offline:0' upto='3'/></iq>",
    );
    assert_eq!(bob.stanzas.len(), had);
    world.settle(true);
    bob.drain(&mut world);
    assert_eq!(bob.stanzas.last().unwrap().attr("id"), Some("late"));
    assert_eq!(cursor(&mut world), StanzaSeq(3));
}

#[test]
fn a_device_without_acks_is_held_while_its_mailbox_sleeps() {
    let (mut world, _, mut bob) = waiting(20);
    bob.authenticate(&mut world);
    let bind = "<iq xmlns='jabber:client' type='set' id='b'>\
        <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>phone</resource></bind></iq>";
    bob.say(&mut world, bind);
    let say = |request: &str| format!("<iq xmlns='jabber:client' type='set' id='i'>{request}</iq>");
    bob.say(&mut world, &say(SUMMARY).replace("'set'", "'get'"));
    bob.say(&mut world, "<presence xmlns='jabber:client'/>");
    world.hibernate(&jid("b"));
    bob.say(&mut world, &say("<received xmlns='urn:counterfoil:offline:0' upto='10'/>"));
    assert!(bob.bodies.is_empty());
    assert_eq!(cursor(&mut world), StanzaSeq(10), "and no further");
}

#[test]
fn what_was_receipted_does_not_come_again_when_the_stream_is_resumed() {
    let (mut world, mut alice, mut bob) = waiting(0);
    bob.send(&mut world, "<presence xmlns='jabber:client'/>");
    bob.acks = false;
    for n in 1..=3 {
        alice.message(&mut world, "b@d", &n.to_string());
    }
    // What came by itself is lost with the connection; it had been held, and asked in time.
    world.sent.remove(&bob.link);
    let had = bob.handled;
    ask(&mut world, &mut bob, "get", SUMMARY);
    page(&mut world, &mut bob, 0);
    received(&mut world, &mut bob, 3);
    world.input(&jid("b"), Input::LinkDown(bob.link));
    bob.handled = had;
    assert!(bob.resume(&mut world));
    assert!(bob.bodies.is_empty(), "{:?}", bob.bodies);
}

#[test]
fn nothing_is_held_when_nothing_waits() {
    let (mut world, mut alice, mut bob) = waiting(0);
    assert_eq!(summary(&ask(&mut world, &mut bob, "get", SUMMARY)), (0, None, None));
    bob.send(&mut world, "<presence xmlns='jabber:client'/>");
    alice.message(&mut world, "b@d", "live");
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["live"]);
}

#[test]
fn a_note_to_oneself_waits_once() {
    let (mut world, _, mut bob) = waiting(2);
    let mut laptop = Device::online(&mut world, "b", "laptop");
    laptop.message(&mut world, "b@d", "a note");
    let told = ask(&mut world, &mut bob, "get", SUMMARY);
    assert_eq!(summary(&told), (3, Some("1"), Some("4")));
    let ids = page(&mut world, &mut bob, 0);
    assert_eq!(ids, [1, 2, 4]);
    assert_eq!(told.child(ns::OFFLINE, "summary").unwrap().attr("digest"), Some(digest(&ids).as_str()));
}
