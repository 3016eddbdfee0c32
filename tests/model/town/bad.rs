//! Engines with a bug: each that this town can meet must be caught, or its silence means nothing.

use super::explore::{NOTHING, ONE, ONE_ACKED, TWO_ON_QUICK_DISKS, explore};
use super::{Left, Scope, Town};
use shared::bad::Bug;

/// Where to look, the small towns first.
const SCOPES: [(Scope, Left); 8] = [
    (ONE, NOTHING),
    (ONE_ACKED, NOTHING),
    (ONE, Left { lost: 1, ..NOTHING }),
    (ONE, Left { cuts: 1, ..NOTHING }),
    (ONE, Left { mailboxes: 1, ..NOTHING }),
    (ONE, Left { devices: 1, ..NOTHING }),
    (ONE, Left { usurped: 1, ..NOTHING }),
    (TWO_ON_QUICK_DISKS, Left { cuts: 1, ..NOTHING }),
];

/// What takes more than a message or two, one device each, the usual limits and one thing that
/// goes wrong. The first three are for `window` and `log`, the others for the simulator.
const BEYOND: [Bug; 13] = [
    Bug::NoWrap,
    Bug::NumbersReused,
    Bug::DedupForgets,
    // Costs a repeat, and that is recognised.
    Bug::FailedCountIgnored,
    Bug::OrderByClock,
    Bug::CommitFailureIgnored,
    Bug::AnyStreamResumed,
    Bug::WindowIgnored,
    Bug::LeaseIgnored,
    Bug::TransferMisdirected,
    Bug::FullForgets,
    Bug::WakesForNothing,
    Bug::TimeStandsStill,
];

#[test]
fn every_bug_that_two_messages_can_meet_is_caught() {
    let mut missed = Vec::new();
    for bug in Bug::ALL.iter().filter(|bug| !BEYOND.contains(bug)) {
        let found = SCOPES.iter().find_map(|(scope, left)| {
            let mut start = Town::new(*scope, *left);
            start.bug = Some(*bug);
            let explored = explore(&start);
            explored.broken.map(|(rule, _)| (explored.states, rule))
        });
        match found {
            Some((states, rule)) => println!("{:<20} {states:>6} states: {rule}", format!("{bug:?}")),
            None => missed.push(*bug),
        }
    }
    assert_eq!(missed, []);
}
