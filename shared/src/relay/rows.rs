//! What a mailbox keeps beside its log, and the operations of one commit.

use super::flexible::{Flexible, Taken};
use super::preferences::Preferences;
use crate::cold::{Moving, SegmentRow};
use crate::id::{DeviceId, StanzaSeq};
use crate::jid::{BareJid, Jid};
use crate::log::{LogRow, Sending};
use crate::sasl::ServerKeys;
use crate::sasl::ht::TokenKeys;
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
    /// What its archive shows (XEP-0441).
    #[serde(default)]
    pub archiving: Preferences,
    /// Its owner has removed it (XEP-0077 §3.2), and what it has elsewhere is being deleted.
    #[serde(default)]
    pub removed: bool,
    /// Where the log stood when it was registered: places of an account of this name that was
    /// removed are not given again, since others would take what has one for what they have had.
    #[serde(default)]
    pub begins: StanzaSeq,
}

/// One of the account's devices.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceRow {
    /// The resource it binds.
    pub device: DeviceId,
    /// It has confirmed every row up to here that is for it.
    pub cursor: StanzaSeq,
    /// What it has confirmed above.
    #[serde(default)]
    pub taken: Taken,
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
    /// The user agent it is (XEP-0388), if it has said so.
    #[serde(default)]
    pub agent: Option<AgentRow>,
    /// What its client said it can do, when it was last there.
    #[serde(default)]
    pub caps: Option<CapsRow>,
    /// It is there on a stream without acks, which has no row: whom else it has sent its presence to.
    #[serde(default)]
    pub there: Option<Vec<Jid>>,
}

/// A user agent, by which a device is known whatever resource it asks for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentRow {
    /// SHA-256 of the account and of the id, in base64.
    pub id_hash: String,
    /// What it calls itself.
    #[serde(default)]
    pub software: Option<String>,
    /// What it calls what it runs on.
    #[serde(default)]
    pub device: Option<String>,
    /// The tokens that open the account to it (XEP-0484), in the order they were made.
    #[serde(default)]
    pub tokens: Vec<TokenRow>,
}

/// A token that was given to a user agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenRow {
    /// The token itself, until it is first used: it may have to be told again.
    #[serde(default)]
    pub secret: Option<String>,
    /// What checks it.
    pub keys: TokenKeys,
    /// When it was made.
    pub made: Millis,
    /// It is no good from then on.
    pub expires: Millis,
    /// The highest count that its user has given (XEP-0484 §3.4).
    #[serde(default)]
    pub count: Option<u64>,
    /// The salt of the password it was got with: it ends with that.
    pub salt: String,
}

fn named() -> bool {
    true
}

/// A stream under stream management, as it can be taken up after a crash (XEP-0198 §5).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
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
    /// Up to here all was looked at that is for a device of negative priority alone.
    #[serde(default)]
    pub ahead: StanzaSeq,
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
    /// It is told of changes of the roster (RFC 6121 §2.1.6).
    #[serde(default)]
    pub interested: bool,
    /// What waited when it began, if the device takes it by itself (XEP-0013).
    #[serde(default)]
    pub flexible: Flexible,
    /// It has sent available presence, this one.
    pub presence: Option<String>,
    /// Whom else it has sent its presence to (RFC 6121 §4.6).
    #[serde(default)]
    pub directed: Vec<Jid>,
    /// Presence of others that it could not be sent: the newest of each.
    #[serde(default)]
    pub missed: Vec<(Jid, String)>,
}

/// Somebody on the roster (RFC 6121 §2), or who asks to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ContactRow {
    /// Who.
    pub jid: BareJid,
    /// It is on the roster that devices are shown.
    pub listed: bool,
    /// What the account calls it.
    pub name: Option<String>,
    /// The roster's groups that it is in.
    pub groups: Vec<String>,
    /// The account sees its presence.
    pub to: bool,
    /// It sees the account's presence.
    pub from: bool,
    /// The account has asked to see its presence and has no answer.
    pub ask: bool,
    /// What it will ask for is granted already (RFC 6121 §3.4).
    pub approved: bool,
    /// Its request to see the account's presence, until that is answered.
    pub request: Option<String>,
    /// Changes of subscriptions that its mailbox is not known to have.
    pub owed: Vec<News>,
    /// The newest change that its mailbox has told.
    pub heard: u64,
    /// When this last changed.
    pub changed: Millis,
}

