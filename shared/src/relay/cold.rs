//! Moving what everybody has to cold storage (R28): which rows, when, and in which steps.
//!
//! # What moves
//!
//! A run from the oldest row of the log on, of rows that are on disk, older than `cold_after_ms`,
//! confirmed by every device, and handed over if they were for others. So whatever reads the log
//! forward (a device's queue, a stream that is resumed, the way to other mailboxes, a load) never
//! meets a segment: it begins behind them. What recognises repeats keeps its facts (`crate::cold`).
//! Only the archive reads back, and results of it that were sent and not acked: see `parked`.
//!
//! A mailbox without a device moves nothing: what nobody has had is not history.
//!
//! # The steps
//!
//! 1. The run and the name are written down ([`Op::PutMoving`]), and then the segment is put.
//! 2. The blob store says that it has it.
//! 3. One batch writes the segment's row, drops the rows, and forgets the run.
//!
//! Whatever happens before 3, the rows are in the log. After a crash the same run is packed again,
//! and put under the same name or, should it pack differently by then, under another, while the
//! first is deleted. A put that was given up and arrives late has the bytes that its name says.
//!
//! # When
//!
//! When the mailbox is loaded, and at each checkpoint of a log that is growing. One that is left
//! alone sets an alarm if there is something that will be old enough, for an hour of the day that
//! is its own; so it wakes at most once in `cold_every_ms`, and not at all if nothing can move.

use super::rows::Op;
use super::stream::Device;
use super::{Effect, LogStore, RelayEngine};
use crate::cold::{self, Moving, Packed, SegmentRow};
use crate::id::{DeviceId, StanzaSeq};
use crate::limits::{DEVICE_UNSEEN_MS_MAX, SEGMENT_MS_MAX, SEGMENT_RETRY_MS};
use crate::log::{LogRow, Sending};
use crate::time::Millis;

/// What is known of the other tier.
#[derive(Clone, Debug, Default)]
pub(super) struct Cold {
    /// The newest place in a segment.
    pub(super) last: StanzaSeq,
    /// The run that was written down.
    pub(super) moving: Option<Moving>,
    /// The put that is out.
    pub(super) putting: Option<Putting>,
    /// When to look for rows to move.
    pub(super) look_at: Option<Millis>,
}

/// A segment on its way to the blob store.
#[derive(Clone, Debug)]
pub(super) struct Putting {
    row: SegmentRow,
    sources: Vec<Sending>,
    since: Millis,
}

impl Cold {
    pub(super) fn deadline(&self) -> Option<Millis> {
        match &self.putting {
            Some(putting) => Some(putting.since.plus(SEGMENT_MS_MAX)),
            None => self.look_at,
        }
    }

    /// Whether a put is out that may still arrive.
    pub(super) fn is_putting(&self, now: Millis) -> bool {
        self.putting.as_ref().is_some_and(|putting| putting.since.plus(SEGMENT_MS_MAX) > now)
    }

    pub(super) fn pull(&mut self, ms: u64) {
        self.look_at = self.look_at.map(|at| at.minus(ms));
        if let Some(putting) = &mut self.putting {
            putting.since = putting.since.minus(ms);
        }
    }
}

impl RelayEngine {
    /// Looks for a run to move, if it is time to.
    pub(super) fn move_old_rows(&mut self, log: &dyn LogStore) {
        let now = self.now;
        if !self.config.cold || self.account.is_none() {
            return;
        }
        if self.cold.putting.as_ref().is_some_and(|putting| putting.since.plus(SEGMENT_MS_MAX) <= now) {
            self.put_failed();
        }
        if self.cold.putting.is_none() && self.cold.look_at.is_some_and(|at| at <= now) {
            self.cold.look_at = None;
            match self.cold.moving.clone() {
                Some(moving) => self.move_again(&moving, log),
                None => self.look_for_run(log),
            }
        }
    }

    /// Every row up to here may move, as far as others need it.
    ///
    /// A device that may come back holds back what it has not had, however long it is away: what
    /// waits leaves its queue when that device confirms it and not before (R10), and a queue is read
    /// from the log. It holds back nothing for others (R11): a queue is full by what waits for the
    /// device that has confirmed most. Its price is that the history it has not had stays where reading
    /// is dear (R28), until it comes, its owner removes it, or another needs its place. What it has
    /// confirmed above its cursor (`Taken`) stays as long as the gap below.
    fn cold_floor(&self) -> StanzaSeq {
        let confirmed = self.devices.values().map(|device| device.cursor).min().unwrap_or_default();
        let handed_over = self.transfers.upto(self.head.last());
        let stored = self.head.uncommitted().next().map_or(self.head.last(), |row| row.seq.before());
        confirmed.min(handed_over).min(stored)
    }

