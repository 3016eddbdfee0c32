//! Rosters, subscriptions and presence between accounts (RFC 6121 §2 to §4).

use super::world::{Device, World, jid};
use crate::limits::{Limits, ROSTER_GROUPS_MAX, ROSTER_MAX};
use crate::relay::Input;
use crate::wire::{Element, ns, stanza};

const AVAILABLE: &str = "<presence xmlns='jabber:client'/>";

/// Alice and Bob, who know each other's name and nothing else; both have asked for their rosters.
fn strangers() -> (World, Device, Device) {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "desk");
    for device in [&mut alice, &mut bob] {
        roster(&mut world, device, "");
        device.drain(&mut world);
        device.stanzas.clear();
    }
    (world, alice, bob)
}

fn roster(world: &mut World, device: &mut Device, ver: &str) -> Element {
    let id = format!("r{}", device.stanzas.len());
    let query = Element::new(ns::ROSTER, "query").with_attr("ver", ver);
    device.send(world, &stanza::iq("get", &id, query).to_frame());
    device.drain(world);
    device.stanzas.iter().rev().find(|s| s.attr("id") == Some(&id)).cloned().unwrap()
}

fn set(world: &mut World, device: &mut Device, item: &str) -> Element {
    let id = format!("s{}", device.stanzas.len());
    device.send(world, &format!("<iq xmlns='jabber:client' type='set' id='{id}'><query xmlns='jabber:iq:roster'>{item}</query></iq>"));
    device.drain(world);
    device.stanzas.iter().rev().find(|s| s.attr("id") == Some(&id)).cloned().unwrap()
}

fn items(answer: &Element) -> Vec<String> {
    let query = answer.child(ns::ROSTER, "query").unwrap();
    let shown = |item: &Element| {
        let mut text = format!("{} {}", item.attr("jid").unwrap(), item.attr("subscription").unwrap());
        item.attr("name").into_iter().for_each(|name| text += &format!(" '{name}'"));
        item.attr("ask").into_iter().for_each(|ask| text += &format!(" ask={ask}"));
        item.attr("approved").into_iter().for_each(|_| text += " approved");
        item.children().for_each(|group| text += &format!(" [{}]", group.text()));
        text
    };
    query.children().map(shown).collect()
}

/// What a device was told since it was last asked: presences as `type from`, pushes as items.
fn told(world: &mut World, device: &mut Device) -> Vec<String> {
    device.drain(world);
    let told = device.stanzas.drain(..).filter_map(|stanza| match stanza.name.as_str() {
        "presence" => {
            let kind = stanza.attr("type").unwrap_or("available");
            Some(format!("{kind} {}", stanza.attr("from").unwrap_or_default()))
        }
        "iq" if stanza.attr("type") == Some("set") => Some(format!("push {}", items(&stanza).join(", "))),
        _ => None,
    });
    told.collect()
}

fn presence(world: &mut World, device: &mut Device, kind: &str, to: &str) {
    device.send(world, &format!("<presence xmlns='jabber:client' type='{kind}' to='{to}'/>"));
}

/// Each sees the other's presence.
fn friends() -> (World, Device, Device) {
    let (mut world, mut alice, mut bob) = strangers();
    presence(&mut world, &mut alice, "subscribe", "b@d");
    presence(&mut world, &mut bob, "subscribed", "a@d");
    presence(&mut world, &mut bob, "subscribe", "a@d");
    presence(&mut world, &mut alice, "subscribed", "b@d");
    assert_eq!(items(&roster(&mut world, &mut alice, "")), ["b@d both"]);
    assert_eq!(items(&roster(&mut world, &mut bob, "")), ["a@d both"]);
    for _ in 0..2 {
        told(&mut world, &mut alice);
        told(&mut world, &mut bob);
        world.pass(1_000);
    }
    (world, alice, bob)
}

