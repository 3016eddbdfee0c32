//! History moves to cold storage, and nobody can tell but by the clock.

use super::world::{Device, World, jid};
use crate::cold;
use crate::id::StanzaSeq;
use crate::jid::BareJid;
use crate::limits::{Limits, SEGMENT_RETRY_MS};
use crate::log::LogRow;
use crate::relay::rows::Op;
use crate::relay::{Input, TransferItem, TransferReply, TransferRequest};
use crate::time::Millis;
use std::collections::BTreeSet;

pub const DAY: u64 = 86_400_000;

/// Segments of three to five rows.
pub fn small() -> Limits {
    Limits { segment_rows_min: 3, segment_rows_max: 5, checkpoint_rows: 4, ..Limits::DEFAULT }
}

/// Time passes, and whoever is asked for an ack gives it.
pub fn settle(world: &mut World, devices: &mut [&mut Device]) {
    for _ in 0..6 {
        world.pass(400);
        devices.iter_mut().for_each(|device| device.drain(world));
    }
}

/// Alice writes to Bob, a second apart, and he confirms all of it.
pub fn history(limits: Limits, messages: u64) -> (World, Device, Device) {
    let mut world = World::with(limits);
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    for n in 1..=messages {
        world.now = world.now.plus(1_000);
        if n % 3 == 0 {
            bob.message(&mut world, "a@d", &n.to_string());
        } else {
            alice.message(&mut world, "b@d", &n.to_string());
        }
        alice.drain(&mut world);
        bob.drain(&mut world);
    }
    settle(&mut world, &mut [&mut alice, &mut bob]);
    (world, alice, bob)
}

/// It grows old.
pub fn age(world: &mut World, devices: &mut [&mut Device]) {
    world.pass(9 * DAY);
    settle(world, devices);
}

fn hot(world: &mut World, account: &BareJid) -> Vec<u64> {
    world.disk(account).rows.log.keys().map(|seq| seq.0).collect()
}

fn segments(world: &mut World, account: &BareJid) -> Vec<(u64, u64)> {
    let segments = world.disk(account).rows.segments.values();
    segments.map(|(row, _)| (row.first.0, row.last.0)).collect()
}

/// Every place is in the log or in one segment, every segment's rows are where its row says, and
/// nothing else is there.
pub fn assert_whole(world: &mut World, account: &BareJid, last: u64) {
    let rows = world.disk(account).rows.clone();
    let mut places: Vec<u64> = rows.log.keys().map(|seq| seq.0).collect();
    for (row, _) in rows.segments.values() {
        let bytes = world.blobs.kept.get(&row.name).expect("its bytes are there");
        let unpacked = row.unpack(bytes, account).unwrap();
        places.extend(unpacked.iter().map(|row| row.seq.0));
    }
    places.sort_unstable();
    assert_eq!(places, (1..=last).collect::<Vec<_>>());
}

fn page(world: &mut World, device: &mut Device, request: &str) -> Vec<String> {
    let had = device.stanzas.len();
    device.send(world, &format!("<iq xmlns='jabber:client' type='set' id='i'>{request}</iq>"));
    device.stanzas.iter().skip(had).map(|stanza| stanza.to_frame()).collect()
}

pub fn query(fields: &[(&str, &str)], set: &str) -> String {
    let values = |text: &str| text.split(' ').map(|v| format!("<value>{v}</value>")).collect::<String>();
    let fields: String =
        fields.iter().map(|(var, text)| format!("<field var='{var}'>{}</field>", values(text))).collect();
    format!(
        "<query xmlns='urn:xmpp:mam:2' queryid='q'><x xmlns='jabber:x:data' type='submit'>\
         <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>{fields}</x>{set}</query>"
    )
}

/// All that a device can read, oldest first.
fn bodies(world: &mut World, device: &mut Device) -> usize {
    let all =
        page(world, device, &query(&[], "<set xmlns='http://jabber.org/protocol/rsm'><max>250</max></set>"));
    assert!(all.last().unwrap().contains("complete='true'"), "{all:?}");
    all.len() - 1
}