/// A change of a subscription, on its way to the other side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct News {
    /// Its number among all of the account's; never reused.
    pub no: u64,
    /// The presence stanza that says it.
    pub stanza: String,
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
    /// It was taken from the list of what waits (XEP-0013), not from the archive.
    #[serde(default)]
    pub offline: bool,
}

/// What a client can do (XEP-0115), as far as the account's pubsub service must know it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CapsRow {
    /// Which client it is.
    pub node: String,
    /// The digest of all that it can do.
    pub ver: String,
    /// How the digest was made; empty if it was not said.
    pub hash: String,
    /// The nodes whose events it wants; `None` while it has not answered.
    pub notify: Option<Vec<String>>,
}

/// Who may see a node of the account's pubsub service (XEP-0060 §4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Access {
    /// Whoever sees the account's presence.
    Presence,
    /// Everybody.
    Open,
    /// Only the account itself.
    Whitelist,
}

/// A node of the account's pubsub service (XEP-0163), without its items.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeRow {
    /// Its name.
    pub node: String,
    /// Who may see it.
    pub access: Access,
    /// Items are kept; otherwise they are only told.
    pub persist: bool,
    /// Items it keeps at most; `None` for as many as any node may have.
    pub items_max: Option<u64>,
    /// Its newest item is told to whoever comes.
    pub send_last: bool,
    /// It is told when an item is taken back.
    pub notify_retract: bool,
}

/// An item of a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ItemRow {
    /// The node's name.
    pub node: String,
    /// Its name in the node.
    pub id: String,
    /// Its place among all items of the account: the newest has the highest.
    pub order: u64,
    /// When it was published.
    pub at: Millis,
    /// What was published.
    pub payload: String,
}

/// An item as a load knows it: payloads stay where they are until somebody asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ItemNote {
    /// See [`ItemRow::node`].
    pub node: String,
    /// See [`ItemRow::id`].
    pub id: String,
    /// See [`ItemRow::order`].
    pub order: u64,
    /// See [`ItemRow::at`].
    pub at: Millis,
    /// Bytes of its payload.
    pub bytes: u64,
}

impl From<&ItemRow> for ItemNote {
    fn from(row: &ItemRow) -> Self {
        let ItemRow { node, id, order, at, payload } = row;
        let bytes = payload.len() as u64;
        Self { node: node.clone(), id: id.clone(), order: *order, at: *at, bytes }
    }
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
    /// The roster's version (RFC 6121 §2.6).
    #[serde(default)]
    pub roster: u64,
    /// Highest number given to a change of a subscription.
    #[serde(default)]
    pub news: u64,
}

/// One change. The operations of a batch are applied in order and all or none.
// There are a few at a time, and most of them are of the largest kind.
#[allow(clippy::large_enum_variant)]
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
    /// Table `contact`.
    PutContact(ContactRow),
    /// Table `contact`.
    DeleteContact(BareJid),
    /// Table `pep_node`.
    PutNode(NodeRow),
    /// Tables `pep_node` and `pep_item`: the node of this name, and all its items.
    DeleteNode(String),
    /// Table `pep_item`.
    PutItem(ItemRow),
    /// Table `pep_item`: of the node of this name, the item of this name.
    DeleteItem(String, String),
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
    /// Table `contact`.
    #[serde(default)]
    pub contacts: Vec<ContactRow>,
    /// Log rows above the lower of the two marks, in order.
    pub tail: Vec<LogRow>,
    /// The newest row's place, wherever it is.
    pub last: StanzaSeq,
    /// Table `pep_node`.
    #[serde(default)]
    pub nodes: Vec<NodeRow>,
    /// Table `pep_item`.
    #[serde(default)]
    pub items: Vec<ItemNote>,
    /// The newest place that is in a segment.
    #[serde(default)]
    pub cold: StanzaSeq,
    /// The run that is being moved.
    #[serde(default)]
    pub moving: Option<Moving>,
}
