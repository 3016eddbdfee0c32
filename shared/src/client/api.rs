//! What goes into the client engine and what comes out.

use super::rows::{ConversationRow, MessageKey, MessageRow, Op};
use crate::gate::BatchNo;
use crate::id::{DeviceId, LinkId, OriginId};
use crate::jid::BareJid;
use crate::limits::Limits;
use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// One thing that happened. Hand it to [`super::ClientEngine::handle`], then poll.
#[derive(Clone, PartialEq, Debug)]
pub enum Input<'a> {
    /// The connection that [`Output::Connect`] asked for is open, with sub-protocol `xmpp`.
    LinkUp(LinkId),
    /// It ended, or could not be opened.
    LinkDown(LinkId),
    /// One text message arrived on it.
    Frame(LinkId, &'a str),
    /// The time of the last [`Output::WakeAt`]. May be early, late or repeated.
    Wake,
    /// The user acted.
    Command(Command),
    /// This batch, and every one before it, is on disk.
    Committed(BatchNo),
    /// This batch is not on disk and never will be. The engine is finished: drop it and load a
    /// new one from the stores.
    CommitFailed(BatchNo),
}

/// What the engine wants done, in this order.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Apply all operations in one transaction that survives a power cut (`durability:
    /// "strict"`), then answer `Committed` or `CommitFailed`.
    Commit(BatchNo, Vec<Op>),
    /// Open a WebSocket with sub-protocol `xmpp`.
    Connect(LinkId, String),
    /// Send one text message.
    Send(LinkId, String),
    /// Close the WebSocket. `LinkDown` need not follow.
    Close(LinkId),
    /// Tell the views.
    Notify(Event),
    /// The engine is drained. Send `Wake` at this time, or never; a later `WakeAt` replaces it.
    WakeAt(Option<Millis>),
}

/// What a user does. Safe to repeat: a second copy of the same command has no second effect.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Prove who you are with a password, creating the account first if asked to. The password
    /// is forgotten as soon as the relay has accepted it.
    SignIn {
        /// In clear text and normal form NFKC (RFC 4013); never stored.
        password: String,
        /// XEP-0077 first.
        register: bool,
    },
    /// Close the session and delete everything on this device.
    SignOut,
    /// Send a message. The origin-id is minted by whoever took the text from the user.
    Send {
        /// A fresh UUID.
        origin: OriginId,
        /// Whom it is for.
        to: BareJid,
        /// Its text.
        body: String,
    },
    /// Try a failed message again. It was refused for good, so this is a new message under a new
    /// origin-id, which takes the place of the old one: the relay, which remembers the refused
    /// one, would answer a repeat with what it answered before.
    Retry(MessageKey),
    /// Take a message away that failed, or that no connection was ever given. One that is on its
    /// way cannot be called back: then nothing happens.
    Discard(MessageKey),
    /// Start or accept a conversation.
    Accept(BareJid),
    /// A person has seen this message, the newest that was shown, and all before it. If another
    /// has come in since, nothing happens: that one was not seen.
    Displayed(BareJid, MessageKey),
    /// The composer's text.
    Draft(BareJid, String),
    /// The user is typing, or has stopped (XEP-0085).
    Typing(BareJid, bool),
    /// The network came back or the app came to the front: do not wait for the back-off.
    Reconnect,
}

/// What the views should know. Each carries whole rows and may be repeated.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// The connection's state.
    Link(LinkState),
    /// The password was accepted and this device is signed in.
    SignedIn,
    /// It was not.
    SignInFailed(SignInFault),
    /// Signed out; every store is empty.
    SignedOut,
    /// A message is new or has changed, on disk.
    Message(MessageRow),
    /// A message is gone.
    MessageGone(BareJid, MessageKey),
    /// A conversation is new or has changed, on disk.
    Conversation(ConversationRow),
    /// Messages the relay does not have yet; confirmations it does not have yet.
    Queue {
        /// Rows of `outbox`.
        outbox: usize,
        /// Rows of `owed`.
        owed: usize,
    },
    /// The other side is typing, or has stopped.
    Typing(BareJid, bool),
}

/// The state of the connection, as a user may know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LinkState {
    /// Nobody is signed in.
    SignedOut,
    /// No connection; the next try is at this time.
    Offline {
        /// When.
        retry_at: Millis,
    },
    /// A try is under way.
    Connecting,
    /// Ready. `resumed`: the stream went on where it was (XEP-0198 §5).
    Online {
        /// Whether the stream was resumed rather than begun anew.
        resumed: bool,
    },
}

/// Why signing in failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SignInFault {
    /// The relay does not know this account with this password.
    WrongPassword,
    /// Registering: the name is taken.
    NameTaken,
    /// Registering: the relay does not take new accounts.
    RegistrationClosed,
    /// Registering: the name or password is not acceptable.
    NotAcceptable,
    /// The relay did not prove that it knows the account (RFC 5802 §5: server signature).
    ServerNotTrusted,
    /// The relay could not be reached.
    Unreachable,
    /// Anything else, by its condition.
    Other(String),
}

/// What an engine is told at the start and never again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Whose engine it is.
    pub account: BareJid,
    /// This device, as it binds: a short random name.
    pub device: DeviceId,
    /// Where the relay is. `?account=` is added here if the relay is ours.
    pub url: String,
    /// 32 bytes from a cryptographic source.
    pub seed: [u8; 32],
    /// What it keeps to.
    pub limits: Limits,
}
