//! The account's devices as their owner sees them (`relay::devices`).

use super::world::{Device, World, jid};
use crate::id::DeviceId;
use crate::wire::{Element, ns};

const LIST: &str = "<devices xmlns='urn:counterfoil:devices:0'/>";

fn ask(world: &mut World, device: &mut Device, kind: &str, request: &str) -> Element {
    device.send(world, &format!("<iq xmlns='jabber:client' type='{kind}' id='i'>{request}</iq>"));
    device.stanzas.iter().rev().find(|e| e.attr("id") == Some("i")).unwrap().clone()
}

/// Id, name, online, waiting, this.
fn listed(world: &mut World, device: &mut Device) -> Vec<[String; 5]> {
    let reply = ask(world, device, "get", LIST);
    let list = reply.child(ns::DEVICES, "devices").unwrap();
    let row = |device: &Element| {
        ["id", "name", "online", "waiting", "this"].map(|name| device.attr(name).unwrap_or("-").to_owned())
    };
    list.children().map(row).collect()
}

fn bobs() -> (World, Device, Device, Device) {
    let mut world = World::new();
    let alice = Device::online(&mut world, "a", "phone");
    let laptop = Device::online(&mut world, "b", "laptop");
    let phone = Device::online(&mut world, "b", "phone");
    (world, alice, laptop, phone)
}

fn request(name: &str, attributes: &str) -> String {
    format!("<{name} xmlns='urn:counterfoil:devices:0' {attributes}/>")
}

#[test]
fn each_is_listed_with_its_name_its_queue_and_when_it_was_there() {
    let (mut world, mut alice, mut laptop, mut phone) = bobs();
    laptop.say(&mut world, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
    let left = world.now;
    for body in ["1", "2", "3"] {
        alice.message(&mut world, "b@d", body);
    }
    world.pass(1_000);
    phone.drain(&mut world);
    ask(&mut world, &mut phone, "set", &request("rename", "id='laptop' name='at work'"));
    world.crash(&jid("b"));
    assert!(phone.resume(&mut world));
    assert_eq!(
        listed(&mut world, &mut phone),
        [["laptop", "at work", "false", "3", "-"], ["phone", "-", "true", "0", "true"]]
    );
    let list = ask(&mut world, &mut phone, "get", LIST).to_frame();
    assert!(list.contains(&format!("seen='{}'", left.to_stamp())), "{list}");
    assert!(list.contains(&format!("seen='{}'", world.now.to_stamp())), "{list}");
}

#[test]
fn one_that_is_removed_loses_its_connection_its_session_and_its_place() {
    let (mut world, mut alice, mut laptop, mut phone) = bobs();
    ask(&mut world, &mut phone, "set", &request("remove", "id='laptop'"));
    laptop.drain(&mut world);
    assert!(!laptop.connected(&world));
    assert!(laptop.nonzas.iter().any(|e| e.to_frame().contains("<not-authorized")));
    assert!(!world.disk(&jid("b")).rows.devices.contains_key(&DeviceId::from("laptop")));
    assert!(!laptop.resume(&mut world), "its session is gone");
    alice.message(&mut world, "b@d", "hello");
    phone.drain(&mut world);
    world.pass(1_000);
    phone.drain(&mut world);
    assert_eq!(phone.bodies, ["hello"]);
    let mut anew = Device::online(&mut world, "b", "laptop");
    anew.drain(&mut world);
    assert!(anew.bodies.is_empty(), "a new device has no queue");
}

#[test]
fn one_may_remove_itself_and_is_told_that_it_is_done() {
    let (mut world, _, mut laptop, mut phone) = bobs();
    laptop.send(&mut world, "<iq xmlns='jabber:client' type='set' id='bye'><remove xmlns='urn:counterfoil:devices:0' id='laptop'/></iq>");
    assert!(!laptop.connected(&world));
    assert_eq!(laptop.stanzas.last().unwrap().attr("type"), Some("result"));
    assert_eq!(listed(&mut world, &mut phone).len(), 1);
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let (mut world, _, mut laptop, _) = bobs();
    let long = format!("id='phone' name='{}'", "n".repeat(257));
    for (name, attributes, condition) in [
        ("remove", "id='fridge'", "item-not-found"),
        ("rename", "name='x'", "item-not-found"),
        ("rename", long.as_str(), "bad-request"),
        ("rename", "id='phone' name='a&#9;b'", "bad-request"),
        ("paint", "id='phone'", "feature-not-implemented"),
    ] {
        let answer = ask(&mut world, &mut laptop, "set", &request(name, attributes)).to_frame();
        assert!(answer.contains(&format!("<{condition}")), "{name} {attributes}: {answer}");
    }
    let elsewhere = "<iq xmlns='jabber:client' type='get' id='i' to='a@d'><devices xmlns='urn:counterfoil:devices:0'/></iq>";
    laptop.send(&mut world, elsewhere);
    assert!(laptop.last_stanza().contains("<forbidden"), "{}", laptop.last_stanza());
}
