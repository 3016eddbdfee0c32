//! An account is removed with everything it has, wherever that is.

use super::cold::{age, history, settle, small};
use super::world::{Device, World, jid};
use crate::id::StanzaSeq;
use crate::jid::BareJid;
use crate::limits::{REMOVAL_RETRY_MS, REMOVAL_TELL_MS_MAX};
use crate::memory::MailboxStore;
use crate::relay::{Input, TransferItem, TransferReply, TransferRequest};

const REMOVE: &str = "<iq xmlns='jabber:client' type='set' id='rm'><query xmlns='jabber:iq:register'>\
    <remove/></query></iq>";

fn cold_history() -> (World, Device, Device) {
    let (mut world, mut alice, mut bob) = history(small(), 12);
    age(&mut world, &mut [&mut alice, &mut bob]);
    (world, alice, bob)
}

fn blobs(world: &World, account: &BareJid) -> usize {
    world.blobs.kept.keys().filter(|name| name.starts_with(account.as_str())).count()
}

fn is_gone(world: &mut World, account: &BareJid) -> bool {
    let rows = world.disk(account).rows.clone();
    rows == (MailboxStore { marks: rows.marks, ..MailboxStore::default() }) && blobs(world, account) == 0
}

fn said(device: &Device) -> bool {
    device
        .stanzas
        .iter()
        .any(|stanza| stanza.attr("id") == Some("rm") && stanza.attr("type") == Some("result"))
}

#[test]
fn who_removes_the_account_is_answered_when_nothing_of_it_is_left() {
    let (mut world, mut alice, mut bob) = cold_history();
    let mut pad = Device::online(&mut world, "b", "pad");
    assert!(blobs(&world, &jid("b")) > 0);
    world.blobs.slow = true;
    bob.send(&mut world, REMOVE);
    pad.drain(&mut world);
    assert!(!pad.connected(&world), "others are not served any more");
    assert!(pad.last_nonza().contains("close") && !said(&bob));
    for _ in 0..4 {
        world.settle_blobs();
        world.blobs.slow = true;
        bob.drain(&mut world);
    }
    assert!(said(&bob) && !bob.connected(&world));
    assert!(is_gone(&mut world, &jid("b")));
    assert_eq!(blobs(&world, &jid("a")), 2, "another account's are where they were");
    world.blobs.slow = false;
    // Whoever writes to it learns that nobody is there.
    alice.message(&mut world, "b@d", "hello?");
    settle(&mut world, &mut [&mut alice]);
    let last = alice.stanzas.iter().rev().find(|stanza| stanza.attr("type") == Some("error")).unwrap();
    assert!(last.to_frame().contains("service-unavailable"), "{}", last.to_frame());
    // And whoever takes the name begins anew.
    let mut new = Device::online(&mut world, "b", "phone");
    alice.message(&mut world, "b@d", "who are you");
    new.drain(&mut world);
    assert_eq!(new.bodies, ["who are you"]);
    new.message(&mut world, "a@d", "somebody else");
    alice.drain(&mut world);
    assert_eq!(alice.bodies.last().unwrap(), "somebody else", "it is not taken for one of the other's");
    let last = world.disk(&jid("b")).rows.log.keys().next_back().copied();
    world.crash(&jid("b"));
    let mut new = Device::online(&mut world, "b", "phone");
    new.message(&mut world, "a@d", "and again");
    alice.drain(&mut world);
    assert_eq!(alice.bodies.last().unwrap(), "and again");
    assert!(last > Some(StanzaSeq(12)), "no place is given twice");
}

/// Alice and Bob see each other's presence, and Bob publishes something.
fn friends() -> (World, Device, Device) {
    let mut world = World::with(small());
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    for (kind, bobs) in
        [("subscribe", false), ("subscribed", true), ("subscribe", true), ("subscribed", false)]
    {
        let (device, to) = if bobs { (&mut bob, "a@d") } else { (&mut alice, "b@d") };
        device.send(&mut world, &format!("<presence xmlns='jabber:client' type='{kind}' to='{to}'/>"));
    }
    bob.send(
        &mut world,
        "<iq xmlns='jabber:client' type='set' id='p'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
         <publish node='n'><item id='i'><p xmlns='t'/></item></publish></pubsub></iq>",
    );
    settle(&mut world, &mut [&mut alice, &mut bob]);
    assert!(world.disk(&jid("a")).rows.contacts[&jid("b")].to);
    assert!(!world.disk(&jid("b")).rows.items.is_empty());
    (world, alice, bob)
}

fn presences(device: &Device, from: usize) -> Vec<String> {
    let heard = device.stanzas.iter().skip(from).filter(|stanza| stanza.name == "presence");
    heard.filter_map(|stanza| Some(stanza.attr("type")?.to_owned())).collect()
}

#[test]
fn contacts_see_it_leave_and_are_not_subscribed_to_it_any_more() {
    let (mut world, mut alice, mut bob) = friends();
    alice.send(
        &mut world,
        "<iq xmlns='jabber:client' type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>",
    );
    let had = alice.stanzas.len();
    bob.send(&mut world, REMOVE);
    alice.drain(&mut world);
    assert!(said(&bob) && is_gone(&mut world, &jid("b")));
    assert_eq!(presences(&alice, had), ["unavailable", "unsubscribed", "unsubscribe"]);
    let contact = &world.disk(&jid("a")).rows.contacts[&jid("b")];
    assert!(!contact.to && !contact.from && contact.owed.is_empty(), "{contact:?}");
    // Who takes the name can ask her anew.
    let mut new = Device::online(&mut world, "b", "phone");
    new.send(&mut world, "<presence xmlns='jabber:client' type='subscribe' to='a@d'/>");
    alice.drain(&mut world);
    assert_eq!(presences(&alice, had).last().unwrap(), "subscribe");
}

