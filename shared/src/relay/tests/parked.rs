//! Requests that wait for a segment, and what becomes of them.

use super::blobs::Gets;
use super::cold::{age, history, query, settle, small};
use super::world::{Device, World, jid};
use crate::cold::SegmentFault;
use crate::limits::{PARKED_FRAMES_MAX, SEGMENT_MS_MAX};
use crate::relay::Input;

const SET: &str = "<set xmlns='http://jabber.org/protocol/rsm'><max>250</max></set>";

fn request(set: &str) -> String {
    format!("<iq xmlns='jabber:client' type='set' id='i'>{}</iq>", query(&[], set))
}

/// Twelve messages, ten of them in two segments, and a device that has nothing outstanding.
fn cold_history() -> (World, Device, Device) {
    let (mut world, mut alice, mut bob) = history(small(), 12);
    age(&mut world, &mut [&mut alice, &mut bob]);
    assert_eq!(world.disk(&jid("b")).rows.segments.len(), 2);
    (world, alice, bob)
}

fn results(device: &Device, from: usize) -> usize {
    device.stanzas.iter().skip(from).filter(|stanza| stanza.to_frame().contains("<result")).count()
}

#[test]
fn a_segment_that_cannot_be_read_is_an_error_and_never_a_gap() {
    for (gets, fault) in [
        (Gets::Fail, SegmentFault::Unreachable),
        (Gets::Cut, SegmentFault::Damaged),
        (Gets::Changed, SegmentFault::Damaged),
        (Gets::Another, SegmentFault::Damaged),
    ] {
        let (mut world, _, mut bob) = cold_history();
        world.blobs.gets = gets;
        let had = bob.stanzas.len();
        bob.send(&mut world, &request(SET));
        let (kind, condition) = match fault {
            SegmentFault::Unreachable => ("wait", "resource-constraint"),
            _ => ("cancel", "internal-server-error"),
        };
        let answer = bob.last_stanza();
        assert!(answer.contains(condition) && answer.contains(&format!("type='{kind}'")), "{answer}");
        assert_eq!((results(&bob, had), bob.stanzas.len()), (0, had + 1), "no result, and no <fin/>");
        assert_eq!(world.blobs.faults.last().unwrap().1, fault);
        // What is hot can still be read, and everything once it is mended.
        let set = "<set xmlns='http://jabber.org/protocol/rsm'><max>2</max><before/></set>";
        bob.send(&mut world, &request(set));
        assert_eq!(results(&bob, had), 2);
        world.blobs.gets = Gets::Right;
        let had = bob.stanzas.len();
        bob.send(&mut world, &request(SET));
        assert_eq!(results(&bob, had), 12);
    }
}

#[test]
fn a_missing_segment_is_an_error_for_who_needs_it_and_nobody_else() {
    let (mut world, mut alice, mut bob) = cold_history();
    let names: Vec<String> =
        world.blobs.kept.keys().filter(|name| name.starts_with("b@d")).cloned().collect();
    world.blobs.kept.remove(&names[0]);
    bob.send(&mut world, &request(SET));
    assert!(bob.last_stanza().contains("internal-server-error"), "{}", bob.last_stanza());
    assert_eq!(world.blobs.faults, [(names[0].clone(), SegmentFault::Missing)]);
    let had = bob.stanzas.len();
    let behind = "<set xmlns='http://jabber.org/protocol/rsm'><max>4</max><after>6</after></set>";
    bob.send(&mut world, &request(behind));
    assert_eq!(results(&bob, had), 4);
    let had = alice.stanzas.len();
    alice.send(&mut world, &request(SET));
    assert_eq!(results(&alice, had), 12);
}

#[test]
fn what_is_said_behind_a_parked_request_waits_its_turn_and_is_not_acked() {
    let (mut world, mut alice, mut bob) = cold_history();
    world.blobs.slow = true;
    let (had, unacked) = (bob.stanzas.len(), bob.unacked());
    bob.send(&mut world, &request(SET));
    bob.send(&mut world, "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>");
    bob.message(&mut world, "a@d", "behind it");
    bob.request_ack(&mut world);
    assert_eq!(bob.stanzas.len(), had);
    alice.drain(&mut world);
    assert!(!alice.bodies.contains(&"behind it".to_owned()));
    assert_eq!(bob.unacked(), unacked + 3);
    // Nobody else waits.
    alice.message(&mut world, "b@d", "meanwhile");
    bob.drain(&mut world);
    assert_eq!(bob.bodies.last().unwrap(), "meanwhile");
    world.settle_blobs();
    bob.drain(&mut world);
    alice.drain(&mut world);
    let answers: Vec<&str> = bob.stanzas.iter().skip(had).filter_map(|stanza| stanza.attr("id")).collect();
    assert_eq!(answers.iter().filter(|id| ["i", "p"].contains(id)).copied().collect::<Vec<_>>(), ["i", "p"]);
    assert_eq!(results(&bob, had), 13, "what came meanwhile is in it");
    assert_eq!(alice.bodies.last().unwrap(), "behind it");
    assert_eq!(bob.unacked(), 0, "and all of it is acked");
}

