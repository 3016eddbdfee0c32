//! Signing in and out.

use super::*;
use crate::limits::{CONNECT_MS_MAX, RECONNECT_MS_MAX};

fn failed(world: &World) -> Vec<&SignInFault> {
    let faults = world.events.iter().filter_map(|event| match event {
        Event::SignInFailed(fault) => Some(fault),
        _ => None,
    });
    faults.collect()
}

#[test]
fn a_sign_in_ends_online_and_keeps_no_password() {
    let mut world = World::new();
    assert_eq!(world.events[0], Event::Link(LinkState::SignedOut));
    world.command(sign_in(false));
    world.advance(1000);
    assert_eq!(world.connects, ["wss://d/xmpp-websocket?account=alice%40d"]);
    assert_eq!(world.told(|event| *event == Event::SignedIn), 1);
    assert!(world.events.contains(&Event::Link(LinkState::Online { resumed: false })));
    assert!(world.engine.sign_in.is_none());
    let session = world.store.session.clone().unwrap();
    assert_eq!((session.sm_id.as_str(), session.bound.as_str()), ("sm1", "alice@d/dev"));
    world.command(sign_in(false));
    assert_eq!(world.connects.len(), 1, "a repeat changes nothing");
}

#[test]
fn the_stream_starts_anew_without_a_close() {
    let mut world = World::new();
    world.command(sign_in(false));
    assert_eq!(world.sent_with("<open ").len(), 2);
    assert!(world.sent_with("<close").is_empty());
    assert_eq!(world.sent[0], "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='d' version='1.0'/>");
}

#[test]
fn an_account_can_be_made() {
    let mut world = World::on(Store::default(), Relay::new(None));
    world.command(sign_in(true));
    assert!(world.engine.is_online() && world.store.account.is_some());
}

#[test]
fn a_taken_name_is_taken_unless_the_password_opens_it() {
    let mut world = World::on(Store::default(), Relay::new(Some("other")));
    world.command(sign_in(true));
    assert_eq!(failed(&world), [&SignInFault::NameTaken]);
    let mut world = World::on(Store::default(), Relay::new(Some("pencil")));
    world.command(sign_in(true));
    assert!(world.engine.is_online(), "the answer to an earlier try was lost");
}

#[test]
fn a_wrong_password_is_told_and_not_tried_again() {
    let mut world = World::on(Store::default(), Relay::new(Some("crayon")));
    world.command(sign_in(false));
    assert_eq!(failed(&world), [&SignInFault::WrongPassword]);
    world.advance(10 * RECONNECT_MS_MAX);
    assert_eq!((world.connects.len(), world.store.account.is_none()), (1, true));
    world.relay.keys = Relay::new(Some("pencil")).keys;
    world.command(sign_in(false));
    assert!(world.engine.is_online());
}

#[test]
fn a_refused_credential_keeps_every_row_and_waits_for_the_user() {
    let mut world = World::online();
    world.reachable = false;
    world.cut();
    world.command(send("o1", "hello"));
    world.reachable = true;
    world.relay.keys = Relay::new(Some("changed")).keys;
    world.advance(2 * RECONNECT_MS_MAX);
    assert_eq!(failed(&world), [&SignInFault::WrongPassword]);
    assert_eq!(world.events.last(), Some(&Event::Link(LinkState::SignedOut)));
    assert_eq!((world.store.outbox.len(), world.store.account.is_some()), (1, true));
    let tries = world.connects.len();
    world.advance(10 * RECONNECT_MS_MAX);
    assert_eq!(world.connects.len(), tries);
    world.command(Command::SignIn { password: "changed".into(), register: false });
    world.advance(1000);
    assert_eq!(world.relay.log, [("o1".into(), "hello".into())]);
}

#[test]
fn a_relay_that_cannot_prove_itself_is_not_trusted() {
    let mut world = World::new();
    world.reachable = false;
    world.command(sign_in(false));
    assert_eq!(failed(&world), [&SignInFault::Unreachable]);
    let mut world = World::new();
    world.relay.keys.as_mut().unwrap().server_key = "AAAA".into();
    world.command(sign_in(false));
    assert_eq!(failed(&world), [&SignInFault::ServerNotTrusted]);
    assert!(world.store.account.is_none());
}

#[test]
fn a_connection_that_does_not_get_ready_is_given_up() {
    let mut world = World::online();
    world.cut();
    world.relay.keys = None;
    let before = world.connects.len();
    world.engine.handle(Millis(world.now), Input::Command(Command::Reconnect));
    let Output::Connect(link, _) = world.engine.poll() else { panic!("dials") };
    world.engine.handle(Millis(world.now + CONNECT_MS_MAX), Input::Wake);
    let mut outputs = std::iter::from_fn(|| match world.engine.poll() {
        Output::WakeAt(_) => None,
        output => Some(output),
    });
    assert!(outputs.any(|output| output == Output::Close(link)));
    assert_eq!(world.connects.len(), before);
}

#[test]
fn pauses_grow_and_are_never_longer_than_the_limit() {
    let mut world = World::online();
    world.reachable = false;
    world.cut();
    for _ in 0..40 {
        let pause = world.wake.unwrap().0 - world.now;
        assert!(pause <= RECONNECT_MS_MAX);
        world.advance(pause);
    }
    assert_eq!(world.engine.attempts, 41);
    world.reachable = true;
    world.advance(RECONNECT_MS_MAX);
    assert!(world.engine.is_online());
    world.advance(RECONNECT_MS_MAX + 1);
    assert_eq!(world.engine.attempts, 0, "a stable connection starts over");
}

#[test]
fn signing_out_acks_leaves_and_clears() {
    let mut world = World::online();
    world.deliver(&from_bob("b1", "hi"));
    world.sent.clear();
    world.command(Command::SignOut);
    let names: Vec<_> = world.sent.iter().map(|frame| frame.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["<a", "<presence", "<close"]);
    assert_eq!(world.relay.confirmed, [1]);
    assert!(world.store.account.is_none() && world.store.messages.is_empty());
    assert_eq!(world.told(|event| *event == Event::SignedOut), 1);
    world.advance(10 * RECONNECT_MS_MAX);
    assert_eq!(world.connects.len(), 1);
    world.relay.confirmed.clear();
    world.command(sign_in(false));
    world.advance(1000);
    assert!(world.engine.is_online());
}

#[test]
fn signing_out_says_nothing_on_a_connection_that_is_not_open_yet() {
    let mut world = World::online();
    world.cut();
    world.handle(Input::Command(Command::Reconnect));
    world.handle(Input::Command(Command::SignOut));
    let mut outputs = vec![world.engine.poll()];
    if let Some(Output::Commit(no, _)) = outputs.first() {
        world.handle(Input::Committed(*no));
    }
    outputs.extend((0..12).map(|_| world.engine.poll()));
    assert!(outputs.iter().any(|output| matches!(output, Output::Connect(..))));
    let said = outputs.iter().find(|output| matches!(output, Output::Send(..)));
    assert_eq!(said, None);
}
