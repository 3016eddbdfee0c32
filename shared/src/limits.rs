//! Every limit in one table. A thing without a limit is an outage waiting for its day.
//!
//! # What a client sees beyond a limit of the relay
//!
//! Nothing is dropped without a word. What is refused by a stanza error was handled and has failed;
//! what meets the end of its stream was not, and is sent again (XEP-0198).
//!
//! | limit | beyond it |
//! |---|---|
//! | [`FRAME_BYTES_MAX`], [`FRAME_BYTES_MAX_UNAUTHENTICATED`] | stream error `policy-violation` |
//! | [`XML_DEPTH_MAX`], [`XML_ATTRIBUTES_MAX`], [`XML_ELEMENTS_MAX`] | stream error `policy-violation` |
//! | [`Limits::stanza_rate`], [`Limits::byte_rate`], [`Limits::presence_rate`] | `policy-violation`, type `wait`; [`RATE_CLOSE_FACTOR`] times beyond: stream error `policy-violation` |
//! | [`FRAMES_UNBOUND_MAX`], [`AUTHENTICATION_FAILURES_MAX`] | stream error `policy-violation` |
//! | [`REGISTRATIONS_MAX`] | `policy-violation`, type `wait` |
//! | [`AUTHENTICATION_MS_MAX`], [`Limits::ack_timeout_ms`] | stream error `connection-timeout` |
//! | [`LINKS_UNAUTHENTICATED_MAX`] | the oldest is closed (1013) |
//! | [`Limits::queue_stanzas_max`], [`Limits::queue_bytes_max`] | `resource-constraint`, type `wait`, from the recipient |
//! | [`Limits::unacked_stanzas_max`], [`Limits::kept_bytes_max`], [`Limits::unacked_page_bytes_max`] | stream error `resource-constraint` |
//! | [`Limits::window_stanzas_max`] | nothing: what is beyond waits in the log |
//! | [`Limits::devices_max`] | binding: `resource-constraint` |
//! | [`Limits::page_stanzas_max`], [`Limits::page_bytes_max`] | nothing: a page is shorter and says that it is not the last |
//! | [`PRESENCE_BYTES_MAX`] | `policy-violation` |
//! | [`MULTICAST_RECIPIENTS_MAX`], [`MULTICAST_BYTES_MAX`] | `not-acceptable` |
//! | [`BLOCKED_MAX`], [`BLOCKED_BYTES_MAX`], [`PREFERENCES_MAX`], [`PREFERENCES_BYTES_MAX`] | `resource-constraint` |
//! | [`STRANGERS_REQUESTS_MAX`], [`STRANGERS_REQUEST_BYTES_MAX`] | `resource-constraint`, from the recipient |
//! | [`TAKEN_RANGES_MAX`] | `resource-constraint`, and nothing is removed |
//! | [`FLEXIBLE_LIST_MAX`], [`FLEXIBLE_LIST_BYTES_MAX`] | nothing: the list is shorter than the number of messages |
//! | [`DEVICE_NAME_BYTES_MAX`] | `bad-request` |
//! | [`PASSWORD_BYTES_MAX`] | `not-acceptable` |
//! | [`CSI_HELD_BYTES_MAX`] | nothing: what is held is sent |

