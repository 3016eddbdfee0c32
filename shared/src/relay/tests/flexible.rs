//! Flexible offline message retrieval (XEP-0013): the queue of a device as a list.

use super::world::{Device, World, jid};
use crate::id::StanzaSeq;
use crate::limits::{FLEXIBLE_LIST_MAX, Limits, TAKEN_RANGES_MAX};
use crate::relay::{Input, Taken};
use crate::wire::{Element, ns};

/// Bob's phone is away while Alice writes, and comes back with a new session.
fn waiting(count: usize) -> (World, Device, Device) {
    with(Limits::DEFAULT, count)
}

fn with(limits: Limits, count: usize) -> (World, Device, Device) {
    let mut world = World::with(limits);
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    bob.say(&mut world, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
    for n in 1..=count {
        alice.message(&mut world, "b@d", &n.to_string());
    }
    again(&mut world, &mut bob);
    (world, alice, bob)
}

/// A new session, without presence.
fn again(world: &mut World, device: &mut Device) {
    device.authenticate(world);
    device.bind_unseen(world);
}

fn ask(world: &mut World, device: &mut Device, kind: &str, request: &str) -> Element {
    device.send(world, &format!("<iq xmlns='jabber:client' type='{kind}' id='i'>{request}</iq>"));
    device.stanzas.iter().rev().find(|e| e.attr("id") == Some("i")).unwrap().clone()
}

fn disco(world: &mut World, device: &mut Device, what: &str) -> Element {
    let request = format!(
        "<query xmlns='http://jabber.org/protocol/disco#{what}' node='http://jabber.org/protocol/offline'/>"
    );
    ask(world, device, "get", &request).children().next().unwrap().clone()
}

fn number(world: &mut World, device: &mut Device) -> usize {
    let info = disco(world, device, "info");
    let fields = info.child(ns::DATA_FORMS, "x").unwrap().children();
    let field = fields.last().unwrap();
    assert_eq!(field.attr("var"), Some("number_of_messages"));
    field.text().parse().unwrap_or_else(|_| field.children().next().unwrap().text().parse().unwrap())
}

fn nodes(world: &mut World, device: &mut Device) -> Vec<u64> {
    let items = disco(world, device, "items");
    items.children().map(|item| item.attr("node").unwrap().parse().unwrap()).collect()
}

/// Views or removes; the condition if it fails, and the bodies that came.
fn act(world: &mut World, device: &mut Device, action: &str, nodes: &[u64]) -> (Option<String>, Vec<String>) {
    let items: String = nodes.iter().map(|node| format!("<item action='{action}' node='{node}'/>")).collect();
    offline(world, device, if action == "view" { "get" } else { "set" }, &items)
}

fn offline(world: &mut World, device: &mut Device, kind: &str, inner: &str) -> (Option<String>, Vec<String>) {
    let had = device.bodies.len();
    let request = format!("<offline xmlns='http://jabber.org/protocol/offline'>{inner}</offline>");
    let answer = ask(world, device, kind, &request);
    let error = answer.child(ns::CLIENT, "error").map(|e| e.children().next().unwrap().name.clone());
    (error, device.bodies.split_off(had))
}

fn available(world: &mut World, device: &mut Device) {
    device.send(world, "<presence xmlns='jabber:client'/>");
}

/// Everything that comes by itself.
fn takes(world: &mut World, device: &mut Device) -> Vec<String> {
    for _ in 0..10 {
        device.drain(world);
        world.pass(1_000);
    }
    std::mem::take(&mut device.bodies)
}

fn cursor(world: &mut World) -> StanzaSeq {
    world.disk(&jid("b")).rows.devices[&"phone".into()].cursor
}

#[test]
fn the_list_is_told_and_nothing_of_it_comes_by_itself() {
    let (mut world, _, mut bob) = waiting(3);
    let info = disco(&mut world, &mut bob, "info");
    assert_eq!(
        info.to_frame(),
        "<query xmlns='http://jabber.org/protocol/disco#info' node='http://jabber.org/protocol/offline'>\
         <identity category='automation' type='message-list'/><feature var='http://jabber.org/protocol/offline'/>\
         <x xmlns='jabber:x:data' type='result'><field type='hidden' var='FORM_TYPE'>\
         <value>http://jabber.org/protocol/offline</value></field>\
         <field type='text-single' var='number_of_messages'><value>3</value></field></x></query>"
    );
    let items = disco(&mut world, &mut bob, "items");
    assert_eq!(
        items.children().next().unwrap().to_frame(),
        "<item xmlns='http://jabber.org/protocol/disco#items' jid='b@d' name='a@d/phone' node='1'/>"
    );
    assert_eq!(items.children().count(), 3);
    available(&mut world, &mut bob);
    assert!(takes(&mut world, &mut bob).is_empty());
    assert_eq!(cursor(&mut world), StanzaSeq(0));
}

#[test]
fn what_is_viewed_stays_and_what_is_removed_is_confirmed() {
    let (mut world, _, mut bob) = waiting(5);
    assert_eq!(nodes(&mut world, &mut bob), [1, 2, 3, 4, 5]);
    let (error, bodies) = act(&mut world, &mut bob, "view", &[4, 2]);
    assert_eq!((error, bodies), (None, vec!["4".to_owned(), "2".to_owned()]));
    let viewed = bob.stanzas.iter().rev().find(|e| e.child(ns::FLEXIBLE, "offline").is_some()).unwrap();
    let item = viewed.child(ns::FLEXIBLE, "offline").unwrap().children().next().unwrap();
    assert_eq!(item.attr("node"), Some("2"));
    assert!(viewed.child(ns::DELAY, "delay").is_some());
    bob.request_ack(&mut world);
    takes(&mut world, &mut bob);
    assert_eq!(cursor(&mut world), StanzaSeq(0), "to have had it is not to have removed it");
    assert_eq!(act(&mut world, &mut bob, "remove", &[2, 4]).0, None);
    assert_eq!(nodes(&mut world, &mut bob), [1, 3, 5]);
    assert_eq!(cursor(&mut world), StanzaSeq(0));
    act(&mut world, &mut bob, "remove", &[1]);
    assert_eq!(cursor(&mut world), StanzaSeq(2));
    act(&mut world, &mut bob, "remove", &[5, 3]);
    assert_eq!(cursor(&mut world), StanzaSeq(5));
    assert_eq!(world.disk(&jid("b")).rows.devices[&"phone".into()].taken, Taken::default());
    assert_eq!(world.disk(&jid("b")).rows.log.len(), 5, "the archive has it");
}

#[test]
fn from_the_presence_on_what_comes_is_sent_and_what_was_left_waits_over_everything() {
    for how in ["resumed", "crashed", "asleep", "new"] {
        let (mut world, mut alice, mut bob) = waiting(4);
        assert_eq!(number(&mut world, &mut bob), 4);
        act(&mut world, &mut bob, "remove", &[2]);
        available(&mut world, &mut bob);
        alice.message(&mut world, "b@d", "5");
        assert_eq!(takes(&mut world, &mut bob), ["5"]);
        assert_eq!(nodes(&mut world, &mut bob), [1, 3, 4], "{how}: what comes by itself is in no list");
        assert_eq!(cursor(&mut world), StanzaSeq(0));
        match how {
            "resumed" => world.input(&jid("b"), Input::LinkDown(bob.link)),
            "crashed" | "new" => world.crash(&jid("b")),
            _ => world.hibernate(&jid("b")),
        }
        if how == "new" {
            again(&mut world, &mut bob);
            available(&mut world, &mut bob);
            alice.message(&mut world, "b@d", "6");
            assert_eq!(takes(&mut world, &mut bob), ["1", "3", "4", "6"], "the gaps, once");
            assert_eq!(cursor(&mut world), StanzaSeq(6));
            continue;
        }
        if how != "asleep" {
            assert!(bob.resume(&mut world));
        }
        alice.message(&mut world, "b@d", "6");
        assert_eq!(takes(&mut world, &mut bob), ["6"], "{how}");
        assert_eq!(act(&mut world, &mut bob, "view", &[3]).1, ["3"], "{how}");
        act(&mut world, &mut bob, "remove", &[1, 3, 4]);
        assert_eq!(cursor(&mut world), StanzaSeq(6), "{how}: the gap is closed");
        assert_eq!(number(&mut world, &mut bob), 0);
    }
}

#[test]
fn all_can_be_fetched_and_purged_but_for_what_came_meanwhile() {
    let (mut world, mut alice, mut bob) = waiting(3);
    let (error, bodies) = offline(&mut world, &mut bob, "get", "<fetch/>");
    assert_eq!((error, bodies), (None, ["1", "2", "3"].map(str::to_owned).to_vec()));
    alice.message(&mut world, "b@d", "unseen");
    assert_eq!(offline(&mut world, &mut bob, "set", "<purge/>").0, None);
    assert_eq!(cursor(&mut world), StanzaSeq(3));
    assert_eq!(nodes(&mut world, &mut bob), [4]);
    available(&mut world, &mut bob);
    alice.message(&mut world, "b@d", "live");
    assert_eq!(takes(&mut world, &mut bob), ["live"]);
    offline(&mut world, &mut bob, "set", "<purge/>");
    assert_eq!(cursor(&mut world), StanzaSeq(5));
}

#[test]
fn nothing_that_is_on_its_way_is_purged() {
    let (mut world, mut alice, mut bob) = waiting(0);
    available(&mut world, &mut bob);
    bob.acks = false;
    alice.message(&mut world, "b@d", "1");
    // It is lost with the connection, and the purge of an empty list must not confirm it.
    world.sent.remove(&bob.link);
    let handled = bob.handled;
    assert_eq!(number(&mut world, &mut bob), 0);
    offline(&mut world, &mut bob, "set", "<purge/>");
    bob.bodies.clear();
    bob.handled = handled;
    bob.acks = true;
    world.input(&jid("b"), Input::LinkDown(bob.link));
    assert!(bob.resume(&mut world));
    assert_eq!(takes(&mut world, &mut bob), ["1"]);
}

#[test]
fn another_device_is_unaffected() {
    let (mut world, mut alice, mut bob) = waiting(0);
    let mut laptop = Device::online(&mut world, "b", "laptop");
    laptop.say(&mut world, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
    alice.message(&mut world, "b@d", "1");
    alice.message(&mut world, "b@d", "2");
    assert_eq!(number(&mut world, &mut bob), 2);
    offline(&mut world, &mut bob, "set", "<purge/>");
    again(&mut world, &mut laptop);
    assert_eq!(number(&mut world, &mut laptop), 2);
    again(&mut world, &mut laptop);
    available(&mut world, &mut laptop);
    assert_eq!(takes(&mut world, &mut laptop), ["1", "2"]);
}

#[test]
fn what_is_not_for_the_device_is_no_gap() {
    let (mut world, mut alice, mut bob) = waiting(0);
    let mut laptop = Device::online(&mut world, "b", "laptop");
    alice.message(&mut world, "b@d", "1");
    laptop.message(&mut world, "a@d", "an answer of another device");
    alice.message(&mut world, "b@d/laptop", "for another device");
    alice.message(&mut world, "b@d", "4");
    assert_eq!(nodes(&mut world, &mut bob), [1, 4]);
    assert_eq!(act(&mut world, &mut bob, "remove", &[2]).0.as_deref(), Some("item-not-found"));
    act(&mut world, &mut bob, "remove", &[1]);
    assert_eq!(cursor(&mut world), StanzaSeq(3));
}

#[test]
fn what_is_not_in_the_list_is_not_found_and_then_nothing_is_done() {
    let (mut world, _, mut bob) = waiting(3);
    for (action, nodes) in [("view", [1, 9]), ("remove", [1, 9]), ("view", [2, 0]), ("remove", [0, 1])] {
        assert_eq!(act(&mut world, &mut bob, action, &nodes), (Some("item-not-found".to_owned()), vec![]));
    }
    for (kind, inner) in [
        ("get", ""),
        ("get", "<purge/>"),
        ("set", "<fetch/>"),
        ("get", "<item action='remove' node='1'/>"),
        ("set", "<item action='remove' node='1'/><item action='view' node='2'/>"),
    ] {
        assert_eq!(offline(&mut world, &mut bob, kind, inner).0.as_deref(), Some("bad-request"), "{inner}");
    }
    act(&mut world, &mut bob, "remove", &[1]);
    assert_eq!(act(&mut world, &mut bob, "view", &[1]).0.as_deref(), Some("item-not-found"), "it is removed");
    assert_eq!(nodes(&mut world, &mut bob), [2, 3]);
    let theirs = "<iq xmlns='jabber:client' type='get' id='i' to='a@d'>\
        <offline xmlns='http://jabber.org/protocol/offline'><fetch/></offline></iq>";
    bob.send(&mut world, theirs);
    assert!(bob.last_stanza().contains("<forbidden"));
}

#[test]
fn a_device_may_leave_only_so_many_gaps() {
    let count = 2 * TAKEN_RANGES_MAX + 4;
    let (mut world, _, mut bob) = waiting(count);
    let even: Vec<u64> = (1..=TAKEN_RANGES_MAX as u64).map(|n| 2 * n).collect();
    assert_eq!(act(&mut world, &mut bob, "remove", &even).0, None);
    let one_more = [count as u64 - 1];
    assert_eq!(act(&mut world, &mut bob, "remove", &one_more).0.as_deref(), Some("resource-constraint"));
    assert_eq!(number(&mut world, &mut bob), count - TAKEN_RANGES_MAX, "nothing is forgotten");
    act(&mut world, &mut bob, "remove", &[1]);
    assert_eq!(act(&mut world, &mut bob, "remove", &one_more).0, None);
}

#[test]
fn a_long_list_comes_in_parts_and_no_more_is_purged_than_was_shown() {
    let (mut world, _, mut bob) = waiting(FLEXIBLE_LIST_MAX + 20);
    assert_eq!(number(&mut world, &mut bob), FLEXIBLE_LIST_MAX + 20);
    assert_eq!(nodes(&mut world, &mut bob).len(), FLEXIBLE_LIST_MAX);
    number(&mut world, &mut bob);
    assert_eq!(offline(&mut world, &mut bob, "get", "<fetch/>").0.as_deref(), Some("resource-constraint"));
    offline(&mut world, &mut bob, "set", "<purge/>");
    assert_eq!(nodes(&mut world, &mut bob).len(), 20);
    assert_eq!(cursor(&mut world), StanzaSeq(FLEXIBLE_LIST_MAX as u64));
}

#[test]
fn what_was_viewed_comes_again_when_the_stream_is_resumed_and_is_removed_for_good() {
    let (mut world, _, mut bob) = waiting(2);
    bob.acks = false;
    let handled = bob.handled;
    act(&mut world, &mut bob, "view", &[1]);
    // The connection breaks before it arrives.
    bob.handled = handled;
    world.crash(&jid("b"));
    assert!(bob.resume(&mut world));
    assert_eq!(std::mem::take(&mut bob.bodies), ["1"]);
    world.slow_disk = true;
    let had = bob.stanzas.len();
    bob.send(&mut world, "<iq xmlns='jabber:client' type='set' id='late'><offline xmlns='http://jabber.org/protocol/offline'><item action='remove' node='1'/></offline></iq>");
    assert_eq!(bob.stanzas.len(), had, "it is answered when it is on disk");
    world.settle(true);
    bob.drain(&mut world);
    assert_eq!(bob.stanzas.last().unwrap().attr("id"), Some("late"));
    world.crash(&jid("b"));
    again(&mut world, &mut bob);
    available(&mut world, &mut bob);
    assert_eq!(takes(&mut world, &mut bob), ["2"]);
}

#[test]
fn ranges_join_and_a_cursor_takes_up_what_adjoins_it() {
    let seq = StanzaSeq;
    let mut taken = Taken::default();
    for (first, last) in [(10, 12), (4, 4), (20, 25), (6, 6), (5, 5), (13, 19)] {
        taken.add(seq(first), seq(last));
    }
    let mut other = Taken::default();
    other.add(seq(10), seq(25));
    other.add(seq(4), seq(6));
    assert_eq!(taken, other);
    assert!(taken.contains(seq(4)) && !taken.contains(seq(7)) && taken.contains(seq(25)));
    let mut cursor = seq(2);
    taken.settle(&mut cursor);
    assert_eq!(cursor, seq(2));
    cursor = seq(3);
    taken.settle(&mut cursor);
    assert_eq!(cursor, seq(6));
    cursor = seq(30);
    taken.settle(&mut cursor);
    assert_eq!((cursor, taken), (seq(30), Taken::default()));
}
