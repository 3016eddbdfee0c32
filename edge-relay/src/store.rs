//! The mailbox's rows in the object's SQLite.
//!
//! One operation writes one row: the log has no secondary index, and the other tables have no
//! rowid. Numbers cross into JavaScript as doubles, so nothing above 2^53 is stored as a number;
//! what has more structure than a column is JSON.
//!
//! A mailbox without a row has no tables either: they are made by its first commit.

use crate::bind;
use crate::columns::{Columns, log_row, log_values, number, place, text};
use serde_json::{from_str, to_string};
use shared::archive::{Query, Size};
use shared::cold::SegmentRow;
use shared::id::{DeviceId, StanzaSeq};
use shared::jid::BareJid;
use shared::log::{ItemStore, LogRow, LogStore, Sending};
use shared::relay::rows::{ItemNote, ItemRow, Marks, Op, Rows};
use shared::time::Millis;
use std::cell::Cell;
use std::rc::Rc;
use worker::{Result, SqlStorageValue as Value, State, console_error};

const SCHEMA: [&str; 10] = [
    "CREATE TABLE migration (version INTEGER PRIMARY KEY)",
    "CREATE TABLE log (seq INTEGER PRIMARY KEY, at INTEGER, out INTEGER, peer TEXT, peer_seq INTEGER, \
     source TEXT, sent TEXT, transferred INTEGER, archived INTEGER, stanza TEXT)",
    "CREATE TABLE device (device TEXT PRIMARY KEY, row TEXT) WITHOUT ROWID",
    "CREATE TABLE peer (jid TEXT PRIMARY KEY, seq INTEGER) WITHOUT ROWID",
    "CREATE TABLE contact (jid TEXT PRIMARY KEY, row TEXT) WITHOUT ROWID",
    "CREATE TABLE account (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    "CREATE TABLE pep_node (node TEXT PRIMARY KEY, row TEXT) WITHOUT ROWID",
    "CREATE TABLE pep_item (node TEXT, id TEXT, place INTEGER, at INTEGER, payload TEXT, \
     PRIMARY KEY (node, id)) WITHOUT ROWID",
    "CREATE TABLE segment (first INTEGER PRIMARY KEY, last INTEGER, until INTEGER, row TEXT, sources TEXT)",
    "INSERT INTO migration VALUES (1)",
];
/// Each table of the schema.
const TABLES: [&str; 9] =
    ["log", "device", "peer", "contact", "account", "pep_node", "pep_item", "segment", "migration"];
const ROWS_ABOVE: &str = "SELECT seq, at, out, peer, peer_seq, source, sent, transferred, archived, stanza \
     FROM log WHERE seq > ? ORDER BY seq LIMIT ?";
const SELECT: &str =
    "SELECT seq, at, out, peer, peer_seq, source, sent, transferred, archived, stanza FROM log";
const SIZE: &str = "SELECT count(*), coalesce(sum(octet_length(stanza)), 0) FROM log";
const SELECTED: &str = "WHERE seq > ? AND seq < ? AND at >= ? AND at <= ? AND (archived = 1 OR seq > ?)";
const SOURCES_BELOW: &str = "SELECT seq, at, peer, source FROM log WHERE seq < ? ORDER BY seq DESC LIMIT ?";
/// Looks through the whole log: asked only when a call comes again.
const RECEIVED: &str = "SELECT peer_seq FROM log WHERE peer = ? AND out = 0 AND peer_seq BETWEEN ? AND ?";
const APPEND: &str = "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const PUT_DEVICE: &str = "INSERT INTO device VALUES (?, ?) ON CONFLICT DO UPDATE SET row = excluded.row";
const PUT_PEER: &str = "INSERT INTO peer VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq";
const PUT_CONTACT: &str = "INSERT INTO contact VALUES (?, ?) ON CONFLICT DO UPDATE SET row = excluded.row";
const PUT_NODE: &str = "INSERT INTO pep_node VALUES (?, ?) ON CONFLICT DO UPDATE SET row = excluded.row";
const PUT_ITEM: &str = "INSERT INTO pep_item VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE \
     SET place = excluded.place, at = excluded.at, payload = excluded.payload";
