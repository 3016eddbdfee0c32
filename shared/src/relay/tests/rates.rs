//! Beyond a limit: the exact error, to whoever passed it, and nothing is lost.

use super::full::{alice_and_an_absent_bob, back};
use super::world::{Device, World, jid};
use crate::limits::{FRAMES_UNBOUND_MAX, Limits, REGISTRATIONS_MAX, Rate};
use crate::relay::Input;
use crate::relay::lobby::{self, Lobby};
use crate::relay::rates::{Rates, Verdict};
use crate::time::Millis;
use crate::wire::{Element, ns, read_frame};

const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='d' version='1.0'/>";
const WAIT: &str =
    "<error type='wait'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";

fn with(limits: Limits) -> (World, Device, Device) {
    let mut world = World::with(limits);
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    // What they said to get here is forgotten.
    idle(&mut world, 10, &mut alice, &mut bob);
    (world, alice, bob)
}

fn idle(world: &mut World, seconds: u64, alice: &mut Device, bob: &mut Device) {
    for _ in 0..seconds {
        world.pass(1_000);
        alice.drain(world);
        bob.drain(world);
    }
}

fn failed(ids: &[&str]) -> Vec<(String, String)> {
    ids.iter().map(|id| ((*id).to_owned(), "policy-violation".to_owned())).collect()
}

#[test]
fn stanzas_beyond_the_rate_are_refused_one_by_one_until_there_is_room_again() {
    let rate = Rate { per_s: 1, burst: 10 };
    let (mut world, mut alice, mut bob) = with(Limits { stanza_rate: rate, ..Limits::DEFAULT });
    let all: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
    for body in &all {
        alice.message(&mut world, "b@d", body);
    }
    alice.drain(&mut world);
    assert_eq!(alice.errors(), failed(&["11", "12"]));
    assert!(alice.stanzas.iter().any(|e| e.to_frame().contains(WAIT)));
    alice.request_ack(&mut world);
    assert_eq!(alice.unacked(), 0, "what is refused is handled");
    idle(&mut world, 3, &mut alice, &mut bob);
    alice.message(&mut world, "b@d", "13");
    bob.drain(&mut world);
    assert_eq!(bob.bodies[..10], all[..10]);
    assert_eq!(bob.bodies[10..], ["13"]);
    assert!(alice.connected(&world));
}

#[test]
fn who_goes_on_and_on_loses_the_connection_and_nothing_that_was_not_refused() {
    let rate = Rate { per_s: 1, burst: 5 };
    let (mut world, mut alice, mut bob) = with(Limits { stanza_rate: rate, ..Limits::DEFAULT });
    let mut said = 0;
    while alice.connected(&world) {
        said += 1;
        alice.message(&mut world, "b@d", &said.to_string());
    }
    assert_eq!(said, 21, "four times the burst, and one");
    assert!(alice.nonzas.iter().any(|e| e.to_frame().contains("<policy-violation")));
    idle(&mut world, 60, &mut alice, &mut bob);
    assert!(alice.resume(&mut world));
    alice.drain(&mut world);
    bob.drain(&mut world);
    let refused = alice.errors().len();
    assert_eq!(bob.bodies.len() + refused, said, "{:?} and {refused} refused", bob.bodies);
    assert_eq!(bob.bodies, ["1", "2", "3", "4", "5", "21"]);
}

#[test]
fn bytes_are_counted_as_well() {
    let rate = Rate { per_s: 1_000, burst: 4_000 };
    let (mut world, mut alice, mut bob) = with(Limits { byte_rate: rate, ..Limits::DEFAULT });
    let long = |id: &str| {
        format!(
            "<message xmlns='jabber:client' to='b@d' id='{id}'><body>{}</body></message>",
            "x".repeat(3_000)
        )
    };
    alice.send(&mut world, &long("1"));
    alice.send(&mut world, &long("2"));
    alice.drain(&mut world);
    assert_eq!(alice.errors(), failed(&["2"]));
    idle(&mut world, 10, &mut alice, &mut bob);
    alice.send(&mut world, &long("3"));
    bob.drain(&mut world);
    assert_eq!(bob.bodies.len(), 2);
    assert_eq!(alice.errors().len(), 1);
}

