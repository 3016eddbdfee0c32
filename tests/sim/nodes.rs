//! The two kinds of machine: a device with its browser's stores and one or two tabs on them, and
//! a mailbox with its object's storage. They hold; `world` drives.

use shared::client::rows::{MessageKey, MessageRow, Op as ClientOp};
use shared::client::{ClientEngine, LinkState};
use shared::gate::BatchNo;
use shared::id::{DeviceId, LinkId, StanzaSeq};
use shared::jid::BareJid;
use shared::log::LogRow;
use shared::memory::{ClientStore, MailboxStore};
use shared::relay::{self, RelayEngine};
use std::collections::{BTreeMap, BTreeSet};

/// One tab: an engine with its link and the commit it waits for.
pub struct Tab {
    /// Counted up over all tabs of a device; also the epoch under which it commits.
    pub no: u32,
    /// Its engine.
    pub engine: ClientEngine,
    /// The commit that is out.
    pub pending: Option<(BatchNo, Vec<ClientOp>)>,
    /// The connection, by its name here and in the network.
    pub link: Option<(LinkId, u64)>,
    /// Which of its wake-ups counts.
    pub wake: u64,
    /// It dies after so many more steps.
    pub fuse: Option<u64>,
    /// What it last told of its connection.
    pub state: Option<LinkState>,
    /// What it shows, by what it was told.
    pub shown: BTreeMap<MessageKey, MessageRow>,
    /// Messages whose rows it has committed.
    pub stored: BTreeSet<MessageKey>,
}

/// One device of an account.
pub struct Device {
    /// Whose: the account's place.
    pub account: usize,
    /// Its name.
    pub name: DeviceId,
    /// `alice/phone`, for the trace.
    pub label: String,
    /// What its browser has committed.
    pub store: ClientStore,
    /// Its tabs; only the newest may commit.
    pub tabs: Vec<Tab>,
    /// Number of the newest tab.
    pub newest: u32,
    /// Its clock minus the true time.
    pub skew: i64,
    /// It stays away until then.
    pub away_until: u64,
    /// Its frames are tampered with, and no promise is made to its user.
    pub liar: bool,
}

impl Device {
    /// The tab of this number.
    pub fn tab(&mut self, no: u32) -> Option<&mut Tab> {
        self.tabs.iter_mut().find(|tab| tab.no == no)
    }

    /// The tab that may commit.
    pub fn leader(&self) -> Option<&Tab> {
        self.tabs.iter().find(|tab| tab.no == self.newest)
    }

    /// Whether it has a connection and nothing is left to do.
    pub fn is_settled(&self) -> bool {
        let owed = |jid: &BareJid| self.store.conversations.get(jid).is_some_and(|row| row.accepted);
        self.store.outbox.is_empty()
            && self.store.owed.values().all(|row| !owed(&row.to))
            && self.tabs.len() == 1
            && self.leader().is_some_and(|tab| {
                matches!(tab.state, Some(LinkState::Online { .. })) && tab.pending.is_none()
            })
    }
}

/// One account's mailbox on the relay.
pub struct Mailbox {
    /// Whose.
    pub jid: BareJid,
    /// Its engine, while the object is in memory.
    pub engine: Option<RelayEngine>,
    /// What it has committed.
    pub store: MailboxStore,
    /// Its segments.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// Connections, and what was remembered with them.
    pub links: BTreeMap<LinkId, Option<relay::LinkState>>,
    /// Counted up when the object is lost: whose answers are meant.
    pub life: u32,
    /// Which of its wake-ups counts.
    pub wake: u64,
    /// Its alarm, which outlives it.
    pub alarm: Option<u64>,
    /// It dies after so many more steps.
    pub fuse: Option<u64>,
    /// Its next commit fails.
    pub disk_fails: bool,
    /// Its clock minus the true time.
    pub skew: i64,
    /// Nobody can reach it until then.
    pub down_until: u64,
}

impl Mailbox {
    /// The first row that this device has not confirmed.
    pub fn waits_for(&self, device: &DeviceId) -> Option<StanzaSeq> {
        let cursor = self.store.devices.get(device).map(|row| row.cursor).unwrap_or_default();
        // A device's own message is for it only as a receipt, if it asked for one.
        let is_for = |row: &&LogRow| {
            row.source.as_ref().is_none_or(|source| source.device != *device || source.accept)
        };
        self.store.log.range(cursor.next()..).map(|(_, row)| row).find(is_for).map(|row| row.seq)
    }
}

/// The true time as a machine's clock shows it.
pub fn by_clock(now: u64, skew: i64) -> shared::time::Millis {
    shared::time::Millis(now.saturating_add_signed(skew))
}
