//! What the clients of a mailbox know: which device they are, which stream a connection carries,
//! and what came in on it. A client that tells the truth about what it has received is owed
//! everything, once.

use super::account;
use super::ledger::place;
use shared::delivery::{self, Reader};
use shared::id::{DeviceId, LinkId, StanzaSeq};
use shared::log::Direction;
use shared::memory::MailboxStore;
use shared::sm::Handled;
use shared::wire::{Element, ns, stanza};
use std::collections::{BTreeMap, BTreeSet};

/// A stream with acks, over all the connections it has had.
struct Session {
    device: DeviceId,
    sm_id: Option<String>,
    received: Handled,
    acked: Handled,
    places: BTreeSet<StanzaSeq>,
}

#[derive(Default)]
struct Wire {
    device: Option<DeviceId>,
    session: Option<usize>,
    resuming: Option<usize>,
    acks: bool,
    /// It said something about what it had received that was not so.
    lied: bool,
    /// Its client has gone on elsewhere and listens no more.
    abandoned: bool,
}

#[derive(Default)]
struct Device {
    /// Every row above this place is for it.
    since: StanzaSeq,
    seen: BTreeSet<StanzaSeq>,
    /// It has lied, or takes messages without acks: then it is owed nothing.
    forfeit: bool,
}

/// See the module.
#[derive(Default)]
pub struct Devices {
    sessions: Vec<Session>,
    wires: BTreeMap<LinkId, Wire>,
    devices: BTreeMap<DeviceId, Device>,
    distrusted: bool,
}

impl Devices {
    /// A device had a stream with this SM-ID, and this many stanzas went each way.
    pub fn had(&mut self, id: &DeviceId, sm_id: &str, count: Handled) {
        self.begins(id, StanzaSeq(0));
        self.sessions.push(Session {
            device: id.clone(),
            sm_id: Some(sm_id.to_owned()),
            received: count,
            acked: count,
            places: BTreeSet::new(),
        });
    }

    /// A device has its first row.
    pub fn begins(&mut self, id: &DeviceId, cursor: StanzaSeq) {
        let device = self.devices.entry(id.clone()).or_default();
        device.since = cursor;
    }

    /// A device was let go.
    pub fn ends(&mut self, id: &DeviceId) {
        self.devices.remove(id);
    }

    fn forfeit(&mut self, id: &DeviceId) {
        self.devices.entry(id.clone()).or_default().forfeit = true;
    }

    fn is_honest(&self, id: &DeviceId) -> bool {
        !self.distrusted && self.devices.get(id).is_some_and(|device| !device.forfeit)
    }

    /// What a client would answer if asked: its count.
    pub fn count(&self, link: LinkId) -> Option<Handled> {
        Some(self.sessions.get(self.wires.get(&link)?.session?)?.received)
    }

    /// The last stream of a device that can be resumed, and its count.
    pub fn resumable(&self, device: &str) -> Option<(String, Handled)> {
        let session = self.sessions.iter().rev().find(|session| session.device.as_str() == device)?;
        Some((session.sm_id.clone()?, session.received))
    }

    /// Nothing that is sent from here on can be counted on: a mailbox has handed over what is no
    /// message, which none does.
    pub fn distrust(&mut self) {
        self.distrusted = true;
    }

    /// A client says something.
    pub fn says(&mut self, link: LinkId, element: &Element) {
        if element.ns != ns::SM {
            return;
        }
        let h = element.attr("h").and_then(Handled::parse);
        let wire = self.wires.entry(link).or_default();
        let mut lies = false;
        match element.name.as_str() {
            "a" => match (wire.session.and_then(|session| self.sessions.get_mut(session)), h) {
                (Some(session), Some(h)) if !wire.abandoned => {
                    lies = h.since(session.acked) > session.received.since(session.acked);
                    if !lies {
                        session.acked = h;
                    }
                }
                _ => lies = true,
            },
            "resume" => {
                let previd = element.attr("previd");
                let known = self
                    .sessions
                    .iter()
                    .position(|session| previd.is_some() && session.sm_id.as_deref() == previd);
                wire.resuming = known;
                for (other, wire) in &mut self.wires {
                    wire.abandoned |= *other != link && known.is_some() && wire.session == known;
                }
                let session = known.and_then(|known| self.sessions.get(known));
                if let Some(session) = session.filter(|session| h != Some(session.received)) {
                    let device = session.device.clone();
                    self.forfeit(&device);
                }
            }
            _ => {}
        }
        let wire = self.wires.entry(link).or_default();
        wire.lied |= lies;
        if let Some(device) = wire.device.clone().filter(|_| wire.lied) {
            self.forfeit(&device);
        }
    }

