//! What is taken away is not shown once more: no news of a message comes after the news that it
//! is gone, and none of one that the store does not have ([`World::check_event`]).

use super::*;

fn shown(world: &World, origin: &str) -> usize {
    world.told(|event| matches!(event, Event::Message(row) if row.key == key(origin)))
}

fn gone(world: &World, origin: &str) -> usize {
    world.told(|event| matches!(event, Event::MessageGone(_, gone) if *gone == key(origin)))
}

/// The disk is done with all that it was given.
fn written(world: &mut World) {
    world.stuck = false;
    world.settle();
}

#[test]
fn a_message_that_is_discarded_before_it_is_shown_is_never_shown() {
    let mut world = World::online();
    world.reachable = false;
    world.cut();
    world.stuck = true;
    world.command(send("o1", "hello"));
    world.command(send("o2", "stays"));
    world.command(Command::Discard(key("o1")));
    written(&mut world);
    assert_eq!((shown(&world, "o1"), gone(&world, "o1")), (0, 1));
    assert_eq!(shown(&world, "o2"), 1, "others are shown all the same");
    assert!(!world.store.messages.contains_key(&key("o1")));
    world.reachable = true;
    world.advance(5000);
    assert_eq!(world.relay.log, [("o2".into(), "stays".into())]);
}

#[test]
fn a_message_that_is_retried_before_its_failure_is_shown_is_shown_as_the_new_one_only() {
    let mut world = World::online();
    world.command(send("o1", "hello"));
    world.stuck = true;
    world.events.clear();
    let refused = "<message xmlns='jabber:client' type='error' from='bob@d' to='alice@d' id='o1'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>{SEQ}</message>";
    world.deliver(refused);
    world.command(Command::Retry(key("o1")));
    written(&mut world);
    assert_eq!((shown(&world, "o1"), gone(&world, "o1")), (0, 1));
    let rows: Vec<_> = world.store.messages.values().collect();
    assert_eq!((rows.len(), rows[0].body.as_str(), rows[0].status), (1, "hello", Status::Sent));
    assert!(shown(&world, &rows[0].id) > 0);
}

#[test]
fn after_signing_out_nothing_is_shown_of_what_was_there() {
    for online in [false, true] {
        let mut world = World::online();
        if online {
            world.stuck = true;
            world.deliver(&from_bob("b1", "hi"));
        } else {
            world.reachable = false;
            world.cut();
            world.stuck = true;
            world.command(send("o1", "hello"));
        }
        world.events.clear();
        world.command(Command::SignOut);
        written(&mut world);
        let told = |event: &Event| matches!(event, Event::Message(_) | Event::Conversation(_));
        assert_eq!(world.told(told), 0, "online: {online}");
        assert_eq!(world.told(|event| *event == Event::SignedOut), 1);
        assert!(world.store.messages.is_empty());
    }
}
