//! One message to several recipients (XEP-0033).

use super::world::{Device, World, jid};
use crate::id::StanzaSeq;
use crate::limits::MULTICAST_RECIPIENTS_MAX;
use crate::wire::{Element, ns};

const ALL: &str = "<address type='to' jid='b@d' desc='Bob'/><address type='cc' jid='c@d'/>\
    <address type='bcc' jid='e@d'/><address type='bcc' jid='f@d'/>\
    <address type='replyto' jid='a@d/desk'/><address type='noreply'/>";

fn frame(body: &str, addresses: &str, more: &str) -> String {
    format!(
        "<message xmlns='jabber:client' to='d' id='{body}'><body>{body}</body>\
         <addresses xmlns='http://jabber.org/protocol/address'>{addresses}</addresses>{more}</message>"
    )
}

fn people(names: &[&str]) -> (World, Vec<Device>) {
    let mut world = World::new();
    let people = names.iter().map(|name| Device::online(&mut world, name, "phone")).collect();
    (world, people)
}

/// Its addresses: kind, JID, and whether they are marked as delivered.
fn seen(message: &Element) -> Vec<(String, String, bool)> {
    let addresses = message.child(ns::ADDRESS, "addresses").unwrap().children();
    let attr = |address: &Element, name| address.attr(name).unwrap_or_default().to_owned();
    addresses.map(|a| (attr(a, "type"), attr(a, "jid"), a.attr("delivered") == Some("true"))).collect()
}

fn address(kind: &str, jid: &str, delivered: bool) -> (String, String, bool) {
    (kind.to_owned(), jid.to_owned(), delivered)
}

#[test]
fn everybody_named_gets_it_once_and_sees_no_blind_copy_but_his_own() {
    let (mut world, mut people) = people(&["a", "b", "c", "e", "f"]);
    let all = frame("hello", ALL, "");
    people[0].send(&mut world, &all);
    let open = [address("to", "b@d", true), address("cc", "c@d", true)];
    let rest = [address("replyto", "a@d/desk", false), address("noreply", "", false)];
    for (n, own) in [(1, None), (2, None), (3, Some("e@d")), (4, Some("f@d"))] {
        people[n].drain(&mut world);
        assert_eq!(people[n].bodies, ["hello"]);
        let message = people[n].stanzas.last().unwrap();
        assert_eq!(message.attr("from"), Some("a@d/phone"));
        assert_eq!(message.attr("to"), Some(people[n].account.as_str()));
        let own = own.map(|own| address("bcc", own, false));
        let expected: Vec<_> = open.iter().cloned().chain(own).chain(rest.iter().cloned()).collect();
        assert_eq!(seen(message), expected);
    }
    people[0].request_ack(&mut world);
    assert!(people[0].errors().is_empty());
    assert_eq!(people[0].unacked(), 0, "it is one stanza and was counted once");
    let places: Vec<_> = world.disk(&jid("a")).rows.log.keys().copied().collect();
    assert_eq!(places, [1, 2, 3, 4].map(StanzaSeq), "a row, and a stanza-id, for each");
}

#[test]
fn what_is_sent_again_doubles_none_of_them() {
    let (mut world, mut people) = people(&["a", "b", "c"]);
    let two = "<address type='to' jid='b@d'/><address type='to' jid='c@d'/>";
    let again = frame("once", two, "<origin-id xmlns='urn:xmpp:sid:0' id='o'/>");
    people[0].send(&mut world, &again);
    world.crash(&jid("a"));
    assert!(people[0].resume(&mut world));
    people[0].send(&mut world, &again);
    // Somebody who was not named before has not had it.
    let three = format!("{two}<address type='to' jid='a@d'/>");
    let more = frame("once", &three, "<origin-id xmlns='urn:xmpp:sid:0' id='o'/>");
    people[0].send(&mut world, &more);
    people.iter_mut().for_each(|device| device.drain(&mut world));
    assert!(people.iter().all(|device| device.bodies == ["once"]), "{:?}", people[0].bodies);
}

#[test]
fn who_was_served_already_is_not_served_again_and_an_account_gets_one_copy() {
    let (mut world, mut people) = people(&["a", "b", "c"]);
    let addresses = "<address type='to' jid='b@d/phone'/><address type='cc' jid='b@d/desk'/>\
        <address type='to' jid='c@d' delivered='true'/>";
    let hello = frame("hello", addresses, "");
    people[0].send(&mut world, &hello);
    people.iter_mut().for_each(|device| device.drain(&mut world));
    assert_eq!(people[1].bodies, ["hello"]);
    assert_eq!(people[1].stanzas.last().unwrap().attr("to"), Some("b@d"));
    assert!(people[2].bodies.is_empty());
}