const ITEM_NOTES: &str = "SELECT node, id, place, at, octet_length(payload) FROM pep_item";
const ITEMS: &str = "SELECT node, id, place, at, payload FROM pep_item WHERE node = ? AND id IN";
const PUT_ACCOUNT: &str =
    "INSERT INTO account VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value";

const PUT_SEGMENT: &str = "INSERT INTO segment VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET \
     last = excluded.last, until = excluded.until, row = excluded.row, sources = excluded.sources";
const FORGET_SOURCES: &str = "UPDATE segment SET until = NULL, sources = NULL WHERE until < ?";
/// Segments do not overlap: the first that reaches above a place is the one that begins at or before
/// the next, or the one after it.
const SEGMENTS: &str = "SELECT row FROM segment WHERE first < ? AND last > ? AND \
     first >= coalesce((SELECT max(first) FROM segment WHERE first <= ?), 0) ORDER BY first";
const SOURCES_MOVED: &str = "SELECT sources FROM segment WHERE until >= ? ORDER BY first DESC";

/// Log rows that are looked at in one step when looking for own messages.
const SOURCES_STEP: u64 = 1000;
/// Items that are asked for by one statement, which takes 100 values at most.
const ITEMS_STEP: usize = 64;
/// Above every place in a log, and exact as a double.
const PLACE_MAX: u64 = 1 << 52;

/// One mailbox's store.
pub struct Store {
    state: Rc<State>,
    has_schema: Cell<bool>,
    failed: Cell<bool>,
    /// Rows read and written since the object was constructed.
    pub rows_read: Cell<u64>,
    /// See [`Store::rows_read`].
    pub rows_written: Cell<u64>,
}

impl Store {
    /// The store of this object. Touches nothing.
    pub fn new(state: Rc<State>) -> Self {
        let (rows_read, rows_written) = Default::default();
        Self { state, has_schema: Cell::new(false), failed: Cell::new(false), rows_read, rows_written }
    }

    /// Whether nothing was ever written; known once it is loaded.
    pub fn is_empty(&self) -> bool {
        !self.has_schema.get()
    }

    /// Whether a read has failed since this was last asked.
    pub fn take_failed(&self) -> bool {
        self.failed.take()
    }

    /// Everything an engine needs to start.
    pub fn load(&self) -> Result<Rows> {
        let tables = self.run("SELECT 1 FROM sqlite_master WHERE name = 'migration'", vec![])?;
        self.has_schema.set(!tables.is_empty());
        if tables.is_empty() {
            return Ok(Rows::default());
        }
        let mut rows = Rows::default();
        for mut row in self.run("SELECT key, value FROM account", vec![])?.into_iter().map(Columns::new) {
            match row.text()?.as_str() {
                "account" => rows.account = Some(from_str(&row.text()?)?),
                "marks" => rows.marks = from_str(&row.text()?)?,
                "moving" => rows.moving = Some(from_str(&row.text()?)?),
                _ => {}
            }
        }
        for mut row in self.run("SELECT row FROM device", vec![])?.into_iter().map(Columns::new) {
            rows.devices.push(from_str(&row.text()?)?);
        }
        for mut row in self.run("SELECT jid, seq FROM peer", vec![])?.into_iter().map(Columns::new) {
            rows.peers.push((row.jid()?, row.seq()?));
        }
        for mut row in self.run("SELECT row FROM contact", vec![])?.into_iter().map(Columns::new) {
            rows.contacts.push(from_str(&row.text()?)?);
        }
        for mut row in self.run("SELECT row FROM pep_node", vec![])?.into_iter().map(Columns::new) {
            rows.nodes.push(from_str(&row.text()?)?);
        }
        for mut row in self.run(ITEM_NOTES, vec![])?.into_iter().map(Columns::new) {
            let (node, id, order) = (row.text()?, row.text()?, row.number()?);
            rows.items.push(ItemNote { node, id, order, at: Millis(row.number()?), bytes: row.number()? });
        }
        if let Some(row) = self.run("SELECT max(seq) FROM log", vec![])?.into_iter().next() {
            rows.last = StanzaSeq(Columns::new(row).optional_number()?.unwrap_or_default());
        }
        let newest = self.run("SELECT last FROM segment ORDER BY first DESC LIMIT 1", vec![])?;
        if let Some(row) = newest.into_iter().next() {
            rows.cold = Columns::new(row).seq()?;
            rows.last = rows.last.max(rows.cold);
        }
        let Marks { checkpoint, transferred, .. } = rows.marks;
        rows.tail = self.rows_above(checkpoint.min(transferred), PLACE_MAX)?;
        Ok(rows)
    }

