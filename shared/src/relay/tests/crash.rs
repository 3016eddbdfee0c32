//! Power cut at every single step of a conversation: nothing is lost, nothing comes twice, and
//! the streams go on.

use super::world::{Device, World, jid};

/// Alice and Bob talk; whoever loses the connection comes back. Returns the steps it took.
fn conversation(crash_at: Option<usize>, start: Option<usize>) -> (usize, usize) {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    let begun = world.steps;
    world.crash_at = crash_at.map(|step| step + start.unwrap_or(begun));
    let back = |world: &mut World, device: &mut Device| {
        if !device.connected(world) {
            device.drain(world);
            assert!(device.resume(world), "crash at {crash_at:?}: the stream is resumed");
        }
    };
    for n in 1..=6 {
        alice.message(&mut world, "b@d", &format!("a{n}"));
        back(&mut world, &mut alice);
        bob.drain(&mut world);
        back(&mut world, &mut bob);
        if n % 2 == 0 {
            bob.message(&mut world, "a@d", &format!("b{n}"));
            back(&mut world, &mut bob);
            alice.drain(&mut world);
            back(&mut world, &mut alice);
        }
        if n == 3 {
            alice.send(
                &mut world,
                "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>",
            );
            back(&mut world, &mut alice);
        }
    }
    let talked = world.steps - begun;
    for _ in 0..6 {
        world.pass(2_000);
        for device in [&mut alice, &mut bob] {
            device.drain(&mut world);
            back(&mut world, device);
            device.request_ack(&mut world);
            back(&mut world, device);
        }
    }
    let context = format!("crash at {crash_at:?} of {}", world.steps);
    assert_eq!(bob.bodies, ["a1", "a2", "a3", "a4", "a5", "a6"], "{context}");
    assert_eq!(alice.bodies, ["b2", "b4", "b6"], "{context}");
    assert_eq!((alice.unacked(), bob.unacked()), (0, 0), "{context}");
    let pongs =
        alice.stanzas.iter().filter(|e| e.attr("type") == Some("result") && e.attr("id") == Some("p"));
    assert_eq!(pongs.count(), 1, "an answer is not lost: {context}");
    for name in ["a", "b"] {
        let places: Vec<u64> = world.disk(&jid(name)).rows.log.values().map(|row| row.seq.0).collect();
        assert_eq!(places, (1..=9).collect::<Vec<u64>>(), "one row each: {context}");
    }
    (talked, world.crashes)
}

#[test]
fn a_crash_at_any_step_loses_nothing_and_doubles_nothing() {
    let (steps, _) = conversation(None, None);
    assert!(steps > 80, "the script is worth it: {steps}");
    let mut crashes = 0;
    for step in 1..=steps {
        crashes += conversation(Some(step), None).1;
    }
    assert_eq!(crashes, steps, "every step was cut");
}
