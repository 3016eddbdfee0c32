//! IQs and states from one account to another (RFC 6121 §8.5).

use super::world::{Device, World, jid};
use crate::relay::Input;
use crate::wire::Element;

const ASK: &str = "<query xmlns='jabber:iq:version'/>";

fn two() -> (World, Device, Device) {
    let mut world = World::new();
    let alice = Device::online(&mut world, "a", "phone");
    let bob = Device::online(&mut world, "b", "desk");
    (world, alice, bob)
}

fn ask(world: &mut World, device: &mut Device, to: &str) {
    device.send(world, &format!("<iq xmlns='jabber:client' type='get' id='1' to='{to}'>{ASK}</iq>"));
}

fn request(device: &Device) -> Option<&Element> {
    device.stanzas.iter().find(|stanza| stanza.name == "iq" && stanza.attr("id") == Some("1"))
}

fn condition(device: &Device) -> Option<String> {
    device.errors().last().map(|(_, condition)| condition.clone())
}

#[test]
fn a_device_asks_another_accounts_device_and_is_answered() {
    let (mut world, mut alice, mut bob) = two();
    ask(&mut world, &mut alice, "b@d/desk");
    bob.drain(&mut world);
    let asked = request(&bob).unwrap();
    assert_eq!((asked.attr("from"), asked.attr("to")), (Some("a@d/phone"), Some("b@d/desk")));
    bob.send(
        &mut world,
        &format!("<iq xmlns='jabber:client' type='result' id='1' to='a@d/phone'>{ASK}</iq>"),
    );
    alice.drain(&mut world);
    assert_eq!(request(&alice).unwrap().attr("from"), Some("b@d/desk"));
}

#[test]
fn the_accounts_own_devices_ask_each_other() {
    let (mut world, mut alice, _) = two();
    let mut laptop = Device::online(&mut world, "a", "laptop");
    ask(&mut world, &mut alice, "a@d/laptop");
    laptop.drain(&mut world);
    assert_eq!(request(&laptop).unwrap().attr("from"), Some("a@d/phone"));
    ask(&mut world, &mut alice, "a@d/nobody");
    alice.drain(&mut world);
    assert_eq!(condition(&alice).as_deref(), Some("service-unavailable"));
}

#[test]
fn a_request_waits_for_a_device_that_may_come_back() {
    let (mut world, mut alice, mut bob) = two();
    world.input(&jid("b"), Input::LinkDown(bob.link));
    ask(&mut world, &mut alice, "b@d/desk");
    world.crash(&jid("b"));
    assert!(bob.resume(&mut world));
    bob.drain(&mut world);
    assert!(request(&bob).is_some());
    assert!(alice.errors().is_empty());
}

#[test]
fn a_request_that_nobody_takes_comes_back_as_an_error() {
    let (mut world, mut alice, _bob) = two();
    for (to, expected) in [
        ("b@d/elsewhere", "service-unavailable"),
        ("b@d", "service-unavailable"),
        ("nobody@d", "service-unavailable"),
        ("nobody@d/x", "service-unavailable"),
        ("b@elsewhere", "remote-server-not-found"),
    ] {
        alice.stanzas.clear();
        ask(&mut world, &mut alice, to);
        alice.drain(&mut world);
        assert_eq!(condition(&alice).as_deref(), Some(expected), "{to}");
    }
    world.away.insert(jid("b"));
    alice.stanzas.clear();
    ask(&mut world, &mut alice, "b@d/desk");
    alice.drain(&mut world);
    assert_eq!(condition(&alice).as_deref(), Some("remote-server-timeout"));
}

#[test]
fn an_answer_to_a_question_nobody_asked_is_answered_by_nobody() {
    let (mut world, mut alice, mut bob) = two();
    for to in ["b@d", "b@d/gone", "nobody@d"] {
        let answer = format!("<iq xmlns='jabber:client' type='result' id='1' to='{to}'/>");
        alice.send(&mut world, &answer);
    }
    alice.drain(&mut world);
    bob.drain(&mut world);
    assert!(request(&bob).is_none() && alice.errors().is_empty());
}

