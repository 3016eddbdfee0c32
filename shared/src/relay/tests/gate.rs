//! The gating table of the guarantee, relay side: one test a line. The disk is slow; nothing may
//! leave before it is done.

use super::world::{Device, World, jid};
use crate::id::StanzaSeq;
use crate::relay::{Input, TransferItem, TransferReply, TransferRequest};

const MESSAGE: &str = "<message xmlns='jabber:client' to='b@d' id='1'><body>x</body>\
    <origin-id xmlns='urn:xmpp:sid:0' id='o1'/><accept xmlns='urn:counterfoil:accepted:0'/></message>";

/// Says a frame while the disk is slow, checks that nothing leaves on any of these links, then
/// lets the disk finish. Returns what left for the speaker after that.
fn gated(world: &mut World, speaker: &mut Device, frame: &str, others: &[&Device]) -> Vec<String> {
    let called = world.called.len();
    speaker.drain(world);
    let before: Vec<usize> = others.iter().map(|other| world.waiting(other.link)).collect();
    world.slow_disk = true;
    world.input(&speaker.account.clone(), Input::Frame(speaker.link, frame));
    assert_eq!(world.waiting(speaker.link), 0, "nothing is told before the rows are on disk: {frame}");
    for (other, before) in others.iter().zip(before) {
        assert_eq!(world.waiting(other.link), before, "nor told to others: {frame}");
    }
    assert_eq!(world.called.len(), called, "nor handed on: {frame}");
    world.settle(true);
    world.sent.get(&speaker.link).map(|frames| frames.iter().cloned().collect()).unwrap_or_default()
}

#[test]
fn an_ack_waits_for_the_rows_and_the_counter_it_stands_for() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let ping = "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
    alice.send(&mut world, "<presence xmlns='jabber:client'><status>x</status></presence>");
    let left = gated(&mut world, &mut alice, ping, &[]);
    assert!(left[0].contains("type='result'"));
    world.sent.remove(&alice.link);
    world.slow_disk = true;
    world.input(&jid("a"), Input::Frame(alice.link, MESSAGE));
    world.input(&jid("a"), Input::Frame(alice.link, "<r xmlns='urn:xmpp:sm:3'/>"));
    assert_eq!(world.waiting(alice.link), 0);
    world.settle(true);
    let left: Vec<String> = world.sent.remove(&alice.link).unwrap().into();
    let acks: Vec<&String> = left.iter().filter(|frame| frame.starts_with("<a ")).collect();
    assert_eq!(acks, ["<a xmlns='urn:xmpp:sm:3' h='4'/>"], "stamped when it is released");
}

#[test]
fn a_message_is_handed_on_carboned_and_confirmed_only_from_the_log() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut laptop = Device::online(&mut world, "a", "laptop");
    laptop.send(
        &mut world,
        "<iq xmlns='jabber:client' type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>",
    );
    let mut bob = Device::online(&mut world, "b", "phone");
    let left = gated(&mut world, &mut alice, MESSAGE, &[&laptop, &bob]);
    assert!(left[0].contains("<accepted"), "{left:?}");
    laptop.drain(&mut world);
    bob.drain(&mut world);
    assert!(laptop.last_stanza().contains("<sent xmlns='urn:xmpp:carbons:2'>"));
    assert_eq!(bob.bodies, ["x"]);
}

#[test]
fn another_mailbox_is_told_that_a_message_is_taken_when_its_row_is_on_disk() {
    let mut world = World::new();
    let mut bob = Device::online(&mut world, "b", "phone");
    let stanza = MESSAGE.replace(" to=", " from='a@d/phone' to=");
    let items = vec![TransferItem { seq: StanzaSeq(1), stanza, news: 0 }];
    let request = TransferRequest { from: jid("a"), to: jid("b"), items };
    world.slow_disk = true;
    assert_eq!(world.transfer(&request), None);
    assert_eq!(world.transfer(&request), None, "nor when it is asked again");
    world.settle(true);
    assert_eq!(world.answer, Some(TransferReply::Accepted));
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["x"]);

    let unwritten = TransferRequest {
        items: vec![TransferItem { seq: StanzaSeq(2), ..request.items[0].clone() }],
        ..request
    };
    world.slow_disk = true;
    world.answer = None;
    assert_eq!(world.transfer(&unwritten), None);
    world.settle(false);
    assert_eq!(world.answer, None, "what is not written is never said to be");
}

#[test]
fn an_account_exists_when_its_row_does() {
    let mut world = World::new();
    let link = world.connect(&jid("a"));
    let open = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='d' version='1.0'/>";
    world.input(&jid("a"), Input::Frame(link, open));
    world.sent.remove(&link);
    world.slow_disk = true;
    let register = "<iq xmlns='jabber:client' type='set' id='1'><query xmlns='jabber:iq:register'>\
        <username>a</username><password>x</password></query></iq>";
    world.input(&jid("a"), Input::Frame(link, register));
    assert_eq!(world.waiting(link), 0);
    world.settle(true);
    assert!(world.sent[&link][0].contains("type='result'"));
}

#[test]
fn enabled_and_resumed_wait_for_the_row_of_the_stream() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let sm_id = alice.nonzas.iter().find(|e| e.name == "enabled").unwrap().attr("id").unwrap().to_owned();
    world.crash(&jid("a"));
    alice.authenticate(&mut world);
    let resume = format!("<resume xmlns='urn:xmpp:sm:3' previd='{sm_id}' h='{}'/>", alice.handled);
    let left = gated(&mut world, &mut alice, &resume, &[]);
    assert!(left[0].starts_with("<resumed"), "{left:?}");

    let mut bob = Device::online(&mut world, "b", "phone");
    world.crash(&jid("b"));
    bob.authenticate(&mut world);
    let bind =
        "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
    let left = gated(&mut world, &mut bob, bind, &[]);
    assert!(left[0].contains("<jid>"), "{left:?}");
    let left = gated(&mut world, &mut bob, "<enable xmlns='urn:xmpp:sm:3' resume='1'/>", &[]);
    assert!(left[0].starts_with("<enabled"), "{left:?}");
}

#[test]
fn a_failed_commit_ends_every_connection_and_tells_nobody_anything() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let laptop = Device::online(&mut world, "a", "laptop");
    let mut bob = Device::online(&mut world, "b", "phone");
    alice.drain(&mut world);
    world.slow_disk = true;
    alice.say(&mut world, MESSAGE);
    world.settle(false);
    let left: Vec<String> = world.sent.remove(&alice.link).unwrap().into();
    assert_eq!(left.len(), 1);
    assert!(left[0].contains("internal-server-error"), "{left:?}");
    assert_eq!((world.closed.get(&alice.link), world.closed.get(&laptop.link)), (Some(&1011), Some(&1011)));
    world.crash(&jid("a"));
    assert!(alice.resume(&mut world));
    alice.message(&mut world, "b@d", "after");
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["after"], "what failed to commit never left");
}

#[test]
fn a_failed_commit_ends_a_connection_whose_end_was_waiting_for_it() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    world.slow_disk = true;
    alice.say(&mut world, MESSAGE);
    alice.say(&mut world, "no XML");
    assert_eq!(world.closed.get(&alice.link), None);
    world.settle(false);
    assert_eq!(world.closed.get(&alice.link), Some(&1011));
}