#[test]
fn who_cannot_be_reached_is_waited_for_and_finds_nobody_afterwards() {
    for back in [true, false] {
        let (mut world, mut alice, mut bob) = friends();
        world.away.insert(jid("a"));
        bob.message(&mut world, "a@d", "goodbye");
        bob.send(&mut world, REMOVE);
        assert!(!said(&bob), "others are still being told");
        world.crash(&jid("b"));
        if back {
            world.away.clear();
        }
        world.input(&jid("b"), Input::Wake);
        world.pass(REMOVAL_TELL_MS_MAX + REMOVAL_RETRY_MS);
        assert!(is_gone(&mut world, &jid("b")));
        world.away.clear();
        alice.drain(&mut world);
        let contact = world.disk(&jid("a")).rows.contacts[&jid("b")].clone();
        assert_eq!((contact.to, alice.bodies.contains(&"goodbye".to_owned())), (!back, back));
        // She probes, asks and subscribes, and is answered as about anybody who never was.
        let mut pad = Device::online(&mut world, "a", "pad");
        let ask = |to: &str| {
            format!(
                "<iq xmlns='jabber:client' type='get' id='d' to='{to}'>\
                 <query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
            )
        };
        let mut answers = Vec::new();
        for to in ["b@d", "never@d"] {
            let had = pad.stanzas.len();
            pad.send(&mut world, &format!("<presence xmlns='jabber:client' to='{to}' type='subscribe'/>"));
            pad.send(&mut world, &ask(to));
            pad.drain(&mut world);
            let heard = pad.stanzas.iter().skip(had).map(|stanza| stanza.to_frame().replace(to, "somebody"));
            answers.push(heard.collect::<Vec<_>>());
        }
        assert_eq!(answers[0], answers[1]);
        assert!(answers[0].last().unwrap().contains("service-unavailable"), "{answers:?}");
    }
}

#[test]
fn a_removal_that_is_interrupted_at_any_step_goes_on_by_itself() {
    for crash_at in 1..60 {
        let (mut world, _, mut bob) = cold_history();
        world.steps = 0;
        world.crash_at = Some(crash_at);
        bob.send(&mut world, REMOVE);
        world.crash_at = None;
        if world.crashes == 0 {
            assert!(crash_at > 8);
            return;
        }
        // Its alarm rings.
        world.input(&jid("b"), Input::Wake);
        world.pass(2 * REMOVAL_RETRY_MS);
        let begun = world.disk(&jid("b")).rows.account.as_ref().is_none_or(|row| row.removed);
        assert_eq!(begun, is_gone(&mut world, &jid("b")), "after a crash at step {crash_at}");
        if !begun {
            assert!(world.disk(&jid("b")).rows.log.len() + blobs(&world, &jid("b")) > 2);
        }
    }
    panic!("a removal takes more than 60 steps");
}

#[test]
fn what_cannot_be_deleted_is_tried_again_and_the_name_is_not_free_until_then() {
    let (mut world, _, mut bob) = cold_history();
    world.blobs.deletes_fail = true;
    bob.send(&mut world, REMOVE);
    assert!(!said(&bob));
    let items = vec![TransferItem {
        seq: StanzaSeq(900),
        stanza: "<message xmlns='jabber:client'/>".into(),
        news: 0,
    }];
    let request = TransferRequest { from: jid("c"), to: jid("b"), items };
    assert_eq!(world.transfer(&request), Some(TransferReply::NoSuchUser));
    let link = world.connect(&jid("b"));
    for frame in [
        "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='d' version='1.0'/>",
        "<iq xmlns='jabber:client' type='set' id='r'><query xmlns='jabber:iq:register'>\
         <username>b</username><password>x</password></query></iq>",
    ] {
        world.input(&jid("b"), Input::Frame(link, frame));
    }
    assert!(world.sent[&link].back().unwrap().contains("resource-constraint"));
    world.blobs.deletes_fail = false;
    world.pass(REMOVAL_RETRY_MS);
    bob.drain(&mut world);
    assert!(said(&bob) && is_gone(&mut world, &jid("b")));
}

#[test]
fn a_segment_that_is_being_put_is_deleted_too() {
    let (mut world, mut alice, mut bob) = history(small(), 12);
    world.blobs.slow = true;
    age(&mut world, &mut [&mut alice, &mut bob]);
    assert!(bob.connected(&world) && world.disk(&jid("b")).rows.moving.is_some());
    bob.send(&mut world, REMOVE);
    world.settle_blobs();
    bob.drain(&mut world);
    world.pass(2 * REMOVAL_RETRY_MS);
    assert!(is_gone(&mut world, &jid("b")));
}

#[test]
fn nobody_removes_another_account_or_half_of_one() {
    let (mut world, _, mut bob) = cold_history();
    let others = REMOVE.replace("type='set'", "type='set' to='a@d'");
    bob.send(&mut world, &others);
    assert!(bob.last_stanza().contains("forbidden"), "{}", bob.last_stanza());
    bob.send(&mut world, &REMOVE.replace("<remove/>", "<remove/><username>b</username>"));
    assert!(bob.last_stanza().contains("bad-request"));
    assert!(world.disk(&jid("b")).rows.account.is_some());
}

#[test]
fn without_segments_it_is_done_at_once() {
    let (mut world, _, mut bob) = history(small(), 4);
    bob.send(&mut world, REMOVE);
    assert!(said(&bob) && is_gone(&mut world, &jid("b")));
    assert_eq!(world.wakes_at(&jid("b")), None);
}