/// Bytes of one frame before authentication (RFC 6120 §13.12 forbids less than 10,000).
pub const FRAME_BYTES_MAX_UNAUTHENTICATED: usize = 10_000;
/// Bytes of one frame after authentication.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;
/// Elements inside elements. Deep trees cost stack when they are dropped.
pub const XML_DEPTH_MAX: usize = 48;
/// Attributes of one element.
pub const XML_ATTRIBUTES_MAX: usize = 64;
/// Elements of one frame.
pub const XML_ELEMENTS_MAX: usize = 4096;
/// Bytes of each part of a JID (RFC 7622 §3.1).
pub const JID_PART_BYTES_MAX: usize = 1023;
/// Bytes of what one frame becomes in memory, as a multiple of the frame: a namespace declared
/// once is stored, and written again, with every element that uses its prefix.
pub const XML_BYTES_FACTOR: usize = 4;
/// Bytes of the first message of a SASL exchange, which is kept while the exchange lasts.
pub const SASL_FIRST_BYTES_MAX: usize = 1024;
/// Bytes of what a client asks for beside an authentication (XEP-0388), which are kept with it.
pub const SASL_WISHES_BYTES_MAX: usize = 1024;
/// Characters of what a user agent calls itself that are kept. More is cut off.
pub const USER_AGENT_NAME_CHARS_MAX: usize = 64;
/// How long a token opens its account (XEP-0484). Below `DEVICE_UNSEEN_MS_MAX`: a token never
/// outlives its device.
pub const TOKEN_MS_MAX: u64 = 21 * 86_400_000;
/// A token this old is replaced when it is used.
pub const TOKEN_ROTATE_MS: u64 = 86_400_000;
/// Tokens of one device: the one it uses, the one that is to replace it, and one more that was not
/// used for so long that another had to be made.
pub const TOKENS_MAX: usize = 3;
/// Bytes of an origin-id, a stanza `id` or an SM-ID that we keep.
pub const ID_BYTES_MAX: usize = 256;