#[test]
fn what_everybody_has_and_is_a_week_old_moves_in_order_and_can_still_be_read() {
    let (mut world, mut alice, mut bob) = history(small(), 20);
    world.pass(6 * DAY);
    assert_eq!(segments(&mut world, &jid("b")), []);
    world.pass(3 * DAY);
    assert_eq!(segments(&mut world, &jid("b")), [(1, 5), (6, 10), (11, 15), (16, 20)]);
    assert_eq!(hot(&mut world, &jid("b")), [0; 0]);
    for name in ["a", "b"] {
        assert_whole(&mut world, &jid(name), 20);
    }
    assert_eq!(bodies(&mut world, &mut bob), 20);
    assert_eq!(bodies(&mut world, &mut alice), 20);
}

#[test]
fn what_a_device_has_not_confirmed_stays() {
    let (mut world, _, mut bob) = history(small(), 8);
    let mut pad = Device::online(&mut world, "b", "pad");
    pad.acks = false;
    for n in 9..=20 {
        bob.message(&mut world, "a@d", &n.to_string());
        let mut alice = Device::online(&mut world, "a", "phone");
        alice.message(&mut world, "b@d", &format!("to {n}"));
        alice.drain(&mut world);
        settle(&mut world, &mut [&mut bob, &mut alice]);
    }
    age(&mut world, &mut [&mut bob]);
    let confirmed = world.disk(&jid("b")).rows.devices.values().map(|row| row.cursor.0).min().unwrap();
    let moved = segments(&mut world, &jid("b"));
    assert!(moved.last().unwrap().1 <= confirmed, "{moved:?}, and {confirmed} is confirmed");
    assert!(confirmed < 20);
}

#[test]
fn a_device_that_is_away_for_long_still_gets_its_queue_and_one_that_nobody_can_be_does_not_count() {
    let (mut world, mut alice, mut bob) = history(small(), 4);
    let mut pad = Device::online(&mut world, "b", "pad");
    settle(&mut world, &mut [&mut pad]);
    for device in [&pad, &bob] {
        world.input(&jid("b"), Input::LinkDown(device.link));
    }
    // A session whose resource the relay chose.
    let mut nobody = Device::offline("b", "");
    nobody.authenticate(&mut world);
    nobody.bind(&mut world);
    world.input(&jid("b"), Input::LinkDown(nobody.link));
    assert_eq!(world.disk(&jid("b")).rows.devices.len(), 3);
    for n in 5..=12 {
        alice.message(&mut world, "b@d", &n.to_string());
    }
    bob = Device::online(&mut world, "b", "phone");
    settle(&mut world, &mut [&mut alice, &mut bob]);
    let write = |world: &mut World, alice: &mut Device, bob: &mut Device, from: u64| {
        for n in from..from + 6 {
            alice.message(world, "b@d", &n.to_string());
        }
        settle(world, &mut [alice, bob]);
    };
    world.pass(20 * DAY);
    write(&mut world, &mut alice, &mut bob, 13);
    assert_eq!(world.disk(&jid("b")).rows.devices.len(), 3);
    world.pass(20 * DAY);
    write(&mut world, &mut alice, &mut bob, 19);
    age(&mut world, &mut [&mut alice, &mut bob]);
    assert_eq!(world.disk(&jid("b")).rows.devices.len(), 2, "the one that nobody can be is gone");
    assert!(hot(&mut world, &jid("b")).contains(&5), "what the pad has not had is where it can be read");
    let mut pad = Device::online(&mut world, "b", "pad");
    settle(&mut world, &mut [&mut alice, &mut bob, &mut pad]);
    assert_eq!(pad.bodies, (5..25).map(|n| n.to_string()).collect::<Vec<_>>());
    write(&mut world, &mut alice, &mut bob, 25);
    settle(&mut world, &mut [&mut pad]);
    age(&mut world, &mut [&mut alice, &mut bob, &mut pad]);
    assert!(!hot(&mut world, &jid("b")).contains(&5));
}