#[test]
fn a_contact_is_named_and_grouped_and_every_device_that_asked_is_told() {
    let (mut world, mut alice, _) = strangers();
    let mut laptop = Device::online(&mut world, "a", "laptop");
    let mut tablet = Device::online(&mut world, "a", "tablet");
    roster(&mut world, &mut laptop, "");
    laptop.stanzas.clear();
    tablet.drain(&mut world);
    tablet.stanzas.clear();
    let answer = set(
        &mut world,
        &mut alice,
        "<item jid='b@d' name='Bob'><group>Friends</group><group>Work</group></item>",
    );
    assert_eq!(answer.attr("type"), Some("result"));
    let shown = "b@d none 'Bob' [Friends] [Work]".to_owned();
    assert_eq!(told(&mut world, &mut laptop).last().unwrap(), &format!("push {shown}"));
    assert!(!told(&mut world, &mut tablet).iter().any(|told| told.starts_with("push")), "it has not asked");
    world.crash(&jid("a"));
    let mut again = Device::online(&mut world, "a", "phone");
    assert_eq!(items(&roster(&mut world, &mut again, "")), [shown]);
    assert_eq!(
        set(&mut world, &mut again, "<item jid='b@d' subscription='remove'/>").attr("type"),
        Some("result")
    );
    assert!(told(&mut world, &mut again).contains(&"push b@d remove".to_owned()));
    assert!(items(&roster(&mut world, &mut again, "")).is_empty());
}

#[test]
fn a_roster_that_has_not_changed_is_not_sent_again() {
    let (mut world, mut alice, _) = strangers();
    set(&mut world, &mut alice, "<item jid='b@d'/>");
    let whole = roster(&mut world, &mut alice, "");
    let ver = whole.child(ns::ROSTER, "query").unwrap().attr("ver").unwrap().to_owned();
    assert_eq!(roster(&mut world, &mut alice, &ver).children().count(), 0);
    world.crash(&jid("a"));
    let mut again = Device::online(&mut world, "a", "phone");
    assert_eq!(roster(&mut world, &mut again, &ver).children().count(), 0);
    set(&mut world, &mut again, "<item jid='c@d'/>");
    assert_eq!(items(&roster(&mut world, &mut again, &ver)), ["b@d none", "c@d none"]);
}

#[test]
fn what_is_no_roster_item_is_refused_by_name_and_changes_nothing() {
    let (mut world, mut alice, _) = strangers();
    let many = (0..=ROSTER_GROUPS_MAX).map(|n| format!("<group>{n}</group>")).collect::<String>();
    for (item, condition) in [
        ("", "bad-request"),
        ("<item jid='b@d'/><item jid='c@d'/>", "bad-request"),
        ("<item/>", "bad-request"),
        ("<item jid='@'/>", "jid-malformed"),
        ("<item jid='a@d'/>", "not-allowed"),
        ("<item jid='b@d'><group/></item>", "not-acceptable"),
        ("<item jid='b@d'><group>x</group><group>x</group></item>", "bad-request"),
        (&format!("<item jid='b@d'>{many}</item>"), "bad-request"),
        (&format!("<item jid='b@d' name='{}'/>", "x".repeat(1024)), "not-acceptable"),
        ("<item jid='b@d' subscription='remove'/>", "item-not-found"),
    ] {
        let answer = set(&mut world, &mut alice, item).to_frame();
        assert!(answer.contains(&format!("<{condition}")), "{item}: {answer}");
    }
    assert!(items(&roster(&mut world, &mut alice, "")).is_empty());
}

#[test]
fn a_roster_that_is_full_says_so() {
    let (mut world, mut alice, _) = strangers();
    for n in 0..ROSTER_MAX {
        set(&mut world, &mut alice, &format!("<item jid='c{n}@d'/>"));
    }
    let answer = set(&mut world, &mut alice, "<item jid='one@d'/>").to_frame();
    assert!(answer.contains("<resource-constraint"), "{answer}");
    assert_eq!(set(&mut world, &mut alice, "<item jid='c1@d' name='known'/>").attr("type"), Some("result"));
    alice.stanzas.clear();
    presence(&mut world, &mut alice, "subscribe", "two@d");
    alice.drain(&mut world);
    assert!(alice.last_stanza().contains("<resource-constraint"), "{}", alice.last_stanza());
}

