//! A mailbox that is full, and messages that come back: each message fails once or arrives once,
//! whatever is lost or late on the way.

use super::world::{Device, World, jid};
use crate::id::StanzaSeq;
use crate::limits::{Limits, TRANSFER_RETRY_MS_MIN};
use crate::relay::{TransferItem, TransferReply, TransferRequest};

const LIMITS: Limits = Limits { queue_stanzas_max: 3, ..Limits::DEFAULT };

/// Alice online, and Bob's device away.
pub fn alice_and_an_absent_bob(limits: Limits) -> (World, Device, Device) {
    let mut world = World::with(limits);
    let alice = Device::online(&mut world, "a", "phone");
    let bob = Device::online(&mut world, "b", "phone");
    world.crash(&jid("b"));
    (world, alice, bob)
}

/// Bob takes all that waits for him and acks it.
pub fn back(world: &mut World, bob: &mut Device) {
    assert!(bob.resume(world));
    bob.drain(world);
    world.pass(Limits::DEFAULT.ack_idle_ms);
    bob.drain(world);
}

fn call(places: &[u64]) -> TransferRequest {
    let items = places.iter().map(|place| TransferItem {
        seq: StanzaSeq(*place),
        news: 0,
        stanza: format!(
            "<message xmlns='jabber:client' from='a@d/phone' to='b@d' id='{place}'><body>{place}</body></message>"
        ),
    });
    TransferRequest { from: jid("a"), to: jid("b"), items: items.collect() }
}

fn refused(places: &[u64]) -> Option<TransferReply> {
    Some(TransferReply::Refused(places.iter().copied().map(StanzaSeq).collect()))
}

#[test]
fn a_full_mailbox_does_not_refuse_what_it_has() {
    for more in [false, true] {
        let (mut world, mut alice, mut bob) = alice_and_an_absent_bob(LIMITS);
        alice.message(&mut world, "b@d", "1");
        alice.message(&mut world, "b@d", "2");
        world.answers_lost = true;
        alice.message(&mut world, "b@d", "3");
        world.answers_lost = false;
        assert_eq!(world.disk(&jid("b")).rows.log.len(), 3, "it arrived, and the queue is full");
        let mut failed = Vec::new();
        if more {
            alice.message(&mut world, "b@d", "4");
            failed.push(("4".to_owned(), "resource-constraint".to_owned()));
        }
        assert_eq!(world.called.len(), 3);
        world.pass(TRANSFER_RETRY_MS_MIN);
        assert_eq!(world.called.len(), 4, "it came again");
        alice.drain(&mut world);
        assert_eq!(alice.errors(), failed, "what comes in the same call is another matter");
        back(&mut world, &mut bob);
        assert_eq!(bob.bodies, ["1", "2", "3"]);
    }
}

#[test]
fn of_one_call_a_full_mailbox_refuses_only_what_it_has_not() {
    let (mut world, ..) = alice_and_an_absent_bob(LIMITS);
    assert_eq!(world.transfer(&call(&[1, 2, 3])), Some(TransferReply::Accepted));
    assert_eq!(world.transfer(&call(&[2, 3, 4, 5])), refused(&[4, 5]));
    assert_eq!(world.transfer(&call(&[1, 2, 3])), Some(TransferReply::Accepted));
    assert_eq!(world.disk(&jid("b")).rows.log.len(), 3);
}

#[test]
fn what_was_refused_stays_refused_when_an_overtaken_call_comes_late() {
    for crash in [false, true] {
        let (mut world, _alice, mut bob) = alice_and_an_absent_bob(LIMITS);
        world.transfer(&call(&[1, 2, 3]));
        assert_eq!(world.transfer(&call(&[4])), refused(&[4]));
        if crash {
            world.crash(&jid("b"));
        }
        back(&mut world, &mut bob);
        assert_eq!(world.transfer(&call(&[4])), refused(&[4]), "its sender was told so");
        assert_eq!(world.transfer(&call(&[5])), Some(TransferReply::Accepted), "there is room again");
        assert_eq!(world.transfer(&call(&[4, 5])), refused(&[4]));
        bob.drain(&mut world);
        assert_eq!(bob.bodies, ["1", "2", "3", "5"], "crash: {crash}");
    }
}

#[test]
fn what_a_full_mailbox_refuses_fails_once() {
    for answers_lost in [false, true] {
        let (mut world, mut alice, mut bob) = alice_and_an_absent_bob(LIMITS);
        for n in 1..=3 {
            alice.message(&mut world, "b@d", &n.to_string());
        }
        world.answers_lost = answers_lost;
        alice.message(&mut world, "b@d", "4");
        assert_eq!(alice.errors().is_empty(), answers_lost);
        world.answers_lost = false;
        back(&mut world, &mut bob);
        world.pass(60_000);
        world.crash(&jid("a"));
        assert!(alice.resume(&mut world));
        alice.message(&mut world, "b@d", "5");
        world.pass(60_000);
        alice.drain(&mut world);
        bob.drain(&mut world);
        assert_eq!(alice.errors(), [("4".to_owned(), "resource-constraint".to_owned())]);
        assert_eq!(bob.bodies, ["1", "2", "3", "5"], "answers lost: {answers_lost}");
    }
}

#[test]
fn nothing_overtakes_the_news_that_a_message_was_refused() {
    for crash in [false, true] {
        let (mut world, mut alice, mut bob) = alice_and_an_absent_bob(LIMITS);
        for n in 1..=3 {
            alice.message(&mut world, "b@d", &n.to_string());
        }
        world.answers_lost = true;
        alice.message(&mut world, "b@d", "4");
        back(&mut world, &mut bob);
        if crash {
            world.crash(&jid("a"));
            assert!(alice.resume(&mut world));
        }
        alice.message(&mut world, "b@d", "5");
        world.pass(60_000);
        bob.drain(&mut world);
        assert_eq!(bob.bodies, ["1", "2", "3"], "if he read 5, she would take 4 for read, too");

        world.answers_lost = false;
        world.pass(60_000);
        alice.drain(&mut world);
        bob.drain(&mut world);
        assert_eq!(alice.errors(), [("4".to_owned(), "resource-constraint".to_owned())]);
        assert_eq!(bob.bodies, ["1", "2", "3", "5"], "crash: {crash}");
    }
}

#[test]
fn what_came_back_is_not_handed_over_by_a_mailbox_that_died() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut carol = Device::online(&mut world, "c", "phone");
    // An older message that cannot be handed over yet: all that follow are looked at again.
    world.away.insert(jid("c"));
    alice.message(&mut world, "c@d", "older");
    alice.message(&mut world, "b@d", "nobody is there");
    let failed = [("nobody is there".to_owned(), "service-unavailable".to_owned())];
    assert_eq!(alice.errors(), failed);

    let mut bob = Device::online(&mut world, "b", "phone");
    world.crash(&jid("a"));
    world.away.clear();
    assert!(alice.resume(&mut world));
    alice.message(&mut world, "b@d", "now somebody is");
    world.pass(60_000);
    bob.drain(&mut world);
    carol.drain(&mut world);
    alice.drain(&mut world);
    assert_eq!(bob.bodies, ["now somebody is"]);
    assert_eq!(carol.bodies, ["older"]);
    assert_eq!(alice.errors(), failed, "and it is told once");
}
