//! Messages into the log: from the account's own devices, and from other mailboxes.

use super::link::unknown;
use super::rates::Verdict;
use super::rows::{Marks, Op};
use super::{CallId, Effect, LogStore, RelayEngine, TransferReply, TransferRequest};
use crate::bad::{self, Bug};
use crate::delivery::{self, Class, Reader};
use crate::id::{DeviceId, LinkId, StanzaSeq};
use crate::jid::{BareJid, Jid};
use crate::limits::{FRAME_BYTES_MAX, ID_BYTES_MAX};
use crate::log::{Direction, LogRow, Sending, Source};
use crate::repeats::{self, Repeats};
use crate::wire::error::{StanzaError, StreamCondition};
use crate::wire::stanza::{self, Kind};
use crate::wire::{Element, ns, read_frame};

impl RelayEngine {
    /// A frame from one of the account's devices.
    pub(super) fn bound(
        &mut self,
        link: LinkId,
        id: &DeviceId,
        mut element: Element,
        rate: Verdict,
        log: &dyn LogStore,
    ) -> Result<(), StreamCondition> {
        if rate == Verdict::FarOver {
            return Err(StreamCondition::PolicyViolation);
        }
        let Some(kind) = stanza::kind(&element) else { return self.nonza(link, id, &element, log) };
        let (now, limits) = (self.now, self.config.limits);
        let Some(stream) = self.stream_mut(id) else { return Ok(()) };
        if stream.is_behind(&limits) {
            // RFC 6120 §4.9.3.17. Not counted, so the device sends it again when it is back.
            return Err(StreamCondition::ResourceConstraint);
        }
        stream.last_heard = now;
        if kind == Kind::Iq && rate == Verdict::Within && self.waits_for_segment(link, id, &element, log) {
            return Ok(());
        }
        let Some(stream) = self.stream_mut(id) else { return Ok(()) };
        if stream.managed {
            // XEP-0198 §4: every stanza counts, whatever is wrong with it.
            stream.handled = stream.handled.next();
        }
        // RFC 6120 §8.1.2.1: who sent it is not for the client to say.
        element.set_attr("from", self.config.account.with_resource(id.as_str()).to_string());
        if rate == Verdict::Over {
            self.refuse(id, &element, StanzaError::RATE_EXCEEDED);
            return Ok(());
        }
        match kind {
            Kind::Message if self.is_multicast(&element) => self.multicast(id, element, log),
            Kind::Message => self.message_out(id, element, log),
            Kind::Presence => self.presence(id, &element, log),
            Kind::Iq => self.iq(id, &element, log),
        }
        self.parking.found = None;
        Ok(())
    }

    fn nonza(
        &mut self,
        link: LinkId,
        id: &DeviceId,
        element: &Element,
        log: &dyn LogStore,
    ) -> Result<(), StreamCondition> {
        if element.ns == ns::CSI {
            return self.csi(id, element, log);
        }
        if element.ns != ns::SM {
            return Err(unknown(element));
        }
        if bad::is(Bug::NonzasCounted)
            && let Some(stream) = self.stream_mut(id)
        {
            stream.handled = stream.handled.next();
        }
        match element.name.as_str() {
            "r" => self.ack_requested(link, id),
            "a" => self.acked(id, element, log)?,
            "enable" => self.enable(link, id, element)?,
            "resume" => self.sm_failed(link, "unexpected-request")?,
            _ => return Err(StreamCondition::UnsupportedStanzaType),
        }
        Ok(())
    }

    pub(super) fn message_out(&mut self, id: &DeviceId, mut message: Element, log: &dyn LogStore) {
        let to = match self.recipient(&message) {
            Ok(to) => to,
            Err(error) => return self.refuse(id, &message, error),
        };
        if self.is_blocked(&to) {
            return self.refuse_blocked(id, &message);
        }
        self.displayed_assist(&to, &mut message, log);
        delivery::strip_forgeries(&mut message, self.config.account.domain());
        let accept = message.child(ns::ACCEPTED, "accept").is_some();
        message.remove_children(|child| child.ns == ns::ACCEPTED);
        message.set_attr("to", to.to_string());
        // Written anew, it may be longer than it came: what is stored must be readable again.
        let frame = message.to_frame();
        if frame.len() > FRAME_BYTES_MAX {
            return self.refuse(id, &message, StanzaError::POLICY_VIOLATION);
        }
        if message.attr("type") == Some("groupchat") {
            return self.pass_once(id, &message, &to, log);
        }
        if delivery::class(&message) == Class::Ephemeral {
            return self.send_ephemeral(&to, frame, log);
        }
        let Some(source) = self.source(id, &to, &message, &frame, accept) else { return };
        let now = self.now;
        let limits = self.config.limits;
        let repeats =
            self.repeats.get_or_insert_with(|| Repeats::load(log, self.head.uncommitted(), now, limits));
        if let Some(first) = repeats.find(&to.bare, &source, now) {
            return self.repeated(id, first, to.bare, source);
        }
        let seq = self.head.last().next();
        if let Some(repeats) = self.repeats.as_mut() {
            let sending = Sending { seq, at: now, peer: to.bare.clone(), source: source.clone() };
            repeats.remember(&sending, now);
        }
        let (stream, handled) = (source.stream, source.handled);
        // What is for ourselves needs no other mailbox: it is a second row here.
        let own = to.bare == self.config.account;
        if !own {
            self.transfers.push_row(&to.bare, seq);
        }
        self.append(Direction::Out, to.bare, StanzaSeq(0), Some(source), frame.clone());
        self.gate.count(stream, handled);
        if own {
            self.append_in(self.config.account.clone(), seq, frame);
        }
    }

