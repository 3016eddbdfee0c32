//! Every order in which things can happen in a [`Town`].

use super::{ALICE, Act, BOTH, Cut, Left, Leg, Scope, Town};
use shared::limits::Limits;
use stateright::{Checker, Expectation, HasDiscoveries, Model, Path, Property};
use std::hash::{Hash, Hasher};

impl Town {
    /// What can happen without anything going wrong and without time passing.
    pub(super) fn progress(&self) -> Vec<Act> {
        let mut acts = Vec::new();
        if self.sent < self.scope.messages {
            acts.push(Act::Send);
        }
        for who in BOTH {
            let client = &self.clients[who];
            if client.pending.is_some() {
                acts.push(Act::Commit(who));
            } else if client.dialling.is_some() {
                acts.push(Act::Dial(who));
            }
            for (at, wire) in self.wires[who].iter().enumerate() {
                if !wire.relay_gone && (wire.client_gone || !wire.up.is_empty()) {
                    acts.push(Act::Up(who, at));
                }
                if !wire.client_gone && (wire.relay_gone || !wire.down.is_empty()) {
                    acts.push(Act::Down(who, at));
                }
            }
        }
        acts.extend(self.calls.iter().map(|(caller, leg)| match leg {
            Leg::Call(_) => Act::Call(*caller),
            Leg::Answer(..) => Act::Answer(*caller),
        }));
        acts
    }

    /// The act that may go before all others when nothing can go wrong; see the module.
    fn first(&self) -> Option<Act> {
        let idle = |who: &usize| {
            let client = &self.clients[*who];
            let user_is_done = *who != ALICE || self.sent == self.scope.messages;
            client.pending.is_none() && client.dialling.is_none() && user_is_done
        };
        BOTH.into_iter().filter(idle).find_map(|who| {
            let mut wires = self.wires[who].iter();
            wires.position(|wire| !wire.down.is_empty()).map(|at| Act::Down(who, at))
        })
    }

    /// What can go wrong.
    fn disasters(&self) -> Vec<Act> {
        let mut acts = Vec::new();
        for who in BOTH {
            let calling = self.calls.iter().find(|(caller, _)| caller.0 == who && self.lives(caller));
            if self.left.devices > 0 {
                acts.push(Act::CrashDevice { who, applied: false });
                if self.clients[who].pending.is_some() {
                    acts.push(Act::CrashDevice { who, applied: true });
                }
            }
            if self.left.mailboxes > 0 {
                acts.push(Act::CrashMailbox { who, late: false });
                if matches!(calling, Some((_, Leg::Call(_)))) {
                    acts.push(Act::CrashMailbox { who, late: true });
                }
            }
            // A runtime does not put to sleep what waits for an answer.
            if self.left.naps > 0 && calling.is_none() {
                acts.push(Act::Nap(who));
            }
            if self.left.cuts > 0
                && let Some(wire) = self.wires[who].iter().find(|wire| wire.is_whole())
            {
                acts.push(Act::Cut(who, Cut::Both));
                // With nothing under way, who notices first makes no difference.
                acts.extend((!wire.up.is_empty()).then_some(Act::Cut(who, Cut::Client)));
                acts.extend((!wire.down.is_empty()).then_some(Act::Cut(who, Cut::Mailbox)));
            }
            if self.left.usurped > 0 {
                acts.push(Act::Usurp(who));
            }
            if let Some((caller, leg)) = calling.filter(|_| self.left.lost > 0) {
                let answers = matches!(leg, Leg::Answer(..)) || !self.scope.late_answers;
                acts.extend(matches!(leg, Leg::Call(_)).then_some(Act::LoseCall(*caller)));
                acts.extend(answers.then_some(Act::LoseAnswer(*caller)));
            }
        }
        acts
    }
}

impl PartialEq for Town {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Hash for Town {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest().hash(state);
    }
}

/// Everything that can become of a town.
struct Future(Town);

impl Model for Future {
    type State = Town;
    type Action = Act;

    fn init_states(&self) -> Vec<Town> {
        vec![self.0.clone()]
    }

    fn actions(&self, town: &Town, acts: &mut Vec<Act>) {
        if town.left == Left::default()
            && let Some(act) = town.first()
        {
            return acts.push(act);
        }
        acts.extend(town.progress());
        if acts.is_empty() && town.waits() {
            acts.push(Act::Wake);
        } else if town.left.haste > 0 && town.waits() {
            acts.push(Act::Haste);
        }
        acts.extend(town.disasters());
    }

