//! Client state indication (XEP-0352): nobody looks at the device, so what is only a state may
//! wait for it.
//!
//! While a device is inactive, the presence and the chat states of others are held for it: of
//! each full JID only the newest of either. Nothing else waits, and nothing overtakes: before
//! anything else of somebody is sent, what is held of that account is sent. When the device is
//! active again, or more is held than `CSI_HELD_BYTES_MAX`, all of it is sent, in the order in which
//! it came. It has no number of the stream (XEP-0198) before that.
//!
//! Whether it is inactive, and what is held, belongs to the connection and sleeps with it
//! ([`super::LinkState`]; its bounds are what a connection may remember): a presence that is held
//! may be the last one for days, and a mailbox sleeps after seconds. It is written nowhere else. What
//! presence is held when a connection is lost waits for the stream to be resumed
//! (`presence`), as active as every stream begins.

use super::stream::{Keep, Stream};
use super::{LogStore, RelayEngine};
use crate::id::DeviceId;
use crate::jid::{BareJid, Jid};
use crate::limits::{CSI_HELD_BYTES_MAX, FRAME_BYTES_MAX};
use crate::wire::error::StreamCondition;
use crate::wire::stanza::{self, Kind};
use crate::wire::{Element, ns, read_frame};
use serde::{Deserialize, Serialize};

/// What waits for an inactive device.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Csi {
    /// Nobody looks at it.
    pub inactive: bool,
    /// Stanzas, oldest first.
    pub held: Vec<String>,
}

impl Csi {
    /// Whether nothing has to be remembered.
    pub fn is_default(&self) -> bool {
        !self.inactive && self.held.is_empty()
    }

    fn hold(&mut self, element: &Element) {
        let same = |other: &Element| other.name == element.name && other.attr("from") == element.attr("from");
        self.held.retain(|held| read(held).is_some_and(|other| !same(&other)));
        self.held.push(element.to_frame());
    }

    /// There is newer presence of this one.
    pub(super) fn forget_presence(&mut self, from: &Jid) {
        self.held.retain(|held| {
            read(held).is_none_or(|stanza| {
                stanza::kind(&stanza) != Some(Kind::Presence) || sender(&stanza).as_ref() != Some(from)
            })
        });
    }

    fn is_full(&self) -> bool {
        self.held.iter().map(|held| remembered_length(held)).sum::<usize>() > CSI_HELD_BYTES_MAX
    }

    /// Takes out what is held of one account, or of all.
    fn take(&mut self, of: Option<&BareJid>) -> Vec<Element> {
        let (taken, left) = std::mem::take(&mut self.held).into_iter().partition(|held| {
            of.is_none_or(|of| {
                read(held).and_then(|stanza| sender(&stanza)).is_none_or(|jid| jid.bare == *of)
            })
        });
        self.held = left;
        let taken: Vec<String> = taken;
        taken.iter().filter_map(|held| read(held)).collect()
    }
}

impl RelayEngine {
    /// `<active/>` and `<inactive/>`: no stanzas, and never answered.
    pub(super) fn csi(
        &mut self,
        id: &DeviceId,
        element: &Element,
        log: &dyn LogStore,
    ) -> Result<(), StreamCondition> {
        let inactive = match element.name.as_str() {
            "inactive" => true,
            "active" => false,
            _ => return Err(StreamCondition::UnsupportedStanzaType),
        };
        if let Some(stream) = self.stream_mut(id) {
            stream.csi.inactive = inactive;
        }
        if !inactive {
            self.release_states(id, None);
            self.flush(id, log);
        }
        Ok(())
    }

    /// Holds a stanza that is only a state, for a device that is inactive. Before any other goes
    /// what is held of its sender.
    pub(super) fn hold_state(&mut self, id: &DeviceId, element: &Element) -> bool {
        let own = self.config.account.with_resource(id.as_str());
        let Some(stream) = self.stream_mut(id) else { return false };
        if !stream.csi.inactive || stream.link.is_none() {
            return false;
        }
        let from = sender(element);
        let holds = is_state(element) && remembered_length(&element.to_frame()) <= CSI_HELD_BYTES_MAX / 4;
        if !holds || from.is_none() || from.as_ref() == Some(&own) {
            if let Some(from) = from {
                self.release_states(id, Some(&from.bare));
            }
            return false;
        }
        stream.csi.hold(element);
        if stream.csi.is_full() {
            self.release_states(id, None);
        }
        true
    }

    /// Sends what is held for a device: of one account, or of all.
    pub(super) fn release_states(&mut self, id: &DeviceId, of: Option<&BareJid>) {
        let Some(stream) = self.stream_mut(id).filter(|stream| !stream.csi.held.is_empty()) else { return };
        if stream.link.is_none() {
            return;
        }
        for element in stream.csi.take(of) {
            // As if it had not been held: who was typing is stale when the device comes back.
            let presence = stanza::kind(&element) == Some(Kind::Presence);
            self.send_kept(id, &element, if presence { Keep::WithNextRow } else { Keep::Not });
        }
    }

    /// A message of somebody is about to be sent to whoever reads the log.
    pub(super) fn release_states_of(&mut self, peer: &BareJid) {
        let holding = |device: &super::Device| device.stream.as_ref().is_some_and(|s| !s.csi.held.is_empty());
        let holding: Vec<DeviceId> =
            self.devices.iter().filter(|(_, device)| holding(device)).map(|(id, _)| id.clone()).collect();
        for id in holding {
            self.release_states(&id, Some(peer));
        }
    }
}

/// Characters of what is held as a connection remembers it, in JSON.
fn remembered_length(held: &str) -> usize {
    serde_json::to_string(held).map_or(usize::MAX, |json| json.encode_utf16().count())
}

fn read(held: &str) -> Option<Element> {
    read_frame(held, 2 * FRAME_BYTES_MAX).ok()
}

fn sender(element: &Element) -> Option<Jid> {
    stanza::address(element, "from").ok().flatten()
}

impl Stream {
    /// The connection is lost: what is held, and still true when the device comes back.
    pub(super) fn held_presence(&mut self) -> Vec<(Jid, String)> {
        let held = std::mem::take(&mut self.csi).take(None).into_iter();
        let presence = held.filter(|held| stanza::kind(held) == Some(Kind::Presence));
        presence.filter_map(|held| Some((sender(&held)?, held.to_frame()))).collect()
    }
}

/// Whether the next one of the same kind and sender makes this one worthless.
fn is_state(element: &Element) -> bool {
    match stanza::kind(element) {
        Some(Kind::Presence) => matches!(element.attr("type"), None | Some("unavailable")),
        Some(Kind::Message) if element.attr("type") != Some("error") => {
            let beside = |child: &Element| {
                child.is(ns::CLIENT, "thread")
                    || child.is(ns::STANZA_ID, "origin-id")
                    || matches!(child.ns.as_str(), ns::HINTS | ns::ADDRESS)
            };
            let mut rest = element.children().filter(|child| !beside(child)).peekable();
            rest.peek().is_some() && rest.all(|child| child.ns == ns::CHAT_STATES)
        }
        _ => false,
    }
}
