//! Preferences for the archive (XEP-0441): what is not shown is delivered all the same.

use super::world::{Device, World, jid};
use crate::limits::PREFERENCES_MAX;
use crate::wire::{Element, ns};

const GET: &str = "<prefs xmlns='urn:xmpp:mam:2'/>";

fn ask(world: &mut World, device: &mut Device, kind: &str, request: &str) -> Element {
    device.send(world, &format!("<iq xmlns='jabber:client' type='{kind}' id='i'>{request}</iq>"));
    device.stanzas.iter().rev().find(|e| e.attr("id") == Some("i")).unwrap().clone()
}

fn prefs(default: &str, always: &[&str], never: &[&str]) -> String {
    let list = |jids: &[&str]| jids.iter().map(|jid| format!("<jid>{jid}</jid>")).collect::<String>();
    format!(
        "<prefs xmlns='urn:xmpp:mam:2' default='{default}'><always>{}</always><never>{}</never></prefs>",
        list(always),
        list(never)
    )
}

fn set(world: &mut World, device: &mut Device, default: &str, always: &[&str], never: &[&str]) -> Element {
    ask(world, device, "set", &prefs(default, always, never))
}

fn query(fields: &str, set: &str) -> String {
    format!(
        "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'>\
         <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>{fields}</x>\
         <set xmlns='http://jabber.org/protocol/rsm'>{set}</set></query>"
    )
}

/// What the archive shows a device: bodies in order.
fn shown(world: &mut World, device: &mut Device) -> Vec<String> {
    let had = device.stanzas.len();
    ask(world, device, "set", &query("", ""));
    let results = device.stanzas[had..].iter().filter_map(|e| e.child(ns::MAM, "result"));
    let body = |result: &Element| {
        let message = result.child(ns::FORWARD, "forwarded")?.child(ns::CLIENT, "message")?;
        message.child(ns::CLIENT, "body").map(Element::text)
    };
    results.filter_map(body).collect()
}

fn count(world: &mut World, device: &mut Device) -> String {
    let answer = ask(world, device, "set", &query("", "<max>0</max>"));
    answer
        .child(ns::MAM, "fin")
        .unwrap()
        .child(ns::RSM, "set")
        .unwrap()
        .child(ns::RSM, "count")
        .unwrap()
        .text()
}

fn two() -> (World, Device, Device) {
    let mut world = World::new();
    let alice = Device::online(&mut world, "a", "phone");
    let bob = Device::online(&mut world, "b", "phone");
    (world, alice, bob)
}

/// Everything that was sent is taken and acked.
fn acked(world: &mut World, device: &mut Device) {
    for _ in 0..2 {
        world.pass(1_000);
        device.drain(world);
    }
}

#[test]
fn they_are_kept_over_a_crash_and_answered_as_they_are() {
    let (mut world, _, mut bob) = two();
    let plain = "<prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never/></prefs>";
    assert_eq!(ask(&mut world, &mut bob, "get", GET).child(ns::MAM, "prefs").unwrap().to_frame(), plain);
    let answer = set(&mut world, &mut bob, "roster", &["z@d", "A@D", "a@d"], &["c@d/x"]);
    let kept = prefs("roster", &["a@d", "z@d"], &["c@d/x"]);
    assert_eq!(answer.child(ns::MAM, "prefs").unwrap().to_frame(), kept);
    world.crash(&jid("b"));
    assert!(bob.resume(&mut world));
    assert_eq!(ask(&mut world, &mut bob, "get", GET).child(ns::MAM, "prefs").unwrap().to_frame(), kept);
}

