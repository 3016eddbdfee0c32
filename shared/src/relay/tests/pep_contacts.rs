//! What an account publishes, and its contacts (XEP-0163 §4, XEP-0060 §6.5).

use super::pep::{item, publish, texts};
use super::pep_caps::{events, interested};
use super::world::{Device, World};
use crate::wire::{Element, ns};

/// Alice wants to hear of the node `n`; Bob publishes.
fn two() -> (World, Device, Device) {
    let mut world = World::new();
    let alice = interested(&mut world, "phone", &["n"]);
    let bob = Device::online(&mut world, "b", "desk");
    (world, alice, bob)
}

fn presence(world: &mut World, device: &mut Device, kind: &str, to: &str) {
    device.send(world, &format!("<presence xmlns='jabber:client' type='{kind}' to='{to}'/>"));
}

/// Alice sees Bob's presence from here on.
fn befriend(world: &mut World, alice: &mut Device, bob: &mut Device) {
    presence(world, alice, "subscribe", "b@d");
    bob.drain(world);
    presence(world, bob, "subscribed", "a@d");
    alice.drain(world);
}

fn fetch(world: &mut World, device: &mut Device, node: &str) -> Element {
    let id = format!("f{}", device.stanzas.len());
    let ask = format!(
        "<iq xmlns='jabber:client' type='get' id='{id}' to='b@d'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
         <items node='{node}'/></pubsub></iq>"
    );
    device.send(world, &ask);
    device.drain(world);
    device.stanzas.iter().rev().find(|stanza| stanza.attr("id") == Some(&id)).cloned().unwrap()
}

#[test]
fn a_friend_hears_of_what_is_published_and_of_the_newest_when_they_become_friends() {
    let (mut world, mut alice, mut bob) = two();
    publish(&mut world, &mut bob, "n", &item("one", "1"), &[]);
    publish(&mut world, &mut bob, "private", &item("one", "1"), &[("pubsub#access_model", "whitelist")]);
    alice.drain(&mut world);
    assert!(events(&alice).is_empty(), "a stranger hears nothing");
    befriend(&mut world, &mut alice, &mut bob);
    assert_eq!(events(&alice), ["n/one 1"]);
    publish(&mut world, &mut bob, "n", &item("two", "2"), &[]);
    publish(&mut world, &mut bob, "m", &item("three", "3"), &[]);
    alice.drain(&mut world);
    assert_eq!(events(&alice), ["n/one 1", "n/two 2"], "and only of what she wants");
    presence(&mut world, &mut bob, "unsubscribed", "a@d");
    publish(&mut world, &mut bob, "n", &item("four", "4"), &[]);
    alice.drain(&mut world);
    assert_eq!(events(&alice).len(), 2, "who is no friend any more hears nothing more");
}

#[test]
fn whoever_comes_is_told_the_newest_of_her_friends() {
    let (mut world, mut alice, mut bob) = two();
    befriend(&mut world, &mut alice, &mut bob);
    alice.send(&mut world, "<presence xmlns='jabber:client' type='unavailable'/>");
    publish(&mut world, &mut bob, "n", &item("one", "1"), &[]);
    alice.drain(&mut world);
    assert!(events(&alice).is_empty());
    let alice = interested(&mut world, "phone", &["n"]);
    assert_eq!(events(&alice), ["n/one 1"]);
}

#[test]
fn an_item_is_fetched_by_who_may_see_it() {
    let (mut world, mut alice, mut bob) = two();
    for (node, access) in [("open", "open"), ("friends", "presence"), ("private", "whitelist")] {
        publish(&mut world, &mut bob, node, &item("one", node), &[("pubsub#access_model", access)]);
    }
    let condition = |answer: &Element| {
        let error = answer.child(ns::CLIENT, "error").unwrap();
        error.children().map(|condition| condition.name.clone()).collect::<Vec<_>>()
    };
    let seen = |answer: &Element| texts(answer.child(ns::PUBSUB, "pubsub").unwrap());
    let one = |node: &str| vec![("one".to_owned(), node.to_owned())];
    assert_eq!(seen(&fetch(&mut world, &mut alice, "open")), one("open"));
    let refused = fetch(&mut world, &mut alice, "friends");
    assert_eq!(condition(&refused), ["not-authorized", "presence-subscription-required"]);
    befriend(&mut world, &mut alice, &mut bob);
    assert_eq!(seen(&fetch(&mut world, &mut alice, "friends")), one("friends"));
    assert_eq!(condition(&fetch(&mut world, &mut alice, "private")), ["not-allowed", "closed-node"]);
    assert_eq!(condition(&fetch(&mut world, &mut alice, "none")), ["item-not-found"]);
}
