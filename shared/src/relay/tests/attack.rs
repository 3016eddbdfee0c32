//! What a stranger must not be able to do to a mailbox, nor an account to its own: be loud without
//! end, keep its owner out, or learn what is not for him.

use super::world::{Device, World, jid};
use crate::limits::{
    Limits, PRESENCE_BYTES_MAX, ROSTER_REQUESTS_MAX, ROSTER_STRANGERS_MAX, STRANGERS_REQUEST_BYTES_MAX,
    STRANGERS_REQUESTS_MAX, TAKEN_RANGES_MAX,
};
use crate::relay::{Input, TransferItem, TransferReply, TransferRequest};
use crate::wire::{Element, ns};
use std::collections::BTreeSet;

pub(super) const QUIET: &str = "<presence xmlns='jabber:client'><priority>-1</priority></presence>";
pub(super) const AVAILABLE: &str = "<presence xmlns='jabber:client'/>";
pub(super) const UNAVAILABLE: &str = "<presence xmlns='jabber:client' type='unavailable'/>";
pub(super) const CLOSE: &str = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";
pub(super) const PING: &str =
    "<iq xmlns='jabber:client' type='get' id='ping' to='d'><ping xmlns='urn:xmpp:ping'/></iq>";
pub(super) const ASK: &str =
    "<iq xmlns='jabber:client' type='get' id='ask' to='b@d/desk'><query xmlns='jabber:iq:version'/></iq>";
/// Bytes of a value in the object's database, and of what a connection remembers.
pub(super) const VALUE_BYTES_MAX: usize = 2_000_000;
pub(super) const ATTACHMENT_BYTES_MAX: usize = 16_384;

/// Another mailbox hands over stanzas that are in no log.
pub(super) fn hand_over(
    world: &mut World,
    from: &str,
    to: &str,
    stanza: String,
    news: u64,
) -> Option<TransferReply> {
    let item = TransferItem { stanza, news, ..TransferItem::default() };
    world.transfer(&TransferRequest { from: jid(from), to: jid(to), items: vec![item] })
}

pub(super) fn longest_row(world: &mut World, name: &str) -> usize {
    let rows = world.disk(&jid(name)).rows.devices.values();
    rows.map(|row| serde_json::to_string(row).unwrap().len()).max().unwrap_or_default()
}

pub(super) fn lose(world: &mut World, device: &Device) {
    world.input(&device.account, Input::LinkDown(device.link));
}

/// Time passes for devices that answer what they are asked.
pub(super) fn pass(world: &mut World, ms: u64, devices: &mut [&mut Device]) {
    for _ in 0..ms / 1_000 {
        world.pass(1_000);
        devices.iter_mut().for_each(|device| device.drain(world));
    }
}

pub(super) fn begin_again(world: &mut World, device: &mut Device, presence: &str) {
    device.authenticate(world);
    device.bind_unseen(world);
    device.send(world, presence);
    device.drain(world);
}

pub(super) fn answer<'a>(device: &'a Device, id: &str) -> Option<&'a Element> {
    device.stanzas.iter().rev().find(|stanza| stanza.name == "iq" && stanza.attr("id") == Some(id))
}

/// The newest presence a device has of an address.
pub(super) fn sees(device: &Device, from: &str) -> Option<String> {
    let presence = device.stanzas.iter().rev().find(|s| s.name == "presence" && s.attr("from") == Some(from));
    presence.map(|presence| presence.attr("type").unwrap_or("available").to_owned())
}

pub(super) fn sees_after(world: &mut World, device: &mut Device, from: &str) -> Option<String> {
    device.drain(world);
    sees(device, from)
}

/// Alice's phone and Bob's desk, each of whom sees the other's presence.
pub(super) fn friends(limits: Limits) -> (World, Device, Device) {
    let mut world = World::with(limits);
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "desk");
    let say = |world: &mut World, device: &mut Device, kind: &str, to: &str| {
        device.send(world, &format!("<presence xmlns='jabber:client' type='{kind}' to='{to}'/>"));
    };
    say(&mut world, &mut alice, "subscribe", "b@d");
    say(&mut world, &mut bob, "subscribed", "a@d");
    say(&mut world, &mut bob, "subscribe", "a@d");
    say(&mut world, &mut alice, "subscribed", "b@d");
    for device in [&mut alice, &mut bob] {
        device.drain(&mut world);
    }
    (world, alice, bob)
}