#[test]
fn what_its_recipient_has_not_had_stays() {
    let mut world = World::with(small());
    let mut bob = Device::online(&mut world, "b", "phone");
    world.away.insert(jid("c"));
    for n in 1..=6 {
        bob.message(&mut world, "b@d", &format!("note {n}"));
    }
    bob.message(&mut world, "c@d", "waits");
    for n in 1..=6 {
        bob.message(&mut world, "b@d", &format!("later {n}"));
    }
    settle(&mut world, &mut [&mut bob]);
    age(&mut world, &mut [&mut bob]);
    assert_eq!(segments(&mut world, &jid("b")), [(1, 5), (6, 10)]);
    assert!(hot(&mut world, &jid("b")).contains(&13));
}

#[test]
fn without_a_device_nothing_moves() {
    let (mut world, mut alice, mut bob) = history(small(), 12);
    let remove = "<remove xmlns='urn:counterfoil:devices:0' id='phone'/>";
    page(&mut world, &mut bob, remove);
    alice.message(&mut world, "b@d", "for whoever comes");
    age(&mut world, &mut [&mut alice]);
    assert_eq!(segments(&mut world, &jid("b")), []);
}

#[test]
fn a_device_that_comes_after_the_last_one_went_is_not_sent_what_is_cold() {
    let (mut world, mut alice, mut bob) = history(small(), 12);
    age(&mut world, &mut [&mut alice, &mut bob]);
    assert_eq!(segments(&mut world, &jid("b")), [(1, 5), (6, 10)]);
    page(&mut world, &mut bob, "<remove xmlns='urn:counterfoil:devices:0' id='phone'/>");
    let mut pad = Device::online(&mut world, "b", "pad");
    settle(&mut world, &mut [&mut pad]);
    assert!(!pad.bodies.contains(&"1".to_owned()));
    assert_eq!(bodies(&mut world, &mut pad), 12);
}

#[test]
fn a_crash_at_any_step_loses_nothing_and_leaves_nothing_behind() {
    for crash_at in 1..200 {
        let (mut world, mut alice, mut bob) = history(small(), 12);
        world.steps = 0;
        world.crash_at = Some(crash_at);
        world.pass(9 * DAY);
        let crashed = world.crashes > 0;
        world.crash_at = None;
        for device in [&mut alice, &mut bob] {
            if !device.connected(&world) {
                let account = device.account.clone();
                let resource = "phone";
                *device = Device::online(&mut world, account.local().unwrap(), resource);
            }
        }
        settle(&mut world, &mut [&mut alice, &mut bob]);
        world.pass(2 * SEGMENT_RETRY_MS);
        for name in ["a", "b"] {
            assert_whole(&mut world, &jid(name), 12);
        }
        let named: BTreeSet<String> = ["a", "b"]
            .into_iter()
            .flat_map(|name| world.disk(&jid(name)).rows.segments.values().cloned().collect::<Vec<_>>())
            .map(|(row, _)| row.name)
            .collect();
        let kept: BTreeSet<String> = world.blobs.kept.keys().cloned().collect();
        assert_eq!(kept, named, "after a crash at step {crash_at}");
        assert_eq!(bodies(&mut world, &mut bob), 12, "after a crash at step {crash_at}");
        if !crashed {
            assert!(crash_at > 12, "the move takes more than {crash_at} steps");
            return;
        }
    }
    panic!("a move takes more than 200 steps");
}

