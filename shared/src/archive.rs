//! Reading the log without following it: what a query selects (XEP-0313 §4.1).
//!
//! The archive is the log: rows under their places and in their order. There is no second copy that
//! could differ, and what is not to be shown says so itself.

use crate::id::StanzaSeq;
use crate::jid::BareJid;
use crate::log::LogRow;
use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// What is asked for. All bounds hold at once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Query {
    /// Only above this place.
    pub after: StanzaSeq,
    /// Only below this place.
    pub before: Option<StanzaSeq>,
    /// Only from this time on.
    pub start: Option<Millis>,
    /// Only up to this time.
    pub end: Option<Millis>,
    /// Only to or from this account.
    pub with: Option<BareJid>,
    /// Of those up to this place, only what the archive shows.
    #[serde(default)]
    pub hidden_upto: StanzaSeq,
    /// Beginning with the newest that fit, and going back.
    pub newest_first: bool,
}

/// How much a query selects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Size {
    /// Rows.
    pub count: u64,
    /// Bytes of their stanzas.
    pub bytes: u64,
}

impl Size {
    /// Of these rows.
    pub fn of<'a>(rows: impl Iterator<Item = &'a LogRow>) -> Self {
        rows.fold(Self::default(), |sum, row| sum.plus(Self { count: 1, bytes: row.stanza.len() as u64 }))
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { count: self.count.saturating_add(other.count), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

impl Query {
    /// Everything, oldest first.
    pub const ALL: Self = Self {
        after: StanzaSeq(0),
        before: None,
        start: None,
        end: None,
        with: None,
        hidden_upto: StanzaSeq(0),
        newest_first: false,
    };

    /// Whether a row is selected.
    pub fn selects(&self, row: &LogRow) -> bool {
        row.seq > self.after
            && self.before.is_none_or(|before| row.seq < before)
            && self.start.is_none_or(|start| row.at >= start)
            && self.end.is_none_or(|end| row.at <= end)
            && self.with.as_ref().is_none_or(|with| row.peer == *with)
            && (row.archived || row.seq > self.hidden_upto)
    }

    /// The same from behind a row that was already read.
    pub fn behind(&mut self, seq: StanzaSeq) {
        if self.newest_first {
            self.before = Some(seq);
        } else {
            self.after = seq;
        }
    }
}
