//! Streams that break and go on: resumption, counts, probes, the clock.

use super::*;
use crate::limits::{CLIENT_PROBE_MS, Limits, RECONNECT_MS_MAX};
use crate::sm::{Handled, Window};

fn bodies(world: &World) -> Vec<&str> {
    let heard = world.relay.heard.iter();
    heard.filter_map(|frame| frame.split("<body>").nth(1)?.split("</body>").next()).collect()
}

/// Three messages of which the relay has handled the first, and then the connection is gone.
fn broken_after_one_of_three() -> World {
    let mut world = World::online();
    (world.relay.acks, world.relay.accepts) = (false, false);
    for n in 1..=3 {
        world.command(send(&format!("o{n}"), &format!("m{n}")));
    }
    let session = world.relay.session.as_mut().unwrap();
    session.handled -= 2;
    world.relay.log.truncate(1);
    world.relay.heard.clear();
    (world.relay.acks, world.relay.accepts) = (true, false);
    world
}

fn all_sent_once(world: &World) {
    let log: Vec<_> = world.relay.log.iter().map(|(origin, _)| origin.as_str()).collect();
    assert_eq!(log, ["o1", "o2", "o3"]);
    assert_eq!(bodies(world), ["m2", "m3"], "only what the relay did not have");
    for origin in ["o1", "o2", "o3"] {
        assert_eq!(world.status(origin), Status::Sent);
    }
    assert!(world.store.outbox.is_empty());
}

#[test]
fn a_resumed_stream_is_given_what_the_relay_lacks_in_order() {
    let mut world = broken_after_one_of_three();
    world.cut();
    world.advance(5000);
    assert!(world.events.contains(&Event::Link(LinkState::Online { resumed: true })));
    all_sent_once(&world);
}

#[test]
fn after_a_reload_the_rows_know_their_numbers() {
    let mut world = broken_after_one_of_three();
    world.reload();
    world.advance(5000);
    assert!(world.events.contains(&Event::Link(LinkState::Online { resumed: true })));
    all_sent_once(&world);
}

#[test]
fn the_h_of_a_failed_resume_counts() {
    for reload in [false, true] {
        let mut world = broken_after_one_of_three();
        world.relay.forget_session_id();
        if reload {
            world.reload()
        } else {
            world.cut()
        }
        world.advance(5000);
        assert!(world.events.contains(&Event::Link(LinkState::Online { resumed: false })));
        all_sent_once(&world);
    }
}

#[test]
fn without_an_h_everything_is_sent_again_under_the_same_name() {
    let mut world = broken_after_one_of_three();
    let before = world.store.session.as_ref().unwrap().stream;
    world.relay.failed_tells_h = false;
    world.relay.forget_session_id();
    world.cut();
    world.advance(5000);
    assert_eq!(world.store.session.as_ref().unwrap().stream, before + 1);
    assert_eq!(bodies(&world), ["m1", "m2", "m3"]);
    assert_eq!(world.relay.log.len(), 3);
    assert!(world.store.outbox.is_empty());
}

#[test]
fn a_number_counts_only_on_its_own_stream() {
    let mut world = broken_after_one_of_three();
    for row in world.store.outbox.values_mut() {
        row.sent_as = row.sent_as.map(|sent| SentAs { stream: sent.stream - 1, ..sent });
    }
    world.relay.session.as_mut().unwrap().handled += 2;
    world.reload();
    world.advance(5000);
    assert_eq!(bodies(&world), ["m1", "m2", "m3"]);
}

/// The stream is resumed and the power fails before the new numbers are on disk. Meanwhile other
/// stanzas, which wait for no row, could have taken the old ones.
#[test]
fn a_number_given_before_a_resumption_counts_for_nothing_after_it() {
    let mut world = World::online();
    world.relay.accepts = false;
    world.relay.acks = false;
    for n in 2..=3 {
        world.command(send(&format!("o{n}"), &format!("m{n}")));
    }
    world.relay.session.as_mut().unwrap().handled -= 2;
    world.relay.log.clear();
    world.sticks_at = Some("<resume ");
    world.reload_with_this_disk();
    assert!(world.engine.is_online());
    world.relay.acks = true;
    world.reload();
    world.advance(5000);
    assert_eq!(world.relay.log, [("o2".into(), "m2".into()), ("o3".into(), "m3".into())]);
    assert!(world.store.outbox.is_empty());
}

