//! The world: a clock, a queue of things that are due, and what becomes of each.
//!
//! One thing happens at a time; between two of them nothing does. Whatever takes time (a frame
//! on its way, a commit, a pause) is an entry in the queue, so its outcome can meet anything
//! that came in between.

use crate::check::{Checkers, End};
use crate::dice::Dice;
use crate::fact::{Cast, Fact, Violation};
use crate::ledger::Ledger;
use crate::net::{Net, Way};
use crate::nodes::{Device, Mailbox};
use crate::plan::{Fault, Plan};
use crate::sometimes::{Mark, Marks};
use crate::trace::Trace;
use crate::{keys, nodes};
use shared::id::{DeviceId, StanzaSeq};
use shared::jid::BareJid;
use shared::limits::Limits;
use shared::log::Direction;
use shared::memory::{ClientStore, MailboxStore};
use shared::relay::{TransferReply, TransferRequest};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

/// When every run begins.
pub const START_MS: u64 = 1_800_000_000_000;
/// After the faults, all must be quiet within this time: the longest pause between two tries of
/// a transfer, and some.
const HEAL_MS_MAX: u64 = 900_000;
/// Events in one run. More is a loop.
const EVENTS_MAX: u64 = 400_000;
/// Where everybody's relay is.
pub const URL: &str = "wss://d/xmpp-websocket";
const NAMES: [&str; 4] = ["alice", "bob", "carol", "mallory"];

/// Something that is due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Due {
    /// The oldest thing in a pipe arrives.
    Frame(u64, Way),
    /// A connection was opened, or refused.
    Dialled(u64, bool),
    /// A tab's timer rings.
    TabWakes { device: usize, tab: u32, wake: u64 },
    /// A mailbox's timer rings.
    MailboxWakes { account: usize, wake: u64 },
    /// A mailbox's alarm rings.
    Alarm(usize),
    /// A tab's commit is over.
    Disk { device: usize, tab: u32 },
    /// A device starts its app.
    Start(usize),
    /// A person signs in.
    SignIn(usize),
    /// A tab is closed.
    Closes { device: usize, tab: u32 },
    /// A call between mailboxes arrives.
    Call(u64),
    /// Its answer arrives, or the time for it is over.
    Answer(u64, Option<TransferReply>),
    /// A person does something.
    Act(usize),
    /// Something goes wrong.
    Disaster,
}

/// A call between two mailboxes.
pub struct Call {
    pub from: usize,
    pub life: u32,
    pub to: Option<usize>,
    pub request: TransferRequest,
    /// The callee has answered, whether that arrives or not.
    pub replied: bool,
    /// The caller has an answer, or has given up.
    pub over: bool,
}

/// Those who watch.
pub struct Watch {
    /// The account of the run.
    pub ledger: Ledger,
    /// The twelve.
    pub checkers: Checkers,
}

impl Watch {
    /// Something happened.
    pub fn see(&mut self, fact: &Fact<'_>) {
        self.ledger.see(fact);
        self.checkers.see(fact, &self.ledger);
    }
}

/// What a run comes to beside its account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tolls {
    /// Tabs and mailboxes that died.
    pub deaths: u64,
    /// Connections that broke.
    pub cuts: u64,
    /// Simulated time.
    pub simulated_ms: u64,
    /// Events.
    pub events: u64,
    /// Frames that arrived.
    pub frames: u64,
}

impl AddAssign for Tolls {
    fn add_assign(&mut self, other: Self) {
        self.deaths += other.deaths;
        self.cuts += other.cuts;
        self.simulated_ms += other.simulated_ms;
        self.events += other.events;
        self.frames += other.frames;
    }
}

