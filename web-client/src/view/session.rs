//! What the views of a signed-in account share: signals fed by the client's events.
//!
//! Signals hold view state only. Each event carries whole rows and may be repeated, so taking one
//! is a put by key; whatever is shown can be read again from the stores.

use super::history::{Change, History, PAGE_ROWS};
use crate::i18n::time;
use crate::port::{Client, StoreFault};
use leptos::prelude::*;
use leptos::task::spawn_local;
use shared::client::rows::{ConversationRow, Direction, MessageKey, MessageRow};
use shared::client::{Command, Event, LinkState, SignInFault};
use shared::id::OriginId;
use shared::jid::BareJid;
use shared::time::Millis;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// A text that the stores have not confirmed within this time goes back to the composer.
const STORED_WITHIN_MS: u64 = 5_000;
/// XEP-0085 §5.1: without news, the other side has stopped typing.
const TYPING_LASTS_MS: u64 = 30_000;

/// A text handed to the engine under its name.
#[derive(Clone, PartialEq, Eq)]
pub struct Unsaved {
    origin: OriginId,
    to: BareJid,
    body: String,
}

/// The shared state. A handle: copies are the same session.
#[derive(Clone, Copy)]
pub struct Session {
    client: StoredValue<Client, LocalStorage>,
    /// The connection.
    pub link: RwSignal<LinkState>,
    /// Messages the relay does not have yet.
    pub outbox: RwSignal<usize>,
    /// Confirmations it does not have yet.
    pub owed: RwSignal<usize>,
    /// Every conversation.
    pub conversations: RwSignal<BTreeMap<BareJid, ConversationRow>>,
    /// They have been read from the store.
    pub loaded: RwSignal<bool>,
    /// Which one is open.
    pub open: RwSignal<Option<BareJid>>,
    /// The open one's messages.
    pub history: RwSignal<History>,
    /// A page of it is being read.
    pub loading: RwSignal<bool>,
    /// The reader is at the newest message.
    pub at_bottom: RwSignal<bool>,
    /// How often the reader asked to be taken there.
    pub jumps: RwSignal<u32>,
    /// Incoming messages since the reader left it.
    pub fresh: RwSignal<usize>,
    /// Incoming messages of the open conversation, to be announced.
    pub unspoken: RwSignal<Vec<String>>,
    /// Who is typing, and until when that is believed.
    pub typing: RwSignal<HashMap<BareJid, Millis>>,
    /// What stands in the composers.
    pub drafts: RwSignal<HashMap<BareJid, String>>,
    /// Texts that were put back because no store confirmed them.
    pub put_back: RwSignal<HashMap<BareJid, Unsaved>>,
    pending: StoredValue<HashMap<MessageKey, Unsaved>>,
    /// The password was accepted.
    pub signed_in: RwSignal<bool>,
    /// It was not.
    pub refused: RwSignal<Option<SignInFault>>,
    /// The stores cannot be used.
    pub fault: RwSignal<Option<StoreFault>>,
    /// Which day it is.
    pub today: RwSignal<i64>,
}

impl Session {
    /// Listens to a client. A client's events come as long as the tab lives, so no view may own
    /// the signals they go to: call this in a task of its own, where there is no owner.
    pub fn new(client: Client) -> Self {
        debug_assert!(Owner::current().is_none(), "a view would take the session with it");
        let session = Self {
            link: RwSignal::new(client.link()),
            client: StoredValue::new_local(client),
            outbox: RwSignal::new(0),
            owed: RwSignal::new(0),
            conversations: RwSignal::default(),
            loaded: RwSignal::new(false),
            open: RwSignal::new(None),
            history: RwSignal::default(),
            loading: RwSignal::new(false),
            at_bottom: RwSignal::new(true),
            jumps: RwSignal::new(0),
            fresh: RwSignal::new(0),
            unspoken: RwSignal::default(),
            typing: RwSignal::default(),
            drafts: RwSignal::default(),
            put_back: RwSignal::default(),
            pending: StoredValue::default(),
            signed_in: RwSignal::new(false),
            refused: RwSignal::new(None),
            fault: RwSignal::new(None),
            today: RwSignal::new(time::day(time::now())),
        };
        // First listen, then read: what happens in between comes as an event.
        session.client().subscribe(move |event| session.take(event));
        session.client().on_fault(move |fault| session.fault.set(fault));
        session.read_conversations();
        session
    }

    /// The session of the views below [`super::main::Main`].
    pub fn here() -> Self {
        expect_context()
    }

