//! What goes into the relay engine and what comes out.

use super::csi::Csi;
use super::flexible::Flexible;
use super::rows::Op;
use super::sasl2::{Exchange2, UserAgent};
use crate::cold::SegmentFault;
use crate::gate::BatchNo;
use crate::id::{DeviceId, LinkId, StanzaSeq};
use crate::jid::BareJid;
use crate::limits::Limits;
use crate::sasl::ServerExchange;
use crate::sm::Handled;
use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// Names one call from another mailbox while it waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CallId(pub u64);

/// One thing that happened. Hand it to [`super::RelayEngine::handle`], then poll.
#[derive(Clone, PartialEq, Debug)]
pub enum Input<'a> {
    /// A WebSocket with sub-protocol `xmpp` is open.
    LinkUp(LinkId),
    /// One text message arrived on it.
    Frame(LinkId, &'a str),
    /// One binary message arrived on it, which RFC 7395 §3.2 forbids.
    Binary(LinkId),
    /// It ended.
    LinkDown(LinkId),
    /// Another mailbox hands messages over. Answered by [`Output::Reply`].
    Transfer(CallId, &'a TransferRequest),
    /// What became of [`Output::Transfer`] to this account with this [`TransferRequest::called`];
    /// `None` if it is not known.
    Transferred(BareJid, Called, Option<TransferReply>),
    /// What became of [`Output::PutSegment`] of this name: whether it is stored, for good. A put
    /// that may still arrive is not.
    SegmentPut(&'a str, bool),
    /// The answer to [`Output::GetSegment`] of this name.
    Segment(&'a str, Result<&'a [u8], SegmentFault>),
    /// What became of [`Output::DeleteSegment`] of this name: whether there is nothing of it now.
    SegmentDeleted(&'a str, bool),
    /// The time of the last [`Output::WakeAt`]. May be early, late or repeated.
    Wake,
    /// This batch, and every one before it, is in the store.
    Committed(BatchNo),
    /// This batch is not in the store and never will be. The engine is finished: drop it and
    /// load a new one.
    CommitFailed(BatchNo),
}

/// What the engine wants done, in this order.
// One at a time is handed out.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Apply all operations or none, then answer `Committed` or `CommitFailed`.
    Commit(BatchNo, Vec<Op>),
    /// Send one text message.
    Send(LinkId, String),
    /// Close the WebSocket with this code (RFC 6455 §7.4.1). `LinkDown` need not follow.
    Close(LinkId, u16),
    /// Keep this with the connection over hibernation. Replaces what was kept before.
    Remember(LinkId, LinkState),
    /// Hand messages to another mailbox, then answer with `Transferred`.
    Transfer(TransferRequest),
    /// Answer a call from another mailbox.
    Reply(CallId, TransferReply),
    /// Keep this under this name, whatever was there, then answer with `SegmentPut`.
    PutSegment(String, Vec<u8>),
    /// Answer with `Segment` what is under this name.
    GetSegment(String),
    /// Let go what is under this name, then answer with `SegmentDeleted`.
    DeleteSegment(String),
    /// A segment that the log needs cannot be read. Its operator must know.
    SegmentFault(String, SegmentFault),
    /// The engine is drained. Send `Wake` at this time, or never; a later `WakeAt` replaces it.
    WakeAt(Option<Millis>),
}

/// Messages from one mailbox to another, in the order of the sender's log. Understood by
/// mailboxes of older and newer versions: fields are only ever added, with a default.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransferRequest {
    /// The sender's account.
    pub from: BareJid,
    /// The recipient's account.
    pub to: BareJid,
    /// The messages.
    pub items: Vec<TransferItem>,
}

impl TransferRequest {
    /// The highest place among its items.
    pub fn upto(&self) -> StanzaSeq {
        self.items.iter().map(|item| item.seq).max().unwrap_or_default()
    }

    /// Which call an answer belongs to.
    pub fn called(&self) -> Called {
        let news = self.items.iter().map(|item| item.news).max().unwrap_or_default();
        Called { upto: self.upto(), news }
    }
}

/// Tells one call of a mailbox from another: two that hold the same may answer for each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Called {
    /// The highest place among its items.
    pub upto: StanzaSeq,
    /// The highest number of a change of a subscription among them.
    pub news: u64,
}

