//! The power is cut at every step of short scripts, with every lag of the disk, and whatever
//! was promised must still come true. The checks of [`World`] run at every step besides.

use super::*;
use crate::limits::RECONNECT_MS_MAX;

/// One thing that happens to a client.
#[derive(Clone, Copy, Debug)]
enum Act {
    Send(u8),
    Bob(u8),
    Receipt(u8),
    Marker(u8),
    Displayed,
    /// Two messages from bob with an `<r/>` between them and one behind, all at once.
    Burst(u8, u8),
    /// Two messages written faster than the disk.
    Two(u8, u8),
    Ask,
    Cut,
    /// The relay no longer knows the session when the client comes back.
    Forget,
    Wait,
}

use Act::{Ask, Bob, Burst, Cut, Displayed, Forget, Marker, Receipt, Send, Two, Wait};

const SCRIPTS: [&[Act]; 6] = [
    &[Send(1), Bob(1), Ask, Send(2), Receipt(1), Displayed, Marker(2), Wait],
    &[Send(1), Send(2), Cut, Send(3), Wait, Bob(1), Cut, Bob(2), Wait, Ask],
    &[Bob(1), Bob(2), Send(1), Forget, Bob(3), Displayed, Send(2), Wait, Ask],
    &[Cut, Send(1), Bob(1), Send(2), Wait, Receipt(2), Receipt(1), Cut, Marker(1), Wait],
    &[Send(1), Cut, Wait, Forget, Wait, Cut, Send(2), Forget, Wait, Send(3), Displayed],
    &[Two(1, 2), Burst(1, 2), Receipt(1), Two(3, 4), Cut, Wait, Burst(3, 4), Marker(4), Ask],
];

fn act(world: &mut World, act: Act) {
    let origin = |n: u8| format!("o{n}");
    match act {
        Send(n) => world.command(send(&origin(n), &format!("body {n}"))),
        Bob(n) => drop(world.deliver(&from_bob(&format!("b{n}"), "in"))),
        // Nobody confirms what the relay never had.
        Receipt(n) | Marker(n) if !world.relay.log.iter().any(|(known, _)| *known == origin(n)) => {}
        Receipt(n) => drop(world.deliver(&receipt_from("bob@d/x", &origin(n)))),
        Marker(n) => drop(world.deliver(&displayed_from("bob@d/x", &origin(n)))),
        Displayed => world.command(world.store.seen("bob@d")),
        Burst(n, m) => {
            for n in [n, m] {
                world.relay.deliver(&from_bob(&format!("b{n}"), "in"));
                if world.link.is_some() {
                    world.relay.out.push("<r xmlns='urn:xmpp:sm:3'/>".into());
                }
            }
            world.settle();
        }
        Two(n, m) => {
            world.handle(Input::Command(send(&origin(n), &format!("body {n}"))));
            world.command(send(&origin(m), &format!("body {m}")));
        }
        Ask => world.say_if_online("<r xmlns='urn:xmpp:sm:3'/>"),
        Cut => world.cut(),
        Forget => {
            world.cut();
            if world.relay.session.is_some() {
                world.relay.forget_session_id();
            }
        }
        Wait => world.advance(RECONNECT_MS_MAX / 10),
    }
}

impl World {
    fn say_if_online(&mut self, nonza: &str) {
        if self.link.is_some() {
            self.frame(nonza);
        }
    }
}

/// Returns how many steps the script took, if nothing blew.
fn run(start: &World, script: &[Act], lag: usize, crash_at: Option<usize>, late: bool) -> usize {
    const FUEL: usize = 1_000_000;
    let mut relay = Relay::new(None);
    relay.keys.clone_from(&start.relay.keys);
    let mut world = World::on(start.store.clone(), relay);
    world.lag = lag;
    world.fuse = Some(crash_at.unwrap_or(FUEL));
    world.advance(0);
    let mut crashed = false;
    for step in script {
        act(&mut world, *step);
        if world.blown() {
            // What was on its way to the disk may have arrived there, unreported.
            if late && let Some((_, _, ops)) = world.pending.pop_front() {
                ops.iter().for_each(|op| world.store.apply(op));
            }
            crashed = true;
            world.reload();
        }
    }
    let steps = if crashed { 0 } else { FUEL - world.fuse.unwrap() };
    world.fuse = None;
    // Healing: time passes and the relay asks once more.
    world.advance(4 * RECONNECT_MS_MAX);
    world.say_if_online("<r xmlns='urn:xmpp:sm:3'/>");
    world.advance(1000);
    check(&world);
    steps
}

fn check(world: &World) {
    assert!(world.engine.is_online(), "healed");
    assert!(world.store.outbox.is_empty(), "drained: {:?}", world.store.outbox);
    let owed = world.store.owed.values();
    let accepted = world.store.conversations.get(&jid("bob@d")).is_some_and(|row| row.accepted);
    assert!(!accepted || owed.len() == 0, "drained: {:?}", world.store.owed);

    for origin in &world.store.promised {
        let taken = world.relay.log.iter().filter(|(known, _)| *known == origin.0).count();
        assert_eq!(taken, 1, "promised, then lost: {origin}");
        assert!(world.status(origin.as_str()) >= Status::Sent);
    }
    let promised: Vec<_> = world.relay.log.iter().map(|(origin, _)| origin.clone()).collect();
    let mut in_order = promised.clone();
    in_order.sort();
    assert_eq!(promised, in_order, "the sender's order");

    for frame in world.relay.heard.iter().filter(|frame| frame.contains("<body>")) {
        let message = crate::wire::read_frame(frame, 1 << 20).unwrap();
        let (id, body) = (message.attr("id").unwrap(), crate::wire::stanza::body(&message).unwrap());
        assert_eq!(body, format!("body {}", &id[1..]), "one message, one name");
    }

    // Everything for this device is confirmed, and each message of it shown once.
    let own = world.relay.log.len() as u64;
    assert_eq!(world.relay.confirmed.len() as u64, world.relay.next_seq - 1 - own);
    let incoming = world.store.messages.values().filter(|row| row.direction == Direction::Incoming);
    assert_eq!(incoming.count(), world.relay.delivered_bodies);
    let unread = world.store.conversations.get(&jid("bob@d")).map_or(0, |row| row.unread as usize);
    assert!(unread <= world.relay.delivered_bodies);
}

#[test]
fn whatever_step_the_power_is_cut_at_nothing_is_lost_doubled_or_lied_about() {
    let start = World::online();
    let mut runs = 0;
    for script in SCRIPTS {
        for lag in [0, 1, 3, 9] {
            let steps = run(&start, script, lag, None, false);
            assert!(steps > 0);
            for crash_at in 1..=steps {
                for late in [false, true] {
                    run(&start, script, lag, Some(crash_at), late);
                    runs += 1;
                }
            }
        }
    }
    println!("{runs} runs");
    assert!(runs > 1000);
}