    fn client(self) -> Client {
        self.client.get_value()
    }

    /// Whose it is.
    pub fn account(self) -> BareJid {
        self.client().account()
    }

    /// Hands an act to the engine.
    pub fn command(self, command: Command) {
        self.client().command(command);
    }

    /// Ends it. What comes in afterwards is not shown.
    pub async fn close(self) {
        self.client().close().await;
    }

    /// The name to call somebody by: short within the own domain.
    pub fn name_of(self, jid: &BareJid) -> String {
        match jid.local() {
            Some(local) if jid.domain() == self.account().domain() => local.to_owned(),
            _ => jid.to_string(),
        }
    }

    /// One conversation's row, tracked.
    pub fn conversation(self, jid: &BareJid) -> Option<ConversationRow> {
        self.conversations.with(|rows| rows.get(jid).cloned())
    }

    /// Unseen messages in all conversations, tracked.
    pub fn unread(self) -> u32 {
        self.conversations.with(|rows| rows.values().map(|row| row.unread).sum())
    }

    fn take(self, event: &Event) {
        match event {
            Event::Link(link) => self.link.set(*link),
            Event::SignedIn => {
                self.refused.set(None);
                self.signed_in.set(true);
            }
            Event::SignInFailed(fault) => self.refused.set(Some(fault.clone())),
            // A fresh page holds no handle on the stores that were just emptied.
            Event::SignedOut => reload(),
            Event::Message(row) => self.take_message(row),
            Event::MessageGone(conversation, key) => {
                if self.is_open(conversation) {
                    self.history.update(|history| history.remove(key));
                }
            }
            Event::Conversation(row) => {
                self.conversations.update(|rows| {
                    rows.insert(row.jid.clone(), row.clone());
                });
            }
            Event::Queue { outbox, owed } => {
                self.outbox.set(*outbox);
                self.owed.set(*owed);
            }
            Event::Typing(jid, typing) => self.take_typing(jid.clone(), *typing),
        }
    }

    fn is_open(self, conversation: &BareJid) -> bool {
        self.history.with_untracked(|history| history.conversation.as_ref() == Some(conversation))
    }

    fn take_message(self, row: &MessageRow) {
        let incoming = row.direction == Direction::Incoming;
        if incoming {
            // A message ends the typing that led to it (XEP-0085 §5.1 `active`).
            self.take_typing(row.conversation.clone(), false);
        } else {
            self.stored(&row.key);
        }
        if !self.is_open(&row.conversation) {
            return;
        }
        let at_bottom = self.at_bottom.get_untracked();
        let mut change = Change::Other;
        self.history.update(|history| {
            change = history.put(row.clone());
            if at_bottom { history.trim_start() } else { history.trim_end() }
        });
        if incoming && change == Change::Newest {
            self.unspoken.update(|unspoken| unspoken.push(row.body.clone()));
            if !at_bottom {
                self.fresh.update(|count| *count += 1);
            }
        }
    }

    fn take_typing(self, jid: BareJid, typing: bool) {
        if !typing {
            if self.typing.with_untracked(|all| all.contains_key(&jid)) {
                self.typing.update(|all| {
                    all.remove(&jid);
                });
            }
            return;
        }
        self.typing.update(|all| {
            all.insert(jid.clone(), time::now().plus(TYPING_LASTS_MS));
        });
        let forget = move || {
            let over = |all: &HashMap<_, Millis>| all.get(&jid).is_some_and(|until| *until <= time::now());
            if self.typing.with_untracked(over) {
                self.typing.update(|all| {
                    all.remove(&jid);
                });
            }
        };
        set_timeout(forget, Duration::from_millis(TYPING_LASTS_MS + 100));
    }

    fn read_conversations(self) {
        let client = self.client();
        spawn_local(async move {
            match client.conversations().await {
                Ok(read) => {
                    self.conversations.update(|rows| {
                        for row in read {
                            rows.entry(row.jid.clone()).or_insert(row);
                        }
                    });
                    self.loaded.set(true);
                }
                Err(fault) => self.fault.set(Some(fault)),
            }
        });
    }

    /// Shows a conversation, or none.
    pub fn show(self, conversation: Option<BareJid>) {
        if self.open.get_untracked() == conversation {
            return;
        }
        self.history.set(conversation.clone().map(History::of).unwrap_or_default());
        self.loading.set(false);
        self.at_bottom.set(true);
        self.fresh.set(0);
        self.unspoken.set(Vec::new());
        self.open.set(conversation);
        self.read_page();
    }