    /// Applies all operations or none.
    pub fn commit(&self, ops: &[Op]) -> Result<()> {
        let is_made = Cell::new(false);
        bind::transaction(&self.state, || {
            is_made.set(self.has_schema.get());
            self.make(&is_made)?;
            for op in ops {
                self.make(&is_made)?;
                self.apply(op)?;
                is_made.set(*op != Op::Clear);
            }
            Ok(())
        })?;
        self.has_schema.set(is_made.get());
        Ok(())
    }

    fn make(&self, is_made: &Cell<bool>) -> Result<()> {
        if is_made.replace(true) {
            return Ok(());
        }
        SCHEMA.iter().try_for_each(|statement| self.run(statement, vec![]).map(|_| ()))
    }

    fn apply(&self, op: &Op) -> Result<()> {
        let (statement, values) = match op {
            Op::Append(row) => (APPEND, log_values(row)?),
            Op::PutDevice(row) => (PUT_DEVICE, vec![text(row.device.as_str()), text(&to_string(row)?)]),
            Op::DeleteDevice(DeviceId(device)) => ("DELETE FROM device WHERE device = ?", vec![text(device)]),
            Op::PutAccount(row) => (PUT_ACCOUNT, vec![text("account"), text(&to_string(row)?)]),
            Op::PutPeer(jid, seq) => (PUT_PEER, vec![text(jid.as_str()), place(*seq)?]),
            Op::PutMarks(marks) => (PUT_ACCOUNT, vec![text("marks"), text(&to_string(marks)?)]),
            Op::PutContact(row) => (PUT_CONTACT, vec![text(row.jid.as_str()), text(&to_string(row)?)]),
            Op::DeleteContact(jid) => ("DELETE FROM contact WHERE jid = ?", vec![text(jid.as_str())]),
            Op::PutNode(row) => (PUT_NODE, vec![text(&row.node), text(&to_string(row)?)]),
            Op::DeleteNode(node) => {
                self.run("DELETE FROM pep_item WHERE node = ?", vec![text(node)])?;
                ("DELETE FROM pep_node WHERE node = ?", vec![text(node)])
            }
            Op::PutItem(ItemRow { node, id, order, at, payload }) => {
                (PUT_ITEM, vec![text(node), text(id), number(*order)?, number(at.0)?, text(payload)])
            }
            Op::DeleteItem(node, id) => {
                ("DELETE FROM pep_item WHERE node = ? AND id = ?", vec![text(node), text(id)])
            }
            Op::PutMoving(Some(moving)) => (PUT_ACCOUNT, vec![text("moving"), text(&to_string(moving)?)]),
            Op::PutMoving(None) => ("DELETE FROM account WHERE key = 'moving'", vec![]),
            Op::PutSegment(row, sources) => (PUT_SEGMENT, segment_values(row, sources)?),
            Op::DropLog(first, last) => {
                ("DELETE FROM log WHERE seq BETWEEN ? AND ?", vec![place(*first)?, place(*last)?])
            }
            Op::ForgetSources(before) => (FORGET_SOURCES, vec![number(before.0)?]),
            Op::DeleteSegment(first) => ("DELETE FROM segment WHERE first = ?", vec![place(*first)?]),
            Op::Clear => {
                return TABLES
                    .iter()
                    .try_for_each(|table| self.run(&format!("DROP TABLE {table}"), vec![]).map(|_| ()));
            }
        };
        self.run(statement, values).map(|_| ())
    }

