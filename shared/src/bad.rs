//! Design bugs that can be switched on, one at a time: each is a mistake that somebody has made,
//! in this project or elsewhere. They are there to show that the simulator's checkers find them
//! (`cargo xtask test badengines`).
//!
//! Without the feature `known-bad` none of them can be on, and the compiler leaves them out.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A mistake.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Bug { $($(#[$doc])* $name,)* }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

bugs! {
    /// Frames leave before the rows they depend on are on disk.
    GateOpen,
    /// A client acks what it has read and not yet stored.
    ClientAcksOnParse,
    /// A relay acks what it has read, and does not write the count.
    RelayAcksOnParse,
    /// A client gives a message a new id each time it sends it.
    NewIdOnRetry,
    /// A client takes a message off its outbox when it sends it.
    OutboxDroppedOnSend,
    /// A client ignores what the relay still says it has when a stream is over.
    FailedCountIgnored,
    /// A client shows *delivered* when the relay has the message.
    DeliveredWhenSent,
    /// A client shows *read* when a device has the message.
    ReadWhenDelivered,
    /// A client shows *sent* again when the relay says again that it has the message.
    StatusGoesBack,
    /// A client does not show what it has received.
    ScreenNotTold,
    /// A client forgets a message that was looked at.
    LookedAtIsLost,
    /// A client names what it receives anew each time.
    KeysForgotten,
    /// A client orders by the clock.
    OrderByClock,
    /// A client answers a receipt with a receipt.
    ReceiptForReceipt,
    /// A client goes on when a commit fails.
    CommitFailureIgnored,
    /// A client that has lost its link does not hear that a commit is done.
    LateCommitDropped,
    /// Counts are compared as if they never passed 2³².
    NoWrap,
    /// Numbers are given anew when a stream is resumed.
    NumbersReused,
    /// A relay does not recognise a message that is sent again.
    DedupSkipped,
    /// A relay remembers only the newest message.
    DedupForgets,
    /// A relay counts what is no stanza.
    NonzasCounted,
    /// A relay resumes any of the account's streams, whatever id it is asked for.
    AnyStreamResumed,
    /// A relay sends again in the wrong order.
    ReorderedOnResume,
    /// A relay moves a device's cursor when it sends.
    CursorMovedOnSend,
    /// A relay sends as much as there is.
    WindowIgnored,
    /// A relay keeps answers for a device that takes none, as many as it asks for.
    AnswersPileUp,
    /// A relay does not remember that it may have sent more than it has written down.
    LeaseIgnored,
    /// A mailbox takes a transfer twice.
    TransferTakenTwice,
    /// A mailbox takes a transfer for done when it calls.
    TransferDoneOnCall,
    /// A mailbox hands a message to somebody else.
    TransferMisdirected,
    /// A passing state goes to whoever is called next.
    StatesMisdirected,
    /// A mailbox takes a message from somebody who may not know that an earlier one was refused.
    RefusalOvertaken,
    /// A mailbox that is full denies what it has.
    FullForgets,
    /// A mailbox wakes for a recipient for whom it has nothing.
    WakesForNothing,
    /// A relay's time stands still when its clock is set back.
    TimeStandsStill,
}

#[cfg(feature = "known-bad")]
mod switch {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Switches a bug on for this thread, or all off.
    pub fn switch(bug: Option<Bug>) {
        ON.set(bug);
    }

    pub(crate) fn is(bug: Bug) -> bool {
        ON.get() == Some(bug)
    }
}

#[cfg(not(feature = "known-bad"))]
mod switch {
    pub(crate) const fn is(_: super::Bug) -> bool {
        false
    }
}

pub(crate) use switch::is;
#[cfg(feature = "known-bad")]
pub use switch::switch;
