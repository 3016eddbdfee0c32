//! What must hold: of everything that leaves an engine, and of every state.

use super::{ALICE, BOB, BOTH, Leg, MESSAGES, Town, jid};
use shared::client::rows::{Direction, MessageKey, MessageRow, Op, Status};
use shared::id::{DeviceId, OriginId, StanzaSeq};
use shared::log;
use shared::relay::{TransferReply, TransferRequest};
use shared::sm::Handled;

/// Something leaves an engine: a disk, another engine or a person will believe it.
pub(super) enum Seen<'a> {
    ClientSays(usize, &'a str),
    RelaySays(usize, &'a str),
    Shown(usize, &'a MessageRow),
    Written(usize, &'a Op),
    Called(usize, &'a TransferRequest),
    Answered(usize, &'a TransferRequest, &'a TransferReply),
}

impl Town {
    /// Compares what leaves with the disks as they are at that moment.
    pub(super) fn see(&mut self, seen: Seen<'_>) {
        let fault = match seen {
            Seen::ClientSays(_, frame) | Seen::RelaySays(_, frame)
                if frame.contains("<handled-count-too-high") =>
            {
                Some("a count was above what had been sent")
            }
            Seen::ClientSays(who, frame) => self.client_lies(who, frame),
            Seen::RelaySays(who, frame) => self.relay_lies(who, frame),
            Seen::Shown(who, row) => {
                // A later version may be on disk already: both were in one commit.
                let written = self.clients[who].store.messages.get(&row.key);
                (written.is_none_or(|written| written.status < row.status))
                    .then_some("shown before it was written")
            }
            Seen::Written(who, op) => self.goes_back(who, op),
            Seen::Called(who, request) => {
                let log = &self.mailboxes[who].store.log;
                let known = request.items.iter().all(|item| log.contains_key(&item.seq));
                (!known).then_some("transferred before it was written")
            }
            Seen::Answered(who, request, reply) => {
                let log = &self.mailboxes[who].store.log;
                let has =
                    |seq| log.values().any(|row| row.direction == log::Direction::In && row.peer_seq == seq);
                let kept =
                    *reply == TransferReply::Accepted && request.items.iter().all(|item| has(item.seq));
                (!kept).then_some("a transfer was answered before it was written")
            }
        };
        self.fault = self.fault.or(fault);
    }

    fn client_lies(&self, who: usize, frame: &str) -> Option<&'static str> {
        let store = &self.clients[who].store;
        if frame.starts_with("<a ") || frame.starts_with("<resume ") {
            let durable = store.session.as_ref().map_or(0, |session| session.handled);
            return (number(frame, "h")? > u64::from(durable)).then_some("a device's h is ahead of its disk");
        }
        if let Some(id) = attribute_of(frame, "<received", "id") {
            let has = store.messages.values().any(|row| row.id == id);
            return (!has).then_some("a receipt left before its message was written");
        }
        if frame.starts_with("<message") {
            let origin = attribute_of(frame, "<origin-id", "id")?;
            let has = store.messages.contains_key(&MessageKey::of_origin(&jid(who), &OriginId::from(origin)));
            return (!has).then_some("a message left before it was written");
        }
        None
    }

    fn relay_lies(&self, who: usize, frame: &str) -> Option<&'static str> {
        let store = &self.mailboxes[who].store;
        if ["<a ", "<resumed ", "<failed "].iter().any(|name| frame.starts_with(name)) {
            let h = number(frame, "h")?;
            return (h > u64::from(self.handled_on_disk(who).0))
                .then_some("a relay's h is ahead of its disk");
        }
        if frame.starts_with("<message") {
            let row =
                attribute_of(frame, "<accepted", "stanza-id").or(attribute_of(frame, "<stanza-id", "id"));
            let seq = row.and_then(|text| text.parse().ok()).map(StanzaSeq);
            let known = seq.is_some_and(|seq| store.log.contains_key(&seq));
            return (!known).then_some("a message was sent on before it was written");
        }
        None
    }

    /// How many stanzas of the device's stream a mailbox would know of if its power failed now.
    fn handled_on_disk(&self, who: usize) -> Handled {
        let store = &self.mailboxes[who].store;
        let device = store.devices.get(&DeviceId::from("device"));
        let Some(stream) = device.and_then(|device| device.stream.as_ref()) else { return Handled::ZERO };
        let sources = store.log.values().filter_map(|row| row.source.as_ref());
        let logged = sources.filter(|source| source.stream == stream.no).map(|source| source.handled.0);
        Handled(logged.max().unwrap_or(0).max(stream.handled.0))
    }

    fn goes_back(&self, who: usize, op: &Op) -> Option<&'static str> {
        let Op::PutMessage(row) = op else { return None };
        let before = self.clients[who].store.messages.get(&row.key)?;
        (row.status < before.status).then_some("a status went back")
    }

    /// What alice's disk promises, as she sees it.
    fn promised(&self) -> Vec<&str> {
        let rows = self.clients[ALICE].store.timeline(&jid(BOB));
        rows.into_iter().map(|row| row.body.as_str()).collect()
    }

    /// What bob sees, in order.
    fn shown(&self) -> Vec<&MessageRow> {
        self.clients[BOB].store.timeline(&jid(ALICE))
    }

    /// Bob sees a beginning of what alice's disk promises: so nothing twice, nothing that was
    /// not sent, nothing out of order. Alice sees it in the order in which she wrote.
    pub(super) fn shows_what_was_promised(&self) -> bool {
        let promised = self.promised();
        let shown: Vec<&str> = self.shown().into_iter().map(|row| row.body.as_str()).collect();
        let written = |body: &&str| MESSAGES.iter().position(|text| text == body);
        promised.is_sorted_by_key(written) && promised.starts_with(&shown)
    }

    /// Alice is told something that no disk bears out.
    pub(super) fn a_status_is_ahead(&self) -> bool {
        self.clients[ALICE].store.messages.values().any(|row| {
            let origin = OriginId(row.id.clone());
            let mut sources = self.mailboxes[ALICE].store.log.values().filter_map(|row| row.source.as_ref());
            let relayed = sources.any(|source| source.origin.as_ref() == Some(&origin));
            let delivered = self.shown().iter().any(|shown| shown.body == row.body);
            match row.status {
                Status::Queued => false,
                Status::Sent => !relayed,
                Status::Delivered => !(relayed && delivered),
                Status::Failed | Status::Read => true,
            }
        })
    }

    /// A mailbox takes something for confirmed that is not on the device's disk.
    pub(super) fn a_cursor_is_ahead(&self) -> bool {
        BOTH.iter().any(|who| {
            let store = &self.mailboxes[*who].store;
            let cursor = store.devices.values().map(|device| device.cursor).max().unwrap_or_default();
            let mut passed = store.log.range(..=cursor).map(|(_, row)| row);
            passed.any(|row| {
                let messages = &self.clients[*who].store.messages;
                let named = |id: &str| messages.values().find(|message| message.id == id);
                let receipt = attribute_of(&row.stanza, "<received", "id");
                let message = attribute_of(&row.stanza, "<origin-id", "id").and_then(named);
                match (row.direction, receipt) {
                    (log::Direction::Out | log::Direction::Back, _) => false,
                    (log::Direction::In, None) => message.is_none(),
                    (log::Direction::In, Some(id)) => {
                        named(id).is_none_or(|message| message.status != Status::Delivered)
                    }
                }
            })
        })
    }

    /// A message has two rows because it came twice.
    pub(super) fn a_log_repeats_itself(&self) -> bool {
        self.mailboxes.iter().any(|mailbox| {
            let names = mailbox.store.log.values().map(|row| {
                (row.direction == log::Direction::In, attribute_of(&row.stanza, "<origin-id", "id"))
            });
            let names: Vec<_> = names.collect();
            names.iter().enumerate().any(|(at, name)| names[..at].contains(name))
        })
    }

    /// Bob has everything that alice is to send.
    pub(super) fn shows_everything(&self) -> bool {
        self.shown().len() == self.scope.messages
    }

    /// Everything is done: delivered, receipted, confirmed, and nobody keeps anything for later.
    pub(super) fn all_is_done(&self) -> bool {
        let mut rows = self.clients[ALICE].store.messages.values();
        let receipted = rows.all(|row| row.status == Status::Delivered);
        let empty = self
            .clients
            .iter()
            .all(|client| client.online && client.store.outbox.is_empty() && client.store.owed.is_empty());
        let confirmed = self.mailboxes.iter().all(|mailbox| {
            let for_device = |row: &&log::LogRow| row.source.as_ref().is_none_or(|source| source.accept);
            let last =
                mailbox.store.log.values().filter(for_device).map(|row| row.seq).max().unwrap_or_default();
            mailbox.store.devices.values().all(|device| device.cursor >= last)
        });
        self.shown().len() == self.promised().len() && receipted && empty && confirmed
    }

    /// A message is on its way to its mailbox, which has it already.
    pub(super) fn a_message_is_sent_again(&self) -> bool {
        BOTH.iter().any(|who| {
            let sources = self.mailboxes[*who].store.log.values().filter_map(|row| row.source.as_ref());
            let had: Vec<&str> =
                sources.filter_map(|source| source.origin.as_ref()).map(OriginId::as_str).collect();
            let mut frames = self.wires[*who].iter().flat_map(|wire| &wire.up);
            frames.any(|frame| {
                attribute_of(frame, "<origin-id", "id").is_some_and(|origin| had.contains(&origin))
            })
        })
    }

    /// A message is on its way to bob's device, which has it already.
    pub(super) fn a_message_is_delivered_again(&self) -> bool {
        let had = self.shown();
        let mut frames = self.wires[BOB].iter().flat_map(|wire| &wire.down);
        frames.any(|frame| {
            let origin = attribute_of(frame, "<origin-id", "id");
            had.iter().any(|row| row.direction == Direction::Incoming && Some(row.id.as_str()) == origin)
        })
    }

    /// A call is under way, of which the other mailbox has something already.
    pub(super) fn a_transfer_is_repeated(&self) -> bool {
        self.calls.iter().any(|((from, _), leg)| {
            let Leg::Call(request) = leg else { return false };
            let log = &self.mailboxes[1 - from].store.log;
            let had =
                |seq| log.values().any(|row| row.direction == log::Direction::In && row.peer_seq == seq);
            request.items.iter().any(|item| had(item.seq))
        })
    }
}

/// An attribute of the first element of this name. The engines write `'` around values.
fn attribute_of<'a>(frame: &'a str, element: &str, name: &str) -> Option<&'a str> {
    let from = frame.get(frame.find(element)? + element.len()..)?;
    let tag = from.get(..from.find('>')?)?;
    let value = tag.split_once(&format!(" {name}='"))?.1;
    value.split_once('\'').map(|(value, _)| value)
}

fn number(frame: &str, name: &str) -> Option<u64> {
    attribute_of(frame, "<", name)?.parse().ok()
}
