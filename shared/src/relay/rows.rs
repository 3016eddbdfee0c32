//! What a mailbox keeps beside its log, and the operations of one commit.

use crate::cold::{Moving, SegmentRow};
use crate::id::{DeviceId, StanzaSeq};
use crate::jid::{BareJid, Jid};
use crate::log::{LogRow, Sending};
use crate::sasl::ServerKeys;
use crate::sm::Handled;
use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// Who the account is. Its being there is the account's being there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountRow {
    /// For SCRAM-SHA-1.
    pub sha1: ServerKeys,
    /// For SCRAM-SHA-256.
    pub sha256: ServerKeys,
    /// When it was registered.
    pub created: Millis,
    /// Whom it does not hear (XEP-0191).
    #[serde(default)]
    pub blocked: Vec<Jid>,
    /// Its owner has removed it (XEP-0077 §3.2), and what it has elsewhere is being deleted.
    #[serde(default)]
    pub removed: bool,
}

/// One of the account's devices.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceRow {
    /// The resource it binds.
    pub device: DeviceId,
    /// It has confirmed every row up to here that is for it.
    pub cursor: StanzaSeq,
    /// Its stream, while that may be resumed.
    pub stream: Option<StreamRow>,
    /// When it was last connected.
    pub last_seen: Millis,
    /// What its owner calls it.
    #[serde(default)]
    pub name: Option<String>,
    /// It chose its resource. One that did not can never come back under it.
    #[serde(default = "named")]
    pub named: bool,
}

fn named() -> bool {
    true
}

/// A stream under stream management, as it can be taken up after a crash (XEP-0198 §5).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamRow {
    /// Its number in this mailbox; never reused.
    pub no: u64,
    /// SHA-256 of the SM-ID, in base64; empty if it cannot be resumed.
    pub sm_id_hash: String,
    /// Stanzas received and handled, as of this row.
    pub handled: Handled,
    /// Stanzas the device has acked.
    pub acked: Handled,
    /// No stanza was sent beyond this number without a newer row.
    pub sent_max: Handled,
    /// Log rows sent and not acked, with their numbers.
    pub rows: Vec<(Handled, StanzaSeq)>,
    /// Log rows sent as answers to queries and not acked, with their numbers.
    #[serde(default)]
    pub results: Vec<(Handled, ResultRow)>,
    /// Other stanzas sent and not acked, with their numbers.
    pub stanzas: Vec<(Handled, String)>,
    /// Log rows above this place may say more about this stream than this row does.
    pub noted: StanzaSeq,
    /// Read position in the log: the next row to look at.
    pub next: StanzaSeq,
    /// Since when it has no connection.
    pub suspended: Option<Millis>,
    /// Carbons are on (XEP-0280).
    pub carbons: bool,
    /// Nothing of the log is sent by itself.
    #[serde(default)]
    pub held: bool,
    /// It is told of changes of the blocklist (XEP-0191 §3.2).
    #[serde(default)]
    pub watches_blocklist: bool,
    /// It has sent available presence, this one.
    pub presence: Option<String>,
}

/// A log row as the answer to a query.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResultRow {
    /// The row.
    pub seq: StanzaSeq,
    /// Its bytes.
    pub bytes: u64,
    /// What the query calls itself.
    pub query: String,
}

/// What a load need not fold from the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Marks {
    /// Streams and peers are saved as of this place.
    pub checkpoint: StanzaSeq,
    /// Every own message up to here had reached its recipient's mailbox.
    pub transferred: StanzaSeq,
    /// Highest stream number given.
    pub streams: u64,
}

/// One change. The operations of a batch are applied in order and all or none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Table `log`.
    Append(LogRow),
    /// Table `device`.
    PutDevice(DeviceRow),
    /// Table `device`.
    DeleteDevice(DeviceId),
    /// Table `account`.
    PutAccount(AccountRow),
    /// Table `peer`: the highest place of that mailbox's log that was accepted here.
    PutPeer(BareJid, StanzaSeq),
    /// Table `account`.
    PutMarks(Marks),
    /// Table `account`: the run that is being moved to cold storage.
    PutMoving(Option<Moving>),
    /// Table `segment`: the run is in cold storage, and this is what repeats of its own messages
    /// are recognised by.
    PutSegment(SegmentRow, Vec<Sending>),
    /// Table `log`: these places, the first and the last of them included, are in a segment.
    DropLog(StanzaSeq, StanzaSeq),
    /// Table `segment`: the own messages of every segment whose newest own message is older.
    ForgetSources(Millis),
    /// Table `segment`: the segment that begins there.
    DeleteSegment(StanzaSeq),
    /// Everything: the mailbox is as it was before anything was written.
    Clear,
}

/// Everything an engine needs to start.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rows {
    /// Table `account`.
    pub account: Option<AccountRow>,
    /// Table `account`.
    pub marks: Marks,
    /// Table `device`.
    pub devices: Vec<DeviceRow>,
    /// Table `peer`.
    pub peers: Vec<(BareJid, StanzaSeq)>,
    /// Log rows above the lower of the two marks, in order.
    pub tail: Vec<LogRow>,
    /// The newest row's place, wherever it is.
    pub last: StanzaSeq,
    /// The newest place that is in a segment.
    #[serde(default)]
    pub cold: StanzaSeq,
    /// The run that is being moved.
    #[serde(default)]
    pub moving: Option<Moving>,
}
