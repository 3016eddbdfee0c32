//! How much an account may say in a time (see the table in [`crate::limits`]).
//!
//! Each rate is a bucket that fills with what is said and drains with time. Whoever says more than
//! the bucket holds gets an error for each stanza that can be answered with one, and the stanza is
//! as much handled (XEP-0198 §4) as any other that is refused. Whoever goes on until
//! `RATE_CLOSE_FACTOR` times as much is in the bucket loses the connection (`policy-violation`): what
//! came then was not counted, so the device sends it again when it is back.
//!
//! What cannot be answered (a result, an error) and what takes back (unavailable presence) is heard
//! all the same, and fills the bucket.
//!
//! Buckets belong to the account and are kept in memory. A mailbox that sleeps forgets them: it
//! sleeps when nobody has said anything for long enough to have emptied most of any bucket.

use super::RelayEngine;
use crate::archive::Query;
use crate::id::StanzaSeq;
use crate::limits::{FRAME_BYTES_MAX, Limits, RATE_CLOSE_FACTOR, Rate};
use crate::log::LogStore;
use crate::time::Millis;
use crate::wire::Element;
use crate::wire::stanza::{self, Kind};
use std::fmt;

/// Whether somebody keeps to a rate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Verdict {
    /// He does.
    Within,
    /// He does not, and is told.
    Over,
    /// He has been told often enough.
    FarOver,
}

/// What an account has said lately.
#[derive(Clone, Copy, Default)]
pub(super) struct Rates {
    stanzas: Bucket,
    bytes: Bucket,
    presence: Bucket,
}

/// In thousandths, so that each millisecond takes a whole number out.
#[derive(Clone, Copy, Default)]
struct Bucket {
    filled: u64,
    at: Millis,
}

/// What a mailbox does depends on this only beyond a rate: below, two that have heard differently
/// much are the same.
impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rates")
    }
}

impl Bucket {
    fn add(&mut self, amount: u64, rate: Rate, now: Millis) -> Verdict {
        let drained = now.since(self.at).saturating_mul(rate.per_s);
        self.at = now;
        self.filled = self.filled.saturating_sub(drained).saturating_add(amount.saturating_mul(1000));
        let burst = rate.burst.saturating_mul(1000);
        match self.filled {
            filled if filled <= burst => Verdict::Within,
            filled if filled <= burst.saturating_mul(RATE_CLOSE_FACTOR) => Verdict::Over,
            _ => Verdict::FarOver,
        }
    }
}

impl Rates {
    /// Takes a frame of this many bytes into account.
    pub(super) fn add(&mut self, element: &Element, bytes: usize, limits: &Limits, now: Millis) -> Verdict {
        let bytes = self.bytes.add(bytes as u64, limits.byte_rate, now);
        let Some(kind) = stanza::kind(element) else {
            // A nonza has no error of its own.
            return if bytes == Verdict::FarOver { bytes } else { Verdict::Within };
        };
        let stanzas = self.stanzas.add(1, limits.stanza_rate, now);
        let presence = match kind {
            Kind::Presence => self.presence.add(1, limits.presence_rate, now),
            Kind::Message | Kind::Iq => Verdict::Within,
        };
        let verdict = bytes.max(stanzas).max(presence);
        let is_heard = matches!(element.attr("type"), Some("result" | "error" | "unavailable"));
        if verdict == Verdict::Over && is_heard { Verdict::Within } else { verdict }
    }

    /// Takes into account that one stanza is as many.
    pub(super) fn add_copies(&mut self, copies: usize, limits: &Limits, now: Millis) -> Verdict {
        self.stanzas.add(copies as u64, limits.stanza_rate, now)
    }

    /// The clock was set back by this much.
    pub(super) fn pull(&mut self, ms: u64) {
        for bucket in [&mut self.stanzas, &mut self.bytes, &mut self.presence] {
            bucket.at = bucket.at.minus(ms);
        }
    }
}

/// Times that something happened on a connection.
#[derive(Clone, Copy, Default)]
pub(super) struct Times(u32);

/// See [`Rates`].
impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Times")
    }
}

impl Times {
    /// Once more. Whether that is more often than it may.
    pub(super) fn exceed(&mut self, max: u32) -> bool {
        self.0 = self.0.saturating_add(1);
        self.0 > max
    }
}

/// The bytes of the log between two places, kept up while they matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Backlog {
    above: StanzaSeq,
    upto: StanzaSeq,
    bytes: u64,
}

impl Backlog {
    /// A row of so many bytes was appended.
    pub(super) fn append(&mut self, seq: StanzaSeq, bytes: usize) {
        if seq == self.upto.next() {
            self.upto = seq;
            self.bytes = self.bytes.saturating_add(bytes as u64);
        }
    }
}

impl RelayEngine {
    /// Whether as much waits as may, for the device that has confirmed most (R26). Bytes are
    /// counted only where as many rows of the greatest length would be too much; then the rows that
    /// wait are weighed once, and after that only those that were confirmed since.
    pub(super) fn queue_is_full(&mut self, log: &dyn LogStore) -> bool {
        let limits = self.config.limits;
        let above = self.devices.values().map(|device| device.cursor).max().unwrap_or_default();
        let above = above.max(self.cold.last);
        let last = self.head.last();
        let count = last.0.saturating_sub(above.0);
        if count >= limits.queue_stanzas_max {
            return true;
        }
        if count.saturating_mul(2 * FRAME_BYTES_MAX as u64) < limits.queue_bytes_max {
            self.backlog = None;
            return false;
        }
        let bytes = |after: StanzaSeq, upto: StanzaSeq| {
            if after >= upto {
                return 0;
            }
            self.head.size(log, &Query { after, before: Some(upto.next()), ..Query::ALL }).bytes
        };
        let known = self.backlog.filter(|known| known.above <= above && known.upto == last);
        let bytes = match known {
            Some(known) => known.bytes.saturating_sub(bytes(known.above, above)),
            None => bytes(above, last),
        };
        self.backlog = Some(Backlog { above, upto: last, bytes });
        bytes >= limits.queue_bytes_max
    }
}
