//! What must happen sometimes: a batch of seeds in which one of these never occurred has not
//! tested what it claims to test.

use std::collections::BTreeMap;

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Something worth having seen.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Mark { $($(#[$doc])* $name,)* }

        impl Mark {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

marks! {
    /// A stream was resumed, and no message had been on its way.
    ResumedWithNothing,
    /// ... and the relay had none of those on their way.
    ResumedWithNoneAcked,
    /// ... and the relay had some of them.
    ResumedWithSomeAcked,
    /// ... and the relay had all of them.
    ResumedWithAllAcked,
    /// A stream was over, and its last count was still told.
    FailedWithCount,
    /// A count passed 2³².
    CountWrapped,
    /// A tab died with a commit out, which did not come to the disk.
    CommitLostWithTab,
    /// A tab died with a commit out, which came to the disk.
    CommitKeptWithoutTab,
    /// A browser's commit failed.
    DeviceCommitFailed,
    /// A mailbox's commit failed.
    MailboxCommitFailed,
    /// A mailbox died between what it stored and what it was to say.
    MailboxDiedMidTurn,
    /// A mailbox slept and woke with its connections.
    MailboxSlept,
    /// A mailbox was woken by nothing but its alarm.
    AlarmRang,
    /// A message that the relay had was sent to it again, and got no second row.
    RepeatSuppressed,
    /// A transfer that had arrived was handed over again.
    TransferRepeated,
    /// The answer to a transfer was lost.
    AnswerLost,
    /// A message came back because its recipient's queue was full.
    QueueFull,
    /// A person tried a refused message again.
    TriedAgain,
    /// A message was given up because the relay might not remember it.
    OutcomeUnknown,
    /// A second tab took over while the first had something to store.
    TabFencedOff,
    /// The relay gave a silent device up.
    RelayGaveUpDevice,
    /// A device that acked too little was not heard.
    DeviceNotHeard,
    /// A device gave a silent relay up.
    DeviceGaveUpRelay,
    /// A device took its own session over from itself.
    SessionTakenOver,
    /// The relay refused a count that was a lie.
    LieRefused,
    /// A frame that is no XML, or none at all, ended a connection.
    GarbageRefused,
    /// A clock was set back.
    ClockSetBack,
    /// Somebody signed out with messages on their way.
    SignedOutWithOutbox,
    /// A browser lost its stores.
    StoresLost,
    /// A device came back, and more was waiting than it is sent at once.
    CaughtUp,
    /// An account was created by its user.
    Registered,
}

/// How often each was seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Marks(BTreeMap<Mark, u64>);

impl Marks {
    /// Seen once more.
    pub fn hit(&mut self, mark: Mark) {
        *self.0.entry(mark).or_default() += 1;
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (mark, times) in &other.0 {
            *self.0.entry(*mark).or_default() += times;
        }
    }

    /// How often this was seen.
    pub fn times(&self, mark: Mark) -> u64 {
        self.0.get(&mark).copied().unwrap_or_default()
    }

    /// What was never seen.
    pub fn never(&self) -> Vec<Mark> {
        Mark::ALL.iter().copied().filter(|mark| self.times(*mark) == 0).collect()
    }
}