#[test]
fn a_put_that_fails_is_tried_again_and_the_rows_stay_until_then() {
    let (mut world, mut alice, mut bob) = history(small(), 12);
    world.blobs.puts_fail = true;
    age(&mut world, &mut [&mut alice, &mut bob]);
    assert_eq!(hot(&mut world, &jid("b")).len(), 12);
    world.blobs.puts_fail = false;
    world.pass(SEGMENT_RETRY_MS);
    assert_eq!(segments(&mut world, &jid("b")), [(1, 5), (6, 10)]);
    assert_whole(&mut world, &jid("b"), 12);
}

#[test]
fn a_put_whose_answer_is_lost_is_put_again_under_the_same_name() {
    let (mut world, mut alice, mut bob) = history(small(), 12);
    world.blobs.answers_lost = true;
    age(&mut world, &mut [&mut alice, &mut bob]);
    assert_eq!(hot(&mut world, &jid("b")).len(), 12);
    let names: Vec<String> = world.blobs.kept.keys().cloned().collect();
    world.blobs.answers_lost = false;
    world.pass(2 * SEGMENT_RETRY_MS);
    assert_whole(&mut world, &jid("b"), 12);
    assert!(names.iter().all(|name| world.blobs.kept.contains_key(name)));
    assert_eq!(world.blobs.kept.len(), 4, "{:?}", world.blobs.kept.keys());
}

#[test]
fn an_answer_that_comes_after_the_mailbox_gave_the_put_up_drops_nothing() {
    let (mut world, mut alice, mut bob) = history(small(), 12);
    world.blobs.slow = true;
    age(&mut world, &mut [&mut alice, &mut bob]);
    world.crash(&jid("b"));
    world.settle_blobs();
    assert_whole(&mut world, &jid("b"), 12);
    let mut bob = Device::online(&mut world, "b", "phone");
    settle(&mut world, &mut [&mut bob]);
    world.pass(2 * SEGMENT_RETRY_MS);
    assert_whole(&mut world, &jid("b"), 12);
    assert_eq!(bodies(&mut world, &mut bob), 12);
}

#[test]
fn a_message_that_moved_is_still_recognised_when_it_is_sent_again() {
    let (mut world, mut alice, mut bob) = history(small(), 12);
    age(&mut world, &mut [&mut alice, &mut bob]);
    let again = "<message xmlns='jabber:client' to='b@d' type='chat' id='1'><body>1</body>\
        <accept xmlns='urn:counterfoil:accepted:0'/><origin-id xmlns='urn:xmpp:sid:0' id='o-1'/></message>";
    for load in [false, true] {
        if load {
            world.crash(&jid("a"));
            alice = Device::online(&mut world, "a", "phone");
        }
        alice.send(&mut world, again);
        assert!(alice.last_stanza().contains("stanza-id='1'"), "{}", alice.last_stanza());
        bob.drain(&mut world);
        assert_eq!(bob.bodies.iter().filter(|body| *body == "1").count(), 1);
        assert_whole(&mut world, &jid("a"), 12);
    }
    // Beyond the horizon it is forgotten when the next run moves, and only then.
    assert!(world.disk(&jid("a")).rows.segments.values().any(|(_, sources)| !sources.is_empty()));
    settle(&mut world, &mut [&mut alice, &mut bob]);
    world.pass(33 * DAY);
    for n in 20..30 {
        alice.message(&mut world, "b@d", &n.to_string());
        bob.drain(&mut world);
    }
    settle(&mut world, &mut [&mut alice, &mut bob]);
    age(&mut world, &mut [&mut alice, &mut bob]);
    let rows = &world.disk(&jid("a")).rows;
    let old = rows.segments.values().filter(|(row, _)| row.last.0 <= 10);
    assert!(old.clone().count() > 0 && old.clone().all(|(_, sources)| sources.is_empty()));
}