#[test]
fn who_asks_and_is_granted_it_sees_who_is_there() {
    let (mut world, mut alice, mut bob) = strangers();
    presence(&mut world, &mut alice, "subscribe", "b@d");
    assert_eq!(told(&mut world, &mut alice), ["push b@d none ask=subscribe"]);
    assert_eq!(told(&mut world, &mut bob), ["subscribe a@d"], "from the account, and no contact yet");
    assert!(items(&roster(&mut world, &mut bob, "")).is_empty());
    presence(&mut world, &mut bob, "subscribed", "a@d");
    assert_eq!(told(&mut world, &mut bob), ["push a@d from"]);
    assert_eq!(told(&mut world, &mut alice), ["subscribed b@d", "push b@d to", "available b@d/desk"]);
    bob.send(&mut world, "<presence xmlns='jabber:client'><show>away</show></presence>");
    assert_eq!(told(&mut world, &mut alice), ["available b@d/desk"]);
    alice.send(&mut world, AVAILABLE);
    assert!(
        !told(&mut world, &mut bob).contains(&"available a@d/phone".to_owned()),
        "she has granted nothing"
    );
    presence(&mut world, &mut alice, "subscribe", "b@d");
    assert_eq!(told(&mut world, &mut alice), ["available a@d/phone"], "what is granted is not asked again");
}

#[test]
fn a_request_waits_for_who_is_away_and_is_shown_until_it_is_answered() {
    let (mut world, mut alice, mut bob) = strangers();
    bob.send(&mut world, "<presence xmlns='jabber:client' type='unavailable'/>");
    alice.send(
        &mut world,
        "<presence xmlns='jabber:client' type='subscribe' to='b@d'><status>It is me</status></presence>",
    );
    assert!(told(&mut world, &mut bob).is_empty());
    world.crash(&jid("b"));
    for _ in 0..2 {
        let mut phone = Device::online(&mut world, "b", "phone");
        phone.drain(&mut world);
        let request = phone.stanzas.iter().find(|s| s.attr("type") == Some("subscribe")).unwrap();
        assert!(request.to_frame().contains("It is me"));
    }
    let mut phone = Device::online(&mut world, "b", "phone");
    presence(&mut world, &mut phone, "unsubscribed", "a@d");
    assert!(told(&mut world, &mut alice).contains(&"unsubscribed b@d".to_owned()));
    assert_eq!(items(&roster(&mut world, &mut alice, "")), ["b@d none"]);
    let mut phone = Device::online(&mut world, "b", "phone");
    assert!(!told(&mut world, &mut phone).contains(&"subscribe a@d".to_owned()));
}

#[test]
fn what_is_granted_beforehand_is_not_asked_for() {
    let (mut world, mut alice, mut bob) = strangers();
    presence(&mut world, &mut bob, "subscribed", "a@d");
    assert_eq!(told(&mut world, &mut bob), ["push a@d none approved"]);
    presence(&mut world, &mut alice, "subscribe", "b@d");
    assert_eq!(told(&mut world, &mut bob), ["push a@d from"]);
    let heard = told(&mut world, &mut alice);
    assert_eq!(heard, ["push b@d none ask=subscribe", "subscribed b@d", "push b@d to", "available b@d/desk"]);
}

#[test]
fn who_takes_it_back_is_seen_to_leave_and_not_to_return() {
    let (mut world, mut alice, mut bob) = friends();
    presence(&mut world, &mut bob, "unsubscribed", "a@d");
    assert_eq!(told(&mut world, &mut alice), ["unsubscribed b@d", "push b@d from", "unavailable b@d/desk"]);
    bob.send(&mut world, AVAILABLE);
    assert!(told(&mut world, &mut alice).is_empty());
    presence(&mut world, &mut bob, "unsubscribe", "a@d");
    assert_eq!(told(&mut world, &mut alice), ["unsubscribe b@d", "push b@d none"]);
}

#[test]
fn removing_a_contact_ends_both_subscriptions() {
    let (mut world, mut alice, mut bob) = friends();
    set(&mut world, &mut alice, "<item jid='b@d' subscription='remove'/>");
    assert!(told(&mut world, &mut alice).contains(&"push b@d remove".to_owned()));
    let heard = told(&mut world, &mut bob);
    for expected in ["unsubscribe a@d", "unsubscribed a@d", "push a@d none", "unavailable a@d/phone"] {
        assert!(heard.contains(&expected.to_owned()), "{expected}: {heard:?}");
    }
    assert_eq!(items(&roster(&mut world, &mut bob, "")), ["a@d none"]);
}

#[test]
fn removing_a_contact_refuses_what_it_asks_for() {
    let (mut world, mut alice, mut bob) = strangers();
    set(&mut world, &mut bob, "<item jid='a@d'/>");
    presence(&mut world, &mut alice, "subscribe", "b@d");
    set(&mut world, &mut bob, "<item jid='a@d' subscription='remove'/>");
    assert!(told(&mut world, &mut alice).contains(&"unsubscribed b@d".to_owned()));
    assert_eq!(items(&roster(&mut world, &mut alice, "")), ["b@d none"]);
}