#[test]
fn presence_has_a_rate_of_its_own_and_may_always_be_taken_back() {
    let rate = Rate { per_s: 1, burst: 3 };
    let (mut world, mut alice, _) = with(Limits { presence_rate: rate, ..Limits::DEFAULT });
    for n in 1..=4 {
        alice.send(
            &mut world,
            &format!("<presence xmlns='jabber:client' id='{n}'><priority>{n}</priority></presence>"),
        );
    }
    alice.drain(&mut world);
    assert_eq!(alice.errors(), failed(&["4"]));
    alice.send(&mut world, "<presence xmlns='jabber:client' type='unavailable' id='5'/>");
    alice.message(&mut world, "b@d", "hello");
    alice.drain(&mut world);
    assert_eq!(alice.errors(), failed(&["4"]));
    let gone = world.disk(&jid("a")).rows.devices[&"phone".into()].stream.as_ref().unwrap().presence.clone();
    assert_eq!(gone, None);
}

#[test]
fn what_cannot_be_answered_is_heard_and_counted() {
    let rate = Rate { per_s: 1, burst: 2 };
    let (mut world, mut alice, mut bob) = with(Limits { stanza_rate: rate, ..Limits::DEFAULT });
    for n in 1..=4 {
        alice.send(
            &mut world,
            &format!(
                "<message xmlns='jabber:client' to='b@d/phone' type='error' id='{n}'><body>{n}</body></message>"
            ),
        );
    }
    alice.message(&mut world, "b@d", "5");
    alice.drain(&mut world);
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["1", "2", "3", "4"]);
    assert_eq!(alice.errors(), failed(&["5"]));
}

#[test]
fn a_message_to_several_counts_for_each() {
    let rate = Rate { per_s: 1, burst: 5 };
    let (mut world, mut alice, mut bob) = with(Limits { stanza_rate: rate, ..Limits::DEFAULT });
    let named: String = (0..6).map(|n| format!("<address type='to' jid='u{n}@d'/>")).collect();
    alice.send(
        &mut world,
        &format!(
            "<message xmlns='jabber:client' to='d' id='all'><body>x</body>\
             <addresses xmlns='http://jabber.org/protocol/address'>{named}<address type='to' jid='b@d'/></addresses></message>"
        ),
    );
    alice.drain(&mut world);
    assert_eq!(alice.errors(), failed(&["all"]));
    bob.drain(&mut world);
    assert!(bob.bodies.is_empty());
}