// What strangers can do.

#[test]
fn the_row_of_a_device_stays_below_what_a_row_may_have_whoever_sends_it_presence() {
    let mut world = World::new();
    let bob = Device::online(&mut world, "b", "desk");
    lose(&mut world, &bob);
    let status = "x".repeat(PRESENCE_BYTES_MAX - 200);
    for n in 0..150 {
        let presence = format!(
            "<presence xmlns='jabber:client' from='m@d/{n}' to='b@d'><status>{status}</status></presence>"
        );
        hand_over(&mut world, "m", "b", presence, 0);
    }
    let longest = longest_row(&mut world, "b");
    assert!(longest < VALUE_BYTES_MAX, "{longest}");
}

#[test]
fn a_stranger_does_not_end_the_stream_of_a_device_that_is_away() {
    let mut world = World::new();
    let mut bob = Device::online(&mut world, "b", "desk");
    lose(&mut world, &bob);
    for n in 0..510 {
        let presence = format!("<presence xmlns='jabber:client' from='m@d/{n}' to='b@d'/>");
        hand_over(&mut world, "m", "b", presence, 0);
    }
    assert!(bob.resume(&mut world));
}

#[test]
fn strangers_who_ask_to_see_her_do_not_keep_her_out() {
    let mut world = World::new();
    let mut bob = Device::online(&mut world, "b", "desk");
    bob.say(&mut world, CLOSE);
    let status = "x".repeat(PRESENCE_BYTES_MAX - 200);
    for n in 0..150 {
        let from = format!("m{n}");
        let request = format!(
            "<presence xmlns='jabber:client' type='subscribe' from='{from}@d' to='b@d'><status>{status}</status></presence>"
        );
        hand_over(&mut world, &from, "b", request, 1);
    }
    bob.authenticate(&mut world);
    bob.bind_unseen(&mut world);
    world.input(&jid("b"), Input::Frame(bob.link, AVAILABLE));
    let longest = longest_row(&mut world, "b");
    assert!(longest < VALUE_BYTES_MAX, "{longest}");
}

#[test]
fn requests_that_one_has_no_room_for_at_once_are_shown_one_after_another() {
    let mut world = World::new();
    let mut bob = Device::online(&mut world, "b", "desk");
    bob.say(&mut world, CLOSE);
    let name = "m".repeat(1_000);
    for n in 100..300 {
        let from = format!("{name}{n}");
        let request = format!("<presence xmlns='jabber:client' type='subscribe' from='{from}@d' to='b@d'/>");
        hand_over(&mut world, &from, "b", request, 1);
    }
    bob.authenticate(&mut world);
    bob.bind_unseen(&mut world);
    let written = world.disk(&jid("b")).written;
    bob.send(&mut world, AVAILABLE);
    let rows = world.disk(&jid("b")).written - written;
    assert!(rows < 20, "{rows}");
    pass(&mut world, 10_000, &mut [&mut bob]);
    let asking = bob.stanzas.iter().filter(|s| s.attr("type") == Some("subscribe"));
    let shown: BTreeSet<_> = asking.map(|s| s.attr("from")).collect();
    assert_eq!(shown.len(), 200);
}

#[test]
fn who_comes_and_says_more_is_not_cut_off_for_what_strangers_asked() {
    let mut world = World::new();
    let mut bob = Device::online(&mut world, "b", "desk");
    bob.say(&mut world, CLOSE);
    let status = "x".repeat(PRESENCE_BYTES_MAX - 200);
    for n in 0..20 {
        let from = format!("m{n}");
        let request = format!(
            "<presence xmlns='jabber:client' type='subscribe' from='{from}@d' to='b@d'><status>{status}</status></presence>"
        );
        hand_over(&mut world, &from, "b", request, 1);
    }
    bob.authenticate(&mut world);
    bob.bind_unseen(&mut world);
    for frame in [AVAILABLE, PING] {
        world.input(&jid("b"), Input::Frame(bob.link, frame));
    }
    bob.drain(&mut world);
    assert!(bob.connected(&world), "{}", bob.last_nonza());
    assert!(answer(&bob, "ping").is_some());
}