    fn recipient(&self, message: &Element) -> Result<Jid, StanzaError> {
        // RFC 6120 §8.1.1.1: without `to`, it is for the own account.
        let to = stanza::address(message, "to")?.unwrap_or_else(|| self.config.account.clone().into());
        if to.bare.domain() != self.config.account.domain() {
            return Err(StanzaError::REMOTE_SERVER_NOT_FOUND);
        }
        if to.bare.local().is_none() {
            return Err(StanzaError::SERVICE_UNAVAILABLE);
        }
        Ok(to)
    }

    fn source(
        &mut self,
        id: &DeviceId,
        to: &Jid,
        message: &Element,
        frame: &str,
        accept: bool,
    ) -> Option<Source> {
        let stream = self.stream_mut(id)?;
        let (no, handled) = (stream.no, stream.handled);
        let id_attribute = message.attr("id").filter(|text| text.len() <= ID_BYTES_MAX);
        Some(Source {
            device: id.clone(),
            stream: no,
            handled,
            origin: stanza::origin_id(message),
            id: id_attribute.map(str::to_owned),
            digest: repeats::payload_digest(to, frame),
            accept,
        })
    }

    /// A message we have had: the sender learns the first one's place, and nobody else anything.
    /// What it learns is the same as of the first, whose row may be in a segment.
    fn repeated(&mut self, id: &DeviceId, first: StanzaSeq, peer: BareJid, source: Source) {
        if !source.accept {
            return;
        }
        let row = LogRow {
            seq: first,
            at: self.now,
            direction: Direction::Out,
            peer,
            peer_seq: StanzaSeq(0),
            source: Some(source),
            sent: Vec::new(),
            transferred: StanzaSeq(0),
            archived: true,
            stanza: String::new(),
        };
        let account = self.config.account.clone();
        let reader = Reader { account: &account, device: id, carbons: false, late: false };
        if let Some(accepted) = delivery::accepted(&row, reader) {
            self.send_stanza(id, &accepted, true);
        }
    }

    fn send_ephemeral(&mut self, to: &Jid, frame: String, log: &dyn LogStore) {
        if to.bare == self.config.account {
            if let Ok(message) = read_frame(&frame, 2 * FRAME_BYTES_MAX) {
                self.ephemeral_in(&message);
            }
        } else {
            self.transfers.push_ephemeral(&to.bare, frame, &self.config.limits);
            self.start_transfers(log);
        }
    }

    pub(super) fn refuse(&mut self, id: &DeviceId, stanza: &Element, error: StanzaError) {
        if let Some(reply) = stanza::error_reply(stanza, error) {
            self.send_stanza(id, &reply, true);
        }
    }

    /// Another mailbox hands messages over.
    pub(super) fn transfer_in(&mut self, call: CallId, request: &TransferRequest, log: &dyn LogStore) {
        let reply = if self.account.is_none() || request.to != self.config.account {
            TransferReply::NoSuchUser
        } else {
            self.items_in(request, log)
        };
        self.gate.effect(Effect::Reply(call, reply));
    }