#[test]
fn a_stranger_who_wants_nothing_leaves_no_row() {
    let (mut world, mut alice, mut bob) = strangers();
    for kind in ["unsubscribe", "unsubscribed", "subscribed"] {
        presence(&mut world, &mut alice, kind, "b@d");
    }
    assert!(told(&mut world, &mut bob).is_empty());
    assert!(world.disk(&jid("b")).rows.contacts.is_empty());
}

#[test]
fn whoever_comes_learns_who_of_their_contacts_is_there() {
    let (mut world, mut alice, mut bob) = friends();
    alice.send(&mut world, "<presence xmlns='jabber:client' type='unavailable'/>");
    assert_eq!(told(&mut world, &mut bob), ["unavailable a@d/phone"]);
    alice.send(&mut world, AVAILABLE);
    assert_eq!(told(&mut world, &mut bob), ["available a@d/phone"]);
    let heard = told(&mut world, &mut alice);
    assert!(heard.contains(&"available b@d/desk".to_owned()), "{heard:?}");
    bob.send(&mut world, "<presence xmlns='jabber:client' type='unavailable'/>");
    told(&mut world, &mut alice);
    let mut laptop = Device::online(&mut world, "a", "laptop");
    assert!(told(&mut world, &mut laptop).contains(&"unavailable b@d".to_owned()), "nobody is there");
}

#[test]
fn a_device_may_ask_who_of_its_friends_is_there_and_of_nobody_else() {
    let (mut world, mut alice, mut bob) = friends();
    presence(&mut world, &mut alice, "probe", "b@d");
    assert_eq!(told(&mut world, &mut alice), ["available b@d/desk"]);
    let mut carol = Device::online(&mut world, "c", "phone");
    told(&mut world, &mut carol);
    for to in ["b@d", "nobody@d", "b@elsewhere"] {
        presence(&mut world, &mut carol, "probe", to);
    }
    assert!(told(&mut world, &mut carol).is_empty() && told(&mut world, &mut bob).is_empty());
    assert!(!world.disk(&jid("b")).rows.contacts.contains_key(&jid("c")));
}

#[test]
fn presence_that_was_missed_is_seen_after_a_resumption_the_newest_only() {
    let (mut world, mut alice, mut bob) = friends();
    alice.acks = false;
    bob.send(&mut world, "<presence xmlns='jabber:client'><show>away</show></presence>");
    let link = alice.link;
    world.sent.remove(&link);
    world.input(&jid("a"), Input::LinkDown(link));
    bob.send(&mut world, "<presence xmlns='jabber:client'><show>dnd</show></presence>");
    bob.send(&mut world, "<presence xmlns='jabber:client' type='unavailable'/>");
    world.crash(&jid("a"));
    alice.acks = true;
    assert!(alice.resume(&mut world));
    let heard = told(&mut world, &mut alice);
    assert_eq!(heard.last().unwrap(), "unavailable b@d/desk", "{heard:?}");
    assert!(heard.len() <= 2, "{heard:?}");
}

#[test]
fn more_presence_than_may_be_kept_for_a_device_ends_its_session_and_not_its_mailbox() {
    let (mut world, mut alice, bob) = friends();
    world.input(&jid("b"), Input::LinkDown(bob.link));
    let mut bob = bob;
    let status = "x".repeat(15_000);
    for n in 0..20 {
        let mut device = Device::online(&mut world, "a", &format!("device {n}"));
        device.send(
            &mut world,
            &format!("<presence xmlns='jabber:client'><status>{status}</status></presence>"),
        );
    }
    alice.message(&mut world, "b@d", "hello");
    assert!(!bob.resume(&mut world), "it would not know who is there");
    assert!(world.disk(&jid("b")).rows.devices[&"desk".into()].stream.is_none());
    bob.bind(&mut world);
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["hello"]);
}

#[test]
fn who_does_not_come_back_in_time_is_seen_to_have_left() {
    let (mut world, mut alice, bob) = friends();
    world.input(&jid("b"), Input::LinkDown(bob.link));
    world.pass(Limits::DEFAULT.resume_window_ms - 1_000);
    assert!(told(&mut world, &mut alice).is_empty(), "it may come back");
    world.pass(2_000);
    assert_eq!(told(&mut world, &mut alice), ["unavailable b@d/desk"]);
}

