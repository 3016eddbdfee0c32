//! The account of a run: each message one entry, each entry one outcome.
//!
//! A message's text names its entry (`m12.…`), whatever origin-ids it travels under: a person
//! who tries a refused message again sends the same entry under a new one.

use crate::fact::{Cast, Fact};
use crate::said::Said;
use shared::client::rows::{MessageKey, Op as ClientOp, Status};
use shared::log::Direction;
use shared::relay::rows::Op as MailboxOp;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

/// One message.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The device it was written on.
    pub device: usize,
    /// The sender's account.
    pub from: usize,
    /// The recipient's account.
    pub to: usize,
    /// The origin-ids it was given.
    pub origins: BTreeSet<String>,
    /// It had a row in the outbox: from here on the promise holds.
    pub promised: bool,
    /// Its sender took it away, signed out, or lost the store.
    pub gone: bool,
    /// Its sender sees that it failed, and why.
    pub failed: Option<String>,
    /// Its sender has seen it as sent.
    pub acknowledged: bool,
    /// Origin-ids under which the sender's mailbox has it.
    pub accepted: BTreeSet<String>,
    /// Those of them under which it came back.
    pub bounced: BTreeSet<String>,
    /// Devices on whose disk it is or was.
    pub on: BTreeSet<usize>,
    /// Those of them whose stores were cleared or lost since.
    pub cleared: BTreeSet<usize>,
    /// A tab died or a link broke while it was on its way.
    pub shaken: bool,
    /// A store of its recipient that had it was lost or cleared: a later marker covers it.
    pub swept: bool,
    /// Somebody in it lies: nothing is promised.
    pub liar: bool,
}

impl Entry {
    /// Whether the relay has it, and has not given it back.
    pub fn is_accepted(&self) -> bool {
        self.accepted.difference(&self.bounced).next().is_some()
    }

    /// Whether it must be in every timeline when all is quiet.
    pub fn must_arrive(&self) -> bool {
        let promised = self.promised && !self.gone && self.failed.is_none();
        !self.liar && (promised || self.is_accepted())
    }

    /// The devices on which it must be.
    pub fn devices<'a>(&self, cast: &'a Cast) -> impl Iterator<Item = usize> + use<'a> {
        cast.devices_of(self.from).chain(cast.devices_of(self.to))
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Who there is.
    pub cast: Cast,
    /// The messages, by their numbers.
    pub entries: Vec<Entry>,
    /// By account: the messages somebody there has looked at.
    pub looked: BTreeMap<usize, BTreeSet<u64>>,
    /// By device: which entry a row is of.
    rows: BTreeMap<usize, BTreeMap<MessageKey, u64>>,
}

/// The number in a message's text.
pub fn number(body: &str) -> Option<u64> {
    body.strip_prefix('m')?.split('.').next()?.parse().ok()
}

impl Ledger {
    /// An empty ledger for these people.
    pub fn new(cast: Cast) -> Self {
        Self { cast, ..Self::default() }
    }

    /// The text of the next message.
    pub fn next_body(&self, device: usize, to: usize) -> String {
        format!("m{}.{device}.{to}", self.entries.len())
    }

    /// The entry a text names.
    pub fn of(&self, body: &str) -> Option<(u64, &Entry)> {
        let number = number(body)?;
        let entry = self.entries.get(number as usize)?;
        (body == format!("m{number}.{}.{}", entry.device, entry.to)).then_some((number, entry))
    }

    /// Whether this device shows the message, or did before its stores were cleared.
    pub fn has(&self, device: usize, message: u64) -> bool {
        let entry = self.entries.get(message as usize);
        self.is_on(device, message) || entry.is_some_and(|entry| entry.cleared.contains(&device))
    }

    fn is_on(&self, device: usize, message: u64) -> bool {
        self.rows.get(&device).is_some_and(|rows| rows.values().any(|number| *number == message))
    }

    fn of_mut(&mut self, body: &str) -> Option<&mut Entry> {
        self.entries.get_mut(number(body)? as usize)
    }

    /// Takes note.
    pub fn see(&mut self, fact: &Fact<'_>) {
        match fact {
            Fact::Wrote { device, to, origin, .. } => self.wrote(*device, *to, origin.as_str()),
            Fact::Looked { account, messages } => {
                self.looked.entry(*account).or_default().extend(messages.iter().copied());
            }
            Fact::Committed { device, ops, store } => {
                for op in *ops {
                    self.committed(*device, op);
                }
                if ops.iter().any(|op| matches!(op, ClientOp::DeleteMessage(_))) {
                    let still: BTreeSet<_> =
                        store.messages.values().filter_map(|row| number(&row.body)).collect();
                    let own = self.entries.iter_mut().zip(0..).filter(|(entry, _)| entry.device == *device);
                    own.filter(|(entry, _)| entry.promised || entry.failed.is_some())
                        .for_each(|(entry, number)| entry.gone = !still.contains(&number));
                }
            }
            Fact::Wiped { device } => self.wiped(*device),
            Fact::Stored { account, ops, .. } => {
                for op in *ops {
                    self.stored(*account, op);
                }
            }
            Fact::TabDied { device, .. } => {
                let sent = |entry: &&mut Entry| entry.device == *device && !entry.acknowledged;
                self.entries.iter_mut().filter(sent).for_each(|entry| entry.shaken = true);
            }
            Fact::Frame { .. } | Fact::Told { .. } => {}
        }
    }

