//! What the user does. Each command may come twice; the second one changes nothing.

use super::connect::{Again, Phase};
use super::login::SignIn;
use super::receive::preview;
use super::rows::{Direction, MessageKey, MessageRow, Op, OutboxRow, Owed, Status, Times};
use super::{ClientEngine, Command, Effect, Event, LinkState, stanzas};
use crate::bad::{self, Bug};
use crate::id::OriginId;
use crate::jid::BareJid;
use crate::limits::FRAME_BYTES_MAX;

/// The condition of a message that no relay would take (RFC 6120 §4.9.3.14).
const TOO_LARGE: &str = "policy-violation";

impl ClientEngine {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::SignIn { password, register } => self.sign_in(password, register),
            _ if self.account.is_none() => {}
            Command::SignOut => self.sign_out(),
            Command::Send { origin, to, body } => self.send(origin, to, body),
            Command::Retry(key) => self.retry(&key),
            Command::Discard(key) => self.discard(&key),
            Command::Accept(jid) => self.accept(&jid),
            // What came in since was not seen: the views will say so when it is.
            Command::Displayed(jid, key) => {
                let newest = self.conversations.get(&jid).and_then(|row| row.newest.as_ref());
                if newest.is_none_or(|newest| *newest == key) {
                    self.seen(&jid);
                }
            }
            Command::Draft(jid, draft) => {
                let mut row = self.conversation(&jid);
                if row.draft != draft {
                    row.draft = draft;
                    self.save_conversation(row);
                }
            }
            Command::Typing(jid, composing) => self.type_to(&jid, composing),
            // A link that seems open may be dead since the network changed: ask it.
            Command::Reconnect if self.is_online() => self.probe(),
            Command::Reconnect => self.dial(),
        }
    }

    fn sign_in(&mut self, password: String, register: bool) {
        let signed_in = self.account.is_some() && !self.refused;
        let new = SignIn { password, register, taken: false };
        if signed_in || self.sign_in.as_ref() == Some(&new) {
            return;
        }
        self.sign_in = None;
        self.hang_up(Again::Backoff);
        self.sign_in = Some(new);
        self.dial();
    }

    fn sign_out(&mut self) {
        let online = self.is_online();
        self.write_session();
        if let Some(link) = &self.link {
            let (id, open) = (link.id, !matches!(link.phase, Phase::Dialling));
            if online {
                // XEP-0198 §4: a last ack, or the relay takes what we have for lost.
                self.gate.effect(Effect::Ack(id, self.session.stream));
                self.say(&stanzas::presence(false));
            }
            if open {
                self.say(&stanzas::close());
            }
            self.gate.effect(Effect::Close(id));
        }
        self.link = None;
        self.timers = super::Timers::default();
        // What was to be shown is gone when its turn comes.
        self.gate.discard(|effect| matches!(effect, Effect::Notify(_)));
        self.gate.write(Op::Clear);
        self.forget_all();
        self.notify(Event::SignedOut);
        self.notify(Event::Link(LinkState::SignedOut));
    }

    fn send(&mut self, origin: OriginId, to: BareJid, body: String) {
        let key = MessageKey::of_origin(&self.config.account, &origin);
        if self.outbox.get(&origin).is_some() || !self.timeline.learn(&key) {
            return;
        }
        let order = self.next_order();
        let mut conversation = self.conversation(&to);
        let newly_accepted = !std::mem::replace(&mut conversation.accepted, true);
        conversation.last_text = preview(&body);
        conversation.last_at = self.now;
        conversation.last_direction = Some(Direction::Outgoing);
        if conversation.draft == body {
            conversation.draft.clear();
        }
        self.save_conversation(conversation);
        let mut message = MessageRow {
            key,
            conversation: to.clone(),
            order,
            at: self.now,
            direction: Direction::Outgoing,
            body: body.clone(),
            status: Status::Queued,
            times: Times::default(),
            failure: None,
            id: origin.0.clone(),
            awaiting: Some(1),
        };
        let row = OutboxRow { origin, order, to, body, created: self.now, tries: 0, sent_as: None };
        if stanzas::message(&row).to_frame().len() > FRAME_BYTES_MAX {
            // On the wire it would end the stream, and every stream after it.
            message.status = Status::Failed;
            message.failure = Some(TOO_LARGE.to_owned());
            return self.save_outgoing(message);
        }
        self.save_outgoing(message);
        self.typing_to.remove(&row.to);
        if newly_accepted {
            self.release_owed(&row.to);
        }
        self.queue_message(row);
    }

    /// After a definite refusal the message was not delivered, and the relay would answer its
    /// origin-id as it did before. So it is written anew, in the place of the refused one.
    fn retry(&mut self, key: &MessageKey) {
        if let Some(row) = self.take_away(key, |row| row.status == Status::Failed) {
            let origin = OriginId(self.entropy.token());
            self.send(origin, row.conversation, row.body);
        }
    }

    fn discard(&mut self, key: &MessageKey) {
        let outbox = &self.outbox;
        let untouched = outbox
            .rows()
            .find(|row| MessageKey::of_origin(&self.config.account, &row.origin) == *key)
            .filter(|row| row.tries == 0)
            .map(|row| row.origin.clone());
        let queued = untouched.is_some();
        let gone =
            self.take_away(key, |row| row.status == Status::Failed || row.status == Status::Queued && queued);
        if let Some(origin) = untouched.filter(|_| gone.is_some()) {
            self.forget_outbox(&origin);
        }
    }

    fn take_away(&mut self, key: &MessageKey, test: impl Fn(&MessageRow) -> bool) -> Option<MessageRow> {
        if !self.timeline.get(key).is_some_and(test) {
            return None;
        }
        let row = self.timeline.remove(key)?;
        // What was to be shown of it is gone when its turn comes.
        self.gate.discard(|effect| matches!(effect, Effect::Notify(Event::Message(row)) if row.key == *key));
        self.gate.write(Op::DeleteMessage(key.clone()));
        self.notify(Event::MessageGone(row.conversation.clone(), key.clone()));
        Some(row)
    }

    fn accept(&mut self, jid: &BareJid) {
        let mut row = self.conversation(jid);
        if !std::mem::replace(&mut row.accepted, true) {
            self.save_conversation(row);
            self.release_owed(jid);
        }
    }

    /// A person has seen the conversation. To a contact the newest message is marked, once.
    pub(super) fn seen(&mut self, jid: &BareJid) {
        let Some(row) = self.conversations.get(jid) else { return };
        let mut seen = row.clone();
        if let Some(key) = row.newest.clone().filter(|_| bad::is(Bug::LookedAtIsLost)) {
            self.gate.write(Op::DeleteMessage(key));
        }
        seen.unread = 0;
        let markable = if seen.accepted { seen.markable.take() } else { None };
        if seen != *row {
            self.save_conversation(seen);
        }
        if let Some(markable) = markable {
            self.owe(Owed::Displayed, jid, &markable.key, &markable.id);
        }
    }
}
