//! What a stream may begin with, and what each wrong frame earns.

use super::world::{Device, World, jid};
use crate::relay::Input;

fn first_frames(frames: &[&str]) -> (Vec<String>, Option<u16>) {
    let mut world = World::new();
    let account = jid("a");
    let link = world.connect(&account);
    for frame in frames {
        world.input(&account, Input::Frame(link, frame));
    }
    let sent = world.sent.remove(&link).unwrap_or_default();
    let names =
        sent.iter().map(|text| text.split_once("id='").map_or(text.as_str(), |(head, _)| head).to_owned());
    (names.collect(), world.closed.get(&link).copied())
}

const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='d' version='1.0'/>";

#[test]
fn an_error_before_the_opening_comes_after_an_open_of_ours() {
    for (frame, condition) in [
        ("<open xmlns='jabber:client' to='d' version='1.0'/>", "invalid-namespace"),
        ("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='elsewhere' version='1.0'/>", "host-unknown"),
        ("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='d' version='0.9'/>", "unsupported-version"),
        ("<presence xmlns='jabber:client'/>", "bad-format"),
        ("<open", "not-well-formed"),
        (" ", "not-well-formed"),
        ("<!DOCTYPE x><open/>", "restricted-xml"),
    ] {
        let (sent, closed) = first_frames(&[frame]);
        assert!(sent[0].starts_with("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='d'"), "{frame}");
        assert!(sent[1].contains(&format!("<{condition} xmlns=")), "{frame}: {}", sent[1]);
        assert_eq!(sent[2], crate::wire::CLOSE);
        assert_eq!((sent.len(), closed), (3, Some(1000)), "{frame}");
    }
}

#[test]
fn before_authentication_only_authentication_and_registration_are_heard() {
    for (frame, condition) in [
        ("<message xmlns='jabber:client' to='b@d'/>", "not-authorized"),
        ("<message xmlns='urn:x'/>", "invalid-namespace"),
        ("<x xmlns='urn:x'/>", "unsupported-stanza-type"),
        ("<r xmlns='urn:xmpp:sm:3'/>", "unsupported-stanza-type"),
        ("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "bad-format"),
    ] {
        let (sent, closed) = first_frames(&[OPEN, frame]);
        assert!(sent[2].contains(&format!("<{condition} xmlns=")), "{frame}: {}", sent[2]);
        assert_eq!(closed, Some(1000));
    }
}

#[test]
fn the_fifth_failed_authentication_ends_the_connection() {
    let auth =
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>biwsbj1hLHI9eA==</auth>";
    let (sent, closed) = first_frames(&[OPEN, auth, auth, auth, auth]);
    assert!(sent.last().unwrap().contains("<failure"));
    assert_eq!(closed, None);
    let (sent, closed) = first_frames(&[OPEN, auth, auth, auth, auth, auth]);
    assert!(sent[sent.len() - 2].contains("<policy-violation"));
    assert_eq!(closed, Some(1000));
}

#[test]
fn strangers_who_only_connect_push_out_each_other_and_not_the_owner() {
    let mut world = World::new();
    let mut owner = Device::online(&mut world, "a", "phone");
    let account = jid("a");
    let first = world.connect(&account);
    for _ in 0..crate::limits::LINKS_UNAUTHENTICATED_MAX {
        world.connect(&account);
    }
    assert_eq!(world.closed.get(&first), Some(&1013));
    owner.drain(&mut world);
    let second = Device::online(&mut world, "a", "laptop");
    assert!(owner.connected(&world) && second.connected(&world));
}

#[test]
fn a_sasl_message_that_would_not_fit_what_is_kept_is_malformed() {
    use base64::Engine as _;
    let long = format!("n,,n=a,r=abc,x={}", "\u{1}".repeat(5000));
    let text = base64::engine::general_purpose::STANDARD.encode(long);
    let auth =
        format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>{text}</auth>");
    let (sent, closed) = first_frames(&[OPEN, &auth]);
    assert!(sent.last().unwrap().contains("<malformed-request"), "{sent:?}");
    assert_eq!(closed, None);
}

#[test]
fn a_binary_message_and_a_silent_connection_are_closed() {
    let mut world = World::new();
    let account = jid("a");
    let (binary, silent) = (world.connect(&account), world.connect(&account));
    world.input(&account, Input::Binary(binary));
    assert_eq!(world.closed.get(&binary), Some(&1003));
    world.pass(29_000);
    assert_eq!(world.closed.get(&silent), None);
    world.pass(2_000);
    assert_eq!(world.closed.get(&silent), Some(&1000));
}

#[test]
fn a_name_is_registered_once_and_only_in_its_own_mailbox() {
    let mut world = World::new();
    let _alice = Device::online(&mut world, "a", "phone");
    let account = jid("a");
    let link = world.connect(&account);
    let register = |name: &str| {
        format!(
            "<iq xmlns='jabber:client' type='set' id='1'><query xmlns='jabber:iq:register'>\
             <username>{name}</username><password>x</password></query></iq>"
        )
    };
    world.input(&account, Input::Frame(link, OPEN));
    for (name, condition) in [("a", "<conflict"), ("b", "<not-allowed"), ("a b", "<jid-malformed")] {
        world.input(&account, Input::Frame(link, &register(name)));
        let answer = world.sent.get_mut(&link).unwrap().pop_back().unwrap();
        assert!(answer.contains(condition), "{answer}");
    }
}

#[test]
fn a_wrong_stanza_of_one_user_leaves_another_alone() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    alice.say(&mut world, "<message xmlns='jabber:client'><!-- --></message>");
    assert!(!alice.connected(&world));
    assert!(alice.nonzas.iter().any(|e| e.to_frame().contains("restricted-xml")));
    bob.message(&mut world, "b@d", "still here");
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["still here"]);
}