/// See the module.
pub struct World {
    pub plan: Plan,
    pub dice: Dice,
    pub now: u64,
    pub net: Net,
    pub devices: Vec<Device>,
    pub mailboxes: Vec<Mailbox>,
    pub calls: BTreeMap<u64, Call>,
    pub watch: Watch,
    pub marks: Marks,
    pub trace: Trace,
    pub tolls: Tolls,
    /// Calls between mailboxes arrive until then, and their answers do not.
    pub silent_until: u64,
    /// Nothing fails any more.
    pub healing: bool,
    /// Only what a script says goes wrong. What chance decides elsewhere (whether a commit that
    /// was out came to the disk, whether what was on its way arrives) is decided by this.
    pub script: Option<bool>,
    queue: BTreeMap<(u64, u64), Due>,
    order: u64,
}

impl World {
    /// What the plan says, before anything happens.
    pub fn new(plan: Plan, keep_trace: bool) -> Self {
        let mut accounts: Vec<(usize, bool)> = plan.devices.iter().map(|count| (*count, false)).collect();
        if plan.has(Fault::Liar) {
            accounts.push((1, true));
        }
        let jids: Vec<BareJid> = NAMES.iter().filter_map(|name| BareJid::new(name, "d").ok()).collect();
        let mut cast = Cast::default();
        for (account, (count, liar)) in accounts.iter().enumerate() {
            let name = if *liar { jids.last() } else { jids.get(account) };
            cast.accounts.extend(name.cloned());
            let devices = (0..*count).map(|n| (account, DeviceId(format!("d{n}")), *liar));
            cast.devices.extend(devices);
        }
        let mut world = Self {
            dice: Dice::new(plan.seed.wrapping_add(1)),
            now: START_MS,
            net: Net::default(),
            devices: Vec::new(),
            mailboxes: Vec::new(),
            calls: BTreeMap::new(),
            watch: Watch {
                ledger: Ledger::new(cast.clone()),
                checkers: Checkers::new(plan.limits, plan.wrap),
            },
            marks: Marks::default(),
            trace: Trace::new(keep_trace),
            tolls: Tolls::default(),
            silent_until: 0,
            healing: false,
            script: None,
            queue: BTreeMap::new(),
            order: 0,
            plan,
        };
        world.people(&cast);
        world
    }

    fn people(&mut self, cast: &Cast) {
        let now = nodes::by_clock(self.now, 0);
        for (account, jid) in cast.accounts.iter().enumerate() {
            let mut store = MailboxStore::default();
            if !(self.plan.registers && account == 0) {
                store.account = Some(keys::account(now));
            }
            self.mailboxes.push(Mailbox {
                blobs: BTreeMap::new(),
                jid: jid.clone(),
                engine: None,
                store,
                links: BTreeMap::new(),
                life: 0,
                wake: 0,
                alarm: None,
                fuse: None,
                disk_fails: false,
                skew: 0,
                down_until: 0,
            });
        }
        for (account, name, liar) in &cast.devices {
            let Some(jid) = cast.accounts.get(*account) else { continue };
            let mut store = ClientStore::default();
            let registers = self.plan.registers && *account == 0;
            if !registers {
                store.account = Some(keys::signed_in(jid, name, URL));
                for other in cast.accounts.iter().filter(|other| *other != jid) {
                    store.conversations.insert(other.clone(), keys::conversation(other));
                }
                if let (Some(below), Some(mailbox)) = (self.plan.wrap, self.mailboxes.get_mut(*account)) {
                    let count = below.wrapping_neg();
                    let (session, row) = keys::old_stream(jid, name, count, now);
                    store.session = Some(session);
                    mailbox.store.devices.insert(name.clone(), row);
                }
            }
            let label = format!("{}/{name}", jid.local().unwrap_or_default());
            self.devices.push(Device {
                account: *account,
                name: name.clone(),
                label,
                store,
                tabs: Vec::new(),
                newest: 0,
                skew: 0,
                away_until: 0,
                liar: *liar,
            });
        }
    }

    /// Lets something happen after so many milliseconds.
    pub fn after(&mut self, ms: u64, due: Due) {
        self.at(self.now + ms, due);
    }

    /// Lets something happen at a time.
    pub fn at(&mut self, at: u64, due: Due) {
        self.order += 1;
        self.queue.insert((at.max(self.now), self.order), due);
    }

