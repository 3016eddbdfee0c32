//! The client engine: one account on one device. It decides what is stored, sent and shown, and
//! does none of it: no socket, no disk, no clock, no random source.
//!
//! # Driving it
//! 1. [`ClientEngine::load`] takes the rows of the stores. There is no other way to start, and
//!    none to recover: after a crash, a failed commit or a taken-over tab it is the same call.
//! 2. [`ClientEngine::handle`] takes one [`Input`] and the time. It never fails and it returns
//!    nothing: what a peer does wrong becomes a stream error on the wire.
//! 3. [`ClientEngine::poll`] is then called until it returns [`Output::WakeAt`], which says that
//!    the engine is drained. Outputs are carried out in the order in which they come. `load`
//!    counts as an input: poll after it.
//! 4. A [`Output::Commit`] is applied in one transaction, and its end reported by
//!    [`Input::Committed`]. Meanwhile other inputs may be handled; what they need to have on
//!    disk gathers for the next commit, and only one commit is out at a time.
//! 5. [`Output::Connect`] is answered by [`Input::LinkUp`] or [`Input::LinkDown`]. News of a link
//!    that the engine has closed, or of one it no longer has, is ignored.
//! 6. At the time of the last `WakeAt`, hand in [`Input::Wake`]. Early, late and repeated wakes
//!    are harmless.
//! 7. After [`Input::CommitFailed`] the engine closes its link and is finished: drop it, load a
//!    new one.
//!
//! # Invariant
//! Nothing leaves before the rows it depends on are committed ([`crate::gate`]): a message not
//! before its outbox row, which also holds its number on the stream; a receipt not before the
//! message it confirms; an `h` (XEP-0198 §4) not before every stanza it counts, which is why `h`
//! is written into the frame when it is released and not before.
//!
//! # Map
//! `load` rows to state · `connect` links, back-off, timers · `login` up to an authenticated
//! stream · `session` resume or bind, acks · `send` the outbox · `receive` what comes in ·
//! `confirm` statuses, receipts both ways · `command` the user · `queue`, `timeline`, `timer`
//! what these hold.
//!
//! Deliberately absent: history beyond what the relay still queues for this device (XEP-0313),
//! rooms, and everything a view only needs for itself.

pub mod api;
mod command;
mod confirm;
mod connect;
mod load;
mod login;
mod queue;
mod receive;
pub mod rows;
mod send;
mod session;
mod stanzas;
mod timeline;
mod timer;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]
mod tests;

use crate::bad::{self, Bug};
use crate::entropy::Entropy;
use crate::gate::{Gate, Released};
use crate::id::{LinkId, OriginId};
use crate::jid::BareJid;
use crate::sm::{Handled, Window};
use crate::time::Millis;
use crate::wire::Element;
pub use api::{Command, Config, Event, Input, LinkState, Output, SignInFault};
use connect::Link;
use login::SignIn;
use queue::Queue;
use rows::{AccountRow, ConversationRow, MessageRow, Op, OutboxRow, OwedRow, SessionRow, Status};
use std::collections::{BTreeMap, BTreeSet};
use timeline::Timeline;
use timer::{Timer, Timers};

/// One account on one device. See the module for how to drive it.
#[derive(Clone, Debug)]
pub struct ClientEngine {
    config: Config,
    entropy: Entropy,
    now: Millis,
    gate: Gate<u32, Op, Effect>,
    /// A commit failed: this engine does nothing any more.
    finished: bool,

    timers: Timers,
    link: Option<Link>,
    last_link: LinkId,
    /// Tries to connect since the last stable connection.
    attempts: u32,
    /// The relay acked more than it was sent, and has not been seen to behave since.
    acked_too_much: bool,

    account: Option<AccountRow>,
    sign_in: Option<SignIn>,
    /// The relay refused the stored credential: wait for the user.
    refused: bool,

    session: SessionRow,
    /// `session` counts stanzas whose count is not in a batch yet. They left no rows.
    session_unwritten: bool,
    /// What was sent on the session's stream. Kept over breaks.
    window: Window<Entry>,
    /// The relay has what a new session begins with: carbons, presence.
    setup_confirmed: bool,

    outbox: Queue<OutboxRow>,
    owed: Queue<OwedRow>,
    timeline: Timeline,
    conversations: BTreeMap<BareJid, ConversationRow>,
    /// The last order given here; see [`ClientEngine::next_order`].
    last_order: u64,
    /// Who is typing, and to whom we have said that we are.
    typing: BTreeSet<BareJid>,
    typing_to: BTreeSet<BareJid>,
    /// What the views were last told of the queues.
    queue_told: (usize, usize),
}

/// A stanza in the window: what its confirmation means.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Entry {
    /// A row of the outbox.
    Message(OriginId),
    /// A row of `owed`.
    Owed(String),
    /// The last stanza of those that a new session begins with.
    Setup,
}

/// What waits in the gate.
#[derive(Clone, PartialEq, Debug)]
enum Effect {
    Connect(LinkId),
    Frame(LinkId, String),
    /// `<r/>`
    Ask(LinkId),
    /// `<a/>`, and the stream whose count it tells.
    Ack(LinkId, u32),
    /// `<resume/>`, the stream whose count it tells, and its SM-ID.
    Resume(LinkId, u32, String),
    Close(LinkId),
    Notify(Event),
}

impl Effect {
    /// Whether it is something that is said on this link.
    fn is_said_on(&self, id: LinkId) -> bool {
        match self {
            Self::Connect(link)
            | Self::Frame(link, _)
            | Self::Ask(link)
            | Self::Ack(link, _)
            | Self::Resume(link, ..) => *link == id,
            Self::Close(_) | Self::Notify(_) => false,
        }
    }
}