    /// Shows older messages of the open conversation, from memory or from the store.
    pub fn older(self) {
        if self.loading.get_untracked() {
            return;
        }
        if self.history.with_untracked(History::hides_older) {
            self.history.update(History::show_older);
        } else {
            self.read_page();
        }
    }

    /// Shows newer messages of the open conversation.
    pub fn newer(self) {
        if !self.history.with_untracked(History::follows) {
            self.history.update(History::show_newer);
        }
    }

    /// Shows the newest messages.
    pub fn newest(self) {
        self.at_bottom.set(true);
        self.fresh.set(0);
        if !self.history.with_untracked(History::follows) {
            self.history.update(History::follow);
        }
        self.jumps.update(|jumps| *jumps += 1);
    }

    fn read_page(self) {
        let next = self.history.with_untracked(|history| {
            let conversation = history.conversation.clone()?;
            if !history.loaded {
                return Some((conversation, None));
            }
            history.next_page_before().map(|before| (conversation, Some(before)))
        });
        let Some((conversation, before)) = next else { return };
        self.loading.set(true);
        let client = self.client();
        spawn_local(async move {
            let page = client.page(conversation.clone(), before, PAGE_ROWS as u32).await;
            if !self.is_open(&conversation) {
                return;
            }
            match page {
                Ok(page) => self.history.update(|history| {
                    history.add_page(page, PAGE_ROWS);
                    history.trim_end();
                }),
                Err(fault) => self.fault.set(Some(fault)),
            }
            self.loading.set(false);
        });
    }

    /// Sends a text. It is out of the composer at once, and back in it if no store confirms it.
    pub fn send(self, to: &BareJid, body: String) {
        // The same text again is the same message: under its old name it cannot appear twice.
        let again = self.put_back.with_untracked(|all| all.get(to).filter(|old| old.body == body).cloned());
        self.put_back.update(|all| {
            all.remove(to);
        });
        let unsaved = again.unwrap_or_else(|| Unsaved { origin: mint(), to: to.clone(), body });
        let key = MessageKey::of_origin(&self.account(), &unsaved.origin);
        self.pending.update_value(|pending| {
            pending.insert(key.clone(), unsaved.clone());
        });
        self.command(Command::Send { origin: unsaved.origin, to: unsaved.to, body: unsaved.body });
        set_timeout(move || self.put_back_if_pending(&key), Duration::from_millis(STORED_WITHIN_MS));
    }

    fn put_back_if_pending(self, key: &MessageKey) {
        let Some(unsaved) = self.pending.with_value(|pending| pending.get(key).cloned()) else { return };
        let to = unsaved.to.clone();
        let text = match self.drafts.with_untracked(|all| all.get(&to).cloned().unwrap_or_default()) {
            text if text.is_empty() => unsaved.body.clone(),
            text => format!("{}\n{text}", unsaved.body),
        };
        self.drafts.update(|all| {
            all.insert(to.clone(), text.clone());
        });
        self.put_back.update(|all| {
            all.insert(to.clone(), unsaved);
        });
        self.command(Command::Draft(to, text));
    }

    /// The message has a row: its text no longer has to be kept here.
    fn stored(self, key: &MessageKey) {
        let mut stored = None;
        self.pending.update_value(|pending| stored = pending.remove(key));
        let Some(stored) = stored else { return };
        let was_put_back = self.put_back.with_untracked(|all| all.get(&stored.to) == Some(&stored));
        if !was_put_back {
            return;
        }
        self.put_back.update(|all| {
            all.remove(&stored.to);
        });
        if self.drafts.with_untracked(|all| all.get(&stored.to) == Some(&stored.body)) {
            self.drafts.update(|all| {
                all.insert(stored.to.clone(), String::new());
            });
            self.command(Command::Draft(stored.to, String::new()));
        }
    }
}

/// A version 4 UUID (RFC 9562 §5.4). Not `crypto.randomUUID`: that exists in secure contexts
/// only, and a relay on one's own machine is reached from a phone without TLS.
fn mint() -> OriginId {
    let mut bytes = [0u8; 16];
    let crypto = window().crypto();
    if crypto.and_then(|crypto| crypto.get_random_values_with_u8_array(&mut bytes)).is_err() {
        bytes.fill_with(|| (js_sys::Math::random() * 256.0) as u8);
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut id = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            id.push('-');
        }
        id.push_str(&format!("{byte:02x}"));
    }
    OriginId(id)
}

/// Loads the page again.
pub fn reload() {
    let _ = window().location().reload();
}