#[test]
fn ten_thousand_messages_at_once_are_within_the_rates() {
    let text =
        format!("<message xmlns='jabber:client' to='b@d'><body>{}</body></message>", "x".repeat(1_000));
    let message = read_frame(&text, 10_000).unwrap();
    let (mut rates, now) = (Rates::default(), Millis(1_700_000_000_000));
    let within =
        (0..10_000).all(|_| rates.add(&message, text.len(), &Limits::DEFAULT, now) == Verdict::Within);
    assert!(within);
    let then = now.plus(60_000);
    let within = (0..60_000)
        .all(|n| rates.add(&message, text.len(), &Limits::DEFAULT, then.plus(n)) == Verdict::Within);
    assert!(within, "and a thousand a second for a minute");
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_anybody_out() {
    let rate = Rate { per_s: 10, burst: 2 };
    let (mut world, mut alice, _) = with(Limits { stanza_rate: rate, ..Limits::DEFAULT });
    alice.message(&mut world, "b@d", "1");
    alice.message(&mut world, "b@d", "2");
    world.set_back(3_600_000);
    world.pass(1_000);
    alice.message(&mut world, "b@d", "3");
    alice.drain(&mut world);
    assert!(alice.errors().is_empty());
}

#[test]
fn a_queue_is_full_by_its_bytes_too_and_has_room_when_some_are_confirmed() {
    let (mut world, mut alice, mut bob) =
        alice_and_an_absent_bob(Limits { queue_bytes_max: 3_000, ..Limits::DEFAULT });
    let long = |id: &str| {
        format!(
            "<message xmlns='jabber:client' to='b@d' id='{id}'><body>{}</body></message>",
            id.repeat(1_000)
        )
    };
    for id in ["1", "2", "3", "4", "5"] {
        alice.send(&mut world, &long(id));
        if id == "2" {
            world.crash(&jid("b"));
        }
    }
    alice.drain(&mut world);
    let full = |id: &str| (id.to_owned(), "resource-constraint".to_owned());
    assert_eq!(alice.errors(), [full("4"), full("5")]);
    back(&mut world, &mut bob);
    for id in ["6", "7", "8"] {
        alice.send(&mut world, &long(id));
        bob.drain(&mut world);
    }
    world.pass(1_000);
    bob.drain(&mut world);
    let first: String = bob.bodies.iter().filter_map(|body| body.chars().next()).collect();
    assert_eq!(first, "123678");
    assert_eq!(alice.errors().len(), 2);
}

#[test]
fn what_waits_is_weighed_right_while_rows_come_and_go() {
    let limits = Limits { queue_bytes_max: 5_000, window_stanzas_max: 2, ..Limits::DEFAULT };
    let (mut world, mut alice, mut bob) = alice_and_an_absent_bob(limits);
    assert!(bob.resume(&mut world));
    bob.acks = false;
    let mut full = 0;
    for n in 1..=120_u64 {
        let rows = &world.disk(&jid("b")).rows;
        let cursor = rows.devices[&"phone".into()].cursor;
        let waiting: usize = rows.log.range(cursor.next()..).map(|(_, row)| row.stanza.len()).sum();
        alice.message(&mut world, "b@d", &n.to_string());
        let refused = alice.errors().iter().any(|(id, _)| *id == n.to_string());
        assert_eq!(refused, waiting >= 5_000, "{n}: {waiting}");
        full += usize::from(refused);
        if n % 40 == 0 {
            bob.acks = true;
            bob.drain(&mut world);
            world.pass(1_000);
            bob.drain(&mut world);
            bob.acks = false;
        }
    }
    assert!((5..115).contains(&full), "{full}");
}

#[test]
fn a_connection_that_never_gets_to_a_device_says_only_so_much() {
    let mut world = World::new();
    Device::online(&mut world, "a", "phone");
    let link = world.connect(&jid("a"));
    world.input(&jid("a"), Input::Frame(link, OPEN));
    let get = "<iq xmlns='jabber:client' type='get' id='r'><query xmlns='jabber:iq:register'/></iq>";
    for _ in 1..FRAMES_UNBOUND_MAX {
        world.input(&jid("a"), Input::Frame(link, get));
    }
    assert!(!world.closed.contains_key(&link));
    world.input(&jid("a"), Input::Frame(link, get));
    assert!(world.closed.contains_key(&link));
    assert!(world.sent[&link].iter().any(|frame| frame.contains("<policy-violation")));

    let mut lobby = Lobby::new("d", true, "t".to_owned());
    lobby.handle(lobby::Input::FromClient(OPEN));
    for _ in 1..FRAMES_UNBOUND_MAX {
        assert!(!lobby.handle(lobby::Input::FromClient(get)).contains(&lobby::Output::Close(1000)));
    }
    assert!(lobby.handle(lobby::Input::FromClient(get)).contains(&lobby::Output::Close(1000)));
}

#[test]
fn a_connection_registers_only_so_often() {
    let mut world = World::new();
    let link = world.connect(&jid("a"));
    world.input(&jid("a"), Input::Frame(link, OPEN));
    let set = |password: &str| {
        let query = Element::new(ns::REGISTER, "query")
            .with(Element::new(ns::REGISTER, "username").with_text("a"))
            .with(Element::new(ns::REGISTER, "password").with_text(password));
        crate::wire::stanza::iq("set", "r", query).to_frame()
    };
    for _ in 0..REGISTRATIONS_MAX {
        world.input(&jid("a"), Input::Frame(link, &set("")));
    }
    world.input(&jid("a"), Input::Frame(link, &set("a good one")));
    let last = world.sent[&link].back().unwrap();
    assert!(last.contains(WAIT), "{last}");
    assert!(world.disk(&jid("a")).rows.account.is_none());
}