impl ClientEngine {
    /// Takes one input. Never fails; afterwards poll until [`Output::WakeAt`].
    pub fn handle(&mut self, now: Millis, input: Input<'_>) {
        if self.finished {
            return;
        }
        // A clock that is set back must not stretch the deadlines that are running.
        self.timers.pull(self.now.since(now));
        self.now = now;
        match input {
            Input::LinkUp(id) => self.link_up(id),
            Input::LinkDown(id) => self.link_down(id),
            Input::Frame(id, text) => self.frame(id, text),
            Input::Wake => {}
            Input::Command(command) => self.command(command),
            Input::Committed(_) if bad::is(Bug::LateCommitDropped) && self.link.is_none() => {}
            Input::CommitFailed(no) if bad::is(Bug::CommitFailureIgnored) => _ = self.gate.committed(no),
            Input::Committed(no) => _ = self.gate.committed(no),
            Input::CommitFailed(_) => return self.finish(),
        }
        self.serve_timers();
        self.drain();
        self.tell_queue();
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Output {
        match self.gate.poll() {
            Some(Released::Commit(no, ops)) => Output::Commit(no, ops),
            Some(Released::Effect(effect)) => self.release(effect),
            None if self.finished => Output::WakeAt(None),
            None => Output::WakeAt(self.timers.next()),
        }
    }

    fn release(&mut self, effect: Effect) -> Output {
        match effect {
            Effect::Connect(link) => Output::Connect(link, connect::url(&self.config)),
            Effect::Frame(link, text) => Output::Send(link, text),
            Effect::Ask(link) => {
                // The time runs from when the question leaves, not from when it was thought of.
                if self.link.as_ref().is_some_and(|current| current.id == link) {
                    self.timers
                        .set_if_clear(Timer::Silence, self.now.plus(self.config.limits.ack_timeout_ms));
                }
                Output::Send(link, stanzas::sm("r").to_frame())
            }
            Effect::Ack(link, stream) => {
                let mut h = self.gate.durable(stream).handled();
                if bad::is(Bug::ClientAcksOnParse) {
                    h = Handled(self.session.handled);
                }
                Output::Send(link, stanzas::sm("a").with_attr("h", h.to_string()).to_frame())
            }
            Effect::Resume(link, stream, previd) => {
                let h = self.gate.durable(stream).handled();
                let resume = stanzas::sm("resume").with_attr("h", h.to_string()).with_attr("previd", previd);
                Output::Send(link, resume.to_frame())
            }
            Effect::Close(link) => Output::Close(link),
            Effect::Notify(event) => Output::Notify(event),
        }
    }

    /// The store is in an unknown state, and so is everything that was decided upon it.
    fn finish(&mut self) {
        self.finished = true;
        // Closed is what is open for the driver: what it was asked for and not told to close.
        let mut open: BTreeSet<LinkId> = self.link.take().map(|link| link.id).into_iter().collect();
        let mut never_asked = Vec::new();
        for effect in std::mem::take(&mut self.gate).into_queued() {
            match effect {
                Effect::Close(link) => drop(open.insert(link)),
                Effect::Connect(link) => never_asked.push(link),
                _ => {}
            }
        }
        open.into_iter()
            .filter(|link| !never_asked.contains(link))
            .for_each(|link| self.gate.effect(Effect::Close(link)));
    }

    fn notify(&mut self, event: Event) {
        self.gate.effect(Effect::Notify(event));
    }

    /// Says something on the current link, behind everything written so far.
    fn say(&mut self, element: &Element) {
        if let Some(link) = &self.link {
            self.gate.effect(Effect::Frame(link.id, element.to_frame()));
        }
    }

    /// Writes a conversation's row.
    fn save_conversation(&mut self, row: ConversationRow) {
        self.gate.write(Op::PutConversation(row.clone()));
        self.notify(Event::Conversation(row.clone()));
        self.conversations.insert(row.jid.clone(), row);
    }

    fn conversation(&self, jid: &BareJid) -> ConversationRow {
        self.conversations.get(jid).cloned().unwrap_or_else(|| ConversationRow {
            jid: jid.clone(),
            unread: 0,
            last_text: String::new(),
            last_at: Millis(0),
            last_direction: None,
            accepted: false,
            draft: String::new(),
            markable: None,
            newest: None,
        })
    }

    /// Writes an outgoing message's row, and holds it as long as it may change.
    fn save_outgoing(&mut self, mut row: MessageRow) {
        row.awaiting = (row.status < Status::Read).then_some(1);
        self.gate.write(Op::PutMessage(row.clone()));
        self.notify(Event::Message(row.clone()));
        if let Some(mut settled) = self.timeline.put(row) {
            settled.awaiting = None;
            self.gate.write(Op::PutMessage(settled));
        }
    }

    /// A place in the timeline after every place this device has given: by the clock, so that
    /// it also lies behind those that are no longer held here.
    fn next_order(&mut self) -> u64 {
        let by_clock = rows::PROVISIONAL + self.now.0.min(rows::PROVISIONAL - 1);
        self.last_order = by_clock.max(self.last_order.saturating_add(1));
        self.last_order
    }

    fn tell_queue(&mut self) {
        let (outbox, owed) = (self.outbox.len(), self.owed.len());
        if self.queue_told != (outbox, owed) {
            self.queue_told = (outbox, owed);
            self.notify(Event::Queue { outbox, owed });
        }
    }
}