    fn next_state(&self, town: &Town, act: Act) -> Option<Town> {
        let mut next = town.clone();
        next.act(act);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        type Rule = (&'static str, fn(&Future, &Town) -> bool);
        let always: [Rule; 6] = [
            ("nothing that leaves is ahead of a disk", |_, town| town.fault.is_none()),
            ("shown once, in order, and as it was sent", |_, town| town.shows_what_was_promised()),
            ("no status is ahead of the disk it speaks of", |_, town| !town.a_status_is_ahead()),
            ("no cursor is ahead of the device's disk", |_, town| !town.a_cursor_is_ahead()),
            ("a log holds a message once", |_, town| !town.a_log_repeats_itself()),
            ("when all is quiet, all is done", |_, town| !town.is_quiet() || town.all_is_done()),
        ];
        let crash: Rule = ("every message is shown, after a crash", |future, town| {
            let (before, after) = (future.0.left, town.left);
            let crashed = (before.devices, before.mailboxes) != (after.devices, after.mailboxes);
            crashed && town.shows_everything()
        });
        let Left { devices, mailboxes, usurped, lost, .. } = self.0.left;
        let (crashes, again) = (devices + mailboxes > 0, usurped > 0);
        let sometimes: [(bool, Rule); 5] = [
            (true, ("every message is shown", |_, town| town.shows_everything())),
            (crashes, crash),
            (again, ("a message is sent again", |_, town| town.a_message_is_sent_again())),
            (again, ("a message is delivered again", |_, town| town.a_message_is_delivered_again())),
            (mailboxes + lost > 0, ("a transfer is repeated", |_, town| town.a_transfer_is_repeated())),
        ];
        let sometimes = sometimes.into_iter().filter(|(wanted, _)| *wanted);
        let rules = sometimes.map(|(_, (name, rule))| Property::sometimes(name, rule));
        rules.chain(always.into_iter().map(|(name, rule)| Property::always(name, rule))).collect()
    }
}

/// Prints how a town came to this, with the frames that were carried.
fn tell(start: &Town, path: Path<Town, Act>) {
    let mut town = start.clone();
    for act in path.into_actions() {
        let frame = match act {
            Act::Up(who, at) => town.wires[who][at].up.front(),
            Act::Down(who, at) => town.wires[who][at].down.front(),
            _ => None,
        };
        println!("{} {act:?} {}", town.now.0, frame.map_or("", String::as_str));
        town.act(act);
    }
    println!("{} {:?}", town.now.0, town.fault);
}

/// What came of going every way there is.
pub(super) struct Explored {
    pub(super) states: usize,
    acts: usize,
    /// The rule that did not hold, and how that came about.
    pub(super) broken: Option<(&'static str, Path<Town, Act>)>,
    /// What must happen somewhere and did not.
    missed: Vec<&'static str>,
}

pub(super) fn explore(start: &Town) -> Explored {
    let checker = Future(start.clone()).checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let mut found = checker.discoveries();
    let (mut broken, mut missed) = (None, Vec::new());
    for rule in checker.model().properties() {
        match (rule.expectation, found.remove(rule.name)) {
            (Expectation::Sometimes, None) => missed.push(rule.name),
            (Expectation::Always, Some(path)) => broken = Some((rule.name, path)),
            _ => {}
        }
    }
    Explored { states: checker.unique_state_count(), acts: checker.state_count(), broken, missed }
}

/// How many states there are, if the rules hold in all of them. The tests know the number: fewer
/// would mean that something is no longer tried.
fn states(scope: Scope, left: Left) -> usize {
    let start = Town::new(scope, left);
    let explored = explore(&start);
    println!("{} states, {} acts", explored.states, explored.acts);
    if let Some((rule, path)) = explored.broken {
        tell(&start, path);
        panic!("broken: {rule}");
    }
    assert!(explored.missed.is_empty(), "never: {:?}", explored.missed);
    explored.states
}

pub(super) const ONE: Scope = Scope {
    messages: 1,
    ack_every: Limits::DEFAULT.ack_every_stanzas,
    late_answers: false,
    quick_disks: false,
};
/// With acks of everything.
pub(super) const ONE_ACKED: Scope = Scope { ack_every: 1, ..ONE };
const ONE_ON_QUICK_DISKS: Scope = Scope { quick_disks: true, ..ONE };
const TWO: Scope = Scope { messages: 2, ..ONE };
/// With acks in between.
const TWO_ACKED: Scope = Scope { ack_every: 2, ..TWO };
pub(super) const TWO_WITH_LATE_ANSWERS: Scope = Scope { late_answers: true, ..TWO };
pub(super) const TWO_ON_QUICK_DISKS: Scope = Scope { quick_disks: true, ..TWO };

pub(super) const NOTHING: Left =
    Left { devices: 0, mailboxes: 0, naps: 0, cuts: 0, usurped: 0, lost: 0, haste: 0 };
const A_CRASH: Left = Left { devices: 1, ..NOTHING };
const A_MAILBOX_CRASH: Left = Left { mailboxes: 1, ..NOTHING };
const A_CUT: Left = Left { cuts: 1, ..NOTHING };
const A_LOST_SESSION: Left = Left { usurped: 1, ..NOTHING };

#[test]
fn two_messages_arrive_when_nothing_goes_wrong() {
    assert_eq!(states(TWO_WITH_LATE_ANSWERS, NOTHING), 6_803);
}

#[test]
fn two_messages_arrive_with_acks_in_between() {
    assert_eq!(states(TWO_ACKED, NOTHING), 22_731);
}

#[test]
fn two_messages_survive_a_call_that_fails() {
    assert_eq!(states(TWO_WITH_LATE_ANSWERS, Left { lost: 1, ..NOTHING }), 20_121);
}

#[test]
fn two_messages_survive_a_broken_connection() {
    assert_eq!(states(TWO, A_CUT), 19_166);
}

#[test]
fn two_messages_survive_the_crash_of_a_device() {
    assert_eq!(states(TWO_ON_QUICK_DISKS, A_CRASH), 32_941);
}

#[test]
fn two_messages_survive_the_crash_of_a_mailbox() {
    assert_eq!(states(TWO, A_MAILBOX_CRASH), 20_184);
}

#[test]
fn two_messages_survive_a_mailbox_that_sleeps() {
    assert_eq!(states(TWO, Left { naps: 1, ..NOTHING }), 6_941);
}

#[test]
fn two_messages_survive_the_loss_of_a_session() {
    assert_eq!(states(TWO, A_LOST_SESSION), 19_182);
}

#[test]
fn an_acked_message_survives_the_crash_of_a_device() {
    assert_eq!(states(ONE_ACKED, A_CRASH), 25_442);
}

#[test]
fn a_message_survives_a_broken_connection_and_the_crash_of_a_device() {
    assert_eq!(states(ONE, Left { cuts: 1, ..A_CRASH }), 51_360);
}

#[test]
fn a_message_survives_a_broken_connection_and_the_crash_of_a_mailbox() {
    assert_eq!(states(ONE, Left { cuts: 1, ..A_MAILBOX_CRASH }), 10_967);
}

#[test]
fn a_message_survives_the_loss_of_a_session_and_the_crash_of_a_device() {
    assert_eq!(states(ONE_ON_QUICK_DISKS, Left { usurped: 1, ..A_CRASH }), 25_939);
}

#[test]
fn a_message_survives_the_crash_of_a_mailbox_while_time_passes() {
    assert_eq!(states(ONE, Left { haste: 1, ..A_MAILBOX_CRASH }), 28_694);
}

#[test]
fn a_message_survives_a_mailbox_that_sleeps_and_the_crash_of_a_device() {
    assert_eq!(states(ONE, Left { naps: 1, ..A_CRASH }), 20_471);
}

/// Many more states, and up to a minute each.
#[cfg(feature = "deep")]
mod deep {
    use super::*;

    #[test]
    fn two_messages_survive_the_crash_of_a_device_on_slow_disks() {
        assert_eq!(states(TWO, A_CRASH), 152_474);
    }

    #[test]
    fn two_messages_survive_a_broken_connection_and_the_crash_of_a_mailbox() {
        assert_eq!(states(TWO_ON_QUICK_DISKS, Left { cuts: 1, ..A_MAILBOX_CRASH }), 186_788);
    }

    #[test]
    fn two_messages_survive_a_broken_connection_and_the_loss_of_a_session() {
        assert_eq!(states(TWO_ON_QUICK_DISKS, Left { cuts: 1, ..A_LOST_SESSION }), 265_149);
    }

    #[test]
    fn a_message_survives_the_crash_of_a_device_while_time_passes() {
        assert_eq!(states(ONE_ON_QUICK_DISKS, Left { haste: 1, ..A_CRASH }), 56_097);
    }

    #[test]
    fn two_messages_arrive_with_acks_of_everything() {
        assert_eq!(states(Scope { ack_every: 1, ..TWO }, NOTHING), 104_264);
    }
}
