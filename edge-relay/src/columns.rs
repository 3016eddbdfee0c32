//! Between a row of the log and its columns.

use serde_json::{from_str, from_value, to_string};
use shared::id::StanzaSeq;
use shared::jid::BareJid;
use shared::log::{Direction, LogRow};
use shared::time::Millis;
use worker::{Error, Result, SqlStorageValue as Value};

/// The columns of one row, read from left to right.
pub struct Columns(std::vec::IntoIter<Value>);

impl Columns {
    /// Starts at the first.
    pub fn new(row: Vec<Value>) -> Self {
        Self(row.into_iter())
    }

    /// The next column: a text, or NULL.
    pub fn optional_text(&mut self) -> Result<Option<String>> {
        match self.0.next() {
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            _ => Err(unexpected()),
        }
    }

    /// The next column: a text.
    pub fn text(&mut self) -> Result<String> {
        self.optional_text()?.ok_or_else(unexpected)
    }

    /// The next column: a whole number from 0, or NULL.
    pub fn optional_number(&mut self) -> Result<Option<u64>> {
        match self.0.next() {
            Some(Value::Integer(number)) => u64::try_from(number).map(Some).map_err(|_| unexpected()),
            Some(Value::Null) => Ok(None),
            _ => Err(unexpected()),
        }
    }

    /// The next column: a whole number from 0.
    pub fn number(&mut self) -> Result<u64> {
        self.optional_number()?.ok_or_else(unexpected)
    }

    /// The next column: a place in a log.
    pub fn seq(&mut self) -> Result<StanzaSeq> {
        self.number().map(StanzaSeq)
    }

    /// The next column: an address. It was prepared when it was written, and must be readable
    /// even if the rules of preparation have changed since.
    pub fn jid(&mut self) -> Result<BareJid> {
        Ok(from_value(self.text()?.into())?)
    }
}

/// A text to bind.
pub fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// A number to bind; an error for one that a double does not hold exactly.
pub fn number(number: u64) -> Result<Value> {
    Value::try_from_i64(i64::try_from(number).map_err(|_| unexpected())?)
}

/// A place in a log to bind.
pub fn place(seq: StanzaSeq) -> Result<Value> {
    number(seq.0)
}

/// A row of the log, in the order of its columns.
pub fn log_values(row: &LogRow) -> Result<Vec<Value>> {
    let source = row.source.as_ref().map(to_string).transpose()?;
    let sent = if row.sent.is_empty() { String::new() } else { to_string(&row.sent)? };
    Ok(vec![
        place(row.seq)?,
        number(row.at.0)?,
        number(direction_number(row.direction))?,
        text(row.peer.as_str()),
        place(row.peer_seq)?,
        source.map_or(Value::Null, Value::String),
        Value::String(sent),
        place(row.transferred)?,
        number(u64::from(row.archived))?,
        text(&row.stanza),
    ])
}

/// The reverse of [`log_values`].
pub fn log_row(mut row: Columns) -> Result<LogRow> {
    Ok(LogRow {
        seq: row.seq()?,
        at: Millis(row.number()?),
        direction: direction(row.number()?)?,
        peer: row.jid()?,
        peer_seq: row.seq()?,
        source: row.optional_text()?.map(|source| from_str(&source)).transpose()?,
        sent: match row.text()?.as_str() {
            "" => Vec::new(),
            sent => from_str(sent)?,
        },
        transferred: row.seq()?,
        archived: row.number()? != 0,
        stanza: row.text()?,
    })
}

/// The column `out`.
fn direction_number(direction: Direction) -> u64 {
    match direction {
        Direction::In => 0,
        Direction::Out => 1,
        Direction::Back => 2,
    }
}

fn direction(number: u64) -> Result<Direction> {
    match number {
        0 => Ok(Direction::In),
        1 => Ok(Direction::Out),
        2 => Ok(Direction::Back),
        _ => Err(unexpected()),
    }
}

fn unexpected() -> Error {
    Error::from("a column does not hold what it should")
}
