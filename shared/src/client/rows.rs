//! What the browser keeps: the rows of its stores, and the operations of one commit.
//!
//! Every operation is a blind put or delete of a whole row: the engine holds what it needs to
//! compute them, so that a commit is puts alone and never waits for a read.

use crate::id::{DeviceId, OriginId};
use crate::jid::BareJid;
use crate::sasl::Credential;
use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// The one identity of a message in the timeline, whatever road it came by. Store key of `messages`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct MessageKey(pub String);

impl MessageKey {
    /// Of a message that its sender named. The sender is part of the key: nobody can suppress
    /// another's message by reusing its origin-id.
    pub fn of_origin(sender: &BareJid, origin: &OriginId) -> Self {
        Self(format!("o:{sender}:{origin}"))
    }

    /// Of a message that only the own archive named.
    pub fn of_archive(stanza_id: &str) -> Self {
        Self(format!("s:{stanza_id}"))
    }
}

/// Who wrote a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Direction {
    /// The other side.
    Incoming,
    /// This account, on this device or another.
    Outgoing,
}

/// How far an outgoing message has come. Ordered: it only ever goes up, except that a failed
/// message may be tried again (R09).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Status {
    /// On this device's disk.
    Queued,
    /// On the relay's disk.
    Sent,
    /// It could not be delivered; the reason is in the row.
    Failed,
    /// On the disk of one of the recipient's devices.
    Delivered,
    /// The recipient has seen it.
    Read,
}

/// When each state was reached; `None` for one that was not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Times {
    /// The relay had it.
    pub sent: Option<Millis>,
    /// A device of the recipient had it.
    pub delivered: Option<Millis>,
    /// The recipient saw it.
    pub read: Option<Millis>,
}

/// One message of the history. Store `messages`, key `key`, index `[conversation, order]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MessageRow {
    /// Its identity.
    pub key: MessageKey,
    /// The other side's account.
    pub conversation: BareJid,
    /// Place in the timeline: the relay's sequence number, or [`PROVISIONAL`] and up until the
    /// relay has given one.
    pub order: u64,
    /// When it was written (outgoing) or first received by the relay (incoming).
    pub at: Millis,
    /// Who wrote it.
    pub direction: Direction,
    /// Its text.
    pub body: String,
    /// How far it has come. An incoming message is `Delivered`, then `Read`.
    pub status: Status,
    /// When.
    pub times: Times,
    /// Why it failed: a stanza error condition (RFC 6120 §8.3.3), or [`OUTCOME_UNKNOWN`].
    pub failure: Option<String>,
    /// The `id` its stanza carries, which receipts and markers name.
    pub id: String,
    /// `1` on an outgoing message while a receipt or marker may still raise its status, or the
    /// user may still try it again; absent otherwise. Index `awaiting` finds these rows at
    /// start-up without reading the history.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub awaiting: Option<u8>,
}

/// [`MessageRow::failure`] of a message that was handed to a relay so long ago that the relay
/// may no longer recognise a repeat. It is not sent again unless the user says so.
pub const OUTCOME_UNKNOWN: &str = "outcome-unknown";

/// Orders from here up are this device's own, for messages the relay has not numbered. A number
/// that JavaScript holds exactly.
pub const PROVISIONAL: u64 = 1 << 51;

/// What was written and the relay is not yet known to have. Store `outbox`, key `origin`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutboxRow {
    /// The message's own name, the same on every retry.
    pub origin: OriginId,
    /// Place in the queue.
    pub order: u64,
    /// Whom it is for.
    pub to: BareJid,
    /// Its text.
    pub body: String,
    /// When it was written.
    pub created: Millis,
    /// How often it has been handed to a connection.
    pub tries: u32,
    /// The stream and the stanza number under which it was last sent (XEP-0198 §4).
    pub sent_as: Option<SentAs>,
}

/// A stanza's number on one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SentAs {
    /// Which of this device's streams: [`SessionRow::stream`] when it was sent.
    pub stream: u32,
    /// The stanza's number on it, from 1, modulo 2³².
    pub number: u32,
}