#[test]
fn a_call_that_comes_again_is_recognised_by_a_place_that_moved() {
    let (mut world, mut alice, mut bob) = history(small(), 12);
    age(&mut world, &mut [&mut alice, &mut bob]);
    let places: Vec<u64> = (1..=10).filter(|n| n % 3 != 0).collect();
    let item = |seq: &u64| TransferItem {
        seq: StanzaSeq(*seq),
        stanza: "<message xmlns='jabber:client'/>".into(),
        news: 0,
    };
    let items = places.iter().map(item).collect();
    let request = TransferRequest { from: jid("a"), to: jid("b"), items };
    assert_eq!(world.transfer(&request), Some(TransferReply::Accepted));
    // A place that is not here was refused once, and is refused for good.
    let items = vec![item(&3)];
    let refused = TransferRequest { items, ..request };
    assert_eq!(world.transfer(&refused), Some(TransferReply::Refused(vec![StanzaSeq(3)])));
}

#[test]
fn a_place_is_given_once_even_if_no_row_is_left_in_the_log() {
    let (mut world, mut alice, mut bob) = history(small(), 15);
    age(&mut world, &mut [&mut alice, &mut bob]);
    assert_eq!(hot(&mut world, &jid("b")), [0; 0]);
    world.crash(&jid("b"));
    let mut bob = Device::online(&mut world, "b", "phone");
    alice.message(&mut world, "b@d", "next");
    bob.drain(&mut world);
    assert_eq!(hot(&mut world, &jid("b")), [16]);
    assert_eq!(bob.bodies, ["next"]);
}

#[test]
fn every_query_is_answered_byte_for_byte_as_before() {
    let (mut world, mut alice, mut bob) = history(Limits { page_bytes_max: 2_500, ..Limits::DEFAULT }, 24);
    let mut carol = Device::online(&mut world, "c", "pad");
    let account = jid("b");
    for n in 1..=2 {
        carol.message(&mut world, "b@d", &format!("from carol {n}"));
        bob.message(&mut world, "b@d", &format!("to myself {n}"));
        settle(&mut world, &mut [&mut bob, &mut alice]);
    }
    // Some the archive does not show.
    for n in [3, 4, 11, 20, 25] {
        world.disk(&account).rows.log.get_mut(&StanzaSeq(n)).unwrap().archived = false;
    }
    let rows = world.disk(&account).rows.clone();
    let last = rows.log.keys().next_back().unwrap().0;
    let stamp = |seq: u64| rows.log[&StanzaSeq(seq)].at.to_stamp();
    let (early, late) = (stamp(6), stamp(17));
    let fields: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![("with", "a@d")],
        vec![("with", "c@d")],
        vec![("with", "b@d")],
        vec![("with", "a@d/phone")],
        vec![("with", "nobody@d")],
        vec![("start", &early)],
        vec![("end", &late)],
        vec![("start", &early), ("end", &late), ("with", "a@d")],
        vec![("after-id", "7"), ("before-id", "19")],
        vec![("ids", "2 10 12 26")],
        vec![("ids", "2 11 12")],
        vec![("after-id", "3"), ("before-id", "20")],
    ];
    let sets = [
        "",
        "<max>0</max>",
        "<max>1</max>",
        "<max>3</max><before/>",
        "<max>4</max><after>9</after>",
        "<max>4</max><before>20</before>",
        "<max>250</max>",
    ];
    let mut requests = vec!["<metadata xmlns='urn:xmpp:mam:2'/>".to_owned()];
    for fields in &fields {
        for set in sets {
            let request = query(fields, &format!("<set xmlns='http://jabber.org/protocol/rsm'>{set}</set>"));
            requests.push(request.replace("<x xmlns", "<flip-page/><x xmlns"));
            requests.push(request);
        }
    }
    let mut answers = |world: &mut World| -> Vec<Vec<String>> {
        let kind = |request: &str| if request.starts_with("<metadata") { "get" } else { "set" };
        let mut ask = |request: &String| {
            let had = bob.stanzas.len();
            let kind = kind(request);
            bob.send(world, &format!("<iq xmlns='jabber:client' type='{kind}' id='i'>{request}</iq>"));
            bob.stanzas.iter().skip(had).map(|stanza| stanza.to_frame()).collect()
        };
        requests.iter().map(&mut ask).collect()
    };
    let expected = answers(&mut world);
    for (size, step) in [(1, 7), (4, 3), (100, 5)] {
        for split in (1..=last).rev().step_by(step) {
            let mut store = rows.clone();
            let moved: Vec<LogRow> = rows.log.values().take(split as usize).cloned().collect();
            for run in moved.chunks(size) {
                let packed = cold::pack(&account, Millis(0), run).unwrap();
                world.blobs.kept.insert(packed.row.name.clone(), packed.bytes);
                store.apply(&Op::DropLog(packed.row.first, packed.row.last));
                store.apply(&Op::PutSegment(packed.row, packed.sources));
            }
            // What sleeps keeps its device's stream as it is by now.
            let devices = world.disk(&account).rows.devices.clone();
            world.disk(&account).rows = crate::memory::MailboxStore { devices, ..store };
            world.hibernate(&account);
            for ((request, expected), got) in requests.iter().zip(&expected).zip(answers(&mut world)) {
                assert_eq!(*expected, got, "segments of {size} up to {split}: {request}");
            }
        }
    }
    assert!(world.blobs.got > 100, "nothing was read from segments");
}

