//! Every limit in one table. A thing without a limit is an outage waiting for its day.

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
/// Bytes of an origin-id, a stanza `id` or an SM-ID that we keep.
pub const ID_BYTES_MAX: usize = 256;

/// The relay asks for an ack after this many stanzas (R05).
pub const ACK_EVERY_STANZAS: u32 = 5;
/// ... or after this long with something outstanding.
pub const ACK_IDLE_MS: u64 = 250;
/// A device that has not asked is told after this long what the relay has of it.
pub const TELL_IDLE_MS: u64 = 500;
/// An ack request that stays unanswered this long ends the link (R12); the session stays resumable.
pub const ACK_TIMEOUT_MS: u64 = 10_000;
/// How long a session waits for its device to resume it (XEP-0198 §5 `max`).
pub const RESUME_WINDOW_MS: u64 = 600_000;
/// Stanzas sent to one device and not yet acked by it. What is beyond waits in the log.
pub const WINDOW_STANZAS_MAX: usize = 100;
/// Devices of one account.
pub const DEVICES_MAX: usize = 32;
/// A device unseen for this long may make room for another (R11).
pub const DEVICE_UNSEEN_MS_MAX: u64 = 30 * 86_400_000;
/// Connections of one account that have not authenticated: the oldest of them goes first.
pub const LINKS_UNAUTHENTICATED_MAX: usize = 64;
/// How long a connection may stay without authenticating. Short enough for a timer: an alarm
/// would write a row for somebody who has proved nothing.
pub const AUTHENTICATION_MS_MAX: u64 = 30_000;
/// Failed authentications on one connection (RFC 6120 §6.4.5 recommends 2 to 5 retries).
pub const AUTHENTICATION_FAILURES_MAX: u32 = 5;
/// How many of the newest own messages are remembered for recognising a repeat (R04).
pub const DEDUP_ENTRIES_MAX: usize = 20_000;
/// How long a message is remembered for recognising a repeat by its origin-id.
pub const DEDUP_HORIZON_MS: u64 = 30 * 86_400_000;
/// Log rows between two saves of the marks that a load would otherwise fold from the log.
pub const CHECKPOINT_ROWS: u64 = 64;
/// Messages in one call to another mailbox.
pub const TRANSFER_ITEMS_MAX: usize = 32;
/// First and longest pause between two tries of a transfer.
pub const TRANSFER_RETRY_MS_MIN: u64 = 500;
/// See [`TRANSFER_RETRY_MS_MIN`].
pub const TRANSFER_RETRY_MS_MAX: u64 = 300_000;
/// Messages not yet confirmed by their devices in one mailbox (R26).
pub const QUEUE_STANZAS_MAX: u64 = 100_000;

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
/// Stanzas a client has in flight towards its relay.
pub const CLIENT_WINDOW_STANZAS_MAX: usize = 100;
/// Newest message keys a client remembers to recognise a repeat that carries no stanza-id of its relay.
pub const CLIENT_RECENT_KEYS_MAX: usize = 2_000;
/// Outgoing messages of one conversation that a client watches for receipts.
pub const CLIENT_AWAITING_MAX: usize = 2_000;
/// Confirmations kept back for one conversation that the user has not accepted.
pub const CLIENT_OWED_WITHHELD_MAX: usize = 1_000;