#[test]
fn the_devices_acks_are_taken_while_it_waits() {
    let (mut world, mut alice, mut bob) = cold_history();
    world.blobs.slow = true;
    bob.send(&mut world, &request(SET));
    for n in 0..6 {
        alice.message(&mut world, "b@d", &format!("meanwhile {n}"));
    }
    for _ in 0..10 {
        world.pass(1_000);
        bob.drain(&mut world);
        alice.drain(&mut world);
    }
    assert!(bob.connected(&world) && bob.asked() > 0);
}

#[test]
fn a_segment_that_does_not_come_in_time_is_an_error_to_try_again() {
    let (mut world, _, mut bob) = cold_history();
    world.blobs.slow = true;
    bob.send(&mut world, &request(SET));
    world.pass(SEGMENT_MS_MAX);
    bob.drain(&mut world);
    assert!(bob.last_stanza().contains("resource-constraint"), "{}", bob.last_stanza());
    // Late news is no news.
    world.settle_blobs();
    let had = bob.stanzas.len();
    bob.send(&mut world, &request(SET));
    assert_eq!(results(&bob, had), 12);
}

#[test]
fn a_connection_that_is_lost_while_it_waits_says_it_all_again() {
    let (mut world, mut alice, mut bob) = cold_history();
    world.blobs.slow = true;
    bob.send(&mut world, &request(SET));
    bob.message(&mut world, "a@d", "behind it");
    world.input(&jid("b"), Input::LinkDown(bob.link));
    world.settle_blobs();
    let had = bob.stanzas.len();
    assert!(bob.resume(&mut world));
    bob.drain(&mut world);
    settle(&mut world, &mut [&mut bob, &mut alice]);
    assert_eq!(results(&bob, had), 12);
    assert_eq!(alice.bodies.iter().filter(|body| *body == "behind it").count(), 1);
    assert_eq!(bob.unacked(), 0);
}

#[test]
fn a_mailbox_that_sleeps_under_a_parked_connection_closes_it() {
    let (mut world, mut alice, mut bob) = cold_history();
    world.blobs.slow = true;
    bob.send(&mut world, &request(SET));
    bob.message(&mut world, "a@d", "behind it");
    world.hibernate(&jid("b"));
    world.input(&jid("b"), Input::Wake);
    assert!(!bob.connected(&world));
    world.settle_blobs();
    let had = bob.stanzas.len();
    assert!(bob.resume(&mut world));
    bob.drain(&mut world);
    settle(&mut world, &mut [&mut bob, &mut alice]);
    assert_eq!(results(&bob, had), 12);
    assert_eq!(alice.bodies.iter().filter(|body| *body == "behind it").count(), 1);
}

#[test]
fn who_says_too_much_while_it_waits_is_closed_and_says_it_again() {
    let (mut world, mut alice, mut bob) = cold_history();
    world.blobs.slow = true;
    bob.send(&mut world, &request(SET));
    for n in 0..=PARKED_FRAMES_MAX {
        bob.message(&mut world, "a@d", &format!("m{n}"));
    }
    assert!(!bob.connected(&world));
    world.settle_blobs();
    assert!(bob.resume(&mut world));
    settle(&mut world, &mut [&mut bob, &mut alice]);
    let said = alice.bodies.iter().filter(|body| body.starts_with('m')).count();
    assert_eq!(said, PARKED_FRAMES_MAX + 1);
}