    fn wrote(&mut self, device: usize, to: usize, origin: &str) {
        let Some((from, _, liar)) = self.cast.devices.get(device).cloned() else { return };
        let liar = liar || self.cast.devices.iter().any(|(account, _, liar)| *account == to && *liar);
        self.entries.push(Entry {
            device,
            from,
            to,
            origins: BTreeSet::from([origin.to_owned()]),
            promised: false,
            gone: false,
            failed: None,
            acknowledged: false,
            accepted: BTreeSet::new(),
            bounced: BTreeSet::new(),
            on: BTreeSet::new(),
            cleared: BTreeSet::new(),
            shaken: false,
            swept: false,
            liar,
        });
    }

    fn committed(&mut self, device: usize, op: &ClientOp) {
        match op {
            ClientOp::PutOutbox(row) => {
                if let Some(entry) = self.of_mut(&row.body) {
                    entry.promised = true;
                    entry.gone = false;
                    entry.origins.insert(row.origin.0.clone());
                }
            }
            ClientOp::PutMessage(row) => {
                let Some(number) = number(&row.body) else { return };
                let Some(entry) = self.entries.get_mut(number as usize) else { return };
                entry.on.insert(device);
                entry.cleared.remove(&device);
                if device == entry.device {
                    entry.failed = row.failure.clone().filter(|_| row.status == Status::Failed);
                    entry.acknowledged |= row.times.sent.is_some();
                }
                self.rows.entry(device).or_default().insert(row.key.clone(), number);
            }
            ClientOp::DeleteMessage(key) => {
                self.rows.entry(device).or_default().remove(key);
            }
            ClientOp::Clear => self.wiped(device),
            _ => {}
        }
    }

    fn wiped(&mut self, device: usize) {
        self.rows.remove(&device);
        let account = self.cast.devices.get(device).map(|(account, ..)| *account);
        let there =
            self.entries.iter_mut().filter(|entry| Some(entry.to) == account && entry.on.contains(&device));
        there.for_each(|entry| entry.swept = true);
        for entry in self.entries.iter_mut() {
            entry.gone |= entry.device == device;
            if entry.on.contains(&device) {
                entry.cleared.insert(device);
            }
        }
    }

    fn stored(&mut self, account: usize, op: &MailboxOp) {
        let MailboxOp::Append(row) = op else { return };
        let Said::Stanza(stanza) = Said::of(&row.stanza) else { return };
        if row.direction == Direction::Out {
            let origin = row.source.as_ref().and_then(|source| source.origin.clone());
            if let Some((entry, origin)) = stanza.body.and_then(|body| self.of_mut(body)).zip(origin) {
                entry.accepted.insert(origin.0);
            }
        } else if row.direction == Direction::Back {
            let head = row.stanza.split('>').next().unwrap_or_default();
            let id = head.split(" id='").nth(1).and_then(|rest| rest.split('\'').next());
            let own = self.entries.iter_mut().filter(|entry| entry.from == account);
            let named = own.filter(|entry| id.is_some_and(|id| entry.origins.contains(id)));
            for entry in named {
                entry.bounced.insert(id.unwrap_or_default().to_owned());
            }
        }
    }

    /// The links or the process that were to confirm a message are gone.
    pub fn shake(&mut self, device: usize) {
        let unconfirmed = |entry: &&mut Entry| entry.device == device && !entry.acknowledged;
        self.entries.iter_mut().filter(unconfirmed).for_each(|entry| entry.shaken = true);
    }

    /// The account of the run.
    pub fn account(&self) -> Account {
        let mut account = Account::default();
        for (number, entry) in self.entries.iter().enumerate() {
            let everywhere = || entry.devices(&self.cast).all(|device| self.has(device, number as u64));
            account.attempted += 1;
            account.promised += u64::from(entry.promised);
            account.acknowledged += u64::from(entry.acknowledged);
            account.refused += u64::from(entry.failed.is_some());
            account.withdrawn += u64::from(entry.gone);
            if entry.must_arrive() {
                account.delivered += u64::from(everywhere());
                account.lost += u64::from(!everywhere());
                account.recovered += u64::from(entry.shaken && everywhere());
            }
        }
        account
    }
}

/// The line that every run prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// Messages that people wrote.
    pub attempted: u64,
    /// Those that reached the outbox: the promise is about them.
    pub promised: u64,
    /// Those that their sender saw as sent.
    pub acknowledged: u64,
    /// Those that are in every timeline they belong in.
    pub delivered: u64,
    /// Those that should be and are not.
    pub lost: u64,
    /// Those that were shaken on their way, and are.
    pub recovered: u64,
    /// Those that ended in a visible failure.
    pub refused: u64,
    /// Those that their sender took away, also by signing out or losing the store.
    pub withdrawn: u64,
}

impl AddAssign for Account {
    fn add_assign(&mut self, other: Self) {
        self.attempted += other.attempted;
        self.promised += other.promised;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.recovered += other.recovered;
        self.refused += other.refused;
        self.withdrawn += other.withdrawn;
    }
}
