//! What is shown of messages: once, in order, and never more than is true.

use super::*;
use crate::limits::FRAME_BYTES_MAX;

fn bob() -> BareJid {
    jid("bob@d")
}

fn accepted(from: &str, origin: &str, seq: u64) -> String {
    let from = if from.is_empty() { String::new() } else { format!(" from='{from}'") };
    format!(
        "<message xmlns='jabber:client'{from}><accepted xmlns='urn:counterfoil:accepted:0' origin-id='{origin}' stanza-id='{seq}'/></message>"
    )
}

fn carbon(wrapper_from: &str, kind: &str, inner: &str) -> String {
    format!(
        "<message xmlns='jabber:client' from='{wrapper_from}' to='alice@d/dev'><{kind} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></{kind}></message>"
    )
}

fn own(origin: &str, body: &str) -> String {
    format!(
        "<message xmlns='jabber:client' type='chat' from='alice@d/phone' to='bob@d' id='{origin}'><body>{body}</body><origin-id xmlns='urn:xmpp:sid:0' id='{origin}'/>{{SEQ}}</message>"
    )
}

fn error_from(from: &str, id: &str) -> String {
    format!(
        "<message xmlns='jabber:client' type='error' from='{from}' to='alice@d' id='{id}'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>{{SEQ}}</message>"
    )
}

#[test]
fn a_message_carries_everything_it_asks_for() {
    let mut world = World::online();
    world.command(send("o1", "a < b"));
    assert_eq!(
        *world.sent_with("<body>")[0],
        "<message xmlns='jabber:client' type='chat' to='bob@d' id='o1'><body>a &lt; b</body>\
         <origin-id xmlns='urn:xmpp:sid:0' id='o1'/><request xmlns='urn:xmpp:receipts'/>\
         <markable xmlns='urn:xmpp:chat-markers:0'/><active xmlns='http://jabber.org/protocol/chatstates'/>\
         <accept xmlns='urn:counterfoil:accepted:0'/></message>"
    );
    let conversation = &world.store.conversations[&bob()];
    assert!(conversation.accepted && conversation.last_text == "a < b");
    let row = &world.store.messages[&key("o1")];
    assert_eq!((row.order, row.status), (1000, Status::Sent));
}

#[test]
fn a_command_that_comes_twice_has_one_effect() {
    let mut world = World::online();
    for _ in 0..2 {
        world.command(send("o1", "hello"));
    }
    world.advance(1000);
    world.command(send("o1", "hello"));
    world.reload();
    world.command(send("o1", "hello"));
    assert_eq!(world.relay.heard.iter().filter(|frame| frame.contains("hello")).count(), 1);
    assert_eq!(world.store.messages.len(), 1);
}

#[test]
fn sent_may_be_told_in_any_order_and_any_number_of_times() {
    for reload in [false, true] {
        for script in ["ra", "ar", "rra", "aara"] {
            let mut world = World::online();
            (world.relay.acks, world.relay.accepts) = (false, false);
            world.command(send("o1", "hello"));
            for step in script.chars() {
                match step {
                    'a' => world.say(&accepted("alice@d", "o1", 77)),
                    _ => {
                        world.relay.ack();
                        world.settle();
                    }
                }
                assert_eq!((world.status("o1"), world.store.outbox.len()), (Status::Sent, 0));
                if reload {
                    world.reload();
                }
            }
            assert_eq!(world.store.messages[&key("o1")].order, 77, "{script}");
        }
    }
}

#[test]
fn only_the_own_account_says_accepted() {
    let mut world = World::online();
    (world.relay.acks, world.relay.accepts) = (false, false);
    world.command(send("o1", "hello"));
    for forger in ["bob@d", "bob@d/x", "d", "alice@d/dev", "alice@d.evil"] {
        world.say(&accepted(forger, "o1", 5));
        assert_eq!(world.status("o1"), Status::Queued, "{forger}");
    }
    world.say(&accepted("alice@d", "other", 5));
    assert_eq!(world.store.messages.len(), 1);
    world.say(&accepted("", "o1", 5));
    assert_eq!(world.status("o1"), Status::Sent);
}

#[test]
fn only_the_recipient_says_delivered_and_read() {
    let mut world = World::online();
    world.command(send("o1", "hello"));
    for forger in ["mallory@d", "d", "alice@d", "bob@evil"] {
        world.deliver(&receipt_from(forger, "o1"));
        world.deliver(&displayed_from(forger, "o1"));
        world.deliver(&error_from(forger, "o1"));
        assert_eq!(world.status("o1"), Status::Sent, "{forger}");
    }
    world.deliver(&receipt_from("bob@d/any", "o1"));
    assert_eq!(world.status("o1"), Status::Delivered);
}

