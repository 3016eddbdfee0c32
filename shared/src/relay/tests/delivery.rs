//! What goes in once comes out once, at every device, in order.

use super::world::{Device, World, jid};
use crate::limits::Limits;
use crate::sm::Handled;

#[test]
fn a_message_is_one_row_on_each_side() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    alice.message(&mut world, "b@d", "hello");
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["hello"]);
    assert_eq!(world.disk(&jid("a")).rows.log.len(), 1);
    assert_eq!(world.disk(&jid("b")).rows.log.len(), 1);
    assert!(bob.last_stanza().contains("<stanza-id xmlns='urn:xmpp:sid:0' by='b@d' id='1'/>"));
}

#[test]
fn an_offline_device_gets_everything_in_order_with_its_time_and_windowed_by_acks() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let _first = Device::online(&mut world, "b", "phone");
    let account = jid("b");
    world.crash(&account);
    let bodies: Vec<String> =
        (1..=2 * Limits::DEFAULT.window_stanzas_max + 20).map(|n| n.to_string()).collect();
    for body in &bodies {
        alice.message(&mut world, "b@d", body);
    }
    let mut bob = Device::online(&mut world, "b", "phone");
    for _ in 0..100 {
        bob.drain(&mut world);
    }
    assert_eq!(bob.bodies, bodies);
    assert!(bob.last_stanza().contains("<delay xmlns='urn:xmpp:delay' from='d'"));
}

#[test]
fn a_device_that_never_acks_keeps_its_queue_and_is_let_go() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    world.pass(1000);
    bob.drain(&mut world);
    bob.acks = false;
    for n in 0..3 * Limits::DEFAULT.window_stanzas_max {
        alice.message(&mut world, "b@d", &n.to_string());
    }
    bob.drain(&mut world);
    assert!(
        bob.bodies.len() <= Limits::DEFAULT.window_stanzas_max,
        "the window is bounded: {}",
        bob.bodies.len()
    );
    world.pass(9_000);
    assert!(bob.connected(&world));
    world.pass(2_000);
    bob.drain(&mut world);
    assert!(!bob.connected(&world));
    assert!(bob.nonzas.iter().any(|e| e.to_frame().contains("connection-timeout")));
    bob.acks = true;
    assert!(bob.resume(&mut world), "the session stays resumable");
    for _ in 0..100 {
        bob.drain(&mut world);
    }
    let all: Vec<String> = (0..3 * Limits::DEFAULT.window_stanzas_max).map(|n| n.to_string()).collect();
    assert_eq!(bob.bodies, all);
    assert!(!alice.stanzas.iter().any(|e| e.attr("type") == Some("error")), "nothing bounces");
}

#[test]
fn the_relay_asks_after_five_stanzas_and_when_a_lone_one_stays_unacked() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    world.pass(1000);
    bob.drain(&mut world);
    let asked = |bob: &Device| bob.nonzas.iter().filter(|e| e.name == "r").count();
    let before = asked(&bob);
    for n in 0..4 {
        alice.message(&mut world, "b@d", &n.to_string());
    }
    bob.drain(&mut world);
    assert_eq!(asked(&bob), before);
    alice.message(&mut world, "b@d", "4");
    bob.drain(&mut world);
    assert_eq!(asked(&bob), before + 1);
    alice.message(&mut world, "b@d", "5");
    bob.drain(&mut world);
    world.pass(300);
    bob.drain(&mut world);
    assert_eq!(asked(&bob), before + 2);
}

#[test]
fn a_repeat_has_no_second_effect_and_earns_the_first_ones_place() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    let frame = "<message xmlns='jabber:client' to='b@d' id='1'><body>x</body>\
        <origin-id xmlns='urn:xmpp:sid:0' id='o1'/><accept xmlns='urn:counterfoil:accepted:0'/></message>";
    alice.send(&mut world, frame);
    let accepted = "<accepted xmlns='urn:counterfoil:accepted:0' origin-id='o1' stanza-id='1'/>";
    assert!(alice.last_stanza().contains(accepted), "{}", alice.last_stanza());
    world.crash(&jid("a"));
    let mut tablet = Device::online(&mut world, "a", "tablet");
    tablet.send(&mut world, frame);
    assert!(tablet.last_stanza().contains(accepted), "{}", tablet.last_stanza());
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["x"]);
}

#[test]
fn a_short_id_used_again_with_other_words_is_another_message() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    for body in ["x", "y", "y", "z"] {
        let frame = format!("<message xmlns='jabber:client' to='b@d' id='1'><body>{body}</body></message>");
        alice.send(&mut world, &frame);
    }
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["x", "y", "z"]);
}

#[test]
fn what_is_for_a_device_that_is_gone_is_for_the_account() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    alice.message(&mut world, "b@d/gone", "for anybody");
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["for anybody"]);
}

#[test]
fn what_would_be_too_long_to_read_again_is_refused() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    let body = ">".repeat(200_000);
    let frame = format!("<message xmlns='jabber:client' to='b@d' id='1'><body>{body}</body></message>");
    alice.send(&mut world, &frame);
    assert!(alice.last_stanza().contains("<policy-violation xmlns="), "an error, not silence");
    alice.message(&mut world, "b@d", "next");
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["next"]);
}