#[test]
fn an_address_that_cannot_be_served_is_an_error_and_nobody_is() {
    let (mut world, mut people) = people(&["a", "b"]);
    let many: String =
        (0..=MULTICAST_RECIPIENTS_MAX).map(|n| format!("<address type='to' jid='u{n}@d'/>")).collect();
    for (addresses, condition) in [
        ("<address type='to' jid='x@@d'/>", "jid-malformed"),
        ("<address type='to' uri='sip:x@d'/>", "jid-malformed"),
        ("<address type='cc' jid='x@elsewhere'/>", "remote-server-not-found"),
        ("<address jid='x@d'/>", "bad-request"),
        ("<address type='to' desc='nobody'/>", "bad-request"),
        (many.as_str(), "not-acceptable"),
    ] {
        let bad = frame("bad", &format!("<address type='to' jid='b@d'/>{addresses}"), "");
        let had = people[0].errors().len();
        people[0].send(&mut world, &bad);
        assert_eq!(people[0].errors()[had..], [("bad".to_owned(), condition.to_owned())], "{addresses}");
    }
    let (had, none) = (people[0].errors().len(), frame("none", "<address type='noreply'/>", ""));
    people[0].send(&mut world, &none);
    assert_eq!(people[0].errors()[had..], [("none".to_owned(), "bad-request".to_owned())]);
    let long = frame("long", &many.replace("u50@d", "u1@d"), &"x".repeat(200_000));
    people[0].send(&mut world, &long);
    assert!(people[0].last_stanza().contains("<not-acceptable"), "together they are too long");
    people[1].drain(&mut world);
    assert!(people[1].bodies.is_empty());
    assert!(world.disk(&jid("a")).rows.log.is_empty());
}

#[test]
fn what_one_recipient_refuses_comes_back_from_that_one_alone() {
    let (mut world, mut people) = people(&["a", "b", "c", "e"]);
    let blocked = "<iq xmlns='jabber:client' type='set' id='x'><block xmlns='urn:xmpp:blocking'><item jid='a@d'/></block></iq>";
    people[2].send(&mut world, blocked);
    people[0].send(&mut world, &blocked.replace("a@d", "e@d"));
    let addresses = "<address type='to' jid='c@d'/><address type='to' jid='e@d'/>\
        <address type='to' jid='nobody@d'/><address type='to' jid='b@d'/>";
    let hello = frame("hello", addresses, "");
    people[0].send(&mut world, &hello);
    people.iter_mut().for_each(|device| device.drain(&mut world));
    let mut back: Vec<_> = people[0]
        .stanzas
        .iter()
        .filter(|e| e.attr("type") == Some("error"))
        .map(|e| {
            let condition = e.child(ns::CLIENT, "error").unwrap().children().next().unwrap();
            (e.attr("from").unwrap().to_owned(), condition.name.clone())
        })
        .collect();
    back.sort();
    let expected =
        [("c@d", "service-unavailable"), ("e@d", "not-acceptable"), ("nobody@d", "service-unavailable")];
    assert_eq!(back, expected.map(|(from, condition)| (from.to_owned(), condition.to_owned())));
    assert_eq!(people[1].bodies, ["hello"]);
    assert!(people[2].bodies.is_empty() && people[3].bodies.is_empty());
}

#[test]
fn its_device_is_told_once_that_it_is_held() {
    let (mut world, mut people) = people(&["a", "b", "c"]);
    let two = "<address type='to' jid='b@d'/><address type='to' jid='c@d'/>";
    let more = "<origin-id xmlns='urn:xmpp:sid:0' id='o'/><accept xmlns='urn:counterfoil:accepted:0'/>";
    let hello = frame("hello", two, more);
    people[0].send(&mut world, &hello);
    let told = people[0].stanzas.iter().filter(|e| e.child(ns::ACCEPTED, "accepted").is_some());
    assert_eq!(told.count(), 1);
}

#[test]
fn a_state_goes_to_several_too_and_a_message_to_the_server_itself_does_not() {
    let (mut world, mut people) = people(&["a", "b", "c"]);
    let typing = "<message xmlns='jabber:client' to='d'><composing xmlns='http://jabber.org/protocol/chatstates'/>\
        <addresses xmlns='http://jabber.org/protocol/address'><address type='to' jid='b@d'/>\
        <address type='cc' jid='c@d'/></addresses></message>";
    people[0].send(&mut world, typing);
    for n in [1, 2] {
        people[n].drain(&mut world);
        assert!(people[n].last_stanza().contains("composing"));
    }
    people[0].message(&mut world, "d", "hello");
    assert_eq!(people[0].errors(), [("hello".to_owned(), "service-unavailable".to_owned())]);
}