#[test]
fn chat_states_do_not_pile_up_for_a_device_that_nobody_looks_at() {
    let mut world = World::new();
    let mut mallory = Device::online(&mut world, "m", "x");
    let mut bob = Device::online(&mut world, "b", "desk");
    bob.drain(&mut world);
    bob.acks = false;
    bob.say(&mut world, "<inactive xmlns='urn:xmpp:csi:0'/>");
    let thread = "x".repeat(200_000);
    for _ in 0..12 {
        mallory.send(
            &mut world,
            &format!(
                "<message xmlns='jabber:client' to='b@d' type='chat'><thread>{thread}</thread>\
                 <composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
            ),
        );
    }
    world.pass(12_000);
    let longest = longest_row(&mut world, "b");
    assert!(longest < VALUE_BYTES_MAX, "{longest}");
}

#[test]
fn what_a_connection_remembers_stays_below_what_it_may_whatever_is_held() {
    let mut world = World::new();
    let mut bob = Device::online(&mut world, "b", &"\\".repeat(1000));
    bob.drain(&mut world);
    bob.say(&mut world, "<inactive xmlns='urn:xmpp:csi:0'/>");
    for length in [5_900, 300, 301, 302, 303, 304, 305, 306, 307] {
        let status = "\\".repeat(length);
        let presence = format!(
            "<presence xmlns='jabber:client' from='m@d/{length}' to='b@d'><status>世{status}</status></presence>"
        );
        hand_over(&mut world, "m", "b", presence, 0);
        let state = world.remembered(&jid("b"), bob.link).unwrap();
        let characters = serde_json::to_string(&state).unwrap().encode_utf16().count();
        assert!(2 * characters < ATTACHMENT_BYTES_MAX, "{characters} characters");
    }
}

