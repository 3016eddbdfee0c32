//! What was read on one device is read on the others (XEP-0490, R16).

use super::pep::{ask, publish};
use super::pep_caps::{events, interested};
use super::world::{Device, World, jid};
use crate::wire::{Element, ns};

fn displayed(by: &str, place: &str) -> String {
    format!(
        "<displayed xmlns='{}'><stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='{place}'/></displayed>",
        ns::DISPLAYED
    )
}

/// A displayed marker that carries the place.
fn marker(to: &str, place: &str, id: &str) -> String {
    format!(
        "<message xmlns='jabber:client' to='{to}' id='{id}'><displayed xmlns='urn:xmpp:chat-markers:0' id='m'/>{}</message>",
        displayed("a@d", place)
    )
}

/// The place that stands for each conversation.
fn places(world: &mut World) -> Vec<(String, String)> {
    let rows = &world.disk(&jid("a")).rows.items;
    let rows = rows.iter().filter(|((node, _), _)| node == ns::DISPLAYED);
    let place = |payload: &str| payload.split(" id='").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    rows.map(|((_, id), row)| (id.clone(), place(&row.payload))).collect()
}

fn set(world: &mut World, device: &mut Device, chat: &str, by: &str, place: &str) -> Element {
    publish(world, device, ns::DISPLAYED, &format!("<item id='{chat}'>{}</item>", displayed(by, place)), &[])
}

/// Two devices of `a` that are interested, and three messages in the log.
fn two() -> (World, Device, Device) {
    let mut world = World::new();
    let mut phone = interested(&mut world, "phone", &[ns::DISPLAYED]);
    let laptop = interested(&mut world, "laptop", &[ns::DISPLAYED]);
    Device::online(&mut world, "b", "phone");
    for body in ["1", "2", "3"] {
        phone.message(&mut world, "b@d", body);
    }
    (world, phone, laptop)
}

fn one(chat: &str, place: &str) -> Vec<(String, String)> {
    vec![(chat.to_owned(), place.to_owned())]
}

#[test]
fn a_marker_that_carries_its_place_moves_all_devices_and_leaves_nothing_of_it_elsewhere() {
    let (mut world, mut phone, mut laptop) = two();
    let mut bob = Device::online(&mut world, "b", "laptop");
    laptop.send(
        &mut world,
        "<iq xmlns='jabber:client' type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>",
    );
    phone.send(&mut world, &marker("b@d", "2", "marker"));
    laptop.drain(&mut world);
    bob.drain(&mut world);
    assert_eq!(places(&mut world), one("b@d", "2"));
    assert_eq!(events(&laptop), ["urn:xmpp:mds:displayed:0/b@d"]);
    assert!(laptop.stanzas.iter().any(|e| e.to_frame().contains("<sent xmlns='urn:xmpp:carbons:2'>")));
    let carbons = laptop.stanzas.iter().filter(|e| e.child(ns::CARBONS, "sent").is_some());
    for seen in bob.stanzas.iter().chain(carbons) {
        assert!(!seen.to_frame().contains(ns::DISPLAYED), "{}", seen.to_frame());
    }
    assert!(bob.last_stanza().contains(ns::MARKERS), "the marker itself arrives: {}", bob.last_stanza());
    for name in ["a", "b"] {
        let log = &world.disk(&jid(name)).rows.log;
        assert!(log.values().all(|row| !row.stanza.contains(ns::DISPLAYED)));
    }
    let node = &world.disk(&jid("a")).rows.nodes[ns::DISPLAYED];
    assert_eq!(node.access, crate::relay::rows::Access::Whitelist);
    assert_eq!((node.items_max, node.send_last), (None, false));
}

#[test]
fn a_device_that_is_late_does_not_set_another_one_back() {
    let (mut world, mut phone, mut laptop) = two();
    set(&mut world, &mut phone, "b@d", "a@d", "2");
    laptop.drain(&mut world);
    for stale in ["1", "2"] {
        let answer = set(&mut world, &mut laptop, "b@d", "a@d", stale);
        assert_eq!(answer.attr("type"), Some("result"), "what it says is true already");
        laptop.send(&mut world, &marker("b@d", stale, stale));
    }
    assert_eq!(places(&mut world), one("b@d", "2"));
    assert_eq!(events(&laptop).len(), 1, "and nobody is told again");
    laptop.send(&mut world, &marker("b@d", "3", "x"));
    assert_eq!(places(&mut world), one("b@d", "3"));
    assert_eq!(events(&laptop).len(), 2);
}

#[test]
fn a_place_that_is_not_there_does_not_hold_up_those_that_are() {
    let (mut world, mut phone, _) = two();
    set(&mut world, &mut phone, "b@d", "a@d", "999999");
    set(&mut world, &mut phone, "b@d", "a@d", "2");
    assert_eq!(places(&mut world), one("b@d", "2"));
}

#[test]
fn places_of_others_are_taken_as_they_come() {
    let (mut world, mut phone, _) = two();
    for place in ["3", "1", "some-id"] {
        set(&mut world, &mut phone, "room@elsewhere", "room@elsewhere", place);
        assert_eq!(places(&mut world), one("room@elsewhere", place));
    }
}

#[test]
fn a_marker_that_is_sent_again_publishes_nothing_again() {
    let (mut world, mut phone, mut laptop) = two();
    for _ in 0..3 {
        phone.send(&mut world, &marker("b@d", "2", "same"));
    }
    laptop.drain(&mut world);
    assert_eq!(events(&laptop).len(), 1);
}

#[test]
fn what_says_no_place_is_taken_out_and_not_published() {
    let (mut world, mut phone, _) = two();
    for inside in [
        "",
        "<stanza-id xmlns='urn:xmpp:sid:0' by='a@d' id='1'/><stanza-id xmlns='urn:xmpp:sid:0' by='a@d' id='2'/>",
    ] {
        let displayed = format!("<displayed xmlns='{}'>{inside}</displayed>", ns::DISPLAYED);
        phone.send(
            &mut world,
            &format!(
                "<message xmlns='jabber:client' to='b@d' type='chat'><body>x</body>{displayed}</message>"
            ),
        );
    }
    assert!(places(&mut world).is_empty());
    assert!(world.disk(&jid("b")).rows.log.values().all(|row| !row.stanza.contains(ns::DISPLAYED)));
}

#[test]
fn two_spellings_of_a_conversation_are_one() {
    let (mut world, mut phone, _) = two();
    phone.send(&mut world, &marker("B@D", "1", "x"));
    phone.send(&mut world, &marker("b@d", "2", "y"));
    assert_eq!(places(&mut world), one("b@d", "2"));
}

#[test]
fn who_comes_back_reads_all_places_at_once() {
    let (mut world, mut phone, _) = two();
    for (chat, place) in [("b@d", "1"), ("c@d", "2"), ("z@d", "3")] {
        set(&mut world, &mut phone, chat, "a@d", place);
    }
    let mut later = Device::online(&mut world, "a", "later");
    let get = format!("<pubsub xmlns='{}'><items node='{}'/></pubsub>", ns::PUBSUB, ns::DISPLAYED);
    let answer = ask(&mut world, &mut later, "get", &get).to_frame();
    for chat in ["b@d", "c@d", "z@d"] {
        assert!(answer.contains(&format!("<item id='{chat}'>")), "{answer}");
    }
}