/// What this device must still confirm. Store `owed`, key `key`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OwedRow {
    /// `r:` (receipt) or `d:` (displayed marker) and the confirmed message's key.
    pub key: String,
    /// What is owed.
    pub kind: Owed,
    /// To whom.
    pub to: BareJid,
    /// The `id` of the message that is confirmed.
    pub id: String,
    /// Since when.
    pub since: Millis,
    /// Place in the queue: confirmations leave in the order of the messages.
    pub order: u64,
    /// As in [`OutboxRow::sent_as`].
    pub sent_as: Option<SentAs>,
}

/// The kinds of confirmation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Owed {
    /// It is on this device's disk (XEP-0184).
    Receipt,
    /// A person has seen it, and all before it (XEP-0333).
    Displayed,
}

/// One conversation. Store `conversations`, key `jid`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConversationRow {
    /// The other side.
    pub jid: BareJid,
    /// Incoming messages not seen yet.
    pub unread: u32,
    /// Text of the newest message.
    pub last_text: String,
    /// When the newest message was written.
    pub last_at: Millis,
    /// Who wrote it.
    pub last_direction: Option<Direction>,
    /// The user chose this contact: by starting the conversation, by answering, or by accepting
    /// it. Nobody else learns that this device is there (XEP-0184 §8, R06).
    pub accepted: bool,
    /// What stands in the composer.
    pub draft: String,
    /// The newest incoming message that asks to be marked as seen and has not been.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub markable: Option<Markable>,
    /// The newest incoming message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub newest: Option<MessageKey>,
}

/// A message that asks for a displayed marker (XEP-0333 `<markable/>`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Markable {
    /// Its identity here.
    pub key: MessageKey,
    /// The `id` of its stanza, which the marker names.
    pub id: String,
}

/// The stream that can be resumed, and how far this device has read its account's log.
/// Store `meta`, key `session`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionRow {
    /// XEP-0198 §3 `id`; empty when there is nothing to resume.
    pub sm_id: String,
    /// Counted up at each new stream and each resumption: both give numbers anew.
    pub stream: u32,
    /// Stanzas of the stream whose rows are committed here.
    pub handled: u32,
    /// The full JID bound on it.
    pub bound: String,
    /// Highest sequence number of the own log that is committed here.
    pub seen: u64,
}

/// Who is signed in on this device. Store `meta`, key `account`. There is no password in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountRow {
    /// The account.
    pub jid: BareJid,
    /// This device, as it binds.
    pub device: DeviceId,
    /// Where its relay is: a `ws:` or `wss:` URL.
    pub url: String,
    /// What proves the account (RFC 5802 §3: ClientKey and ServerKey of this salt).
    pub credential: Credential,
}

/// One change of one row. The operations of a batch are applied in order and all or none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Store `messages`.
    PutMessage(MessageRow),
    /// Store `messages`.
    DeleteMessage(MessageKey),
    /// Store `outbox`.
    PutOutbox(OutboxRow),
    /// Store `outbox`.
    DeleteOutbox(OriginId),
    /// Store `owed`.
    PutOwed(OwedRow),
    /// Store `owed`, by key.
    DeleteOwed(String),
    /// Store `conversations`.
    PutConversation(ConversationRow),
    /// Store `meta`.
    PutSession(SessionRow),
    /// Store `meta`.
    PutAccount(AccountRow),
    /// Every store, for signing out.
    Clear,
}

/// Everything an engine needs to start: the small stores whole, of the history only what may
/// still change.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rows {
    /// Store `meta`, key `account`.
    pub account: Option<AccountRow>,
    /// Store `meta`, key `session`.
    pub session: Option<SessionRow>,
    /// Store `outbox`.
    pub outbox: Vec<OutboxRow>,
    /// Store `owed`.
    pub owed: Vec<OwedRow>,
    /// Store `conversations`.
    pub conversations: Vec<ConversationRow>,
    /// Store `messages`, index `awaiting`.
    pub awaiting: Vec<MessageRow>,
    /// Keys of the newest messages, oldest first (up to [`crate::limits::Limits::client_recent_keys_max`]).
    pub recent: Vec<MessageKey>,
}