/// One stanza on its way between two mailboxes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TransferItem {
    /// Its place in the sender's log; 0 for one that is not stored.
    pub seq: StanzaSeq,
    /// For a change of a subscription: its number ([`super::rows::News`]), else 0.
    #[serde(default)]
    pub news: u64,
    /// The stanza, stamped with the sender's full JID.
    pub stanza: String,
}

/// What the recipient's mailbox did with a [`TransferRequest`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TransferReply {
    /// All of it is on the recipient's disk, now or since an earlier call.
    Accepted,
    /// There is no such account. Nothing was stored.
    NoSuchUser,
    /// The recipient's queue was full: these places of the sender's log were refused, for good.
    /// Those before the last of them are on its disk; those behind it may be, and are to be
    /// handed over again.
    Refused(Vec<StanzaSeq>),
    /// The same, because the recipient has blocked the sender.
    Blocked(Vec<StanzaSeq>),
}

/// What must survive while a connection hibernates: everything that is not in a row yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LinkState {
    /// How far the stream has come.
    pub phase: Phase,
    /// When the connection was opened.
    pub opened: Millis,
    /// Failed authentications on it.
    pub failures: u32,
    /// Its stream is said to be from somebody whose mailbox this is not.
    #[serde(default)]
    pub foreign: bool,
    /// Who authenticated and has not bound a resource yet.
    #[serde(default)]
    pub agent: Option<UserAgent>,
    /// For a bound link: the counters that may be ahead of their rows.
    pub counters: Option<Counters>,
    /// Own messages up to here have reached their recipients' mailboxes.
    pub transferred: StanzaSeq,
    /// What waits while nobody looks at its device.
    #[serde(default, skip_serializing_if = "Csi::is_default")]
    pub csi: Csi,
    /// What it said last waits in memory for a segment.
    #[serde(default)]
    pub parked: bool,
}

/// See [`LinkState::counters`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Counters {
    /// Stanzas received.
    pub handled: Handled,
    /// The newest count of them that the device was told.
    #[serde(default)]
    pub told: Handled,
    /// Stanzas sent.
    pub sent: Handled,
    /// Stanzas that the device has acked.
    #[serde(default)]
    pub acked: Option<Handled>,
    /// Number of the next log row to look at.
    pub next: StanzaSeq,
    /// Stanzas sent since the last ack request.
    pub unrequested: u32,
    /// When the unanswered ack request left.
    pub requested: Option<Millis>,
    /// Stream management is on.
    pub managed: bool,
    /// The stream's number.
    pub stream: u64,
    /// Carbons are on.
    pub carbons: bool,
    /// Available presence was sent.
    pub available: bool,
    /// ... with this priority.
    #[serde(default)]
    pub priority: i8,
    /// Nothing of the log is sent by itself.
    #[serde(default)]
    pub held: bool,
    /// It is told of changes of the blocklist.
    #[serde(default)]
    pub watches_blocklist: bool,
    /// It is told of changes of the roster.
    #[serde(default)]
    pub interested: bool,
    /// How it stands to what waited.
    #[serde(default)]
    pub flexible: Flexible,
}

/// How far a stream has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// No `<open/>` yet.
    Fresh,
    /// Open; not authenticated.
    Open,
    /// A SASL exchange is under way.
    Exchange(ServerExchange),
    /// The same under XEP-0388, which does more at its end.
    Exchange2(Box<Exchange2>),
    /// Authenticated; the stream restarts.
    Authenticated,
    /// Restarted; a resource is to be bound or a stream to be resumed.
    Unbound,
    /// One of the account's devices.
    Bound(DeviceId),
}

/// Who may create an account by XEP-0077.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registration {
    /// Anybody.
    Open,
    /// Nobody.
    Closed,
}

/// What an engine is told at the start and never again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Whose mailbox it is. Everything else is refused.
    pub account: BareJid,
    /// Who may register.
    pub registration: Registration,
    /// 32 bytes from a cryptographic source.
    pub seed: [u8; 32],
    /// What it keeps to.
    pub limits: Limits,
    /// There is a blob store for segments. Without one, nothing is moved.
    pub cold: bool,
}