    /// What is new is taken, or refused for good: a call that was overtaken by another may still
    /// come, and must not be taken after its sender was told that it was refused. Which it was is
    /// what the log says.
    fn items_in(&mut self, request: &TransferRequest, log: &dyn LogStore) -> TransferReply {
        let from = &request.from;
        let had = self.peers.get(from).copied().unwrap_or_default();
        let again: Vec<StanzaSeq> =
            request.items.iter().map(|item| item.seq).filter(|seq| (1..=had.0).contains(&seq.0)).collect();
        let taken = if again.is_empty() { Vec::new() } else { self.head.received(log, from, &again) };
        let full = self.queue_is_full(log);
        let mut refused: Vec<StanzaSeq> = again.into_iter().filter(|seq| !taken.contains(seq)).collect();
        // Who may not know yet that a message was refused must not hear first that a later one was
        // read: from there on, what is new comes again once it knows.
        let overtakes = bad::is(Bug::RefusalOvertaken);
        let mut waits = !refused.is_empty() && !overtakes;
        let mut blocked = false;
        for item in &request.items {
            let unwanted = self.is_unwanted(item);
            blocked |= unwanted && refused.contains(&item.seq);
            let is_new = item.seq > had && !waits;
            if item.seq == StanzaSeq(0) {
                self.passed_in(from, item, log);
            } else if is_new && (full || unwanted) || full && bad::is(Bug::FullForgets) {
                blocked |= unwanted;
                self.peers.insert(from.clone(), item.seq.max(had));
                refused.push(item.seq);
            } else if is_new && !refused.is_empty() && !overtakes {
                waits = true;
            } else if is_new || bad::is(Bug::TransferTakenTwice) {
                self.peers.insert(from.clone(), item.seq.max(had));
                self.peers_unsaved.insert(from.clone());
                self.append_in(from.clone(), item.seq, item.stanza.clone());
            }
        }
        if refused.is_empty() {
            return TransferReply::Accepted;
        }
        let seq = self.peers.get(from).copied().unwrap_or_default();
        self.gate.write(Op::PutPeer(from.clone(), seq));
        if blocked { TransferReply::Blocked(refused) } else { TransferReply::Refused(refused) }
    }

    fn append_in(&mut self, peer: BareJid, peer_seq: StanzaSeq, stanza: String) {
        let stanza = self.readdressed(stanza);
        self.append(Direction::In, peer, peer_seq, None, stanza);
    }

    /// Tells the sender that a message came back, as durably as it was accepted. The row also
    /// says, to whoever loads the log, that the message is not to be handed over any more.
    pub(super) fn append_back(&mut self, peer: BareJid, seq: StanzaSeq, error: String) {
        let error = self.readdressed(error);
        self.append(Direction::Back, peer, seq, None, error);
    }

    /// RFC 6121 §8.5.3.2.1: what is for a device that is not (or no longer) one of the account's
    /// is for the account.
    fn readdressed(&self, stanza: String) -> String {
        let Ok(mut message) = read_frame(&stanza, 2 * FRAME_BYTES_MAX) else { return stanza };
        let to = stanza::address(&message, "to").ok().flatten();
        match to.and_then(|to| to.resource) {
            Some(resource) if !self.devices.contains_key(&DeviceId(resource.clone())) => {
                message.set_attr("to", self.config.account.as_str());
                message.to_frame()
            }
            _ => stanza,
        }
    }

    /// The one place where the log grows.
    fn append(
        &mut self,
        direction: Direction,
        peer: BareJid,
        peer_seq: StanzaSeq,
        source: Option<Source>,
        stanza: String,
    ) {
        self.release_states_of(&peer);
        let archived = self.is_archived(direction, &peer, &stanza);
        let mut row = LogRow {
            seq: self.head.last().next(),
            at: self.now,
            direction,
            peer,
            peer_seq,
            source,
            sent: Vec::new(),
            transferred: self.transfers.upto(self.head.last()),
            archived,
            stanza,
        };
        if let Some(backlog) = &mut self.backlog {
            backlog.append(row.seq, row.stanza.len());
        }
        let frames = self.fan_out(&mut row);
        self.head.append(row.clone());
        self.gate.write(Op::Append(row.clone()));
        // A row that is not for a device does not wait for it.
        for device in self.devices.values_mut() {
            device.settle();
        }
        for (id, _, _) in &frames {
            // Without acks, sent is all that can be known.
            let stream = self.devices.get(id).and_then(|device| device.stream.as_ref());
            if stream.is_some_and(|stream| !stream.managed) {
                self.put_device(id);
            }
        }
        let readers: Vec<DeviceId> = frames.iter().map(|(id, _, _)| id.clone()).collect();
        for (_, link, frame) in frames {
            self.gate.effect(Effect::Frame(link, frame));
        }
        for id in readers {
            self.request_ack(&id);
        }
        self.send_ahead(&row);
        if self.head.last().0.saturating_sub(self.marks.checkpoint.0) >= self.config.limits.checkpoint_rows {
            self.checkpoint();
        }
    }

    /// Saves what a load would otherwise have to fold from ever more of the log.
    pub(super) fn checkpoint(&mut self) {
        self.cold.look_at = Some(self.now);
        self.marks = Marks {
            checkpoint: self.head.last(),
            transferred: self.transfers.upto(self.head.last()),
            ..self.marks
        };
        for peer in std::mem::take(&mut self.peers_unsaved) {
            let seq = self.peers.get(&peer).copied().unwrap_or_default();
            self.gate.write(Op::PutPeer(peer, seq));
        }
        let streaming: Vec<DeviceId> = self
            .devices
            .iter()
            .filter(|(_, device)| device.stream.as_ref().is_some_and(|stream| stream.managed))
            .map(|(id, _)| id.clone())
            .collect();
        for id in streaming {
            self.put_device(&id);
        }
        self.gate.write(Op::PutMarks(self.marks));
    }
}
