//! One request for an authenticated session (`relay::sasl2`, `relay::bind2`).

use super::modern::{BIND, LAPTOP, PHONE, agent, condition, identity};
use super::world::{Device, PASSWORD, World, jid};
use crate::id::DeviceId;
use crate::limits::{AUTHENTICATION_FAILURES_MAX, Limits};
use crate::relay::Input;
use crate::sm::Handled;
use crate::wire::ns;

const CLOSE: &str = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";
const PRESENCE: &str = "<presence xmlns='jabber:client'/>";

/// Bob has an account and a device that knows nothing of any of this.
fn bobs() -> (World, Device) {
    let mut world = World::new();
    let old = Device::online(&mut world, "b", "old");
    (world, old)
}

fn all(id: &str) -> String {
    format!("{}{BIND}", agent(id))
}

/// A device of Bob's with everything, at its first login.
fn modern(world: &mut World, id: &str) -> Device {
    let mut device = Device::offline("b", "unused");
    let success = device.scram2(world, &all(id)).unwrap();
    assert_eq!(success.name, "success", "{}", success.to_frame());
    device
}

fn conflict(device: &Device) -> bool {
    device.nonzas.iter().any(|e| e.to_frame().contains("<conflict"))
}

fn devices(world: &mut World) -> Vec<String> {
    world.disk(&jid("b")).rows.devices.keys().map(|id| id.as_str().to_owned()).collect()
}

#[test]
fn it_is_offered_beside_what_was_offered_before() {
    let mut world = World::new();
    let mut device = Device::offline("b", "unused");
    device.open(&mut world, "");
    let features = device.last_nonza();
    assert!(features.contains("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"), "{features}");
    assert!(
        features.contains(
            "<authentication xmlns='urn:xmpp:sasl:2'><mechanism>SCRAM-SHA-256</mechanism>\
             <mechanism>SCRAM-SHA-1</mechanism><inline><bind xmlns='urn:xmpp:bind:0'><inline>\
             <feature var='urn:xmpp:carbons:2'/><feature var='urn:xmpp:csi:0'/><feature var='urn:xmpp:sm:3'/></inline></bind>\
             <sm xmlns='urn:xmpp:sm:3'/><fast xmlns='urn:xmpp:fast:0'>\
             <mechanism>HT-SHA-256-NONE</mechanism></fast></inline></authentication>"
        ),
        "{features}"
    );
}

#[test]
fn one_request_begins_a_session_with_everything() {
    let (mut world, _old) = bobs();
    let mut alice = Device::online(&mut world, "a", "phone");
    alice.message(&mut world, "b@d", "before");
    let mut device = Device::offline("b", "unused");
    let success = device.scram2(&mut world, &all(PHONE)).unwrap();
    let resource = identity(&success).strip_prefix("b@d/Tests/").unwrap().to_owned();
    assert_eq!(resource.len(), 16);
    let bound = success.child(ns::BIND2, "bound").unwrap().to_frame();
    assert!(bound.contains("<enabled xmlns='urn:xmpp:sm:3' id='"), "{bound}");
    assert!(bound.contains("resume='true'") && bound.contains("max='600'"), "{bound}");
    assert!(bound.contains("<metadata xmlns='urn:xmpp:mam:2'><start id='1'"), "{bound}");
    assert!(bound.contains("<end id='1'"), "{bound}");
    let features = device.nonzas.last().unwrap();
    assert!(features.child(ns::CSI, "csi").is_some(), "{features:?}");
    assert!(
        features.children().all(|feature| feature.ns != ns::BIND && feature.ns != ns::SM),
        "nothing is left to bind"
    );
    let row = world.disk(&jid("b")).rows.devices[&DeviceId(format!("Tests/{resource}"))].clone();
    assert!(row.stream.unwrap().carbons);

    device.send(&mut world, PRESENCE);
    alice.message(&mut world, "b@d", "after");
    device.drain(&mut world);
    assert_eq!(device.bodies, ["before", "after"]);
    let mut sender = modern(&mut world, LAPTOP);
    sender.message(&mut world, "a@d", "mine");
    device.drain(&mut world);
    assert!(device.last_stanza().contains("<sent xmlns='urn:xmpp:carbons:2'"), "{}", device.last_stanza());
}