    /// The whole run: faults, healing, the last check.
    pub fn run(&mut self) {
        self.everybody_comes();
        self.begin_acts();
        let end = self.now + self.plan.horizon_ms;
        self.go_on(end, false);
        self.heal();
        self.note_stores();
    }

    /// What is stored in the end belongs to the run, beside what was said and done.
    fn note_stores(&mut self) {
        if !self.trace.is_kept() {
            return;
        }
        for device in &self.devices {
            self.trace.event(self.now, &device.label, "has", &format!("{:?}", device.store));
        }
        for mailbox in &self.mailboxes {
            self.trace.event(self.now, mailbox.jid.as_str(), "has", &format!("{:?}", mailbox.store));
        }
    }

    /// Everybody is there once before anything fails: what is sent to a device that was never
    /// bound is not promised to it.
    pub fn everybody_comes(&mut self) {
        for device in 0..self.devices.len() {
            self.after(0, Due::Start(device));
        }
        self.healing = true;
        self.go_on(START_MS + HEAL_MS_MAX, true);
        self.healing = false;
    }

    /// Nothing fails any more: all must come to rest.
    pub fn heal(&mut self) {
        self.now_heal();
        let quiet = self.go_on(self.now + HEAL_MS_MAX, true);
        self.tolls.simulated_ms = self.now - START_MS;
        if self.tolls.events >= EVENTS_MAX {
            let what = format!("no end after {EVENTS_MAX} events");
            self.watch.checkers.found.push(Violation { checker: "8 drained", what });
        }
        if self.watch.checkers.found.is_empty() {
            self.last_look(quiet);
        }
        self.marks.add(&self.watch.checkers.marks.clone());
    }

    fn last_look(&mut self, quiet: bool) {
        let end = End {
            devices: &self.devices,
            mailboxes: &self.mailboxes,
            restless: if quiet { None } else { self.restless() },
            // A receipt that finds a full queue is refused like a message.
            receipts: !self.plan.has(Fault::SignOut)
                && !self.plan.registers
                && !self.plan.has(Fault::Evict)
                && self.plan.limits.queue_stanzas_max == Limits::DEFAULT.queue_stanzas_max,
        };
        self.watch.checkers.end(&end, &self.watch.ledger);
    }

    fn begin_acts(&mut self) {
        let devices = self.devices.len();
        for device in 0..devices {
            let pause = self.act_pause();
            self.after(pause, Due::Act(device));
        }
        if let Some(mean) = self.plan.horizon_ms.checked_div(self.plan.disasters) {
            let pause = self.dice.pause(mean);
            self.after(pause, Due::Disaster);
        }
    }

    /// How long a person waits between two acts.
    pub fn act_pause(&mut self) -> u64 {
        let each = (self.plan.acts / self.devices.len().max(1) as u64).max(1);
        self.dice.pause(self.plan.horizon_ms / each)
    }

    /// Lets things happen until then, or, if asked to, until all is quiet.
    pub fn go_on(&mut self, until: u64, stop_when_quiet: bool) -> bool {
        let mut look_at = self.now;
        let mut quiet_since = None;
        while self.is_sound() {
            let Some((&(at, _), _)) = self.queue.first_key_value() else { break };
            if at > until {
                break;
            }
            if stop_when_quiet && at > look_at {
                look_at = at + 200;
                let quiet = self.is_quiet();
                quiet_since = if quiet { quiet_since.or(Some(self.now)) } else { None };
                if quiet_since.is_some_and(|since| at > since + 1_500) {
                    return true;
                }
            }
            if let Some((_, due)) = self.queue.pop_first() {
                self.now = at;
                self.tolls.events += 1;
                self.happens(due);
            }
        }
        self.now = self.now.max(until.min(self.now + 1));
        self.is_quiet()
    }

    fn is_sound(&self) -> bool {
        self.watch.checkers.found.is_empty() && self.tolls.events < EVENTS_MAX
    }

    fn is_quiet(&self) -> bool {
        self.restless().is_none()
    }