#[test]
fn the_same_origin_id_to_somebody_else_is_another_message() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    let mut carol = Device::online(&mut world, "c", "phone");
    alice.message(&mut world, "b@d", "1");
    alice.message(&mut world, "c@d", "1");
    bob.drain(&mut world);
    carol.drain(&mut world);
    assert_eq!((bob.bodies.len(), carol.bodies.len()), (1, 1));
}

#[test]
fn devices_without_a_name_make_room_and_a_named_one_keeps_its_queue() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let phone = Device::online(&mut world, "b", "phone");
    world.crash(&jid("b"));
    alice.message(&mut world, "b@d", "waits for the phone");
    for _ in 0..2 * crate::limits::Limits::DEFAULT.devices_max {
        let mut guest = Device::online(&mut world, "b", "");
        guest.drain(&mut world);
        guest.say(&mut world, crate::wire::CLOSE);
    }
    drop(phone);
    let mut phone = Device::online(&mut world, "b", "phone");
    phone.drain(&mut world);
    assert_eq!(phone.bodies, ["waits for the phone"]);
}

#[test]
fn who_is_not_there_earns_the_sender_an_error() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    for (to, condition) in [
        ("nobody@d", "service-unavailable"),
        ("b@elsewhere", "remote-server-not-found"),
        ("d", "service-unavailable"),
        ("b c@d", "jid-malformed"),
    ] {
        alice.message(&mut world, to, to);
        assert!(alice.last_stanza().contains(&format!("<{condition} xmlns=")), "{}", alice.last_stanza());
        assert!(alice.last_stanza().contains("type='error'"));
    }
}

#[test]
fn a_state_reaches_who_is_there_and_is_never_stored() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    alice.send(
        &mut world,
        "<message xmlns='jabber:client' to='b@d' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
    );
    bob.drain(&mut world);
    assert!(bob.last_stanza().contains("<composing"));
    assert_eq!(world.disk(&jid("b")).rows.log.len(), 0);
}

#[test]
fn the_count_a_device_is_told_is_in_the_store() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    alice.send(&mut world, "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>");
    alice.request_ack(&mut world);
    assert_eq!(alice.last_nonza(), "<a xmlns='urn:xmpp:sm:3' h='2'/>");
    let stored = world.disk(&jid("a")).rows.devices.values().next().unwrap().stream.clone().unwrap();
    assert_eq!(stored.handled, Handled(2));
}

#[test]
fn a_device_that_does_not_ask_is_told_all_the_same() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    for n in 0..3 {
        alice.message(&mut world, "nobody@d", &n.to_string());
    }
    world.pass(2_000);
    alice.drain(&mut world);
    assert_eq!(alice.unacked(), 0);
    let acks = alice.nonzas.iter().filter(|e| e.name == "a").count();
    world.pass(60_000);
    alice.drain(&mut world);
    assert_eq!(alice.nonzas.iter().filter(|e| e.name == "a").count(), acks, "and told once");
}

#[test]
fn an_ack_for_what_was_not_sent_ends_the_stream_with_both_counts() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    alice.say(&mut world, "<a xmlns='urn:xmpp:sm:3' h='40'/>");
    assert!(!alice.connected(&world));
    let error = alice.nonzas.iter().find(|e| e.name == "error").unwrap().to_frame();
    assert!(
        error.contains("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='40' send-count='1'/>"),
        "{error}"
    );
}

#[test]
fn a_stream_is_resumed_only_by_its_owner_in_time_and_not_after_a_close() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    std::mem::swap(&mut alice.account, &mut bob.account);
    assert!(!alice.resume(&mut world), "another account's stream");
    assert_eq!(
        alice.last_nonza(),
        "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
    );
    let mut carol = Device::online(&mut world, "c", "phone");
    world.crash(&jid("c"));
    world.pass(Limits::DEFAULT.resume_window_ms + 1);
    assert!(!carol.resume(&mut world), "too late");
    assert!(carol.last_nonza().starts_with("<failed xmlns='urn:xmpp:sm:3' h='"), "{}", carol.last_nonza());
    let mut dora = Device::online(&mut world, "e", "phone");
    dora.say(&mut world, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
    assert!(!dora.resume(&mut world), "closed");
}

#[test]
fn the_same_device_takes_over_from_itself() {
    let mut world = World::new();
    let mut first = Device::online(&mut world, "a", "phone");
    let second = Device::online(&mut world, "a", "phone");
    let third = Device::online(&mut world, "a", "laptop");
    first.drain(&mut world);
    assert!(first.nonzas.iter().any(|e| e.to_frame().contains("<conflict")));
    assert!(!first.connected(&world) && second.connected(&world) && third.connected(&world));
}

#[test]
fn a_hibernated_mailbox_goes_on_where_it_was() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    for n in 0..20 {
        alice.message(&mut world, "b@d", &n.to_string());
        alice.send(
            &mut world,
            "<message xmlns='jabber:client' to='b@d'><paused xmlns='http://jabber.org/protocol/chatstates'/></message>",
        );
        world.hibernate(&jid(if n % 2 == 0 { "a" } else { "b" }));
        bob.drain(&mut world);
    }
    world.pass(1000);
    bob.drain(&mut world);
    assert_eq!(bob.bodies, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(bob.connected(&world) && alice.connected(&world));
    alice.request_ack(&mut world);
    assert_eq!(alice.unacked(), 0);
}
