//! The part of a conversation that is in memory, and the part of that which is on the screen.
//!
//! Rows come by two roads: pages read from the store, and events. An event is never older than a
//! page, so a page adds rows and never replaces one, and a row that an event took away stays
//! away. Shown is a run of at most [`SHOWN_MAX`] rows, so a long conversation costs what a short
//! one does; it follows the newest row until the reader scrolls up.

use shared::client::rows::{Direction, MessageKey, MessageRow, Status};
use shared::jid::BareJid;
use shared::time::Millis;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Messages read from the store at once, and shown more at once.
pub const PAGE_ROWS: usize = 50;
/// Messages in the document at once.
pub const SHOWN_MAX: usize = 250;
/// Messages of one side this close together form a group.
const GROUP_MS_MAX: u64 = 5 * 60_000;

type Place = (u64, MessageKey);

/// One conversation's history, as far as it is loaded.
#[derive(Clone, Default)]
pub struct History {
    /// Whose; `None` when no conversation is open.
    pub conversation: Option<BareJid>,
    rows: BTreeMap<Place, Arc<MessageRow>>,
    orders: HashMap<MessageKey, u64>,
    gone: HashSet<MessageKey>,
    /// The oldest shown row, unless all loaded rows above are shown.
    from: Option<Place>,
    /// The newest shown row, unless the run follows the newest of all.
    until: Option<Place>,
    /// A page has been read.
    pub loaded: bool,
    /// The store holds nothing older.
    pub complete: bool,
}

/// What changed by an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// A message that was not there and stands below all others.
    Newest,
    /// Anything else.
    Other,
}

/// A message as it stands among its neighbours.
#[derive(Clone, PartialEq, Debug)]
pub struct Item {
    /// The message.
    pub row: Arc<MessageRow>,
    /// It is the first of its day.
    pub opens_day: bool,
    /// It is the first of a group of one side.
    pub opens_group: bool,
}

/// The shown messages, oldest first.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Shown {
    /// Their order.
    pub keys: Vec<MessageKey>,
    /// Themselves.
    pub items: HashMap<MessageKey, Item>,
}

impl History {
    /// Of this conversation, with nothing loaded.
    pub fn of(conversation: BareJid) -> Self {
        Self { conversation: Some(conversation), ..Self::default() }
    }

    /// Takes a page of the store, read with `limit`.
    pub fn add_page(&mut self, page: Vec<MessageRow>, limit: usize) {
        self.complete |= page.len() < limit;
        if !self.loaded && !self.complete {
            self.forget_above(page.first());
        }
        self.loaded = true;
        for row in page {
            if !self.orders.contains_key(&row.key) && !self.gone.contains(&row.key) {
                self.insert(row);
            }
        }
    }

    /// What events brought before the first page, from above it, would leave a hole.
    fn forget_above(&mut self, first: Option<&MessageRow>) {
        let Some(first) = first else { return };
        self.rows.retain(|(order, _), _| *order >= first.order);
        self.orders.retain(|_, order| *order >= first.order);
    }

    /// Takes a row from an event. Repeats change nothing.
    pub fn put(&mut self, row: MessageRow) -> Change {
        self.gone.remove(&row.key);
        let place = (row.order, row.key.clone());
        let known = self.orders.get(&row.key).copied();
        let newest = known.is_none() && self.rows.last_key_value().is_none_or(|(last, _)| *last < place);
        // A row from above the loaded part would leave a hole; its page brings it.
        let above = self.rows.first_key_value().is_some_and(|(first, _)| place < *first);
        if known.is_none() && above && self.loaded && !self.complete {
            return Change::Other;
        }
        if let Some(order) = known {
            let old = (order, row.key.clone());
            self.rows.remove(&old);
            for end in [&mut self.from, &mut self.until] {
                if end.as_ref() == Some(&old) {
                    *end = Some(place.clone());
                }
            }
        }
        self.insert(row);
        if newest { Change::Newest } else { Change::Other }
    }

    /// Takes a row away.
    pub fn remove(&mut self, key: &MessageKey) {
        if let Some(order) = self.orders.remove(key) {
            self.rows.remove(&(order, key.clone()));
        }
        self.gone.insert(key.clone());
    }

    fn insert(&mut self, row: MessageRow) {
        self.orders.insert(row.key.clone(), row.order);
        self.rows.insert((row.order, row.key.clone()), Arc::new(row));
    }