#[test]
fn a_status_never_goes_down() {
    let mut world = World::online();
    world.relay.accepts = false;
    world.command(send("o1", "hello"));
    world.deliver(&displayed_from("bob@d", "o1"));
    assert!(world.store.outbox.is_empty(), "what was read has been sent");
    world.deliver(&receipt_from("bob@d", "o1"));
    world.say(&accepted("alice@d", "o1", 5));
    world.deliver(&error_from("bob@d", "o1"));
    world.advance(1000);
    let row = &world.store.messages[&key("o1")];
    assert_eq!((row.status, row.awaiting), (Status::Read, None));
    assert!(row.times.sent.is_some() && row.times.delivered.is_some() && row.times.read.is_some());
}

#[test]
fn a_marker_reads_everything_before_it_and_nothing_after() {
    let mut world = World::online();
    for n in 1..=4 {
        world.command(send(&format!("o{n}"), "m"));
    }
    world.command(Command::Send { origin: "c1".into(), to: jid("carol@d"), body: "m".into() });
    world.reload();
    world.deliver(&displayed_from("bob@d/x", "o3"));
    let statuses: Vec<_> = ["o1", "o2", "o3", "o4", "c1"].map(|origin| world.status(origin)).into();
    assert_eq!(statuses, [Status::Read, Status::Read, Status::Read, Status::Sent, Status::Sent]);
}

#[test]
fn an_error_fails_the_message_and_a_retry_is_a_new_one() {
    let mut world = World::online();
    world.command(send("o1", "hello"));
    world.deliver(&error_from("bob@d", "o1"));
    let row = &world.store.messages[&key("o1")];
    assert_eq!((row.status, row.failure.as_deref()), (Status::Failed, Some("service-unavailable")));
    world.reload();
    world.command(Command::Retry(key("o1")));
    world.command(Command::Retry(key("o1")));
    world.advance(1000);
    assert_eq!(world.relay.log.len(), 2);
    let rows: Vec<_> = world.store.messages.values().collect();
    assert_eq!((rows.len(), rows[0].status, rows[0].body.as_str()), (1, Status::Sent, "hello"));
    assert_ne!(rows[0].key, key("o1"));
    assert_eq!(world.told(|event| matches!(event, Event::MessageGone(..))), 1);
}

#[test]
fn a_receipt_after_an_error_wins() {
    let mut world = World::online();
    world.command(send("o1", "hello"));
    world.deliver(&error_from("bob@d", "o1"));
    world.deliver(&receipt_from("bob@d", "o1"));
    let row = &world.store.messages[&key("o1")];
    assert_eq!((row.status, row.failure.as_deref()), (Status::Delivered, None));
    let told = world.events.len();
    world.deliver(&receipt_from("bob@d", "o1"));
    assert_eq!(world.events.len(), told, "a second one is no news");
}

#[test]
fn only_what_no_connection_was_given_can_be_taken_back() {
    let mut world = World::online();
    world.relay.accepts = false;
    world.relay.acks = false;
    world.command(send("o1", "gone"));
    world.command(Command::Discard(key("o1")));
    assert_eq!(world.store.outbox.len(), 1, "it is on its way");
    world.reachable = false;
    world.cut();
    world.command(send("o2", "not yet"));
    world.command(Command::Discard(key("o2")));
    world.command(Command::Discard(key("o1")));
    assert_eq!((world.store.messages.len(), world.store.outbox.len()), (1, 1));
    world.reachable = true;
    world.relay.acks = true;
    world.advance(5000);
    world.deliver(&error_from("bob@d", "o1"));
    world.command(Command::Discard(key("o1")));
    assert!(world.store.messages.is_empty());
}

#[test]
fn a_message_that_no_stream_would_carry_fails_at_once() {
    let mut world = World::online();
    world.command(send("o1", &"<".repeat(FRAME_BYTES_MAX / 4)));
    assert_eq!((world.status("o1"), world.store.outbox.len()), (Status::Failed, 0));
    assert!(world.sent.is_empty());
}

#[test]
fn an_incoming_message_is_shown_once() {
    let mut world = World::online();
    let seq = world.deliver(&from_bob("b1", "hi"));
    world.say(&from_bob("b1", "hi").replace("{SEQ}", ""));
    world.deliver(&from_bob("b1", "hi"));
    world.say(
        &from_bob("b9", "old").replace("{SEQ}", "<stanza-id xmlns='urn:xmpp:sid:0' by='alice@d' id='1'/>"),
    );
    world.reload();
    world.say(&from_bob("b1", "hi").replace("{SEQ}", ""));
    let rows: Vec<_> = world.store.messages.values().collect();
    assert_eq!((rows.len(), rows[0].order, rows[0].status), (1, seq, Status::Delivered));
    let conversation = &world.store.conversations[&bob()];
    assert_eq!((conversation.unread, conversation.accepted), (1, false));
}

