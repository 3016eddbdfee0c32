//! The two ends of handing a command over to the tab that leads.
//!
//! The tab where the user acted keeps each command until the leader says that what it caused is
//! on disk, and hands the whole list over again until then; the leader takes each number of a
//! tab once. Lists, not single commands: what arrives is always the front of the queue, so a
//! lost message can't let a later command overtake an earlier one.

use serde::{Deserialize, Serialize};
use shared::client::Command;
use shared::gate::BatchNo;
use std::collections::{BTreeMap, VecDeque};

/// Commands in one message between tabs.
const COMMANDS_MAX: usize = 64;

/// A tab, by a random name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(super) struct TabName(pub String);

/// A command's place in its tab, from 1.
pub(super) type Number = u64;

/// The commands of this tab that are not known to be on disk, oldest first.
#[derive(Default)]
pub(super) struct Pending {
    last: Number,
    commands: VecDeque<(Number, Command)>,
}

impl Pending {
    /// Keeps a command. One that says the same thing newer takes the older one's place away.
    pub fn push(&mut self, command: Command) {
        self.commands.retain(|(_, older)| !supersedes(&command, older));
        self.last += 1;
        self.commands.push_back((self.last, command));
    }

    /// The front of the queue.
    pub fn front(&self) -> Vec<(Number, Command)> {
        self.commands.iter().take(COMMANDS_MAX).cloned().collect()
    }

    /// Everything up to this number is on disk. Whether that lets new ones into the front.
    pub fn taken(&mut self, upto: Number) -> bool {
        let before = self.commands.len();
        self.commands.retain(|(number, _)| *number > upto);
        before > COMMANDS_MAX && self.commands.len() < before
    }

    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }
}

fn supersedes(newer: &Command, older: &Command) -> bool {
    match (newer, older) {
        (Command::Draft(newer, _), Command::Draft(older, _))
        | (Command::Displayed(newer, _), Command::Displayed(older, _)) => newer == older,
        _ => false,
    }
}

/// What is worth nothing later: handed over once, and not kept.
pub(super) fn is_passing(command: &Command) -> bool {
    matches!(command, Command::Typing(..) | Command::Reconnect)
}

/// The commands that the engine has taken, and the batches that hold what they caused.
///
/// A command's rows are in the first batch that goes out after it. If none is out once the
/// engine is drained, it caused none.
#[derive(Default)]
pub(super) struct Taken {
    tabs: BTreeMap<TabName, Tab>,
    out: Option<BatchNo>,
}

#[derive(Default)]
struct Tab {
    taken: Number,
    durable: Number,
    told: Number,
    waiting: VecDeque<(Number, Option<BatchNo>)>,
}

impl Taken {
    /// Whether a tab's command is new. It counts as taken.
    pub fn take(&mut self, tab: &TabName, number: Number) -> bool {
        let tab = self.tabs.entry(tab.clone()).or_default();
        let new = number > tab.taken;
        if new {
            tab.taken = number;
            tab.waiting.push_back((number, None));
        }
        new
    }

    /// A batch went out.
    pub fn out(&mut self, batch: BatchNo) {
        self.out = Some(batch);
        let waiting = self.tabs.values_mut().flat_map(|tab| &mut tab.waiting);
        waiting.filter(|(_, held_by)| held_by.is_none()).for_each(|(_, held_by)| *held_by = Some(batch));
    }

    /// A batch is on disk.
    pub fn committed(&mut self, batch: BatchNo) {
        if self.out == Some(batch) {
            self.out = None;
        }
        self.settle(|held_by| held_by.is_some_and(|held_by| held_by <= batch));
    }

    /// The engine is drained.
    pub fn drained(&mut self) {
        if self.out.is_none() {
            self.settle(|_| true);
        }
    }

    /// The last command of a tab that is on disk, with all before it.
    pub fn durable(&self, tab: &TabName) -> Number {
        self.tabs.get(tab).map_or(0, |tab| tab.durable)
    }

    /// Every tab with its last durable command, if that has changed since the last call.
    pub fn news(&mut self) -> Vec<(TabName, Number)> {
        let changed = self.tabs.iter_mut().filter(|(_, tab)| tab.told < tab.durable);
        changed
            .map(|(name, tab)| {
                tab.told = tab.durable;
                (name.clone(), tab.durable)
            })
            .collect()
    }

    fn settle(&mut self, on_disk: impl Fn(Option<BatchNo>) -> bool) {
        for tab in self.tabs.values_mut() {
            while let Some((number, _)) = tab.waiting.pop_front_if(|(_, held_by)| on_disk(*held_by)) {
                tab.durable = number;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::jid::BareJid;

    fn tab() -> TabName {
        TabName("a".to_owned())
    }

    fn friend() -> BareJid {
        BareJid::new("romeo", "localhost").expect("a JID")
    }

    fn send(origin: &str) -> Command {
        Command::Send { origin: origin.into(), to: friend(), body: String::new() }
    }

    #[test]
    fn a_command_waits_for_the_batch_that_went_out_after_it() {
        let mut taken = Taken::default();
        taken.out(BatchNo(1));
        assert!(taken.take(&tab(), 1));
        taken.drained();
        assert_eq!(taken.durable(&tab()), 0, "its rows may be in the next batch");
        taken.committed(BatchNo(1));
        taken.out(BatchNo(2));
        taken.drained();
        assert_eq!(taken.durable(&tab()), 0);
        taken.committed(BatchNo(2));
        assert_eq!(taken.durable(&tab()), 1);
    }

    #[test]
    fn a_command_without_rows_is_done_when_the_engine_is_drained_and_no_batch_is_out() {
        let mut taken = Taken::default();
        assert!(taken.take(&tab(), 1));
        taken.drained();
        assert_eq!(taken.durable(&tab()), 1);
    }

    #[test]
    fn a_command_handed_over_twice_is_taken_once() {
        let mut taken = Taken::default();
        assert!(taken.take(&tab(), 1));
        assert!(!taken.take(&tab(), 1));
        assert!(taken.take(&tab(), 2));
        assert!(!taken.take(&tab(), 1));
    }

    #[test]
    fn news_of_a_durable_command_is_told_once() {
        let mut taken = Taken::default();
        taken.take(&tab(), 3);
        taken.drained();
        assert_eq!(taken.news(), [(tab(), 3)]);
        assert_eq!(taken.news(), []);
    }

    #[test]
    fn a_command_is_kept_until_it_is_on_disk_and_keeps_its_place() {
        let mut pending = Pending::default();
        pending.push(send("1"));
        pending.push(send("2"));
        assert_eq!(pending.front(), [(1, send("1")), (2, send("2"))]);
        pending.taken(1);
        assert_eq!(pending.front(), [(2, send("2"))]);
        pending.taken(2);
        assert!(pending.is_empty());
    }

    #[test]
    fn a_newer_draft_takes_the_older_one_away_and_a_message_takes_nothing() {
        let mut pending = Pending::default();
        pending.push(Command::Draft(friend(), "hel".to_owned()));
        pending.push(send("1"));
        pending.push(send("2"));
        pending.push(Command::Draft(friend(), String::new()));
        let kept = pending.front().into_iter().map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(kept, [2, 3, 4]);
    }

    #[test]
    fn one_handover_is_bounded_and_the_rest_follows() {
        let mut pending = Pending::default();
        (0..100).for_each(|n| pending.push(send(&n.to_string())));
        assert_eq!(pending.front().len(), COMMANDS_MAX);
        assert!(pending.taken(COMMANDS_MAX as u64), "there is more to hand over");
        assert_eq!(pending.front().len(), 100 - COMMANDS_MAX);
    }
}
