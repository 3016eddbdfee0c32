//! What must be true of everything a client says and shows, judged by what is committed: a message
//! leaves after its row, a count counts what is on the disk, a receipt confirms what is there, a
//! status never goes back and nothing waiting is ever forgotten.

use super::relay::Relay;
use crate::differential::opinion;
use crate::script::on_the_wire;
use shared::client::Event;
use shared::client::rows::{Direction, MessageKey, Op, Status};
use shared::id::OriginId;
use shared::jid::BareJid;
use shared::memory::ClientStore;
use shared::sm::Handled;
use shared::wire::{Element, ns, read_frame, stanza};
use std::collections::BTreeSet;

/// Whose client it is.
pub fn account() -> BareJid {
    BareJid::parse("alice@d").unwrap()
}

fn own_key(origin: &OriginId) -> MessageKey {
    MessageKey::of_origin(&account(), origin)
}

/// See the module.
#[derive(Default)]
pub struct Ledger {
    /// Somebody spoke in the relay's name: what follows from its honesty is not checked.
    pub lied_to: bool,
    /// The rows did not come from an engine.
    lenient: bool,
    /// Messages that were taken away.
    gone: BTreeSet<MessageKey>,
}

impl Ledger {
    /// For rows from anywhere, and a relay that nothing is known of.
    pub fn of_any_rows() -> Self {
        Self { lied_to: true, lenient: true, ..Self::default() }
    }

    /// A text leaves. Returns what it is.
    pub fn sent(&self, text: &str, store: &ClientStore, relay: &Relay) -> Element {
        let element = read_frame(text, usize::MAX).unwrap_or_else(|fault| panic!("{fault:?} in {text}"));
        if let Err(error) = opinion(text) {
            panic!("no relay can read {text}: {error}");
        }
        assert_eq!(element.attr("from"), None, "who sent it is not for a client to say: {text}");
        if self.lenient {
            return element;
        }
        if let ("a" | "resume", Some(session)) = (element.name.as_str(), &store.session) {
            let h = element.attr("h").and_then(Handled::parse).unwrap_or_else(|| panic!("{text}"));
            // A relay that resumes what it was not asked to resume hears less than there is.
            let told = h.0 == session.handled || self.lied_to && Handled(session.handled).since(h) < 1 << 31;
            assert!(told, "{text} and {} is on the disk", session.handled);
            if let Some(sent) = relay.sent().filter(|_| !self.lied_to) {
                assert!(sent.since(h) < 1 << 31, "{text} and {sent} were sent");
            }
        }
        // Whoever signs out takes back what had not left; what was written with it may still leave.
        if stanza::kind(&element) == Some(stanza::Kind::Message) && store.account.is_some() {
            self.message(&element, text, store, relay);
        }
        element
    }

    fn message(&self, message: &Element, text: &str, store: &ClientStore, relay: &Relay) {
        if let Some(body) = stanza::body(message) {
            let origin =
                stanza::origin_id(message).unwrap_or_else(|| panic!("a message without a name: {text}"));
            let row = store.outbox.get(&origin);
            // Who says that he has it before he was sent it takes it out of the outbox.
            assert!(row.is_some() || self.lied_to, "it leaves before its row: {text}");
            if let Some(row) = row {
                assert_eq!(on_the_wire(&row.body), body, "{text} is not what was written");
            }
            assert!(store.messages.contains_key(&own_key(&origin)), "it is in no timeline: {text}");
            if let Some(heard) = relay.heard().filter(|_| !self.lied_to) {
                let number = row.and_then(|row| row.sent_as).map(|sent| sent.number);
                assert_eq!(number, Some(heard.next().0), "numbered otherwise than the relay counts: {text}");
            }
        }
        for (namespace, name) in [(ns::RECEIPTS, "received"), (ns::MARKERS, "displayed")] {
            let Some(id) = message.child(namespace, name).and_then(|child| child.attr("id")) else {
                continue;
            };
            let is_it =
                |to: &str| store.messages.values().any(|row| row.id == id && row.conversation.as_str() == to);
            assert!(message.attr("to").is_some_and(is_it), "{text} confirms what is not there");
        }
    }

    /// The relay heard something: whatever it takes for confirmed is on the disk.
    pub fn heard(&self, store: &ClientStore, relay: &Relay) {
        if self.lied_to {
            return;
        }
        assert_eq!(relay.faults, Vec::<String>::new());
        let seen = store.session.as_ref().map(|session| session.seen);
        if let Some(seen) = seen {
            let beyond: Vec<_> = relay.confirmed.iter().filter(|seq| **seq > seen).collect();
            assert!(beyond.is_empty(), "{beyond:?} are confirmed and {seen} is on the disk");
        }
    }

    /// An operation is about to be applied.
    pub fn written(&mut self, op: &Op, store: &ClientStore) {
        if self.lenient {
            return;
        }
        if let Op::DeleteMessage(key) = op {
            self.gone.insert(key.clone());
        }
        if let Op::PutMessage(row) = op
            && let Some(before) = store.messages.get(&row.key)
        {
            assert!(row.status >= before.status, "{before:?} goes back to {row:?}");
            assert_eq!((&row.body, &row.conversation), (&before.body, &before.conversation));
        }
    }

    /// A batch is on the disk.
    pub fn committed(&self, store: &ClientStore) {
        if self.lenient {
            return;
        }
        for row in store.messages.values() {
            let waits = row.direction == Direction::Outgoing && row.status == Status::Queued;
            let outbox = store.outbox.values().any(|waiting| own_key(&waiting.origin) == row.key);
            assert_eq!(waits, outbox, "what is queued, and only that, is in the outbox: {row:?}");
        }
        for row in store.outbox.values() {
            assert!(store.messages.contains_key(&own_key(&row.origin)), "{row:?} is in no timeline");
        }
    }

    /// Something is shown.
    pub fn shown(&self, event: &Event, store: &ClientStore) {
        // What was on the disk may be gone again: whoever is told of it is told of that next.
        if self.lenient || store.account.is_none() && *event != Event::SignedOut {
            return;
        }
        match event {
            Event::Message(row) => {
                // One that is taken away in the same batch is shown, and then shown to be gone.
                let gone = self.gone.contains(&row.key);
                let stored = store.messages.get(&row.key).map_or(gone, |stored| stored.status >= row.status);
                assert!(stored, "{row:?} is only shown");
            }
            Event::Conversation(row) => assert!(store.conversations.contains_key(&row.jid), "{row:?}"),
            Event::SignedIn => assert!(store.account.is_some()),
            Event::SignedOut => assert_eq!(*store, ClientStore::default()),
            _ => {}
        }
    }

    /// Everything has had its time: nothing waits, and what is called sent is at the relay.
    pub fn healed(&self, store: &ClientStore, relay: &Relay) {
        assert!(store.outbox.is_empty(), "{:?} never leave", store.outbox);
        for row in store.messages.values().filter(|row| row.direction == Direction::Outgoing) {
            assert_ne!(row.status, Status::Queued, "{row:?}");
            let there =
                relay.log.iter().filter(|(origin, ..)| own_key(&OriginId::from(origin.as_str())) == row.key);
            let bodies: Vec<&String> = there.map(|(_, body, _)| body).collect();
            let written = on_the_wire(&row.body);
            if row.status != Status::Failed {
                assert_eq!(bodies, [&written], "{row:?} is called sent");
            }
        }
    }
}