    /// The order before which the next page is to be read; `None` if there is none to read.
    pub fn next_page_before(&self) -> Option<u64> {
        if self.complete { None } else { self.rows.first_key_value().map(|((order, _), _)| *order) }
    }

    /// The newest message of the other side.
    pub fn newest_incoming(&self) -> Option<&MessageRow> {
        self.rows.values().rev().map(|row| &**row).find(|row| row.direction == Direction::Incoming)
    }

    /// Whether the newest incoming message is not marked as read.
    pub fn has_unread(&self) -> bool {
        self.newest_incoming().is_some_and(|row| row.status != Status::Read)
    }

    /// Whether the shown run ends at the newest message.
    pub fn follows(&self) -> bool {
        self.until.is_none()
    }

    /// Shows the newest messages, and each new one from here on.
    pub fn follow(&mut self) {
        self.until = None;
        self.from = self.rows.keys().rev().nth(PAGE_ROWS).cloned();
    }

    /// Whether loaded messages above the shown run are not shown.
    pub fn hides_older(&self) -> bool {
        self.from.is_some()
    }

    /// Shows older messages, dropping the newest if there get to be too many.
    pub fn show_older(&mut self) {
        let Some(from) = self.from.take() else { return };
        self.from = self.rows.range(..&from).rev().nth(PAGE_ROWS - 1).map(|(place, _)| place.clone());
        self.trim_end();
    }

    /// Shows newer messages, dropping the oldest if there get to be too many.
    pub fn show_newer(&mut self) {
        let Some(until) = self.until.take() else { return };
        self.until = self.rows.range(&until..).nth(PAGE_ROWS).map(|(place, _)| place.clone());
        let surplus = self.run().count().saturating_sub(SHOWN_MAX);
        if surplus > 0 {
            let from = self.run().nth(surplus).map(|(place, _)| place.clone());
            self.from = from;
        }
    }

    /// Keeps the run within its limit while older pages are added at its top.
    pub fn trim_end(&mut self) {
        if self.run().count() > SHOWN_MAX {
            let until = self.run().nth(SHOWN_MAX - 1).map(|(place, _)| place.clone());
            self.until = until;
        }
    }

    /// Keeps the run within its limit while it follows the newest.
    pub fn trim_start(&mut self) {
        if self.follows() && self.run().count() > SHOWN_MAX {
            let from = self.run().rev().nth(PAGE_ROWS - 1).map(|(place, _)| place.clone());
            self.from = from;
        }
    }

    fn run(&self) -> impl DoubleEndedIterator<Item = (&Place, &Arc<MessageRow>)> {
        use std::ops::Bound::{Included, Unbounded};
        let from = self.from.as_ref().map_or(Unbounded, Included);
        let until = self.until.as_ref().map_or(Unbounded, Included);
        // A range whose ends have crossed panics; rows may have moved past an end.
        let crossed = matches!((&self.from, &self.until), (Some(from), Some(until)) if from > until);
        self.rows.range::<Place, _>((from, if crossed { Unbounded } else { until }))
    }

