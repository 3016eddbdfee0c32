//! Who is told of what is published: the devices whose clients said that they want to know
//! (XEP-0115, XEP-0163 §4).

use super::pep::{ask, item, publish, texts};
use super::world::{Device, World, jid};
use crate::limits::{Limits, PEP_EVENT_BYTES_MAX};
use crate::relay::{Input, TransferItem, TransferRequest};
use crate::wire::{Element, ns, stanza};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// What a client that wants these nodes answers, and its digest.
pub fn client(nodes: &[&str]) -> (Element, String) {
    let identity = Element::new(ns::DISCO_INFO, "identity");
    let identity = identity.with_attr("category", "client").with_attr("type", "pc");
    let mut query = Element::new(ns::DISCO_INFO, "query").with(identity);
    let mut features: Vec<String> = nodes.iter().map(|node| format!("{node}+notify")).collect();
    features.push(ns::DISCO_INFO.to_owned());
    features.sort();
    let mut text = "client/pc//<".to_owned();
    for feature in features {
        text.push_str(&format!("{feature}<"));
        query.push(Element::new(ns::DISCO_INFO, "feature").with_attr("var", feature));
    }
    (query, STANDARD.encode(Sha1::digest(text)))
}

pub fn presence(ver: &str) -> String {
    format!(
        "<presence xmlns='jabber:client'><c xmlns='{}' hash='sha-1' node='client' ver='{ver}'/></presence>",
        ns::CAPS
    )
}

/// The questions that a device was asked and that are not answered.
fn questions(device: &Device) -> Vec<Element> {
    let asked = |e: &&Element| e.attr("type") == Some("get") && e.child(ns::DISCO_INFO, "query").is_some();
    device.stanzas.iter().filter(asked).cloned().collect()
}

fn answer(world: &mut World, device: &mut Device, query: &Element) {
    let question = questions(device).pop().expect("it was asked");
    let (to, id) = (question.attr("from").unwrap(), question.attr("id").unwrap());
    let iq =
        Element::new(ns::CLIENT, "iq").with_attr("type", "result").with_attr("to", to).with_attr("id", id);
    device.send(world, &iq.with(query.clone()).to_frame());
}

/// A device of `a` that has come and has said that it wants to hear of these nodes.
pub fn interested(world: &mut World, resource: &str, nodes: &[&str]) -> Device {
    let mut device = unseen(world, resource);
    let (query, ver) = client(nodes);
    device.send(world, &presence(&ver));
    if !questions(&device).is_empty() {
        answer(world, &mut device, &query);
    }
    device
}