#[test]
fn what_a_device_has_confirmed_out_of_order_stays_within_its_limit() {
    let mut world = World::new();
    let mut bob = Device::online(&mut world, "b", "desk");
    bob.send(&mut world, QUIET);
    let mut alice = Device::online(&mut world, "a", "phone");
    for n in 0..2 * TAKEN_RANGES_MAX {
        let to = if n % 2 == 0 { "b@d" } else { "b@d/desk" };
        alice.message(&mut world, to, &format!("message {n}"));
        bob.drain(&mut world);
    }
    alice.message(&mut world, "b@d", "one");
    alice.message(&mut world, "b@d/desk", "two");
    bob.drain(&mut world);
    bob.say(&mut world, &format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", bob.handled));
    let taken = &world.disk(&jid("b")).rows.devices.values().next().unwrap().taken;
    let ranges = serde_json::to_value(taken).unwrap().as_array().unwrap().len();
    assert!(ranges <= TAKEN_RANGES_MAX, "{ranges}");
}

#[test]
fn who_asks_for_a_subscription_and_is_one_too_many_learns_it() {
    let mut world = World::new();
    Device::online(&mut world, "b", "desk");
    for n in 0..ROSTER_REQUESTS_MAX {
        let from = format!("m{n}");
        let request = format!("<presence xmlns='jabber:client' type='subscribe' from='{from}@d' to='b@d'/>");
        hand_over(&mut world, &from, "b", request, 1);
    }
    let mut alice = Device::online(&mut world, "a", "phone");
    alice.send(
        &mut world,
        "<iq xmlns='jabber:client' type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>",
    );
    alice.drain(&mut world);
    alice.stanzas.clear();
    world.answers_lost = true;
    alice.send(&mut world, "<presence xmlns='jabber:client' type='subscribe' to='b@d' id='s'/>");
    world.crash(&jid("b"));
    world.answers_lost = false;
    pass(&mut world, 5_000, &mut [&mut alice]);
    let told = alice.stanzas.iter().filter(|s| s.attr("type") == Some("unsubscribed"));
    assert_eq!(told.count(), 1, "{:?}", alice.stanzas);
    assert!(!world.disk(&jid("a")).rows.contacts[&jid("b")].ask, "it waits for nothing any more");
}

#[test]
fn strangers_who_come_and_go_are_not_remembered_without_end() {
    let mut world = World::new();
    Device::online(&mut world, "b", "desk");
    for n in 0..2_000 {
        let from = format!("m{n}");
        for (no, kind) in [(1, "subscribe"), (2, "unsubscribe")] {
            let presence =
                format!("<presence xmlns='jabber:client' type='{kind}' from='{from}@d' to='b@d'/>");
            hand_over(&mut world, &from, "b", presence, no);
        }
    }
    let known = world.disk(&jid("b")).rows.contacts.len();
    assert!(known <= ROSTER_STRANGERS_MAX, "{known} strangers");
}

#[test]
fn requests_of_a_stranger_do_not_end_the_stream_of_a_device_that_is_away() {
    let mut world = World::new();
    let mut bob = Device::online(&mut world, "b", "desk");
    lose(&mut world, &bob);
    let long = "x".repeat(60_000);
    for n in 0..6 {
        let iq = format!(
            "<iq xmlns='jabber:client' type='get' id='{n}' from='m@d/x' to='b@d/desk'><q xmlns='y'>{long}</q></iq>"
        );
        hand_over(&mut world, "m", "b", iq, 0);
    }
    let request = "<presence xmlns='jabber:client' type='subscribe' from='m@d' to='b@d'/>";
    hand_over(&mut world, "m", "b", request.to_owned(), 1);
    assert!(bob.resume(&mut world));
}

#[test]
fn a_stranger_who_asks_and_takes_it_back_does_not_end_the_stream_of_a_device_that_is_away() {
    let mut world = World::new();
    let mut bob = Device::online(&mut world, "b", "desk");
    bob.send(
        &mut world,
        "<iq xmlns='jabber:client' type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>",
    );
    bob.drain(&mut world);
    lose(&mut world, &bob);
    let status = "x".repeat(PRESENCE_BYTES_MAX - 200);
    for n in 0..1_200 {
        let kind = ["subscribe", "unsubscribe"][n % 2];
        let presence = format!(
            "<presence xmlns='jabber:client' type='{kind}' from='m@d' to='b@d'><status>{status}</status></presence>"
        );
        hand_over(&mut world, "m", "b", presence, 1 + n as u64);
    }
    assert!(bob.resume(&mut world));
}

#[test]
fn of_what_a_stranger_asks_a_device_that_is_away_little_waits_and_the_rest_is_refused() {
    let mut world = World::new();
    let mut mallory = Device::online(&mut world, "m", "x");
    let mut bob = Device::online(&mut world, "b", "desk");
    lose(&mut world, &bob);
    let long = "x".repeat(STRANGERS_REQUEST_BYTES_MAX);
    mallory.send(&mut world, &ASK.replace("<query", &format!("<query node='{long}'")));
    for n in 0..2 * STRANGERS_REQUESTS_MAX {
        mallory.send(&mut world, &ASK.replace("'ask'", &format!("'ask{n}'")));
    }
    mallory.drain(&mut world);
    let refused = mallory.stanzas.iter().filter(|s| s.attr("type") == Some("error")).count();
    assert_eq!(refused, 1 + STRANGERS_REQUESTS_MAX);
    assert!(bob.resume(&mut world));
    bob.drain(&mut world);
    let asked = bob.stanzas.iter().filter(|s| s.name == "iq" && s.attr("type") == Some("get")).count();
    assert_eq!(asked, STRANGERS_REQUESTS_MAX);
}

#[test]
fn a_request_to_a_stream_that_is_given_up_for_a_new_one_is_answered() {
    let (mut world, mut alice, mut bob) = friends(Limits::DEFAULT);
    lose(&mut world, &bob);
    alice.send(&mut world, ASK);
    assert!(answer(&alice, "ask").is_none());
    begin_again(&mut world, &mut bob, AVAILABLE);
    alice.drain(&mut world);
    let error = answer(&alice, "ask").and_then(|iq| iq.child(ns::CLIENT, "error")).unwrap();
    assert!(error.child(ns::STANZA_ERRORS, "service-unavailable").is_some());
    assert_eq!(answer(&bob, "ask"), None);
}

#[test]
fn the_row_of_an_account_stays_below_what_a_row_may_have_whomever_it_blocks() {
    let mut world = World::new();
    let mut bob = Device::online(&mut world, "b", "desk");
    let long = "x".repeat(1_000);
    for n in 0..20 {
        let item = |m: u32| format!("<item jid='{long}{n:02}{m:02}@d/{long}'/>");
        let items: String = (0..50).map(item).collect();
        bob.send(
            &mut world,
            &format!("<iq xmlns='jabber:client' type='set' id='{n}'><block xmlns='urn:xmpp:blocking'>{items}</block></iq>"),
        );
        bob.drain(&mut world);
    }
    let account = world.disk(&jid("b")).rows.account.clone().unwrap();
    let bytes = serde_json::to_string(&account).unwrap().len();
    assert!(bytes < VALUE_BYTES_MAX, "{bytes} for {} addresses", account.blocked.len());
}

// What holds.

#[test]
fn a_stranger_who_probes_or_answers_nobody_leaves_no_row() {
    let mut world = World::new();
    let mut bob = Device::online(&mut world, "b", "desk");
    bob.drain(&mut world);
    let (written, had) = (world.disk(&jid("b")).written, bob.stanzas.len());
    for kind in ["unsubscribe", "unsubscribed", "subscribed"] {
        hand_over(
            &mut world,
            "m",
            "b",
            format!("<presence xmlns='jabber:client' type='{kind}' from='m@d' to='b@d'/>"),
            1,
        );
    }
    for stanza in [
        "<iq xmlns='jabber:client' type='result' id='1' from='m@d/x' to='b@d'/>",
        "<iq xmlns='jabber:client' type='error' id='1' from='m@d/x' to='b@d/gone'/>",
        "<message xmlns='jabber:client' type='error' from='m@d/x' to='b@d'/>",
        "<presence xmlns='jabber:client' type='error' from='m@d/x' to='b@d'/>",
    ] {
        world.called.clear();
        hand_over(&mut world, "m", "b", stanza.to_owned(), 0);
        assert!(world.called.is_empty(), "it was answered: {stanza}");
    }
    bob.drain(&mut world);
    assert_eq!((world.disk(&jid("b")).written, bob.stanzas.len()), (written, had));
    assert!(world.disk(&jid("b")).rows.contacts.is_empty());
}

#[test]
fn an_account_that_is_blocked_learns_nothing_of_who_is_there() {
    let (mut world, mut alice, mut bob) = friends(Limits::DEFAULT);
    bob.send(&mut world, "<iq xmlns='jabber:client' type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='a@d'/></block></iq>");
    alice.drain(&mut world);
    assert_eq!(sees(&alice, "b@d/desk").as_deref(), Some("unavailable"));
    alice.stanzas.clear();
    alice.send(&mut world, "<presence xmlns='jabber:client' type='probe' to='b@d'/>");
    alice.send(&mut world, "<presence xmlns='jabber:client' to='b@d/desk'/>");
    alice.send(&mut world, ASK);
    bob.stanzas.clear();
    bob.send(&mut world, "<presence xmlns='jabber:client'><show>dnd</show></presence>");
    lose(&mut world, &bob);
    pass(&mut world, 700_000, &mut [&mut alice]);
    assert!(alice.connected(&world));
    bob.drain(&mut world);
    assert_eq!(sees(&alice, "b@d/desk"), None, "{:?}", alice.stanzas);
    let error = answer(&alice, "ask").and_then(|iq| iq.child(ns::CLIENT, "error")).unwrap();
    assert!(error.child(ns::STANZA_ERRORS, "service-unavailable").is_some());
    assert!(bob.stanzas.iter().all(|s| s.attr("from").is_none_or(|from| !from.starts_with("a@d"))));
}