    fn rows_above(&self, after: StanzaSeq, limit: u64) -> Result<Vec<LogRow>> {
        let rows = self.run(ROWS_ABOVE, vec![place(after)?, number(limit)?])?;
        rows.into_iter().map(|row| log_row(Columns::new(row))).collect()
    }

    fn rows_selected(&self, query: &Query, limit: u64) -> Result<Vec<LogRow>> {
        let (selected, mut values) = selection(query)?;
        let order = if query.newest_first { "DESC" } else { "ASC" };
        values.push(number(limit)?);
        let rows = self.run(&format!("{SELECT} {selected} ORDER BY seq {order} LIMIT ?"), values)?;
        rows.into_iter().map(|row| log_row(Columns::new(row))).collect()
    }

    fn rows_weighed(&self, query: &Query) -> Result<Size> {
        let (selected, values) = selection(query)?;
        let rows = self.run(&format!("{SIZE} {selected}"), values)?;
        let Some(mut row) = rows.into_iter().next().map(Columns::new) else { return Ok(Size::default()) };
        Ok(Size { count: row.number()?, bytes: row.number()? })
    }

    fn places_received(&self, peer: &BareJid, places: &[StanzaSeq]) -> Result<Vec<StanzaSeq>> {
        let (Some(first), Some(last)) = (places.iter().min(), places.iter().max()) else {
            return Ok(Vec::new());
        };
        let values = vec![text(peer.as_str()), place(*first)?, place(*last)?];
        let rows = self.run(RECEIVED, values)?.into_iter().map(|row| Columns::new(row).seq());
        Ok(rows.collect::<Result<Vec<_>>>()?.into_iter().filter(|seq| places.contains(seq)).collect())
    }

    fn items_named(&self, node: &str, ids: &[&str]) -> Result<Vec<ItemRow>> {
        let mut found = Vec::new();
        for ids in ids.chunks(ITEMS_STEP) {
            let values = std::iter::once(node).chain(ids.iter().copied()).map(text).collect();
            let places = vec!["?"; ids.len()].join(", ");
            for mut row in self.run(&format!("{ITEMS} ({places})"), values)?.into_iter().map(Columns::new) {
                let (node, id, order) = (row.text()?, row.text()?, row.number()?);
                found.push(ItemRow { node, id, order, at: Millis(row.number()?), payload: row.text()? });
            }
        }
        Ok(found)
    }

    fn run(&self, statement: &str, values: Vec<Value>) -> Result<Vec<Vec<Value>>> {
        let cursor = self.state.storage().sql().exec(statement, values)?;
        let rows = cursor.raw().collect();
        self.rows_read.set(self.rows_read.get() + cursor.rows_read() as u64);
        self.rows_written.set(self.rows_written.get() + cursor.rows_written() as u64);
        rows
    }

    /// Reads cannot fail towards the engine: who asked for it must ask [`Store::take_failed`].
    fn read<T: Default>(&self, result: Result<T>) -> T {
        result.unwrap_or_else(|error| {
            console_error!("cannot read the log: {error}");
            self.failed.set(true);
            T::default()
        })
    }

    fn newest_sources(&self, since: Millis, limit: usize) -> Result<Vec<Sending>> {
        let mut found = Vec::new();
        let mut below = StanzaSeq(PLACE_MAX);
        loop {
            let step = self.run(SOURCES_BELOW, vec![place(below)?, number(SOURCES_STEP)?])?;
            let mut any_recent = false;
            for mut row in step.into_iter().map(Columns::new) {
                let (seq, at, peer) = (row.seq()?, Millis(row.number()?), row.jid()?);
                below = seq;
                any_recent |= at >= since;
                if let Some(source) = row.optional_text()?.filter(|_| at >= since && found.len() < limit) {
                    found.push(Sending { seq, at, peer, source: from_str(&source)? });
                }
            }
            if !any_recent || found.len() >= limit {
                break;
            }
        }
        if found.len() < limit {
            for mut row in self.run(SOURCES_MOVED, vec![number(since.0)?])?.into_iter().map(Columns::new) {
                let moved: Vec<Sending> = from_str(&row.text()?)?;
                found.extend(moved.into_iter().rev().filter(|sending| sending.at >= since));
            }
            found.truncate(limit);
        }
        Ok(found)
    }