/// Bytes of a presence, which is kept while its device is there.
pub const PRESENCE_BYTES_MAX: usize = 16 * 1024;
/// Presence of others that is kept for a device that cannot be sent it, one for each of theirs. A
/// stream for which there is more is over.
pub const PRESENCE_MISSED_MAX: usize = 500;
/// ... and the bytes of it: all of it is in the device's row, which may have 2 MB.
pub const PRESENCE_MISSED_BYTES_MAX: usize = 256 * 1024;
/// Addresses to which one device sends its presence though they are not subscribed to it.
pub const PRESENCE_DIRECTED_MAX: usize = 64;
/// Requests of accounts that are no contacts that are kept for a device that is away for a moment,
pub const STRANGERS_REQUESTS_MAX: usize = 8;
/// ... and the bytes of each.
pub const STRANGERS_REQUEST_BYTES_MAX: usize = 4 * 1024;
/// Contacts of one account.
pub const ROSTER_MAX: usize = 1_000;
/// Bytes of a roster as it is sent, which is kept until it is acked: below `kept_bytes_max`.
pub const ROSTER_BYTES_MAX: usize = 192 * 1024;
/// Bytes of what a contact or a group of contacts is called.
pub const ROSTER_NAME_BYTES_MAX: usize = 1023;
/// Groups of one contact.
pub const ROSTER_GROUPS_MAX: usize = 32;
/// Requests to see the account's presence that wait for an answer.
pub const ROSTER_REQUESTS_MAX: usize = 200;
/// Bytes of what such a request says beside who asks. It is kept without, if it says more.
pub const ROSTER_REQUEST_BYTES_MAX: usize = 1024;
/// How long it is remembered what was heard of somebody who is no contact: longer than a call
/// from another mailbox can be on its way.
pub const ROSTER_STRANGER_MS_MAX: u64 = 86_400_000;
/// ... and of how many: of more, the oldest are forgotten.
pub const ROSTER_STRANGERS_MAX: usize = 200;
/// Recipients of one message to several (XEP-0033 §7 `not-acceptable`).
pub const MULTICAST_RECIPIENTS_MAX: usize = 50;
/// Bytes of one such message, once for each of its recipients.
pub const MULTICAST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Length of the states held for an inactive device (XEP-0352) as they are remembered, before all of
/// them are sent: with the rest of what a connection remembers, below the 16,384 bytes it may, two of
/// which a character takes. One that has a quarter of it is not held.
pub const CSI_HELD_BYTES_MAX: usize = 4608;
/// Addresses that one account blocks.
pub const BLOCKED_MAX: usize = 1_000;
/// ... and their bytes: they are in the account's row, which may have 2 MB, with every character
/// escaped if need be.
pub const BLOCKED_BYTES_MAX: usize = 256 * 1024;
/// Gaps that a device leaves when it confirms its messages out of order (XEP-0013).
pub const TAKEN_RANGES_MAX: usize = 256;
/// Messages that one list of XEP-0013 shows. After them, the next list shows the next.
pub const FLEXIBLE_LIST_MAX: usize = 500;
/// ... and the bytes of it.
pub const FLEXIBLE_LIST_BYTES_MAX: usize = 128 * 1024;
/// JIDs that an account names in its preferences for the archive (XEP-0441).
pub const PREFERENCES_MAX: usize = 1_000;
/// ... and their bytes: see [`BLOCKED_BYTES_MAX`].
pub const PREFERENCES_BYTES_MAX: usize = 256 * 1024;
/// Nodes of one account's pubsub service (XEP-0163).
pub const PEP_NODES_MAX: usize = 256;
/// Items of one node.
pub const PEP_NODE_ITEMS_MAX: usize = 2_000;
/// Items of all nodes of an account.
pub const PEP_ITEMS_MAX: usize = 8_000;
/// Bytes of an item's payload: an avatar of 160 KiB, in base64.
pub const PEP_ITEM_BYTES_MAX: usize = 224 * 1024;
/// Bytes of all payloads of an account.
pub const PEP_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Bytes of the name of a node or an item, which may be a full JID.
pub const PEP_NAME_BYTES_MAX: usize = 3 * JID_PART_BYTES_MAX + 2;
/// Bytes of the payloads in one answer, unless the first alone has more. Less than is kept for a
/// device that has not acked its answers.
pub const PEP_ANSWER_BYTES_MAX: usize = 192 * 1024;
/// Bytes of an event; a longer one goes out without its payload.
pub const PEP_EVENT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the names of the nodes whose events one device wants.
pub const CAPS_NOTIFY_BYTES_MAX: usize = 4 * 1024;
/// Bytes of each attribute of what a client says of its capabilities (XEP-0115).
pub const CAPS_BYTES_MAX: usize = 512;
/// Bytes of the name that its owner gives a device.
pub const DEVICE_NAME_BYTES_MAX: usize = 256;
/// A device unseen for this long may make room for another (R11).
pub const DEVICE_UNSEEN_MS_MAX: u64 = 30 * 86_400_000;
/// Connections of one account that have not authenticated: the oldest of them goes first.
pub const LINKS_UNAUTHENTICATED_MAX: usize = 64;
/// How long a connection may stay without authenticating. Short enough for a timer: an alarm
/// would write a row for somebody who has proved nothing.
pub const AUTHENTICATION_MS_MAX: u64 = 30_000;
/// Failed authentications on one connection (RFC 6120 §6.4.5 recommends 2 to 5 retries).
pub const AUTHENTICATION_FAILURES_MAX: u32 = 5;
/// Frames on one connection before it is bound to a device, in the lobby and in the mailbox.
/// Authenticating takes six.
pub const FRAMES_UNBOUND_MAX: u32 = 64;
/// Registrations tried on one connection (XEP-0077).
pub const REGISTRATIONS_MAX: u32 = 5;
/// How many bursts somebody may say, and be told of each stanza that it is too much, before the
/// connection ends.
pub const RATE_CLOSE_FACTOR: u64 = 4;
/// Bytes that a segment may have once it is inflated. Above what any is made of: `segment_bytes_max`
/// or one row of the greatest size, with every character escaped.
pub const SEGMENT_INFLATED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long the blob store may take to give, take or delete a segment. Well below the half minute
/// after which a client takes a silent relay for a lost one.
pub const SEGMENT_MS_MAX: u64 = 12_000;
/// A segment that was read stays in memory this long for the next page, if the mailbox does.
pub const SEGMENT_CACHE_MS: u64 = 60_000;
/// Frames of one connection that wait behind one that waits for a segment, and their bytes. From
/// there on the connection is closed, and its client sends them again.
pub const PARKED_FRAMES_MAX: usize = 64;
/// See [`PARKED_FRAMES_MAX`].
pub const PARKED_BYTES_MAX: usize = 1024 * 1024;
/// How long a request may wait for all the segments it needs. Also below that half minute.
pub const PARKED_MS_MAX: u64 = 15_000;
/// Pause before a segment that could not be stored is tried again: until then its rows are where
/// they were.
pub const SEGMENT_RETRY_MS: u64 = 3_600_000;
/// Pause before one that could not be deleted is tried again: somebody waits for that.
pub const REMOVAL_RETRY_MS: u64 = 60_000;
/// How long a removal waits for other mailboxes to take what the account has told them.
pub const REMOVAL_TELL_MS_MAX: u64 = 10_000;