#[test]
fn a_mailbox_with_nothing_to_move_is_never_woken_for_it() {
    let (mut world, _, _) = history(Limits { segment_rows_min: 100, ..small() }, 20);
    for name in ["a", "b"] {
        assert_eq!(world.wakes_at(&jid(name)), None);
    }
    // And one with something, once, at an hour of its own.
    let (mut world, _, _) = history(small(), 20);
    let woken: Vec<Millis> = ["a", "b"].iter().map(|name| world.wakes_at(&jid(name)).unwrap()).collect();
    assert_ne!(woken[0], woken[1]);
    assert!(woken.iter().all(|at| (7 * DAY..9 * DAY).contains(&at.since(world.now))));
    world.pass(9 * DAY);
    for name in ["a", "b"] {
        assert_eq!(world.wakes_at(&jid(name)), None);
    }
}

#[test]
fn a_thousand_messages_cost_little_more_than_a_row_each_to_move() {
    let (mut world, mut alice, mut bob) = history(Limits::DEFAULT, 1_000);
    let before = world.disk(&jid("b")).written;
    let stanzas: usize = world.disk(&jid("b")).rows.log.values().map(|row| row.stanza.len()).sum();
    age(&mut world, &mut [&mut alice, &mut bob]);
    let moved = 1_000 - hot(&mut world, &jid("b")).len();
    let ops = world.disk(&jid("b")).written - before;
    let dropped = segments(&mut world, &jid("b")).len();
    let blobs = world.blobs.kept.iter().filter(|(name, _)| name.starts_with("b@d/"));
    let bytes: usize = blobs.map(|(_, bytes)| bytes.len()).sum();
    println!(
        "{moved} messages moved: {} rows deleted and {} written in {dropped} segment(s); {bytes} bytes \
         compressed of {stanzas} bytes of stanzas",
        moved,
        ops - dropped,
    );
    assert!(moved >= 800, "{moved}");
    assert!(ops < 20, "{ops} operations");
}

#[test]
fn a_put_is_told_once() {
    let (mut world, mut alice, mut bob) = history(small(), 12);
    age(&mut world, &mut [&mut alice, &mut bob]);
    let had = hot(&mut world, &jid("b"));
    let names: Vec<String> = world.blobs.kept.keys().cloned().collect();
    for name in names {
        world.input(&jid("b"), Input::SegmentPut(&name, true));
        world.input(&jid("b"), Input::SegmentDeleted(&name, true));
        world.input(&jid("b"), Input::Segment(&name, Ok(b"nonsense")));
    }
    assert_eq!(hot(&mut world, &jid("b")), had);
    assert_whole(&mut world, &jid("b"), 12);
}