    fn segment_rows(
        &self,
        after: StanzaSeq,
        before: Option<StanzaSeq>,
        newest_first: bool,
        limit: u64,
    ) -> Result<Vec<SegmentRow>> {
        let order = if newest_first { "DESC" } else { "ASC" };
        let before = place(before.unwrap_or(StanzaSeq(PLACE_MAX)))?;
        let values = vec![before, place(after)?, place(after.next())?, number(limit)?];
        let rows = self.run(&format!("{SEGMENTS} {order} LIMIT ?"), values)?;
        rows.into_iter().map(|row| Ok(from_str(&Columns::new(row).text()?)?)).collect()
    }
}

fn segment_values(row: &SegmentRow, sources: &[Sending]) -> Result<Vec<Value>> {
    let until = sources.iter().map(|sending| sending.at).max();
    Ok(vec![
        place(row.first)?,
        place(row.last)?,
        until.map_or(Ok(Value::Null), |until| number(until.0))?,
        text(&to_string(row)?),
        if until.is_some() { text(&to_string(sources)?) } else { Value::Null },
    ])
}

/// The rows that a query selects: the condition and its values.
fn selection(query: &Query) -> Result<(String, Vec<Value>)> {
    let mut values = vec![
        place(query.after)?,
        place(query.before.unwrap_or(StanzaSeq(PLACE_MAX)))?,
        number(query.start.unwrap_or_default().0)?,
        number(query.end.map_or(PLACE_MAX, |end| end.0.min(PLACE_MAX)))?,
        place(query.hidden_upto)?,
    ];
    let Some(with) = &query.with else { return Ok((SELECTED.to_owned(), values)) };
    values.push(text(with.as_str()));
    Ok((format!("{SELECTED} AND peer = ?"), values))
}

impl ItemStore for Store {
    fn items(&self, node: &str, ids: &[&str]) -> Vec<ItemRow> {
        if !self.has_schema.get() {
            return Vec::new();
        }
        self.read(self.items_named(node, ids))
    }
}

impl LogStore for Store {
    fn select(&self, query: &Query, limit: usize) -> Vec<LogRow> {
        if !self.has_schema.get() {
            return Vec::new();
        }
        self.read(self.rows_selected(query, limit as u64))
    }

    fn size(&self, query: &Query) -> Size {
        if !self.has_schema.get() {
            return Size::default();
        }
        self.read(self.rows_weighed(query))
    }

    fn received(&self, peer: &BareJid, places: &[StanzaSeq]) -> Vec<StanzaSeq> {
        if !self.has_schema.get() {
            return Vec::new();
        }
        self.read(self.places_received(peer, places))
    }

    fn page(&self, after: StanzaSeq, limit: usize) -> Vec<LogRow> {
        if !self.has_schema.get() {
            return Vec::new();
        }
        self.read(self.rows_above(after, limit as u64))
    }

    fn segments(
        &self,
        after: StanzaSeq,
        before: Option<StanzaSeq>,
        newest_first: bool,
        limit: usize,
    ) -> Vec<SegmentRow> {
        if !self.has_schema.get() {
            return Vec::new();
        }
        self.read(self.segment_rows(after, before, newest_first, limit as u64))
    }

    fn sources(&self, since: Millis, limit: usize) -> Vec<Sending> {
        if !self.has_schema.get() {
            return Vec::new();
        }
        self.read(self.newest_sources(since, limit))
    }
}