    /// What is not at rest.
    fn restless(&self) -> Option<String> {
        for device in self.devices.iter().filter(|device| !device.liar) {
            let waits =
                self.mailboxes.get(device.account).and_then(|mailbox| mailbox.waits_for(&device.name));
            if !device.is_settled() || waits.is_some() {
                return Some(format!("{} waits for {waits:?}", device.label));
            }
        }
        let moves = |due: &&Due| match due {
            Due::Answer(call, _) => self.calls.get(call).is_some_and(|call| !call.over),
            due => !matches!(
                due,
                Due::TabWakes { .. }
                    | Due::MailboxWakes { .. }
                    | Due::Alarm(_)
                    | Due::SignIn(_)
                    | Due::Act(_)
                    | Due::Disaster
            ),
        };
        if let Some(due) = self.queue.values().find(moves) {
            return Some(format!("{due:?} is to come"));
        }
        let holds = self.mailboxes.iter().find(|mailbox| !self.has_handed_over(mailbox));
        holds.map(|mailbox| format!("{} has something to hand over", mailbox.jid))
    }

    /// Whether everything that is for another mailbox is there, or has come back.
    fn has_handed_over(&self, mailbox: &Mailbox) -> bool {
        let log = mailbox.store.log.values();
        let back: BTreeSet<StanzaSeq> =
            log.clone().filter(|row| row.direction == Direction::Back).map(|row| row.peer_seq).collect();
        self.mailboxes.iter().filter(|other| other.jid != mailbox.jid).all(|other| {
            let there = other.store.log.values();
            let there: BTreeSet<StanzaSeq> = there
                .filter(|row| row.direction == Direction::In && row.peer == mailbox.jid)
                .map(|row| row.peer_seq)
                .collect();
            let mut out = log.clone().filter(|row| row.direction == Direction::Out && row.peer == other.jid);
            out.all(|row| there.contains(&row.seq) || back.contains(&row.seq))
        })
    }

    fn happens(&mut self, due: Due) {
        match due {
            Due::Frame(link, way) => self.arrives(link, way),
            Due::Dialled(link, open) => self.dialled(link, open),
            Due::TabWakes { device, tab, wake } => self.tab_wakes(device, tab, wake),
            Due::MailboxWakes { account, wake } => self.mailbox_wakes(account, wake),
            Due::Alarm(account) => self.alarm_rings(account),
            Due::Disk { device, tab } => self.disk_done(device, tab),
            Due::Start(device) => self.start(device),
            Due::SignIn(device) => self.sign_in(device),
            Due::Closes { device, tab } => self.tab_dies(device, tab),
            Due::Call(call) => self.call_arrives(call),
            Due::Answer(call, reply) => self.answer_arrives(call, reply),
            Due::Act(device) if !self.healing => self.act(device),
            Due::Disaster if !self.healing => self.disaster(),
            Due::Act(_) | Due::Disaster => {}
        }
    }

    /// Whether this kind of fault may happen, and does in so many of a thousand cases.
    pub fn befalls(&mut self, fault: Fault, per_mille: u64) -> bool {
        !self.healing && self.script.is_none() && self.plan.has(fault) && self.dice.chance(per_mille)
    }

    /// What a frame or a call takes.
    pub fn latency(&mut self) -> u64 {
        if self.healing || self.script.is_some() { 1 } else { self.dice.between(self.plan.latency_ms) }
    }

    /// What a frame takes on this connection.
    pub fn latency_of(&mut self, link: u64) -> u64 {
        let ms = self.latency();
        if self.net.get(link).is_some_and(|link| link.fast) { ms / 100 } else { ms }
    }

    /// What a wake-up is off by.
    pub fn drift(&mut self) -> u64 {
        if self.befalls(Fault::WakesDrift, 300) { self.dice.below(20_000) } else { 0 }
    }

    /// Something worth having seen.
    pub fn mark(&mut self, mark: Mark) {
        self.marks.hit(mark);
    }
}