fn unseen(world: &mut World, resource: &str) -> Device {
    let mut device = Device::online(world, "a", resource);
    world.input(&jid("a"), Input::Frame(device.link, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"));
    device.authenticate(world);
    device.bind_unseen(world);
    device.stanzas.clear();
    device
}

/// The nodes and items of the events it was sent.
pub fn events(device: &Device) -> Vec<String> {
    let events = device.stanzas.iter().filter(|e| e.attr("type") == Some("headline"));
    let events = events.filter_map(|message| message.child(ns::PUBSUB_EVENT, "event"));
    let told = events.map(|event| {
        let what = event.children().next().unwrap();
        let node = what.attr("node").unwrap();
        match what.name.as_str() {
            "items" => texts(event).into_iter().map(|(id, text)| format!("{node}/{id} {text}")).collect(),
            other => format!("{other} {node}"),
        }
    });
    told.map(|told: String| told.trim_end().to_owned()).collect()
}

#[test]
fn a_device_is_told_of_the_nodes_that_its_client_wants_and_of_no_others() {
    let mut world = World::new();
    let mut phone = interested(&mut world, "phone", &["n", "m"]);
    let mut laptop = interested(&mut world, "laptop", &["n"]);
    let mut plain = Device::online(&mut world, "a", "plain");
    publish(&mut world, &mut phone, "n", &item("one", "1"), &[("pubsub#access_model", "whitelist")]);
    publish(&mut world, &mut phone, "m", &item("two", "2"), &[]);
    publish(&mut world, &mut phone, "other", &item("three", "3"), &[]);
    laptop.drain(&mut world);
    plain.drain(&mut world);
    assert_eq!(events(&phone), ["n/one 1", "m/two 2"], "who publishes is told as well");
    assert_eq!(events(&laptop), ["n/one 1"]);
    assert!(events(&plain).is_empty());
    let event = laptop.stanzas.last().unwrap();
    assert_eq!((event.attr("from"), event.attr("to")), (Some("a@d"), Some("a@d/laptop")));
}

#[test]
fn what_is_taken_back_emptied_or_deleted_is_told() {
    let mut world = World::new();
    let mut phone = interested(&mut world, "phone", &["n"]);
    let all = [("pubsub#max_items", "max")];
    publish(
        &mut world,
        &mut phone,
        "n",
        &[item("one", "1"), item("two", "2"), item("three", "3")].concat(),
        &all,
    );
    phone.stanzas.clear();
    let pubsub = |inside: &str| format!("<pubsub xmlns='{}'>{inside}</pubsub>", ns::PUBSUB);
    let owner = |inside: &str| format!("<pubsub xmlns='{}'>{inside}</pubsub>", ns::PUBSUB_OWNER);
    ask(&mut world, &mut phone, "set", &pubsub("<retract node='n'><item id='one'/></retract>"));
    assert!(events(&phone).is_empty(), "nobody asked for that");
    ask(&mut world, &mut phone, "set", &pubsub("<retract node='n' notify='1'><item id='two'/></retract>"));
    ask(&mut world, &mut phone, "set", &owner("<purge node='n'/>"));
    ask(&mut world, &mut phone, "set", &owner("<delete node='n'/>"));
    assert_eq!(events(&phone), ["n/two", "purge n", "delete n"]);
}

#[test]
fn what_is_only_told_is_not_kept() {
    let mut world = World::new();
    let mut phone = interested(&mut world, "phone", &["n"]);
    publish(&mut world, &mut phone, "n", &item("one", "1"), &[("pubsub#persist_items", "false")]);
    assert_eq!(events(&phone), ["n/one 1"]);
    assert!(world.disk(&jid("a")).rows.items.is_empty());
}

#[test]
fn who_comes_is_told_the_newest_item_of_each_node_once() {
    let mut world = World::new();
    let mut phone = Device::online(&mut world, "a", "phone");
    let all = [("pubsub#max_items", "max")];
    publish(&mut world, &mut phone, "n", &item("one", "1"), &all);
    publish(&mut world, &mut phone, "n", &item("two", "2"), &all);
    publish(
        &mut world,
        &mut phone,
        "never",
        &item("x", "x"),
        &[("pubsub#send_last_published_item", "never")],
    );
    let mut laptop = interested(&mut world, "laptop", &["n", "never", "none"]);
    assert_eq!(events(&laptop), ["n/two 2"]);
    let told = laptop.stanzas.iter().find(|e| e.attr("type") == Some("headline")).unwrap();
    assert!(stanza::delay(told).is_some(), "{}", told.to_frame());
    let (_, ver) = client(&["n", "never", "none"]);
    laptop.send(&mut world, &presence(&ver));
    assert_eq!(events(&laptop).len(), 1, "and not with every presence");
}

#[test]
fn a_client_is_asked_once_however_often_it_comes_and_by_however_many_devices() {
    let mut world = World::new();
    let mut phone = interested(&mut world, "phone", &["n"]);
    publish(&mut world, &mut phone, "n", &item("one", "1"), &[]);
    let laptop = interested(&mut world, "laptop", &["n"]);
    assert!(questions(&laptop).is_empty(), "another device of the same client was asked");
    assert_eq!(events(&laptop), ["n/one 1"]);
    world.crash(&jid("a"));
    let again = interested(&mut world, "phone", &["n"]);
    assert!(questions(&again).is_empty() && events(&again) == ["n/one 1"]);
    let mut changed = interested(&mut world, "laptop", &["m"]);
    assert_eq!(questions(&changed).len(), 1, "a client that can do something else is asked again");
    publish(&mut world, &mut changed, "m", &item("two", "2"), &[]);
    assert_eq!(events(&changed), ["m/two 2"], "and what it wanted before is forgotten");
}

#[test]
fn an_answer_that_is_not_what_its_digest_says_is_not_believed() {
    let mut world = World::new();
    let mut phone = unseen(&mut world, "phone");
    let (query, _) = client(&["n"]);
    let (_, ver) = client(&["m"]);
    phone.send(&mut world, &presence(&ver));
    answer(&mut world, &mut phone, &query);
    publish(&mut world, &mut phone, "n", &item("one", "1"), &[]);
    assert!(events(&phone).is_empty());
    let honest = interested(&mut world, "laptop", &["m"]);
    assert_eq!(questions(&honest).len(), 1, "and no other device is taken for it");
}

#[test]
fn an_answer_nobody_asked_for_changes_nothing() {
    let mut world = World::new();
    let mut phone = unseen(&mut world, "phone");
    let (query, ver) = client(&["n"]);
    let result = |id: &str, to: &str| {
        let iq = Element::new(ns::CLIENT, "iq").with_attr("type", "result").with_attr("id", id);
        iq.with_attr("to", to).with(query.clone()).to_frame()
    };
    phone.send(&mut world, &result(&format!("caps-{ver}"), "a@d"));
    phone.send(&mut world, &presence(&ver));
    phone.send(&mut world, &result("another", "a@d"));
    phone.send(&mut world, &result(&format!("caps-{ver}"), "b@d"));
    publish(&mut world, &mut phone, "n", &item("one", "1"), &[]);
    assert!(events(&phone).is_empty());
    answer(&mut world, &mut phone, &query);
    assert_eq!(events(&phone), ["n/one 1"]);
}

#[test]
fn a_device_that_cannot_answer_is_left_in_peace() {
    let mut world = World::new();
    let mut phone = unseen(&mut world, "phone");
    let (_, ver) = client(&["n"]);
    for _ in 0..3 {
        phone.send(&mut world, &presence(&ver));
    }
    assert_eq!(questions(&phone).len(), 1);
    let id = questions(&phone)[0].attr("id").unwrap().to_owned();
    phone.send(&mut world, &format!("<iq xmlns='jabber:client' type='error' id='{id}'/>"));
    phone.send(&mut world, &presence(&ver));
    assert_eq!(questions(&phone).len(), 1);
}

#[test]
fn the_question_outlives_hibernation_and_a_broken_connection() {
    let mut world = World::new();
    let mut phone = unseen(&mut world, "phone");
    let (query, ver) = client(&["n"]);
    phone.send(&mut world, &presence(&ver));
    world.hibernate(&jid("a"));
    answer(&mut world, &mut phone, &query);
    world.hibernate(&jid("a"));
    publish(&mut world, &mut phone, "n", &item("one", "1"), &[]);
    assert_eq!(events(&phone), ["n/one 1"]);
    let mut laptop = unseen(&mut world, "laptop");
    let (query, ver) = client(&["n", "m"]);
    world.slow_disk = true;
    laptop.send(&mut world, &presence(&ver));
    world.settle(true);
    world.sent.remove(&laptop.link);
    world.crash(&jid("a"));
    assert!(laptop.resume(&mut world));
    laptop.drain(&mut world);
    answer(&mut world, &mut laptop, &query);
    assert_eq!(events(&laptop), ["n/one 1"]);
}

#[test]
fn a_device_without_acks_is_told_as_well_also_after_hibernation() {
    let mut world = World::new();
    let mut phone = Device::online(&mut world, "a", "phone");
    let mut web = Device::online(&mut world, "a", "web");
    world.input(&jid("a"), Input::Frame(web.link, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"));
    web.authenticate(&mut world);
    web.say(
        &mut world,
        "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <resource>web</resource></bind></iq>",
    );
    let (query, ver) = client(&["n"]);
    web.say(&mut world, &presence(&ver));
    answer(&mut world, &mut web, &query);
    world.hibernate(&jid("a"));
    publish(&mut world, &mut phone, "n", &item("one", "1"), &[]);
    web.drain(&mut world);
    assert_eq!(events(&web), ["n/one 1"]);
}

#[test]
fn a_device_that_is_away_for_a_moment_is_told_when_it_comes_back() {
    let mut world = World::new();
    let mut phone = Device::online(&mut world, "a", "phone");
    let mut laptop = interested(&mut world, "laptop", &["n"]);
    laptop.drain(&mut world);
    world.input(&jid("a"), Input::LinkDown(laptop.link));
    publish(&mut world, &mut phone, "n", &item("one", "1"), &[]);
    world.crash(&jid("a"));
    assert!(laptop.resume(&mut world));
    laptop.drain(&mut world);
    assert_eq!(events(&laptop), ["n/one 1"]);
}

#[test]
fn a_device_that_takes_nothing_is_let_go_and_not_kept_events_for_without_end() {
    let mut world = World::with(Limits { kept_bytes_max: 4_000, ..Limits::DEFAULT });
    let mut phone = Device::online(&mut world, "a", "phone");
    let mut laptop = interested(&mut world, "laptop", &["n"]);
    laptop.drain(&mut world);
    laptop.acks = false;
    for number in 0..30 {
        publish(&mut world, &mut phone, "n", &item("one", &number.to_string().repeat(100)), &[]);
    }
    let row = &world.disk(&jid("a")).rows.devices[&"laptop".into()];
    assert!(row.stream.is_none() && !laptop.connected(&world));
    laptop.drain(&mut world);
    assert!(laptop.nonzas.iter().any(|e| e.to_frame().contains("resource-constraint")));
    assert!(!laptop.resume(&mut world), "its session would not know of all");
}

#[test]
fn a_long_event_says_that_there_is_something_to_fetch() {
    let mut world = World::new();
    let mut phone = interested(&mut world, "phone", &["n"]);
    publish(&mut world, &mut phone, "n", &item("one", &"x".repeat(PEP_EVENT_BYTES_MAX)), &[]);
    assert_eq!(events(&phone), ["n/one"]);
}

#[test]
fn an_event_of_a_contact_reaches_the_devices_that_want_it() {
    let mut world = World::new();
    let mut phone = interested(&mut world, "phone", &["n"]);
    let mut plain = Device::online(&mut world, "a", "plain");
    let event = |node: &str| TransferItem {
        news: 0,
        seq: crate::id::StanzaSeq(0),
        stanza: format!(
            "<message xmlns='jabber:client' type='headline' from='b@d' to='a@d'><event xmlns='{}'>\
             <items node='{node}'><item id='one'><p xmlns='t'>1</p></item></items></event></message>",
            ns::PUBSUB_EVENT
        ),
    };
    let items = vec![event("n"), event("m")];
    world.transfer(&TransferRequest { from: jid("b"), to: jid("a"), items });
    phone.drain(&mut world);
    plain.drain(&mut world);
    assert_eq!((events(&phone), events(&plain)), (vec!["n/one 1".to_owned()], vec![]));
    let news = "<message xmlns='jabber:client' type='headline' to='a@d'><body>news</body></message>";
    phone.send(&mut world, news);
    plain.drain(&mut world);
    assert_eq!(plain.bodies, ["news"], "a headline that is no event is for everybody");
}

#[test]
fn a_contact_who_comes_is_handed_what_he_may_see() {
    let mut world = World::new();
    let mut phone = Device::online(&mut world, "a", "phone");
    for (node, access, last) in [
        ("open", "open", "on_sub_and_presence"),
        ("presence", "presence", "on_sub_and_presence"),
        ("never", "open", "never"),
        ("private", "whitelist", "on_sub_and_presence"),
    ] {
        let options = [("pubsub#access_model", access), ("pubsub#send_last_published_item", last)];
        publish(&mut world, &mut phone, node, &item("one", "1"), &options);
    }
    ask(&mut world, &mut phone, "set", "<vCard xmlns='vcard-temp'><FN>A</FN></vCard>");
    let handed = world.send_last_items(&jid("a"), &jid("b").with_resource("x"));
    let nodes: Vec<&str> = ["open", "presence", "never", "private", "vcard-temp"]
        .into_iter()
        .filter(|node| handed.iter().any(|frame| frame.contains(&format!("node='{node}'"))))
        .collect();
    assert_eq!((nodes, handed.len()), (vec!["open", "presence"], 2));
    assert!(handed.iter().all(|frame| frame.contains("to='b@d/x'") && frame.contains("<delay")));
}

#[test]
fn a_client_of_an_unknown_digest_speaks_for_its_device_alone() {
    let mut world = World::new();
    let say = presence("whatever").replace("sha-1", "md2");
    let (query, _) = client(&["n"]);
    for resource in ["phone", "laptop"] {
        let mut device = unseen(&mut world, resource);
        device.send(&mut world, &say);
        answer(&mut world, &mut device, &query);
        publish(&mut world, &mut device, "n", &item(resource, "1"), &[]);
        assert!(events(&device).contains(&format!("n/{resource} 1")));
    }
}

#[test]
fn whatever_step_the_power_is_cut_at_nobody_was_told_of_what_is_not_there() {
    let (mut told, mut cut) = (0, 0);
    for step in 1..40 {
        let mut world = World::new();
        let mut phone = interested(&mut world, "phone", &["n"]);
        let mut laptop = interested(&mut world, "laptop", &["n"]);
        laptop.drain(&mut world);
        world.crash_at = Some(world.steps + step);
        let request = "<iq xmlns='jabber:client' type='set' id='p'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
            <publish node='n'><item id='one'><p xmlns='t'>1</p></item></publish></pubsub></iq>";
        phone.send(&mut world, request);
        laptop.drain(&mut world);
        let answered = phone.stanzas.iter().any(|e| e.attr("id") == Some("p"));
        let is_there = !world.disk(&jid("a")).rows.items.is_empty();
        assert!(
            is_there || !answered && events(&phone).is_empty() && events(&laptop).is_empty(),
            "step {step}"
        );
        cut += world.crashes;
        told += usize::from(answered);
        world.crash_at = None;
        world.crash(&jid("a"));
        assert!(phone.resume(&mut world) && laptop.resume(&mut world), "step {step}");
        phone.drain(&mut world);
        laptop.drain(&mut world);
        assert_eq!(
            (events(&phone), events(&laptop)),
            (vec!["n/one 1".to_owned()], vec!["n/one 1".to_owned()]),
            "step {step}"
        );
        assert!(phone.stanzas.iter().any(|e| e.attr("id") == Some("p")), "step {step}");
    }
    assert!(cut >= 5 && told >= 1, "{cut} cuts");
}
