//! An account is removed with everything it has, wherever that is.

use super::cold::{age, history, settle, small};
use super::world::{Device, World, jid};
use crate::id::StanzaSeq;
use crate::jid::BareJid;
use crate::limits::REMOVAL_RETRY_MS;
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
    world.disk(account).rows == MailboxStore::default() && blobs(world, account) == 0
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
    assert_eq!(world.disk(&jid("b")).rows.log.keys().next(), Some(&StanzaSeq(1)));
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