#[test]
fn what_was_written_offline_leaves_in_order() {
    let mut world = World::online();
    world.reachable = false;
    world.cut();
    for n in 0..25 {
        world.command(send(&format!("o{n}"), &format!("m{n}")));
    }
    world.reload();
    assert_eq!(world.store.outbox.len(), 25);
    world.reachable = true;
    world.advance(2 * RECONNECT_MS_MAX);
    let expected: Vec<_> = (0..25).map(|n| (format!("o{n}"), format!("m{n}"))).collect();
    assert_eq!(world.relay.log, expected);
    assert!(world.store.outbox.is_empty());
}

#[test]
fn a_resumed_stream_goes_on_counting_and_repeats_are_seen_once() {
    let mut world = World::online();
    world.deliver(&from_bob("b1", "one"));
    for round in 2..6 {
        world.cut();
        world.relay.deliver(&from_bob(&format!("b{round}"), "more"));
        world.advance(5000);
        assert_eq!(world.store.messages.len(), round);
        world.frame("<r xmlns='urn:xmpp:sm:3'/>");
        assert_eq!(world.relay.confirmed.len(), round);
    }
    assert_eq!(world.store.conversations[&jid("bob@d")].unread, 5);
}

#[test]
fn counts_pass_two_to_the_thirty_second_in_both_directions() {
    for reload in [false, true] {
        let mut world = World::online();
        let near = u32::MAX - 2;
        world.engine.session.handled = near;
        world.engine.gate.load_count(world.engine.session.stream, Handled(near));
        world.store.session.as_mut().unwrap().handled = near;
        world.engine.window = Window::restore(Handled(near), Handled(near), Vec::new());
        let session = world.relay.session.as_mut().unwrap();
        session.handled = near;
        session.window = Window::restore(Handled(near), Handled(near), Vec::new());
        world.relay.accepts = false;
        for n in 0..10 {
            world.command(send(&format!("o{n}"), "out"));
            world.deliver(&from_bob(&format!("b{n}"), "in"));
            if n == 3 || n == 5 {
                if reload {
                    world.reload()
                } else {
                    world.cut()
                }
                world.advance(5000);
            }
        }
        world.advance(1000);
        world.frame("<r xmlns='urn:xmpp:sm:3'/>");
        assert_eq!((world.relay.log.len(), world.relay.confirmed.len()), (10, 10));
        assert!(world.store.outbox.is_empty());
        assert!(world.store.session.as_ref().unwrap().handled < 100, "wrapped");
    }
}

