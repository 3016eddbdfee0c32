//! Cold storage in all weathers: whatever fails while history is written, moved and read, every
//! answer is whole or an error, and in the end every row is in one place.

use super::blobs::Gets;
use super::cold::{DAY, assert_whole, query, small};
use super::world::{Device, World, jid};
use crate::limits::{Limits, SEGMENT_RETRY_MS};
use crate::relay::Input;

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn back(world: &mut World, device: &mut Device) {
    if !device.connected(world) && !device.resume(world) {
        let account = device.account.clone();
        *device = Device::online(world, account.local().unwrap(), "phone");
    }
}

/// What the archive answers: its ids, or nothing for an error or no answer.
fn read(world: &mut World, device: &mut Device, dice: &mut Dice) -> Option<Vec<u64>> {
    let had = device.stanzas.len();
    let set = "<set xmlns='http://jabber.org/protocol/rsm'><max>250</max></set>";
    device.send(world, &format!("<iq xmlns='jabber:client' type='set' id='all'>{}</iq>", query(&[], set)));
    if dice.below(4) == 0 {
        world.input(&device.account.clone(), Input::Wake);
    }
    world.settle_blobs();
    device.drain(world);
    let answer = device.stanzas.iter().skip(had).find(|stanza| stanza.attr("id") == Some("all"))?;
    if answer.attr("type") == Some("error") {
        let text = answer.to_frame();
        assert!(text.contains("internal-server-error") || text.contains("resource-constraint"), "{text}");
        return None;
    }
    assert!(answer.to_frame().contains("complete='true'"));
    let results =
        device.stanzas.iter().skip(had).filter_map(|stanza| stanza.child("urn:xmpp:mam:2", "result"));
    Some(results.map(|result| result.attr("id").unwrap().parse().unwrap()).collect())
}

#[test]
fn every_answer_is_whole_or_an_error_and_every_row_is_in_one_place() {
    let (mut read_whole, mut refused, mut crashes) = (0, 0, 0);
    for seed in 0..12 {
        let mut dice = Dice(seed * 7919 + 1);
        // More than one page of acks at a time is somebody else's subject.
        let mut world = World::with(Limits { unacked_stanzas_max: 5_000, ..small() });
        let mut alice = Device::online(&mut world, "a", "phone");
        let mut bob = Device::online(&mut world, "b", "phone");
        let mut said = 0;
        for _ in 0..60 {
            match dice.below(12) {
                0..3 => {
                    for _ in 0..=dice.below(5) {
                        said += 1;
                        let (from, to) =
                            if dice.below(2) == 0 { (&mut alice, "b@d") } else { (&mut bob, "a@d") };
                        from.message(&mut world, to, &said.to_string());
                    }
                }
                3 | 4 => world.pass(dice.below(4) * DAY + dice.below(5_000)),
                5 => world.blobs.puts_fail = dice.below(2) == 0,
                6 => {
                    world.blobs.gets = [Gets::Right, Gets::Right, Gets::Fail, Gets::Cut, Gets::Changed]
                        [dice.below(5) as usize];
                }
                7 => world.blobs.slow = true,
                8 => world.settle_blobs(),
                9 => {
                    world.crash_at = Some(world.steps + dice.below(30) as usize + 1);
                    world.pass(dice.below(3) * DAY);
                    world.crash_at = None;
                }
                10 => world.hibernate(&jid("b")),
                _ => {
                    let last = world.disk(&jid("b")).rows.rows().last.0;
                    match read(&mut world, &mut bob, &mut dice) {
                        Some(ids) => {
                            assert!(ids.len() as u64 >= last, "{ids:?} of {last}, seed {seed}");
                            assert!(
                                ids.iter().zip(1..).all(|(id, place)| *id == place),
                                "{ids:?}, seed {seed}"
                            );
                            read_whole += 1;
                        }
                        None => refused += 1,
                    }
                }
            }
            for device in [&mut alice, &mut bob] {
                back(&mut world, device);
                device.drain(&mut world);
            }
        }
        (world.blobs.puts_fail, world.blobs.gets) = (false, Gets::Right);
        crashes += world.crashes;
        for _ in 0..6 {
            world.settle_blobs();
            for device in [&mut alice, &mut bob] {
                back(&mut world, device);
            }
            super::cold::settle(&mut world, &mut [&mut alice, &mut bob]);
        }
        world.pass(9 * DAY + 3 * SEGMENT_RETRY_MS);
        for device in [&mut alice, &mut bob] {
            let account = device.account.clone();
            let last = world.disk(&account).rows.rows().last.0;
            assert_whole(&mut world, &account, last);
            let named: Vec<String> =
                world.disk(&account).rows.segments.values().map(|(row, _)| row.name.clone()).collect();
            let prefix = format!("{account}/");
            let kept = world.blobs.kept.keys().filter(|name| name.starts_with(&prefix)).count();
            assert_eq!(kept, named.len(), "nothing is left behind, seed {seed}");
            back(&mut world, device);
            let ids = read(&mut world, device, &mut dice).unwrap();
            assert_eq!(ids, (1..=last).collect::<Vec<_>>(), "seed {seed}");
        }
        assert!(!world.disk(&jid("b")).rows.segments.is_empty(), "seed {seed}");
    }
    println!("{read_whole} read whole, {refused} refused, {crashes} crashes");
    assert!(read_whole > 20 && refused > 3 && crashes > 3, "{read_whole} {refused} {crashes}");
}