#[test]
fn what_is_no_preference_is_refused_by_name_and_changes_nothing() {
    let (mut world, _, mut bob) = two();
    let many: Vec<String> = (0..=PREFERENCES_MAX).map(|n| format!("u{n}@d")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (request, condition) in [
        (prefs("sometimes", &[], &[]), "bad-request"),
        ("<prefs xmlns='urn:xmpp:mam:2'/>".to_owned(), "bad-request"),
        (prefs("always", &["a@@d"], &[]), "jid-malformed"),
        (prefs("always", &[], &many), "resource-constraint"),
    ] {
        let answer = ask(&mut world, &mut bob, "set", &request).to_frame();
        assert!(answer.contains(&format!("<{condition}")), "{answer}");
    }
    assert!(ask(&mut world, &mut bob, "get", GET).to_frame().contains("default='always'><always/><never/>"));
}

#[test]
fn who_is_never_archived_is_heard_and_not_shown_from_then_on() {
    let (mut world, mut alice, mut bob) = two();
    alice.message(&mut world, "b@d", "before");
    set(&mut world, &mut bob, "always", &[], &["a@d"]);
    alice.message(&mut world, "b@d", "hidden");
    bob.drain(&mut world);
    bob.message(&mut world, "a@d", "hidden, too");
    set(&mut world, &mut bob, "always", &[], &[]);
    alice.message(&mut world, "b@d", "after");
    acked(&mut world, &mut bob);
    acked(&mut world, &mut alice);
    assert_eq!(bob.bodies, ["before", "hidden", "after"]);
    assert_eq!(shown(&mut world, &mut bob), ["before", "after"]);
    assert_eq!(count(&mut world, &mut bob), "2");
    assert_eq!(shown(&mut world, &mut alice), ["before", "hidden", "hidden, too", "after"], "hers are hers");
    world.crash(&jid("b"));
    assert!(bob.resume(&mut world));
    assert_eq!(shown(&mut world, &mut bob), ["before", "after"]);
}

#[test]
fn lists_go_before_the_default_and_a_device_is_told_from_its_account() {
    let (mut world, mut alice, mut bob) = two();
    let mut pad = Device::online(&mut world, "a", "pad");
    for (default, always, never, expected) in [
        ("never", vec![], vec![], vec![]),
        ("never", vec!["a@d"], vec![], vec!["phone", "pad"]),
        ("never", vec!["a@d/pad"], vec![], vec!["pad"]),
        ("always", vec![], vec!["a@d/pad"], vec!["phone"]),
        ("never", vec!["a@d"], vec!["a@d"], vec!["phone", "pad"]),
        ("roster", vec![], vec![], vec![]),
        ("roster", vec!["a@d/phone"], vec![], vec!["phone"]),
    ] {
        set(&mut world, &mut bob, default, &always, &never);
        let first = shown(&mut world, &mut bob).len();
        let plain = |body: &str| {
            format!(
                "<message xmlns='jabber:client' to='b@d'><body>{body}</body><x xmlns='urn:{first}{default}'/></message>"
            )
        };
        alice.send(&mut world, &plain("phone"));
        pad.send(&mut world, &plain("pad"));
        acked(&mut world, &mut bob);
        assert_eq!(shown(&mut world, &mut bob)[first..], expected, "{default} {always:?} {never:?}");
    }
}

#[test]
fn what_wishes_not_to_be_kept_is_delivered_late_and_not_shown_nor_is_what_comes_back_of_it() {
    let (mut world, mut alice, mut bob) = two();
    let wish = |to: &str, body: &str| {
        format!(
            "<message xmlns='jabber:client' to='{to}' id='{body}'><body>{body}</body>\
             <no-permanent-store xmlns='urn:xmpp:hints'/></message>"
        )
    };
    world.crash(&jid("b"));
    alice.send(&mut world, &wish("b@d", "secret"));
    alice.send(&mut world, &wish("nobody@d", "lost"));
    alice.message(&mut world, "b@d", "open");
    acked(&mut world, &mut alice);
    assert_eq!(alice.errors(), [("lost".to_owned(), "service-unavailable".to_owned())]);
    assert_eq!(count(&mut world, &mut alice), "1");
    assert!(bob.resume(&mut world));
    acked(&mut world, &mut bob);
    assert_eq!(bob.bodies, ["secret", "open"]);
    for device in [&mut alice, &mut bob] {
        assert_eq!(shown(&mut world, device), ["open"]);
    }
}

#[test]
fn a_device_that_takes_pages_gets_what_is_not_archived_once_and_others_do_not_see_it() {
    let (mut world, mut alice, mut bob) = two();
    let mut laptop = Device::online(&mut world, "b", "laptop");
    set(&mut world, &mut bob, "never", &["c@d"], &[]);
    bob.say(&mut world, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
    alice.message(&mut world, "b@d", "one");
    alice.message(&mut world, "b@d", "two");
    acked(&mut world, &mut laptop);
    bob.authenticate(&mut world);
    bob.bind_unseen(&mut world);
    let told = ask(&mut world, &mut bob, "get", "<summary xmlns='urn:counterfoil:offline:0' hold='true'/>");
    let told = told.child(ns::OFFLINE, "summary").unwrap().clone();
    assert_eq!((told.attr("count"), told.attr("last")), (Some("2"), Some("2")));
    assert_eq!(shown(&mut world, &mut bob), ["one", "two"]);
    assert_eq!(count(&mut world, &mut bob), "2");
    assert!(shown(&mut world, &mut laptop).is_empty(), "it has confirmed them");
    let metadata = |world: &mut World, device: &mut Device| {
        let answer = ask(world, device, "get", "<metadata xmlns='urn:xmpp:mam:2'/>");
        answer
            .child(ns::MAM, "metadata")
            .unwrap()
            .children()
            .map(|end| end.attr("id").unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(metadata(&mut world, &mut bob), ["1", "2"]);
    ask(&mut world, &mut bob, "set", "<received xmlns='urn:counterfoil:offline:0' upto='2'/>");
    assert!(shown(&mut world, &mut bob).is_empty());
    assert_eq!(count(&mut world, &mut bob), "0");
    assert!(metadata(&mut world, &mut bob).is_empty());
    let by_id = query("<field var='ids'><value>1</value></field>", "");
    assert!(ask(&mut world, &mut bob, "set", &by_id).to_frame().contains("<item-not-found"));
    bob.send(&mut world, "<presence xmlns='jabber:client'/>");
    alice.message(&mut world, "b@d", "three");
    bob.drain(&mut world);
    assert_eq!(bob.bodies, ["three"], "and the rest comes by itself");
}