    /// A client is told something, if it is still there.
    pub fn hears(&mut self, link: LinkId, is_open: bool, element: &Element) {
        self.bound(link, element);
        let wire = self.wires.entry(link).or_default();
        if !is_open || wire.abandoned {
            // Whoever takes messages without acks has lost this one.
            let lost = wire.device.clone().filter(|_| !wire.acks && place(element).is_some());
            return lost.iter().for_each(|device| self.forfeit(device));
        }
        if stanza::kind(element).is_some() {
            return self.stanza(link, element);
        }
        match (element.ns.as_str(), element.name.as_str()) {
            (ns::SM, "enabled") => {
                let Some(device) = wire.device.clone() else { panic!("enabled before bound") };
                wire.session = Some(self.sessions.len());
                self.sessions.push(Session {
                    device,
                    sm_id: element.attr("id").map(str::to_owned),
                    received: Handled::ZERO,
                    acked: Handled::ZERO,
                    places: BTreeSet::new(),
                });
            }
            (ns::SM, "resumed") => {
                let known = wire.resuming.filter(|session| {
                    self.sessions.get(*session).is_some_and(|s| s.sm_id.as_deref() == element.attr("previd"))
                });
                let Some(session) = known else { panic!("resumed what nobody asked for") };
                wire.session = Some(session);
                wire.device = self.sessions.get(session).map(|session| session.device.clone());
                if let Some(device) = wire.device.clone().filter(|_| wire.lied) {
                    self.forfeit(&device);
                }
            }
            (ns::STREAMS, "error") if element.child(ns::SM, "handled-count-too-high").is_some() => {
                let session = wire.session.or(wire.resuming).and_then(|session| self.sessions.get(session));
                let honest = session.is_some_and(|session| self.is_honest(&session.device));
                assert!(!honest, "{link:?} has told the truth: {}", element.to_frame());
            }
            _ => {}
        }
    }

    /// Which device a connection belongs to, and whether it has acks, is so from when it is said,
    /// heard or not.
    fn bound(&mut self, link: LinkId, element: &Element) {
        let wire = self.wires.entry(link).or_default();
        wire.acks |= element.is(ns::SM, "enabled") || element.is(ns::SM, "resumed");
        let jid = element.child(ns::BIND, "bind").and_then(|bind| bind.child(ns::BIND, "jid"));
        if let (Some(jid), None) = (jid.map(Element::text), &wire.device) {
            wire.device = jid.split_once('/').map(|(_, resource)| DeviceId::from(resource));
            if let Some(device) = wire.device.clone().filter(|_| wire.lied) {
                self.forfeit(&device);
            }
        }
    }

    fn stanza(&mut self, link: LinkId, element: &Element) {
        let wire = self.wires.entry(link).or_default();
        let Some(device) = wire.device.clone() else { return };
        let place = place(element);
        let session = wire.session.and_then(|session| self.sessions.get_mut(session));
        let mut again = false;
        match session {
            Some(session) => {
                session.received = session.received.next();
                again = place.is_some_and(|place| !session.places.insert(place));
            }
            // Without acks, nobody knows what arrives.
            None if place.is_some() => self.forfeit(&device),
            None => {}
        }
        if self.is_honest(&device) {
            assert!(!again, "{device} had {place:?} on this stream: {}", element.to_frame());
            if let Some(device) = self.devices.get_mut(&device) {
                device.seen.extend(place);
            }
        }
    }

    /// Devices that are owed everything.
    pub fn honest(&self) -> Vec<DeviceId> {
        self.devices.keys().filter(|id| self.is_honest(id)).cloned().collect()
    }

    /// What a device should have been sent and was not.
    pub fn missing(&self, id: &DeviceId, store: &MailboxStore) -> Vec<StanzaSeq> {
        let Some(device) = self.devices.get(id).filter(|_| self.is_honest(id)) else { return Vec::new() };
        let account = account();
        let reader = Reader { account: &account, device: id, carbons: false, late: false };
        let rows = store.log.range(device.since.next()..).map(|(_, row)| row);
        rows.filter(|row| row.direction == Direction::In && delivery::view(row, reader).is_some())
            .map(|row| row.seq)
            .filter(|seq| !device.seen.contains(seq))
            .collect()
    }
}