#[test]
fn nobody_can_suppress_or_place_anothers_message() {
    let mut world = World::online();
    world.deliver(&from_bob("b1", "first"));
    world.deliver(&from_bob("b1", "same id").replace("bob@d", "carol@d"));
    let forged = "<stanza-id xmlns='urn:xmpp:sid:0' by='bob@d' id='9999'/>{SEQ}";
    let seq = world.deliver(&from_bob("b2", "forged place").replace("{SEQ}", forged));
    world.command(send("b1", "mine"));
    assert_eq!(world.store.messages.len(), 4);
    assert_eq!(world.store.session.as_ref().unwrap().seen, seq);
}

#[test]
fn a_late_message_has_the_time_the_relay_first_had_it() {
    let mut world = World::online();
    let stamped = |stamp: &str| format!("<delay xmlns='urn:xmpp:delay' from='d' stamp='{stamp}'/>{{SEQ}}");
    world.deliver(&from_bob("b1", "late").replace("{SEQ}", &stamped("2020-01-01T00:00:00Z")));
    world.deliver(&from_bob("b2", "forged").replace("{SEQ}", &stamped("2999-01-01T00:00:00Z")));
    let times: Vec<_> = world.store.messages.values().map(|row| row.at.0).collect();
    assert_eq!(times, [1_577_836_800_000, world.now]);
}

#[test]
fn what_was_seen_before_its_sender_was_accepted_is_marked_then_and_nothing_else() {
    let mut world = World::online();
    let markable = "<markable xmlns='urn:xmpp:chat-markers:0'/>{SEQ}";
    world.deliver(&from_bob("b1", "seen").replace("{SEQ}", markable));
    world.command(world.store.seen("bob@d"));
    world.command(Command::Accept(bob()));
    assert_eq!(world.sent_with("<displayed").len(), 1);
    world.deliver(&from_bob("c1", "unseen").replace("{SEQ}", markable).replace("bob@d", "carol@d"));
    world.command(Command::Accept(jid("carol@d")));
    assert_eq!(world.sent_with("<displayed").len(), 1);
}

#[test]
fn a_stranger_learns_nothing_until_he_is_answered() {
    let mut world = World::online();
    world.deliver(&from_bob("b1", "one"));
    world.deliver(&from_bob("b2", "two"));
    world.command(world.store.seen("bob@d"));
    world.command(Command::Typing(bob(), true));
    world.reload();
    assert!(world.sent_with("to='bob@d'").is_empty());
    assert_eq!(world.store.owed.len(), 2);
    world.sent.clear();
    world.command(send("o1", "hello"));
    let to_bob = world.sent_with("to='bob@d'");
    assert!(
        to_bob[0].contains("<received xmlns='urn:xmpp:receipts' id='b1'/><store xmlns='urn:xmpp:hints'/>")
    );
    assert!(to_bob[1].contains("id='b2'/>"));
    assert!(to_bob[2].contains("<displayed") && to_bob[3].contains("hello"), "it was seen");
    world.advance(1000);
    assert!(world.store.owed.is_empty(), "confirmed by the relay");
}

#[test]
fn a_receipt_is_sent_again_until_the_relay_has_it_and_always_the_same() {
    let mut world = World::online();
    world.command(Command::Accept(bob()));
    world.relay.acks = false;
    world.deliver(&from_bob("b1", "hi"));
    let lost = world.sent_with("<received ")[0].clone();
    world.relay.session.as_mut().unwrap().handled -= 1;
    world.relay.acks = true;
    world.reload();
    world.advance(1000);
    assert_eq!(world.sent_with(&lost).len(), 2);
    assert!(world.store.owed.is_empty());
    world.cut();
    world.advance(5000);
    assert_eq!(world.sent_with(&lost).len(), 2);
}

#[test]
fn no_receipt_answers_a_receipt_an_error_or_what_has_no_id() {
    let mut world = World::online();
    world.command(Command::Accept(bob()));
    let asking = "<request xmlns='urn:xmpp:receipts'/>{SEQ}";
    world.deliver(&receipt_from("bob@d", "x").replace("{SEQ}", asking));
    world.deliver(&error_from("bob@d", "x").replace("{SEQ}", asking));
    world.deliver(&from_bob("b1", "hi").replace(" id='b1'><body>", "><body>"));
    world.deliver(&from_bob("b2", "hi").replace("'chat'", "'groupchat'"));
    assert!(world.sent_with("<received ").is_empty() && world.store.owed.is_empty());
}