/// First and longest pause between two tries of a transfer.
pub const TRANSFER_RETRY_MS_MIN: u64 = 500;
/// See [`TRANSFER_RETRY_MS_MIN`].
pub const TRANSFER_RETRY_MS_MAX: u64 = 300_000;

/// Presence and requests that wait for one other mailbox. What is more is answered with an error,
/// or, of presence, is older than what is kept.
pub const TRANSFER_PASSING_MAX: usize = 256;

/// SCRAM iterations of new accounts (RFC 5802 §5.1 asks for 4096 at least).
pub const SCRAM_ITERATIONS: u32 = 4096;
/// What a client accepts from a server: less is weak, more is a way to stall it.
pub const SCRAM_ITERATIONS_MAX: u32 = 1_000_000;
/// Bytes of a password at registration.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// First and longest pause before a client connects again; each try doubles it (full jitter).
pub const RECONNECT_MS_MIN: u64 = 500;
/// See [`RECONNECT_MS_MIN`].
pub const RECONNECT_MS_MAX: u64 = 30_000;
/// A connection that has stood this long counts as good: the next pause is a short one again.
pub const STABLE_MS: u64 = 5_000;
/// A client that has heard nothing for this long asks whether the relay is still there.
pub const CLIENT_PROBE_MS: u64 = 30_000;
/// How long a client waits for a connection to open and to authenticate.
pub const CONNECT_MS_MAX: u64 = 15_000;

/// How much of something there may be in a time: so much at once, and on average so much a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// A second, for as long as one likes.
    pub per_s: u64,
    /// At once, by somebody who has been silent.
    pub burst: u64,
}