#[test]
fn a_page_of_a_segment_that_was_interrupted_is_sent_again_when_the_stream_is_resumed() {
    for (gets, resumes) in [(Gets::Right, true), (Gets::Fail, false), (Gets::Cut, false)] {
        let (mut world, _, mut bob) = cold_history();
        bob.acks = false;
        let handled = bob.handled;
        bob.send(&mut world, &request(SET));
        // All of it was lost on the way.
        bob.handled = handled;
        bob.acks = true;
        world.crash(&jid("b"));
        world.blobs.gets = gets;
        let had = bob.stanzas.len();
        assert_eq!(bob.resume(&mut world), resumes, "{gets:?}");
        bob.drain(&mut world);
        if resumes {
            assert_eq!(results(&bob, had), 12);
            assert!(bob.last_stanza().contains("<fin"));
            continue;
        }
        let refusal = bob.nonzas.iter().rev().take(3).map(|nonza| nonza.to_frame()).collect::<String>();
        let word = if gets == Gets::Fail { "resource-constraint" } else { "<internal-server-error" };
        assert!(refusal.contains(word), "{refusal}");
        world.blobs.gets = Gets::Right;
        if gets == Gets::Fail {
            assert!(bob.resume(&mut world), "it may try again");
            assert_eq!(results(&bob, had), 12);
        }
    }
}

#[test]
fn two_devices_may_wait_for_the_same_and_for_different_segments() {
    let (mut world, mut alice, mut bob) = history(small(), 12);
    let mut pad = Device::online(&mut world, "b", "pad");
    let mut tv = Device::online(&mut world, "b", "tv");
    settle(&mut world, &mut [&mut alice, &mut bob, &mut pad, &mut tv]);
    age(&mut world, &mut [&mut alice, &mut bob, &mut pad, &mut tv]);
    world.blobs.slow = true;
    let late = "<set xmlns='http://jabber.org/protocol/rsm'><max>3</max><after>6</after></set>";
    bob.send(&mut world, &request(SET));
    tv.send(&mut world, &request(late));
    pad.send(&mut world, &request(SET));
    let had: Vec<usize> = [&bob, &pad, &tv].iter().map(|device| device.stanzas.len()).collect();
    for _ in 0..8 {
        world.settle_blobs();
        world.blobs.slow = true;
    }
    for (device, (had, count)) in
        [&mut bob, &mut pad, &mut tv].into_iter().zip(had.into_iter().zip([12, 12, 3]))
    {
        device.drain(&mut world);
        assert_eq!(results(device, had), count);
    }
}

#[test]
fn a_stream_that_goes_on_with_its_authentication_waits_for_its_page_too() {
    for (gets, resumes) in [(Gets::Right, true), (Gets::Fail, false), (Gets::Cut, false)] {
        let (mut world, _, mut bob) = cold_history();
        bob.acks = false;
        let handled = bob.handled;
        bob.send(&mut world, &request(SET));
        // All of it was lost on the way.
        bob.handled = handled;
        bob.acks = true;
        world.crash(&jid("b"));
        world.blobs.gets = gets;
        let (had, nonzas) = (bob.stanzas.len(), bob.nonzas.len());
        let resume = bob.resume_frame();
        let success = bob.scram2(&mut world, &resume);
        let told: String = bob.nonzas.iter().skip(nonzas).map(|nonza| nonza.to_frame()).collect();
        if gets == Gets::Fail {
            assert!(success.is_none_or(|said| said.name != "success"), "{told}");
            assert!(told.contains("resource-constraint") && !bob.connected(&world), "{told}");
            world.blobs.gets = Gets::Right;
            assert!(bob.resume(&mut world), "it may try again");
            assert_eq!(results(&bob, had), 12);
            continue;
        }
        let success = success.unwrap();
        assert_eq!(success.child("urn:xmpp:sm:3", "resumed").is_some(), resumes, "{told}");
        if resumes {
            assert_eq!(results(&bob, had), 12);
            assert!(bob.last_stanza().contains("<fin"));
        } else {
            assert!(told.contains("<internal-server-error") && told.contains("h='"), "{told}");
        }
    }
}

#[test]
fn who_sleeps_while_its_authentication_waits_comes_again_and_has_lost_nothing() {
    let (mut world, _, mut bob) = cold_history();
    bob.acks = false;
    let handled = bob.handled;
    bob.send(&mut world, &request(SET));
    bob.handled = handled;
    bob.acks = true;
    world.crash(&jid("b"));
    world.blobs.slow = true;
    let had = bob.stanzas.len();
    let resume = bob.resume_frame();
    assert!(bob.scram2(&mut world, &resume).is_none_or(|said| said.name != "success"));
    world.hibernate(&jid("b"));
    world.input(&jid("b"), Input::Wake);
    assert!(!bob.connected(&world));
    world.settle_blobs();
    assert!(bob.resume(&mut world));
    assert_eq!(results(&bob, had), 12);
}