#[test]
fn what_came_in_after_the_person_looked_is_not_read() {
    let mut world = World::online();
    world.command(Command::Accept(bob()));
    world.deliver(&from_bob("b1", "one"));
    let seen = world.store.seen("bob@d");
    world.stuck = true;
    world.deliver(&from_bob("b2", "two"));
    world.command(seen);
    world.stuck = false;
    world.settle();
    assert!(world.sent_with("<displayed ").is_empty());
    assert_eq!(world.store.conversations[&bob()].unread, 2);
    world.command(world.store.seen("bob@d"));
    assert_eq!(world.sent_with("<displayed ").len(), 1);
    assert_eq!(world.store.conversations[&bob()].unread, 0);
}

#[test]
fn the_newest_message_is_marked_once() {
    let mut world = World::online();
    world.command(Command::Accept(bob()));
    world.deliver(&from_bob("b1", "one"));
    world.deliver(&from_bob("b2", "two"));
    world.reload();
    for _ in 0..2 {
        world.command(world.store.seen("bob@d"));
    }
    world.reload();
    world.command(world.store.seen("bob@d"));
    assert_eq!(world.sent_with("<displayed ").len(), 1);
    assert!(world.sent_with("<displayed ")[0].contains("id='b2'"));
}

#[test]
fn a_message_from_another_device_is_shown_as_sent() {
    let mut world = World::online();
    world.relay.accepts = false;
    world.deliver(&carbon("alice@d", "sent", &own("p1", "from my phone")));
    world.deliver(&carbon("alice@d", "received", &from_bob("b1", "to my phone")));
    let row = &world.store.messages[&key("p1")];
    assert_eq!((row.direction, row.status, row.awaiting), (Direction::Outgoing, Status::Sent, Some(1)));
    assert_eq!(world.store.messages.len(), 2);
    world.deliver(&receipt_from("bob@d", "p1"));
    assert_eq!(world.status("p1"), Status::Delivered);
    world.command(send("o1", "mine"));
    world.deliver(&carbon("alice@d", "sent", &own("o1", "mine")));
    assert_eq!((world.store.messages.len(), world.status("o1")), (3, Status::Sent));
}

#[test]
fn a_carbon_from_anybody_else_is_forged() {
    let mut world = World::online();
    for forger in ["bob@d", "bob@d/x", "d", "alice@d/phone", "mallory@d"] {
        world.deliver(&carbon(forger, "sent", &own("p1", "never written")));
        world.deliver(&carbon(forger, "received", &from_bob("b1", "never sent")));
    }
    let inner = carbon("alice@d", "sent", &own("p1", "nested"));
    world.deliver(&carbon("alice@d", "received", &inner));
    world.deliver(&carbon("alice@d", "received", &from_bob("b1", "room").replace("'chat'", "'groupchat'")));
    world.deliver(&carbon("alice@d", "sent", &from_bob("b1", "not mine")));
    assert!(world.store.messages.is_empty() && world.store.conversations.is_empty());
}

#[test]
fn what_was_seen_on_another_device_is_seen_here() {
    let mut world = World::online();
    world.deliver(&from_bob("b1", "hi"));
    let marker = displayed_from("alice@d/phone", "b1").replace("to='alice@d'", "to='bob@d'");
    world.deliver(&carbon("alice@d", "sent", &marker));
    assert_eq!(world.store.conversations[&bob()].unread, 0);
}

#[test]
fn typing_is_told_and_kept_nowhere() {
    let mut world = World::online();
    world.deliver(&from_bob("b1", "hi"));
    let before = world.store.clone().messages.len();
    let state = |name: &str| {
        format!(
            "<message xmlns='jabber:client' type='chat' from='bob@d/x'><{name} xmlns='http://jabber.org/protocol/chatstates'/></message>"
        )
    };
    world.say(&state("composing"));
    world.say(&state("composing"));
    world.say(&state("paused"));
    let told: Vec<_> = world.events.iter().filter(|event| matches!(event, Event::Typing(..))).collect();
    assert_eq!(told, [&Event::Typing(bob(), true), &Event::Typing(bob(), false)]);
    assert_eq!(world.store.messages.len(), before);
    world.say(&state("composing").replace("bob@d", "stranger@d"));
    assert!(!world.store.conversations.contains_key(&jid("stranger@d")));
}

#[test]
fn the_queue_is_told_as_it_changes() {
    let mut world = World::online();
    world.reachable = false;
    world.cut();
    world.command(send("o1", "hello"));
    assert_eq!(world.events.last(), Some(&Event::Queue { outbox: 1, owed: 0 }));
    world.reachable = true;
    world.advance(5000);
    assert!(world.events.contains(&Event::Queue { outbox: 0, owed: 0 }));
}

#[test]
fn drafts_are_kept_and_cleared_by_sending() {
    let mut world = World::online();
    world.command(Command::Draft(bob(), "hel".into()));
    world.reload();
    assert_eq!(world.store.conversations[&bob()].draft, "hel");
    world.command(Command::Draft(bob(), "hello".into()));
    world.command(send("o1", "hello"));
    assert_eq!(world.store.conversations[&bob()].draft, "");
}
