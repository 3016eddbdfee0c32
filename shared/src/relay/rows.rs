//! What a mailbox keeps beside its log, and the operations of one commit.

use crate::id::{DeviceId, StanzaSeq};
use crate::jid::{BareJid, Jid};
use crate::log::LogRow;
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
    /// What its client said it can do, when it was last there.
    #[serde(default)]
    pub caps: Option<CapsRow>,
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
    /// Table `pep_node`.
    PutNode(NodeRow),
    /// Tables `pep_node` and `pep_item`: the node of this name, and all its items.
    DeleteNode(String),
    /// Table `pep_item`.
    PutItem(ItemRow),
    /// Table `pep_item`: of the node of this name, the item of this name.
    DeleteItem(String, String),
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
    /// The newest row's place.
    pub last: StanzaSeq,
    /// Table `pep_node`.
    #[serde(default)]
    pub nodes: Vec<NodeRow>,
    /// Table `pep_item`.
    #[serde(default)]
    pub items: Vec<ItemNote>,
}