    /// Lets go the devices that nobody can be any more: unseen for long, and of a resource that the
    /// relay chose. They would hold back the log for nobody, and every client that does not name its
    /// resource leaves one with each session.
    fn forget_nobodies(&mut self) {
        let (now, limits) = (self.now, self.config.limits);
        let is_nobody = |device: &Device| {
            let unseen = now.since(device.last_seen) > DEVICE_UNSEEN_MS_MAX;
            device.is_idle(now, &limits) && !device.named && unseen
        };
        let nobodies = self.devices.iter().filter(|(_, device)| is_nobody(device));
        let nobodies: Vec<DeviceId> = nobodies.map(|(id, _)| id.clone()).collect();
        // What all that are left have not had is not history because the last one went.
        let nobodies = if nobodies.len() < self.devices.len() { nobodies } else { Vec::new() };
        for id in nobodies {
            self.devices.remove(&id);
            self.gate.write(Op::DeleteDevice(id));
        }
    }

    fn look_for_run(&mut self, log: &dyn LogStore) {
        self.forget_nobodies();
        let limits = self.config.limits;
        let floor = self.cold_floor();
        let least = StanzaSeq(self.cold.last.0.saturating_add(limits.segment_rows_min.max(1)));
        if floor < least {
            return;
        }
        let Some(probe) = self.head.row(log, least) else { return };
        let due = probe.at.plus(limits.cold_after_ms);
        if due > self.now {
            self.cold.look_at = Some(self.own_hour(due));
            return;
        }
        let rows = self.run_upto(floor, log);
        // A row among them that is younger than those behind it: a clock was set back.
        if (rows.len() as u64) < limits.segment_rows_min && weight(&rows) < limits.segment_bytes_max / 2 {
            self.cold.look_at = Some(self.own_hour(self.now));
            return;
        }
        self.put_run(&rows);
    }

    fn run_upto(&self, floor: StanzaSeq, log: &dyn LogStore) -> Vec<LogRow> {
        let limits = self.config.limits;
        let mut weight = 0usize;
        let rows = self.head.page(log, self.cold.last, limits.segment_rows_max).into_iter();
        rows.take_while(|row| {
            let first = weight == 0;
            weight = weight.saturating_add(cold::weight(row));
            let old = row.at.plus(limits.cold_after_ms) <= self.now;
            row.seq <= floor && old && (first || weight <= limits.segment_bytes_max)
        })
        .collect()
    }

    /// A move that was begun and did not come to its end.
    fn move_again(&mut self, moving: &Moving, log: &dyn LogStore) {
        let count = moving.last.0.saturating_sub(moving.first.0).saturating_add(1);
        let rows = self.head.page(log, moving.first.before(), usize::try_from(count).unwrap_or(usize::MAX));
        let whole = rows.last().is_some_and(|row| row.seq == moving.last)
            && rows.first().is_some_and(|row| row.seq == moving.first);
        if whole && self.cold_floor() >= moving.last {
            self.put_run(&rows);
        } else {
            self.cold.look_at = Some(self.now.plus(SEGMENT_RETRY_MS));
        }
    }

    fn put_run(&mut self, rows: &[LogRow]) {
        let Some(created) = self.account.as_ref().map(|account| account.created) else { return };
        let Some(Packed { row, sources, bytes }) = cold::pack(&self.config.account, created, rows) else {
            return;
        };
        let moving = Moving { first: row.first, last: row.last, name: row.name.clone() };
        if self.cold.moving.as_ref() != Some(&moving) {
            self.gate.write(Op::PutMoving(Some(moving.clone())));
            if let Some(abandoned) = self.cold.moving.replace(moving) {
                self.gate.effect(Effect::DeleteSegment(abandoned.name));
            }
        }
        self.gate.effect(Effect::PutSegment(row.name.clone(), bytes));
        self.cold.putting = Some(Putting { row, sources, since: self.now });
    }

    fn put_failed(&mut self) {
        self.cold.putting = None;
        self.cold.look_at = Some(self.now.plus(SEGMENT_RETRY_MS));
    }

    /// What became of a put.
    pub(super) fn segment_put(&mut self, name: &str, stored: bool) {
        let Some(putting) = self.cold.putting.take_if(|putting| putting.row.name == name) else { return };
        if self.removal.is_some() {
            return;
        }
        if !stored {
            return self.put_failed();
        }
        let Putting { row, sources, .. } = putting;
        // A load reads the log from the marks on.
        if self.marks.checkpoint.min(self.marks.transferred) < row.last {
            self.checkpoint();
        }
        let (first, last) = (row.first, row.last);
        self.gate.write(Op::PutSegment(row, sources));
        self.gate.write(Op::DropLog(first, last));
        self.gate.write(Op::PutMoving(None));
        let horizon = self.config.limits.dedup_horizon_ms;
        self.gate.write(Op::ForgetSources(self.now.minus(horizon)));
        self.cold.moving = None;
        self.cold.last = last;
        self.cold.look_at = Some(self.now);
    }

    /// The first moment from then on that is this mailbox's own: not all wake at midnight.
    fn own_hour(&self, from: Millis) -> Millis {
        let every = self.config.limits.cold_every_ms.max(1);
        let hash = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let phase = self.config.account.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, hash) % every;
        let from = from.max(self.now.plus(1)).0.saturating_sub(phase);
        Millis(from.div_ceil(every).saturating_mul(every).saturating_add(phase))
    }
}

fn weight(rows: &[LogRow]) -> usize {
    rows.iter().map(cold::weight).sum()
}