#[test]
fn every_stanza_counts_and_no_nonza_does() {
    let mut world = World::online();
    let before = world.engine.session.handled;
    world.say("<presence xmlns='jabber:client' from='x@d'/>");
    world.say("<iq xmlns='jabber:client' type='get' id='p1' from='d'><ping xmlns='urn:xmpp:ping'/></iq>");
    world.say("<iq xmlns='jabber:client' type='get' id='q1' from='d'><query xmlns='x:y'/></iq>");
    world.say("<message xmlns='jabber:client' from='not a jid'><body>x</body></message>");
    world.say("<message xmlns='jabber:client' from='bob@d'/>");
    let huge = format!("<message xmlns='jabber:client' from='bob@d'>{}</message>", "<x/>".repeat(5000));
    world.say(&huge);
    world.frame("<a xmlns='urn:xmpp:sm:3' h='3'/>");
    world.frame("<unknown xmlns='urn:xmpp:sm:3'/>");
    world.frame("<r xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(world.engine.session.handled, before + 6);
    assert_eq!(world.sent_with(&format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", before + 6)).len(), 1);
    assert_eq!(world.sent_with("<iq xmlns='jabber:client' type='result' to='d' id='p1'/>").len(), 1);
    assert!(world.sent_with("q1")[0].contains("<service-unavailable "));
    assert!(world.link.is_some());
}

#[test]
fn after_an_impossible_ack_comes_one_fresh_bind_and_then_a_pause() {
    let mut world = World::online();
    let too_high = "<a xmlns='urn:xmpp:sm:3' h='4000'/>";
    world.engine.handle(Millis(world.now), Input::Frame(world.link.unwrap(), too_high));
    world.relay_hears_no_faults();
    let told = "<undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><handled-count-too-high xmlns='urn:xmpp:sm:3' h='4000' send-count='3'/>";
    assert_eq!(world.sent_with(told).len(), 1);
    assert!(world.engine.is_online(), "a fresh session at once");
    assert!(world.sent_with("<resume ").is_empty());
    world.engine.handle(Millis(world.now), Input::Frame(world.link.unwrap(), too_high));
    world.relay_hears_no_faults();
    assert!(!world.engine.is_online());
    assert!(world.wake.unwrap().0 >= world.now + RECONNECT_MS_MAX);
}

#[test]
fn an_ack_is_asked_for_after_some_stanzas_or_a_while() {
    let mut world = World::online();
    world.relay.acks = false;
    world.command(send("o0", "m"));
    assert!(world.sent_with("<r ").is_empty());
    world.advance(Limits::DEFAULT.ack_idle_ms);
    assert_eq!(world.sent_with("<r ").len(), 1);
    world.relay.ack();
    world.settle();
    world.sent.clear();
    for n in 1..=Limits::DEFAULT.ack_every_stanzas {
        world.command(send(&format!("o{n}"), "m"));
    }
    assert_eq!(world.sent_with("<r ").len(), 1);
}

#[test]
fn a_link_that_does_not_answer_is_dead_and_replaced_at_once() {
    let mut world = World::online();
    (world.relay.acks, world.relay.accepts) = (false, false);
    world.command(send("o1", "m"));
    world.advance(Limits::DEFAULT.ack_idle_ms + Limits::DEFAULT.ack_timeout_ms - 1);
    assert_eq!(world.connects.len(), 1);
    world.relay.acks = true;
    world.advance(1);
    assert_eq!(world.connects.len(), 2);
    assert!(world.engine.is_online());
}

#[test]
fn silence_is_probed() {
    let mut world = World::online();
    world.advance(CLIENT_PROBE_MS);
    assert_eq!(world.sent_with("<r ").len(), 1);
    assert_eq!(world.connects.len(), 1, "and answered");
}

#[test]
fn a_taken_over_session_is_not_fought_for() {
    let mut world = World::online();
    world.frame("<stream:error xmlns:stream='http://etherx.jabber.org/streams'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
    world.advance(RECONNECT_MS_MAX - 1);
    assert_eq!(world.connects.len(), 1);
    world.advance(RECONNECT_MS_MAX + 2);
    assert_eq!(world.connects.len(), 2);
}

#[test]
fn in_flight_messages_are_bounded() {
    let mut world = World::online();
    (world.relay.acks, world.relay.accepts) = (false, false);
    for n in 0..Limits::DEFAULT.client_window_stanzas_max + 20 {
        world.command(send(&format!("o{n}"), "m"));
    }
    assert_eq!(world.relay.log.len(), Limits::DEFAULT.client_window_stanzas_max);
    world.relay.acks = true;
    world.relay.ack();
    world.settle();
    world.advance(1000);
    assert_eq!(world.relay.log.len(), Limits::DEFAULT.client_window_stanzas_max + 20);
    assert!(world.store.outbox.is_empty());
}

#[test]
fn a_relay_without_stream_management_proves_by_other_means() {
    let mut world = World::new();
    (world.relay.sm, world.relay.accepts) = (false, false);
    world.command(sign_in(false));
    world.command(send("o1", "m1"));
    world.command(send("o2", "m2"));
    assert_eq!((world.status("o1"), world.store.outbox.len()), (Status::Queued, 2));
    world.say(&receipt_from("bob@d/x", "o1").replace("{SEQ}", ""));
    assert_eq!((world.status("o1"), world.store.outbox.len()), (Status::Delivered, 1));
    world.cut();
    world.advance(5000);
    assert_eq!(bodies(&world), ["m1", "m2", "m2"]);
    world.advance(CLIENT_PROBE_MS);
    assert_eq!(world.sent_with("urn:xmpp:ping").len(), 1);
}

#[test]
fn what_the_relay_may_have_forgotten_is_not_sent_again_by_itself() {
    let mut world = broken_after_one_of_three();
    world.relay.failed_tells_h = false;
    world.relay.forget_session_id();
    world.reachable = false;
    world.cut();
    world.now += Limits::DEFAULT.client_retry_ms_max;
    world.reachable = true;
    world.input(Input::Wake);
    assert!(world.engine.is_online() && bodies(&world).is_empty());
    let row = &world.store.messages[&key("o2")];
    assert_eq!((row.status, row.failure.as_deref()), (Status::Failed, Some(OUTCOME_UNKNOWN)));
    world.command(Command::Retry(key("o2")));
    world.advance(1000);
    assert_eq!(bodies(&world), ["m2"]);
}

#[test]
fn the_setup_that_may_be_lost_is_said_again() {
    let mut world = World::new();
    world.relay.acks = false;
    world.command(sign_in(false));
    world.relay.session.as_mut().unwrap().handled = 0;
    world.cut();
    world.relay.acks = true;
    world.advance(5000);
    assert_eq!(world.sent_with("urn:xmpp:carbons:2").len(), 2);
    world.cut();
    world.advance(5000);
    assert_eq!(world.sent_with("urn:xmpp:carbons:2").len(), 2, "and not once it is known to be there");
    assert!(world.engine.is_online());
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_timers() {
    let mut world = World::online();
    world.now += 86_400_000;
    world.input(Input::Wake);
    world.now -= 86_400_000;
    world.command(send("o1", "m"));
    world.advance(1000);
    assert_eq!(world.status("o1"), Status::Sent);
    world.sent.clear();
    world.advance(CLIENT_PROBE_MS);
    assert!(!world.sent_with("<r ").is_empty());
}

#[test]
fn what_cannot_be_read_ends_the_stream_and_not_the_session() {
    let mut world = World::online();
    world.engine.handle(Millis(world.now), Input::Frame(world.link.unwrap(), "<message"));
    world.relay_hears_no_faults();
    world.relay.hang_up();
    world.advance(5000);
    assert!(world.engine.is_online());
}

#[test]
fn a_relay_that_makes_no_progress_is_not_asked_again_at_once() {
    let limits = Limits::DEFAULT;
    let mut world = World::online();
    (world.relay.acks, world.relay.accepts) = (false, false);
    world.command(send("o1", "m"));
    world.relay.session.as_mut().unwrap().handled -= 1;
    world.advance(limits.ack_idle_ms);
    for round in 1..4 {
        assert_eq!(world.sent_with("<r ").len(), round);
        world.relay.ack();
        world.settle();
        world.advance(limits.ack_timeout_ms - 1);
        assert_eq!(world.sent_with("<r ").len(), round, "it may have lost count");
        world.advance(1);
        assert_eq!(world.sent_with("<r ").len(), round + 1, "but it is asked");
    }
    assert_eq!(world.connects.len(), 1);
}

#[test]
fn a_relay_that_makes_some_progress_is_asked_for_the_rest_soon() {
    let limits = Limits::DEFAULT;
    let mut world = World::online();
    (world.relay.acks, world.relay.accepts) = (false, false);
    world.command(send("o1", "m"));
    world.command(send("o2", "m"));
    world.relay.session.as_mut().unwrap().handled -= 1;
    world.advance(limits.ack_idle_ms);
    world.relay.ack();
    world.settle();
    world.advance(limits.ack_idle_ms);
    assert_eq!(world.sent_with("<r ").len(), 2);
}