    /// The shown messages. `day` tells which day a moment falls on where the reader is.
    pub fn shown(&self, day: impl Fn(Millis) -> i64) -> Shown {
        let mut shown = Shown::default();
        let mut before: Option<(&MessageRow, i64)> = None;
        for (_, row) in self.run() {
            let today = day(row.at);
            let opens_day = before.is_none_or(|(_, day)| day != today);
            let opens_group = opens_day
                || before.is_none_or(|(last, _)| {
                    last.direction != row.direction || row.at.since(last.at) > GROUP_MS_MAX
                });
            shown.keys.push(row.key.clone());
            shown.items.insert(row.key.clone(), Item { row: row.clone(), opens_day, opens_group });
            before = Some((row, today));
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::client::rows::{PROVISIONAL, Times};

    fn row(order: u64) -> MessageRow {
        named(&format!("k{order}"), order)
    }

    fn named(key: &str, order: u64) -> MessageRow {
        MessageRow {
            key: MessageKey(key.into()),
            conversation: BareJid::parse("romeo@localhost").unwrap(),
            order,
            at: Millis(order * 1000),
            direction: Direction::Incoming,
            body: "hail".into(),
            status: Status::Delivered,
            times: Times::default(),
            failure: None,
            id: key.into(),
            awaiting: None,
        }
    }

    fn loaded(orders: std::ops::Range<u64>) -> History {
        let mut history = History::of(BareJid::parse("romeo@localhost").unwrap());
        let rows: Vec<_> = orders.map(row).collect();
        history.add_page(rows, PAGE_ROWS);
        history
    }

    fn shown(history: &History) -> Vec<u64> {
        let shown = history.shown(|at| at.0 as i64 / 86_400_000);
        shown.keys.iter().map(|key| shown.items[key].row.order).collect()
    }

    #[test]
    fn a_repeated_event_shows_one_message() {
        let mut history = loaded(0..3);
        assert_eq!(history.put(row(3)), Change::Newest);
        assert_eq!(history.put(row(3)), Change::Other);
        assert_eq!(shown(&history), [0, 1, 2, 3]);
    }

    #[test]
    fn a_page_read_before_an_event_does_not_undo_it() {
        let mut history = loaded(0..0);
        history.put(MessageRow { status: Status::Read, ..row(1) });
        history.remove(&MessageKey("k0".into()));
        history.add_page(vec![row(0), row(1)], PAGE_ROWS);
        assert_eq!(shown(&history), [1]);
        assert!(!history.has_unread());
    }

    #[test]
    fn a_message_that_gets_its_number_moves_and_stays_one() {
        let mut history = loaded(5..7);
        history.put(named("mine", PROVISIONAL));
        history.put(named("later", PROVISIONAL + 1));
        history.put(named("mine", 7));
        assert_eq!(shown(&history), [5, 6, 7, PROVISIONAL + 1]);
    }

    #[test]
    fn an_old_message_that_changes_before_the_first_page_makes_no_hole() {
        let mut history = History::of(BareJid::parse("romeo@localhost").unwrap());
        history.put(row(3));
        history.add_page((100..150).map(row).collect(), PAGE_ROWS);
        assert_eq!(shown(&history), (100..150).collect::<Vec<_>>());
    }

    #[test]
    fn an_old_message_does_not_make_a_hole_above_the_loaded_part() {
        let mut history = loaded(100..150);
        assert_eq!(history.put(row(10)), Change::Other);
        assert_eq!(shown(&history).first(), Some(&100));
        assert_eq!(history.next_page_before(), Some(100));
    }

    #[test]
    fn scrolling_through_ten_thousand_messages_shows_a_bounded_run() {
        let mut history = loaded(9_950..10_000);
        while let Some(before) = history.next_page_before() {
            let first = before.saturating_sub(PAGE_ROWS as u64);
            history.add_page((first..before).map(row).collect(), PAGE_ROWS);
            history.trim_end();
            assert!(shown(&history).len() <= SHOWN_MAX);
        }
        assert_eq!(shown(&history).first(), Some(&0));
        assert!(!history.follows());
        while !history.follows() {
            history.show_newer();
            let run = shown(&history);
            assert!(run.len() <= SHOWN_MAX && run.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        }
        assert_eq!(shown(&history).last(), Some(&9_999));
        while history.hides_older() {
            history.show_older();
            assert!(shown(&history).len() <= SHOWN_MAX);
        }
        assert_eq!(shown(&history).first(), Some(&0));
        history.follow();
        assert_eq!(shown(&history).last(), Some(&9_999));
    }

    #[test]
    fn a_conversation_left_open_for_days_does_not_grow_without_end() {
        let mut history = loaded(0..10);
        for order in 10..5_000 {
            history.put(row(order));
            history.trim_start();
        }
        assert!(shown(&history).len() <= SHOWN_MAX);
        assert_eq!(shown(&history).last(), Some(&4_999));
    }

    #[test]
    fn groups_break_at_a_change_of_side_a_pause_and_a_day() {
        let mut history = loaded(0..0);
        let at = |order: u64, at: u64, direction| MessageRow { at: Millis(at), direction, ..row(order) };
        history.put(at(1, 0, Direction::Incoming));
        history.put(at(2, 1_000, Direction::Incoming));
        history.put(at(3, 2_000, Direction::Outgoing));
        history.put(at(4, 400_000, Direction::Outgoing));
        history.put(at(5, 86_400_000, Direction::Outgoing));
        let shown = history.shown(|at| at.0 as i64 / 86_400_000);
        let opens: Vec<_> = shown.keys.iter().map(|key| shown.items[key].opens_group).collect();
        let days: Vec<_> = shown.keys.iter().map(|key| shown.items[key].opens_day).collect();
        assert_eq!(opens, [true, false, true, true, true]);
        assert_eq!(days, [true, false, false, false, true]);
    }
}