/// What an engine is told to keep to. The rest of this table is not for choosing: it follows
/// from a specification or guards memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The relay asks for an ack after this many stanzas (R05).
    pub ack_every_stanzas: u32,
    /// ... or after this long with something outstanding.
    pub ack_idle_ms: u64,
    /// A device that has not asked is told after this long what the relay has of it.
    pub tell_idle_ms: u64,
    /// An ack request that stays unanswered this long ends the link (R12); the session stays resumable.
    pub ack_timeout_ms: u64,
    /// How long a session waits for its device to resume it (XEP-0198 §5 `max`).
    pub resume_window_ms: u64,
    /// Stanzas sent to one device and not yet acked by it. What is beyond waits in the log.
    pub window_stanzas_max: usize,
    /// Bytes of the log that are sent to one device in one turn, unless one message alone has more.
    pub flush_bytes_max: usize,
    /// Stanzas of any kind sent to one device and not yet acked by it. From here on what is not
    /// kept for it is not sent to it, and it is not heard before it acks. Above
    /// `window_stanzas_max` by more than a client asks for at once when it comes.
    pub unacked_stanzas_max: u32,
    /// Bytes of what is kept for one device beside the log (answers to its requests). From here on
    /// it is not heard before it acks.
    pub kept_bytes_max: usize,
    /// Messages of one page of the archive, for who does not say how many.
    pub page_stanzas: usize,
    /// ... and for who does. Well below `unacked_stanzas_max`.
    pub page_stanzas_max: usize,
    /// Bytes of one page, unless one message alone has more.
    pub page_bytes_max: usize,
    /// Bytes of pages that were sent to one device and not yet acked by it. From here on it is not
    /// heard before it acks.
    pub unacked_page_bytes_max: u64,
    /// Devices of one account.
    pub devices_max: usize,
    /// How many of the newest own messages are remembered for recognising a repeat (R04).
    pub dedup_entries_max: usize,
    /// How long a message is remembered for recognising a repeat by its origin-id. Above
    /// `client_retry_ms_max` by more than two clocks may differ.
    pub dedup_horizon_ms: u64,
    /// Log rows between two saves of the marks that a load would otherwise fold from the log.
    pub checkpoint_rows: u64,
    /// Messages in one call to another mailbox.
    pub transfer_items_max: usize,
    /// Messages not yet confirmed by their devices in one mailbox (R26).
    pub queue_stanzas_max: u64,
    /// ... and their bytes.
    pub queue_bytes_max: u64,
    /// Stanzas from all devices of an account. People never come near it; a program that sends ten
    /// thousand messages as fast as it can passes.
    pub stanza_rate: Rate,
    /// Bytes from all devices of an account.
    pub byte_rate: Rate,
    /// Presence from all devices of an account, each of which goes to all who may see it.
    pub presence_rate: Rate,
    /// Confirmed rows of the log older than this go to cold storage (R28). Above
    /// `resume_window_ms`.
    pub cold_after_ms: u64,
    /// ... at least so many at a time: a segment costs a write of its own,
    pub segment_rows_min: u64,
    /// ... and at most so many,
    pub segment_rows_max: usize,
    /// ... which are not more than this together (`cold::weight`), unless one alone is. One
    /// segment is in memory at a time, and its row in the mailbox must fit into 2 MB.
    pub segment_bytes_max: usize,
    /// Pause between two times that an idle mailbox wakes only to move what has become old.
    pub cold_every_ms: u64,
    /// How old a message may be that a client sends again by itself, when it does not know whether
    /// the relay has it.
    pub client_retry_ms_max: u64,
    /// Stanzas a client has in flight towards its relay.
    pub client_window_stanzas_max: usize,
    /// Newest message keys a client remembers to recognise a repeat that carries no stanza-id of its relay.
    pub client_recent_keys_max: usize,
    /// Outgoing messages of one conversation that a client watches for receipts.
    pub client_awaiting_max: usize,
    /// Confirmations kept back for one conversation that the user has not accepted.
    pub client_owed_withheld_max: usize,
    /// Stanzas that a relay may send on a stream before the stream's row must say so.
    pub sent_lease_stanzas: u32,
}

impl Limits {
    /// What everybody gets who does not ask for something else.
    pub const DEFAULT: Self = Self {
        ack_every_stanzas: 5,
        ack_idle_ms: 250,
        tell_idle_ms: 500,
        ack_timeout_ms: 10_000,
        resume_window_ms: 600_000,
        window_stanzas_max: 100,
        flush_bytes_max: 4 * 1024 * 1024,
        unacked_stanzas_max: 1_000,
        kept_bytes_max: 256 * 1024,
        page_stanzas: 50,
        page_stanzas_max: 250,
        page_bytes_max: 1024 * 1024,
        unacked_page_bytes_max: 4 * 1024 * 1024,
        devices_max: 32,
        dedup_entries_max: 20_000,
        dedup_horizon_ms: 32 * 86_400_000,
        checkpoint_rows: 64,
        transfer_items_max: 32,
        queue_stanzas_max: 100_000,
        queue_bytes_max: 512 * 1024 * 1024,
        stanza_rate: Rate { per_s: 2_000, burst: 20_000 },
        byte_rate: Rate { per_s: 4 * 1024 * 1024, burst: 64 * 1024 * 1024 },
        presence_rate: Rate { per_s: 10, burst: 300 },
        cold_after_ms: 7 * 86_400_000,
        segment_rows_min: 200,
        segment_rows_max: 1_000,
        segment_bytes_max: 1024 * 1024,
        cold_every_ms: 86_400_000,
        client_retry_ms_max: 30 * 86_400_000,
        client_window_stanzas_max: 100,
        client_recent_keys_max: 2_000,
        client_awaiting_max: 2_000,
        client_owed_withheld_max: 1_000,
        sent_lease_stanzas: 64,
    };
}
