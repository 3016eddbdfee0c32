//! Every crash point of short scripts, for both engines: the machine dies before each single
//! step it takes, whatever its disk and the network were doing, and the promise holds.
//!
//! Chance finds what happens often; what happens at one step of ten thousand is found by trying
//! all of them.

use std::collections::BTreeSet;
use tests::plan::Plan;
use tests::world::World;

/// Who dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Machine {
    /// The sender's tab.
    Sender,
    /// The recipient's tab.
    Recipient,
    /// The sender's mailbox.
    SendersMailbox,
    /// The recipient's mailbox.
    RecipientsMailbox,
}

/// One way in which a script can go.
#[derive(Clone, Copy, Debug)]
struct Run {
    machine: Machine,
    /// The machine dies before this step, from when the script begins.
    step: u64,
    /// Whether a commit that was out came to the disk, and what was on its way arrives.
    kept: bool,
    /// What a browser's commit takes.
    disk_ms: u64,
}

/// Two accounts; the recipient has two devices. Nothing fails by chance.
fn plan() -> Plan {
    let mut plan = Plan::of(0);
    plan.faults = BTreeSet::new();
    plan.devices = vec![1, 2];
    plan.wrap = Some(3);
    plan.registers = false;
    plan.limits = shared::limits::Limits::DEFAULT;
    plan
}

/// Two messages, looked at, and one back. Returns whether the machine died.
fn script(run: Run) -> bool {
    let mut world = World::new(plan(), false);
    world.everybody_comes();
    world.script = Some(run.kept);
    world.plan.disk_ms = (run.disk_ms, run.disk_ms);
    light_the_fuse(&mut world, run);
    let peers: Vec<_> = world.watch.ledger.cast.accounts.clone();
    let leads = |world: &World, device: usize| world.devices[device].newest;
    for _ in 0..2 {
        let no = leads(&world, 0);
        world.write_one(0, no, 1, &peers[1]);
    }
    world.go_on(world.now + 2_000, false);
    let no = leads(&world, 1);
    world.look(1, no, peers[0].clone());
    world.write_one(1, no, 0, &peers[0]);
    world.go_on(world.now + 5_000, false);
    world.heal();
    let found = &world.watch.checkers.found;
    assert!(found.is_empty(), "{run:?}: {found:?}");
    let account = world.watch.ledger.account();
    assert_eq!(account.delivered, account.promised, "{run:?}");
    world.tolls.deaths > 0
}

fn light_the_fuse(world: &mut World, run: Run) {
    let device = match run.machine {
        Machine::Sender => 0,
        Machine::Recipient => 1,
        Machine::SendersMailbox => return world.mailboxes[0].fuse = Some(run.step),
        Machine::RecipientsMailbox => return world.mailboxes[1].fuse = Some(run.step),
    };
    let no = world.devices[device].newest;
    if let Some(tab) = world.devices[device].tab(no) {
        tab.fuse = Some(run.step);
    }
}

/// Tries every step until the script is over before it comes.
fn every_step(machine: Machine) {
    let (mut runs, mut most) = (0, 0);
    for disk_ms in [0, 1, 30] {
        for kept in [false, true] {
            let mut step = 0;
            while script(Run { machine, step, kept, disk_ms }) {
                step += 1;
            }
            (runs, most) = (runs + step, most.max(step));
        }
    }
    println!("{machine:?}: {runs} runs, {most} steps");
    assert!(most > 40, "{machine:?} takes only {most} steps: the script does not reach it");
}

#[test]
fn the_sender_may_die_at_any_step() {
    every_step(Machine::Sender);
}

#[test]
fn the_recipient_may_die_at_any_step() {
    every_step(Machine::Recipient);
}

#[test]
fn the_senders_mailbox_may_die_at_any_step() {
    every_step(Machine::SendersMailbox);
}

#[test]
fn the_recipients_mailbox_may_die_at_any_step() {
    every_step(Machine::RecipientsMailbox);
}