#[test]
fn a_device_of_negative_priority_is_sent_what_is_for_it_and_later_the_rest_once() {
    const QUIET: &str = "<presence xmlns='jabber:client'><priority>-1</priority></presence>";
    for acks in [true, false] {
        for crash in [true, false] {
            let (mut world, mut alice, mut bob) = two();
            bob.send(&mut world, QUIET);
            bob.drain(&mut world);
            bob.acks = acks;
            for (to, body) in [("b@d", "1"), ("b@d/desk", "2"), ("b@d", "3"), ("b@d/desk", "4")] {
                alice.message(&mut world, to, body);
            }
            bob.drain(&mut world);
            assert_eq!(bob.bodies, ["2", "4"], "acks: {acks}");
            if acks {
                world.pass(300);
                bob.drain(&mut world);
            }
            if crash {
                world.crash(&jid("b"));
                assert!(bob.resume(&mut world));
                bob.drain(&mut world);
            }
            bob.acks = true;
            bob.send(&mut world, "<presence xmlns='jabber:client'/>");
            for _ in 0..3 {
                bob.drain(&mut world);
                world.pass(300);
            }
            bob.drain(&mut world);
            assert_eq!(bob.bodies, ["2", "4", "1", "3"], "acks: {acks}, crash: {crash}");
            let device = &world.disk(&jid("b")).rows.devices[&"desk".into()];
            assert_eq!(device.cursor, crate::id::StanzaSeq(4));
        }
    }
}

#[test]
fn a_device_of_negative_priority_may_have_any_name() {
    const NAME: &str = "Bob's <&> \"desk\"";
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", NAME);
    bob.send(&mut world, "<presence xmlns='jabber:client'><priority>-1</priority></presence>");
    let to = Element::new("jabber:client", "message")
        .with_attr("to", format!("b@d/{NAME}"))
        .with_attr("type", "chat");
    let say = |body: &str| to.clone().with(Element::new("jabber:client", "body").with_text(body)).to_frame();
    alice.send(&mut world, &say("live"));
    bob.drain(&mut world);
    world.input(&jid("b"), Input::LinkDown(bob.link));
    alice.send(&mut world, &say("away"));
    assert!(bob.resume(&mut world));
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["live", "away"]);
}

#[test]
fn states_and_headlines_go_to_who_is_listening() {
    let (mut world, mut alice, mut bob) = two();
    let mut quiet = Device::online(&mut world, "b", "quiet");
    quiet.send(&mut world, "<presence xmlns='jabber:client'><priority>-1</priority></presence>");
    let message = |to: &str, kind: &str| {
        format!(
            "<message xmlns='jabber:client' to='{to}' type='{kind}' id='{kind} {to}'>\
                 <active xmlns='http://jabber.org/protocol/chatstates'/></message>"
        )
    };
    for to in ["b@d", "b@d/quiet", "b@d/gone"] {
        for kind in ["chat", "headline", "error"] {
            alice.send(&mut world, &message(to, kind));
        }
    }
    let mut heard = |device: &mut Device| -> Vec<String> {
        device.drain(&mut world);
        let messages = device.stanzas.iter().filter(|stanza| stanza.name == "message");
        messages.map(|message| message.attr("id").unwrap().to_owned()).collect()
    };
    assert_eq!(heard(&mut bob), ["chat b@d", "headline b@d", "chat b@d/gone"]);
    assert_eq!(heard(&mut quiet), ["chat b@d/quiet", "headline b@d/quiet", "error b@d/quiet"]);
}

#[test]
fn a_groupchat_message_is_for_the_device_it_names_or_comes_back() {
    let (mut world, mut alice, mut bob) = two();
    let message = |to: &str| {
        format!(
            "<message xmlns='jabber:client' to='{to}' type='groupchat' id='{to}'><body>{to}</body></message>"
        )
    };
    let mut laptop = Device::online(&mut world, "a", "laptop");
    for to in ["b@d/desk", "b@d", "b@d/gone", "nobody@d", "a@d/laptop", "a@d"] {
        alice.send(&mut world, &message(to));
    }
    alice.drain(&mut world);
    bob.drain(&mut world);
    laptop.drain(&mut world);
    assert_eq!((bob.bodies, laptop.bodies), (vec!["b@d/desk".to_owned()], vec!["a@d/laptop".to_owned()]));
    let failed = |to: &str| (to.to_owned(), "service-unavailable".to_owned());
    let mut errors = alice.errors();
    errors.sort();
    assert_eq!(errors, ["a@d", "b@d", "b@d/gone", "nobody@d"].map(failed));
}

#[test]
fn a_request_that_is_none_is_not_passed_on() {
    let (mut world, mut alice, mut bob) = two();
    for iq in ["", "type='get'", "type='what'"] {
        alice.stanzas.clear();
        alice.send(&mut world, &format!("<iq xmlns='jabber:client' {iq} id='1' to='b@d/desk'/>"));
        alice.drain(&mut world);
        assert_eq!(condition(&alice).as_deref(), Some("bad-request"), "{iq}");
    }
    alice.send(
        &mut world,
        &format!("<iq xmlns='jabber:client' type='set' id='1' to='b@d/desk'>{ASK}{ASK}</iq>"),
    );
    alice.drain(&mut world);
    assert_eq!(condition(&alice).as_deref(), Some("bad-request"));
    bob.drain(&mut world);
    assert!(request(&bob).is_none());
}