#[test]
fn who_sleeps_without_acks_is_still_there() {
    let (mut world, mut alice, _bob) = friends();
    let mut plain = Device::online(&mut world, "b", "plain");
    plain.say(&mut world, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
    plain.authenticate(&mut world);
    plain.bind_unmanaged(&mut world);
    plain.say(&mut world, AVAILABLE);
    world.hibernate(&jid("b"));
    told(&mut world, &mut alice);
    alice.send(&mut world, "<presence xmlns='jabber:client' type='unavailable'/>");
    alice.send(&mut world, AVAILABLE);
    let heard = told(&mut world, &mut alice);
    assert!(heard.contains(&"available b@d/plain".to_owned()), "{heard:?}");
}

#[test]
fn presence_for_a_stranger_is_taken_back_when_its_device_leaves() {
    let (mut world, mut alice, mut bob) = strangers();
    alice.send(&mut world, "<presence xmlns='jabber:client' to='b@d/desk'/>");
    assert_eq!(told(&mut world, &mut bob), ["available a@d/phone"]);
    world.crash(&jid("a"));
    assert!(alice.resume(&mut world));
    alice.say(&mut world, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
    assert_eq!(told(&mut world, &mut bob), ["unavailable a@d/phone"]);
}

#[test]
fn who_is_blocked_sees_nobody_and_asks_for_nothing() {
    let (mut world, mut alice, mut bob) = friends();
    let block = |name: &str| {
        let item = Element::new(ns::BLOCKING, "item").with_attr("jid", "a@d");
        stanza::iq("set", "b", Element::new(ns::BLOCKING, name).with(item)).to_frame()
    };
    bob.send(&mut world, &block("block"));
    assert_eq!(told(&mut world, &mut alice), ["unavailable b@d/desk"]);
    bob.send(&mut world, AVAILABLE);
    presence(&mut world, &mut alice, "subscribe", "b@d");
    alice.send(&mut world, AVAILABLE);
    told(&mut world, &mut alice);
    assert!(!told(&mut world, &mut bob).iter().any(|told| told.contains("a@d")));
    bob.send(&mut world, &block("unblock"));
    assert_eq!(told(&mut world, &mut alice), ["available b@d/desk"]);
}

#[test]
fn a_change_that_could_not_be_told_is_told_later_once_and_the_newest_of_its_kind() {
    let (mut world, mut alice, mut bob) = strangers();
    world.away.insert(jid("b"));
    for kind in ["subscribe", "unsubscribe", "subscribe"] {
        presence(&mut world, &mut alice, kind, "b@d");
    }
    world.crash(&jid("a"));
    world.away.clear();
    world.answers_lost = true;
    assert!(alice.resume(&mut world));
    world.pass(5_000);
    world.answers_lost = false;
    world.pass(60_000);
    assert_eq!(told(&mut world, &mut bob), ["subscribe a@d"]);
    assert!(world.disk(&jid("a")).rows.contacts[&jid("b")].owed.is_empty());
}

#[test]
fn at_whatever_step_the_power_fails_both_sides_come_to_agree() {
    /// Both come back, and time passes.
    fn settle(world: &mut World, devices: &mut [&mut Device]) {
        for _ in 0..20 {
            for device in devices.iter_mut() {
                assert!(device.connected(world) || device.resume(world));
                device.drain(world);
            }
            world.pass(1_000);
        }
    }
    let story = |crash_at: Option<usize>| {
        let (mut world, mut alice, mut bob) = strangers();
        (world.steps, world.crash_at) = (0, crash_at);
        presence(&mut world, &mut alice, "subscribe", "b@d");
        let asked = world.steps;
        settle(&mut world, &mut [&mut alice, &mut bob]);
        let before = world.steps;
        presence(&mut world, &mut bob, "subscribed", "a@d");
        let steps = asked + (world.steps - before);
        settle(&mut world, &mut [&mut alice, &mut bob]);
        assert_eq!(items(&roster(&mut world, &mut alice, "")), ["b@d to"], "step {crash_at:?}");
        assert_eq!(items(&roster(&mut world, &mut bob, "")), ["a@d from"], "step {crash_at:?}");
        (asked, before, steps)
    };
    let (asked, before, steps) = story(None);
    for step in (1..=asked).chain(before + 1..=before + steps - asked) {
        story(Some(step));
    }
}