#[test]
fn who_asks_for_nothing_goes_on_without_a_restart() {
    let (mut world, _old) = bobs();
    let mut device = Device::offline("b", "desk");
    let success = device.scram2(&mut world, "").unwrap();
    assert_eq!(identity(&success), "b@d");
    assert!(success.child(ns::BIND2, "bound").is_none());
    let features = device.last_nonza();
    assert!(features.contains("xmpp-bind") && features.contains("urn:xmpp:sm:3"), "{features}");
    device.bind(&mut world);
    assert!(devices(&mut world).contains(&"desk".to_owned()));
}

#[test]
fn counts_are_offered_to_who_did_not_ask_for_them_with_the_rest() {
    let (mut world, _old) = bobs();
    let mut device = Device::offline("b", "unused");
    let success = device.scram2(&mut world, "<bind xmlns='urn:xmpp:bind:0'/>").unwrap();
    assert!(success.child(ns::BIND2, "bound").unwrap().child(ns::SM, "enabled").is_none());
    assert!(device.last_nonza().contains("<sm xmlns='urn:xmpp:sm:3'/>"), "{}", device.last_nonza());
    device.say(&mut world, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    assert_eq!(device.nonzas.last().unwrap().name, "enabled");
    let id = identity(&success).split_once('/').unwrap().1.to_owned();
    assert!(!world.disk(&jid("b")).rows.devices[&DeviceId(id)].named, "nobody can come back as it");
}

#[test]
fn a_user_agent_is_one_device_with_one_queue_whatever_it_asks_for() {
    let (mut world, _old) = bobs();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut device = Device::offline("b", "wanted");
    let first = identity(&device.scram2(&mut world, &all(PHONE)).unwrap());
    device.say(&mut world, CLOSE);
    alice.message(&mut world, "b@d", "one");

    let upper =
        format!("{}<bind xmlns='urn:xmpp:bind:0'><tag>Other</tag></bind>", agent(&PHONE.to_uppercase()));
    let second = device.scram2(&mut world, &upper).unwrap();
    assert_eq!(identity(&second), first, "another tag, the same device");
    device.say(&mut world, PRESENCE);
    assert_eq!(device.bodies, ["one"]);
    device.say(&mut world, CLOSE);

    device.scram2(&mut world, &agent(PHONE));
    device.bind(&mut world);
    let bound = device.stanzas.iter().rev().find(|e| e.attr("id") == Some("b")).unwrap().to_frame();
    assert!(bound.contains(&first), "also where it asks for a resource: {bound}");
    assert_eq!(devices(&mut world).len(), 2, "with the one that was there before");
    let row = world.disk(&jid("b")).rows.devices.values().find(|row| row.agent.is_some()).unwrap().clone();
    let row = format!("{row:?}").to_lowercase();
    assert!(!row.contains(PHONE), "its id is kept nowhere");
}

#[test]
fn a_user_agent_has_another_resource_in_every_account() {
    let (mut world, _old) = bobs();
    drop(Device::online(&mut world, "a", "phone"));
    let mut resource = |name: &str| {
        let mut device = Device::offline(name, "unused");
        let success = device.scram2(&mut world, &all(PHONE)).unwrap();
        identity(&success).split_once('/').unwrap().1.to_owned()
    };
    assert_ne!(resource("a"), resource("b"));
}

#[test]
fn a_device_that_says_later_who_it_is_stays_the_device_it_was() {
    for inline in [true, false] {
        let (mut world, mut old) = bobs();
        old.lose(&mut world);
        let mut alice = Device::online(&mut world, "a", "phone");
        alice.message(&mut world, "b@d", "waits");
        let resume = old.resume_frame();
        if inline {
            let success = old.scram2(&mut world, &format!("{}{BIND}{resume}", agent(PHONE))).unwrap();
            assert_eq!(identity(&success), "b@d/old");
        } else {
            old.scram2(&mut world, &agent(PHONE)).unwrap();
            old.say(&mut world, &resume);
        }
        old.drain(&mut world);
        assert_eq!(old.bodies, ["waits"]);
        old.say(&mut world, CLOSE);
        let again = old.scram2(&mut world, &all(PHONE)).unwrap();
        assert_eq!(identity(&again), "b@d/old");
        assert_eq!(devices(&mut world), ["old"]);
    }
}

#[test]
fn the_same_user_agent_takes_over_and_another_is_another_device() {
    let (mut world, _old) = bobs();
    let mut first = modern(&mut world, PHONE);
    let mut laptop = modern(&mut world, LAPTOP);
    let second = modern(&mut world, PHONE);
    first.drain(&mut world);
    laptop.drain(&mut world);
    assert!(!first.connected(&world) && conflict(&first));
    assert!(laptop.connected(&world) && !conflict(&laptop));
    assert!(second.connected(&world));
    assert_eq!(devices(&mut world).len(), 3);
}

#[test]
fn a_stream_that_can_go_on_does_and_nothing_is_bound() {
    let (mut world, _old) = bobs();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut device = modern(&mut world, PHONE);
    device.send(&mut world, PRESENCE);
    device.message(&mut world, "a@d", "sent");
    device.lose(&mut world);
    alice.message(&mut world, "b@d", "missed");
    world.crash(&jid("b"));
    let before = device.nonzas.len();
    let success = device.scram2(&mut world, &format!("{}{}", all(PHONE), device.resume_frame())).unwrap();
    let resumed = success.child(ns::SM, "resumed").unwrap();
    assert_eq!((resumed.attr("h"), resumed.attr("previd")), (Some("2"), Some(device.sm_id.as_str())));
    assert!(success.child(ns::BIND2, "bound").is_none());
    assert!(identity(&success).starts_with("b@d/Tests/"));
    let after: Vec<&str> = device.nonzas.iter().skip(before).map(|e| e.name.as_str()).collect();
    assert_eq!(after, ["open", "features", "challenge", "success"], "no features follow");
    assert_eq!(device.bodies, ["missed"]);
}

#[test]
fn a_stream_that_is_over_is_said_to_be_and_another_begins() {
    let (mut world, _old) = bobs();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut device = modern(&mut world, PHONE);
    device.send(&mut world, PRESENCE);
    device.lose(&mut world);
    alice.message(&mut world, "b@d", "missed");
    world.pass(Limits::DEFAULT.resume_window_ms + 1);
    let success = device.scram2(&mut world, &format!("{}{}", all(PHONE), device.resume_frame())).unwrap();
    let failed = success.child(ns::SM, "failed").unwrap().to_frame();
    assert!(failed.contains("h='1'") && failed.contains("<item-not-found"), "{failed}");
    assert!(success.child(ns::BIND2, "bound").unwrap().child(ns::SM, "enabled").is_some());
    device.send(&mut world, PRESENCE);
    assert_eq!(device.bodies, ["missed"], "what waited for the device still does");

    for (previd, h, condition) in [("nobody", "0", "item-not-found"), ("nobody", "many", "bad-request")] {
        let wishes = format!("{}<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='{h}'/>", all(PHONE));
        let success = device.scram2(&mut world, &wishes).unwrap();
        let failed = success.child(ns::SM, "failed").unwrap();
        assert_eq!(failed.attr("h"), None);
        assert_eq!(failed.children().next().unwrap().name, condition);
        assert!(success.child(ns::BIND2, "bound").is_some());
    }
}

#[test]
fn a_count_that_was_never_reached_ends_the_stream() {
    let (mut world, _old) = bobs();
    let mut device = modern(&mut world, PHONE);
    device.lose(&mut world);
    device.handled = Handled(7);
    let answer = device.scram2(&mut world, &format!("{}{}", all(PHONE), device.resume_frame()));
    assert_eq!(answer, None);
    assert!(!device.connected(&world));
    assert!(device.nonzas.iter().any(|e| e.to_frame().contains("<handled-count-too-high")));
}

#[test]
fn during_an_exchange_nothing_else_may_be_said() {
    for (frame, error) in [
        ("<message xmlns='jabber:client' to='a@d'/>", "not-authorized"),
        (
            "<iq xmlns='jabber:client' type='get' id='r'><query xmlns='jabber:iq:register'/></iq>",
            "not-authorized",
        ),
        ("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-256'/>", "bad-format"),
        ("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'/>", "bad-format"),
        ("<enable xmlns='urn:xmpp:sm:3'/>", "bad-format"),
    ] {
        let (mut world, _old) = bobs();
        let mut device = Device::offline("b", "unused");
        device.open(&mut world, "");
        device.scram_first(&mut world, "");
        device.say(&mut world, frame);
        assert!(!device.connected(&world), "{frame}");
        assert!(
            device.nonzas.iter().any(|e| e.to_frame().contains(error)),
            "{frame}: {}",
            device.last_nonza()
        );
    }
    let (mut world, _old) = bobs();
    let mut device = Device::offline("b", "unused");
    device.open(&mut world, "");
    device.say(&mut world, "<response xmlns='urn:xmpp:sasl:2'/>");
    assert!(!device.connected(&world), "an answer to nothing");
    let mut device = modern(&mut world, PHONE);
    device.say(&mut world, "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-256'/>");
    assert!(!device.connected(&world), "nobody authenticates twice");
}

#[test]
fn an_exchange_may_be_given_up_and_begun_again() {
    let (mut world, _old) = bobs();
    let mut device = Device::offline("b", "unused");
    device.open(&mut world, "");
    device.scram_first(&mut world, BIND);
    let failure = device.ask2(&mut world, "<abort xmlns='urn:xmpp:sasl:2'/>").unwrap();
    assert_eq!(
        failure.to_frame(),
        "<failure xmlns='urn:xmpp:sasl:2'><aborted xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>"
    );
    assert_eq!(devices(&mut world), ["old"], "nothing of it was done");
    assert_eq!(device.scram2_here(&mut world, BIND).unwrap().name, "success");
}

#[test]
fn the_relay_may_sleep_during_an_exchange_and_before_a_resource_is_bound() {
    let (mut world, _old) = bobs();
    let mut device = Device::offline("b", "unused");
    let first = identity(&device.scram2(&mut world, &all(PHONE)).unwrap());
    device.open(&mut world, "");
    let (exchange, challenge) = device.scram_first(&mut world, &agent(PHONE));
    world.hibernate(&jid("b"));
    let success = device.scram_last(&mut world, exchange, &challenge.unwrap(), PASSWORD).unwrap();
    assert_eq!(identity(&success), "b@d");
    world.hibernate(&jid("b"));
    device.bind_unseen(&mut world);
    assert!(device.stanzas.last().unwrap().to_frame().contains(&first), "{}", device.last_stanza());
}

#[test]
fn what_is_refused_is_refused_by_name_and_counted() {
    let (mut world, _old) = bobs();
    let long = format!("<bind xmlns='urn:xmpp:bind:0'><tag>{}</tag></bind>", "t".repeat(1025));
    let previd = format!("<resume xmlns='urn:xmpp:sm:3' h='0' previd='{}'/>", "p".repeat(1025));
    let version_1 = agent("d4565fa7-4d72-1749-b3d3-740edbf87770");
    let first: &[u8] = b"n,,n=b,r=nonce";
    let for_alice: &[u8] = b"n,a=a@d,n=b,r=nonce";
    for (mechanism, first, wishes, expected) in [
        ("PLAIN", first, "", "invalid-mechanism"),
        ("SCRAM-SHA-256-PLUS", first, "", "invalid-mechanism"),
        ("SCRAM-SHA-256", b"n,,n=somebody,r=nonce", "", "not-authorized"),
        ("SCRAM-SHA-256", for_alice, "", "invalid-authzid"),
        ("SCRAM-SHA-256", b"nonsense", "", "malformed-request"),
        ("SCRAM-SHA-256", &[b'n'; 1025], "", "malformed-request"),
        ("SCRAM-SHA-256", first, version_1.as_str(), "malformed-request"),
        ("SCRAM-SHA-256", first, long.as_str(), "malformed-request"),
        ("SCRAM-SHA-256", first, previd.as_str(), "malformed-request"),
    ] {
        let mut device = Device::offline("b", "unused");
        device.open(&mut world, "");
        let failure = device.authenticate_with(&mut world, mechanism, first, wishes).unwrap();
        assert_eq!(condition(&failure), expected, "{mechanism} {wishes}");
        assert!(device.connected(&world));
    }
    let mut device = Device::offline("b", "unused");
    device.open(&mut world, "");
    for frame in [
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-256'/>",
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-256' upgrade='SCRAM-SHA-512'>\
         <initial-response/></authenticate>",
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-256'>\
         <initial-response>*</initial-response></authenticate>",
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>",
    ] {
        device.say(&mut world, frame);
        assert!(device.connected(&world), "{frame}");
    }
    device.ask2(&mut world, "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>");
    assert_eq!(AUTHENTICATION_FAILURES_MAX, 5);
    assert!(!device.connected(&world), "both kinds count");
    assert!(device.nonzas.iter().any(|e| e.to_frame().contains("<policy-violation")));
    assert_eq!(devices(&mut world), ["old"]);
}

#[test]
fn a_wrong_password_is_refused_and_nothing_is_done() {
    let (mut world, _old) = bobs();
    let mut device = Device::offline("b", "unused");
    device.open(&mut world, "");
    let (exchange, challenge) = device.scram_first(&mut world, &all(PHONE));
    let failure = device.scram_last(&mut world, exchange, &challenge.unwrap(), "wrong");
    assert_eq!(condition(&failure.unwrap()), "not-authorized");
    assert_eq!(devices(&mut world), ["old"]);
}

#[test]
fn a_stream_that_is_from_somebody_else_is_not_authenticated() {
    let (mut world, _old) = bobs();
    for (from, good) in [("b@d", true), ("B@d/desk", true), ("a@d", false), ("d", false), ("@", false)] {
        let mut device = Device::offline("b", "unused");
        device.open(&mut world, &format!("from='{from}'"));
        world.hibernate(&jid("b"));
        let answer = device.scram2_here(&mut world, "").unwrap();
        if good {
            assert_eq!(answer.name, "success", "{from}");
        } else {
            assert_eq!(condition(&answer), "invalid-authzid", "{from}");
        }
    }
}

#[test]
fn a_tag_that_cannot_be_in_an_address_is_left_out() {
    let (mut world, _old) = bobs();
    let mut device = Device::offline("b", "unused");
    let wishes =
        format!("{}<bind xmlns='urn:xmpp:bind:0'><tag>{}</tag></bind>", agent(PHONE), "t".repeat(1020));
    let success = device.scram2(&mut world, &wishes).unwrap();
    assert_eq!(condition(&success), "malformed-request", "with all the rest it is too long");
    let control = "<bind xmlns='urn:xmpp:bind:0'><tag>a&#x9;b</tag></bind>";
    let success = device.scram2(&mut world, &format!("{}{control}", agent(PHONE))).unwrap();
    assert_eq!(identity(&success).matches('/').count(), 1, "{}", identity(&success));
}

#[test]
fn devices_are_called_what_their_user_agents_call_themselves() {
    let (mut world, mut old) = bobs();
    drop(modern(&mut world, PHONE));
    let list = |world: &mut World, old: &mut Device| {
        let request = "<devices xmlns='urn:counterfoil:devices:0'/>";
        old.send(world, &format!("<iq xmlns='jabber:client' type='get' id='i'>{request}</iq>"));
        old.last_stanza()
    };
    let listed = list(&mut world, &mut old);
    assert!(listed.contains("name='Tests/Bench'"), "{listed}");
    let id = devices(&mut world).into_iter().find(|id| id.starts_with("Tests/")).unwrap();
    for (name, shown) in [("mine", "name='mine'"), ("", "name='Tests/Bench'")] {
        let rename = format!("<rename xmlns='urn:counterfoil:devices:0' id='{id}' name='{name}'/>");
        old.send(&mut world, &format!("<iq xmlns='jabber:client' type='set' id='r'>{rename}</iq>"));
        let listed = list(&mut world, &mut old);
        assert!(listed.contains(shown), "{listed}");
    }
}

#[test]
fn an_account_with_too_many_devices_refuses_one_more() {
    let mut world = World::with(Limits { devices_max: 1, ..Limits::DEFAULT });
    drop(Device::online(&mut world, "b", "old"));
    let mut device = Device::offline("b", "unused");
    let failure = device.scram2(&mut world, &all(PHONE)).unwrap();
    assert_eq!(condition(&failure), "temporary-auth-failure");
    assert!(failure.to_frame().contains("<text>The account has too many devices.</text>"));
    assert_eq!(device.scram2_here(&mut world, "").unwrap().name, "success");
}

/// Bob's phone signs in, is given a message, and comes back until it has a session.
fn signed_in(crash_at: Option<usize>) -> (usize, usize) {
    let (mut world, _old) = bobs();
    let mut alice = Device::online(&mut world, "a", "phone");
    let begun = world.steps;
    world.crash_at = crash_at.map(|step| begun + step);
    let mut device = Device::offline("b", "unused");
    let mut seen = None;
    for _ in 0..3 {
        let wishes = format!(
            "{}{}",
            all(PHONE),
            if device.sm_id.is_empty() { String::new() } else { device.resume_frame() }
        );
        let success = device.scram2(&mut world, &wishes);
        if let Some(success) = success.filter(|answer| answer.name == "success") {
            let before = seen.replace(identity(&success));
            assert!(before.is_none() || before == seen, "crash at {crash_at:?}: the device is another");
            if success.child(ns::SM, "resumed").is_none() {
                device.send(&mut world, PRESENCE);
            }
        }
        if device.connected(&world) {
            break;
        }
    }
    let steps = world.steps - begun;
    let mut body = |world: &mut World, device: &mut Device, body: &str| {
        alice.message(world, "b@d", body);
        device.drain(world);
    };
    assert!(device.connected(&world), "crash at {crash_at:?}");
    body(&mut world, &mut device, "one");
    device.lose(&mut world);
    body(&mut world, &mut device, "two");
    device.scram2(&mut world, &format!("{}{}", all(PHONE), device.resume_frame())).unwrap();
    world.pass(2_000);
    device.drain(&mut world);
    assert_eq!(device.bodies, ["one", "two"], "crash at {crash_at:?}");
    assert_eq!(devices(&mut world).len(), 2, "crash at {crash_at:?}");
    (steps, world.crashes)
}

#[test]
fn a_crash_at_any_step_of_signing_in_makes_no_second_device() {
    let (steps, _) = signed_in(None);
    assert!(steps > 10, "{steps}");
    let crashes: usize = (1..=steps).map(|step| signed_in(Some(step)).1).sum();
    assert_eq!(crashes, steps);
}

#[test]
fn nothing_is_said_before_it_is_on_disk() {
    let (mut world, _old) = bobs();
    let mut device = Device::offline("b", "unused");
    device.open(&mut world, "");
    world.slow_disk = true;
    let answer = device.scram2_here(&mut world, &all(PHONE));
    assert_eq!(answer, None, "the device is not written yet");
    world.settle(true);
    device.drain(&mut world);
    let said: Vec<&str> = device.nonzas.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(said, ["open", "features", "challenge", "success", "features"]);
    world.input(&jid("b"), Input::Frame(device.link, PRESENCE));
    assert!(device.connected(&world));
}
