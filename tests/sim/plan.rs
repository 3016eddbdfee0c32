//! What a seed decides before anything happens: who there is, which kinds of fault occur and how
//! often, and how small the limits are (swarm testing: a seed with few kinds of fault goes
//! deeper than one with all of them).

use crate::dice::Dice;
use shared::limits::Limits;
use std::collections::BTreeSet;

/// A kind of fault. Each is on or off for a whole seed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// A connection ends; what was on its way arrives in part. Both sides notice, soon or late.
    Cut,
    /// A connection ends and neither side is told.
    HalfOpen,
    /// Nothing passes for up to a minute, then all of it.
    Stall,
    /// Every frame takes up to ten seconds.
    SlowNetwork,
    /// The relay cannot be reached.
    Refuse,
    /// A tab or browser dies at any step of its engine.
    DeviceDies,
    /// A device is away for a large part of the run.
    LongAway,
    /// A mailbox's object dies at any step of its engine.
    MailboxDies,
    /// All mailboxes die at once, and the relay is gone for a while.
    Redeploy,
    /// A mailbox is put to sleep; its connections stay.
    Hibernate,
    /// A browser's commit takes up to five seconds.
    SlowDisk,
    /// A browser's commit fails.
    DiskFails,
    /// A mailbox's commit fails.
    RelayDiskFails,
    /// A call between mailboxes does not arrive, or its answer does not; or no answer does
    /// for a large part of the run.
    CallsLost,
    /// Timers ring late, early or twice.
    WakesDrift,
    /// A clock is set by up to an hour, forward or back.
    ClockJumps,
    /// A second tab takes the lead while the first goes on.
    TwoTabs,
    /// A user signs out, and in again later.
    SignOut,
    /// A browser throws its stores away.
    Evict,
    /// One account's frames are tampered with: counts that are lies, garbage, binary.
    Liar,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Cut,
        Self::HalfOpen,
        Self::Stall,
        Self::SlowNetwork,
        Self::Refuse,
        Self::DeviceDies,
        Self::LongAway,
        Self::MailboxDies,
        Self::Redeploy,
        Self::Hibernate,
        Self::SlowDisk,
        Self::DiskFails,
        Self::RelayDiskFails,
        Self::CallsLost,
        Self::WakesDrift,
        Self::ClockJumps,
        Self::TwoTabs,
        Self::SignOut,
        Self::Evict,
        Self::Liar,
    ];
}

/// Everything that is decided beforehand.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// Devices of each account.
    pub devices: Vec<usize>,
    /// Kinds of fault that occur.
    pub faults: BTreeSet<Fault>,
    /// How long faults occur.
    pub horizon_ms: u64,
    /// What people do in that time, on average.
    pub acts: u64,
    /// Disasters in that time, on average.
    pub disasters: u64,
    /// What a frame takes, least and most.
    pub latency_ms: (u64, u64),
    /// What a browser's commit takes, least and most.
    pub disk_ms: (u64, u64),
    /// What the engines are told to keep to.
    pub limits: Limits,
    /// Streams are taken up this far below 2³², both counts.
    pub wrap: Option<u32>,
    /// One account is created in the run, by XEP-0077, with its password hashed for real.
    pub registers: bool,
}

impl Plan {
    /// What this seed decides.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let accounts = dice.between((2, 3));
        let mut devices: Vec<usize> = (0..accounts).map(|_| dice.between((1, 2)) as usize).collect();
        if dice.chance(150)
            && let Some(first) = devices.first_mut()
        {
            *first = 3;
        }
        let density = dice.between((50, 600));
        let faults: BTreeSet<Fault> = Fault::ALL.into_iter().filter(|_| dice.chance(density)).collect();
        let horizon_ms = *dice
            .pick(&[20_000, 20_000, 60_000, 60_000, 60_000, 180_000, 180_000, 600_000])
            .unwrap_or(&60_000);
        let slow = faults.contains(&Fault::SlowNetwork);
        let latency_ms = if slow { (0, 10_000) } else { (0, dice.between((1, 200))) };
        let disk_ms = if faults.contains(&Fault::SlowDisk) { (0, 5_000) } else { (0, dice.between((0, 30))) };
        let mut plan = Self {
            seed,
            devices,
            horizon_ms,
            acts: dice.between((8, 45)),
            disasters: dice.between((0, 25)),
            latency_ms,
            disk_ms,
            limits: limits(&mut dice),
            wrap: dice.chance(300).then(|| dice.below(40) as u32),
            registers: dice.chance(20),
            faults,
        };
        if plan.has(Fault::ClockJumps) {
            // A relay that is a day ahead must still know what a client sends again.
            plan.limits.dedup_horizon_ms += 86_400_000;
        }
        if dice.chance(100) {
            plan.dwell_on_refusals(&mut dice);
        }
        plan
    }

    /// Queues that are soon full, and mailboxes that do not hear what became of their calls: it
    /// takes more than chance until the outcome of many messages hangs on that.
    fn dwell_on_refusals(&mut self, dice: &mut Dice) {
        self.faults = [Fault::CallsLost, Fault::LongAway, Fault::Cut].into();
        self.limits.queue_stanzas_max = dice.between((1, 3));
        self.disasters = dice.between((3, 12));
        self.acts = dice.between((30, 45));
    }

    /// Whether this kind of fault occurs.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// The same without one kind of fault.
    #[must_use]
    pub fn without(&self, fault: Fault) -> Self {
        let mut plan = self.clone();
        plan.faults.remove(&fault);
        plan
    }
}

/// Small limits are reached; the usual ones are kept half of the time.
fn limits(dice: &mut Dice) -> Limits {
    let mut limits = Limits::DEFAULT;
    if dice.chance(500) {
        limits.ack_every_stanzas = dice.between((1, 6)) as u32;
        limits.window_stanzas_max = dice.between((1, 12)) as usize;
        limits.client_window_stanzas_max = dice.between((1, 12)) as usize;
        limits.checkpoint_rows = dice.between((1, 20));
        limits.transfer_items_max = dice.between((1, 6)) as usize;
        limits.sent_lease_stanzas = dice.between((1, 20)) as u32;
        // Above what a client asks for at once when it comes, or it never gets anywhere.
        limits.unacked_stanzas_max = limits.window_stanzas_max as u32 + dice.between((4, 20)) as u32;
        limits.kept_bytes_max = dice.between((400, 2_000)) as usize;
    }
    if dice.chance(250) {
        limits.ack_idle_ms = dice.between((10, 15_000));
        limits.tell_idle_ms = dice.between((10, 15_000));
        limits.ack_every_stanzas = dice.between((1, 40)) as u32;
    }
    if dice.chance(200) {
        limits.queue_stanzas_max =
            if dice.chance(500) { dice.between((1, 3)) } else { dice.between((1, 25)) };
    }
    if dice.chance(300) {
        limits.resume_window_ms = dice.between((5_000, 120_000));
    }
    if dice.chance(100) {
        limits.client_retry_ms_max = dice.between((60_000, 300_000));
        limits.dedup_horizon_ms = limits.client_retry_ms_max;
    }
    limits
}
