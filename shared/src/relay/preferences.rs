//! What the archive shows (XEP-0441, in the namespace of XEP-0313): by whom it was exchanged with,
//! and by what its sender wished (`<no-permanent-store/>`, XEP-0334 §4.2).
//!
//! The log is also the queue of every device, so what is not archived is appended, transferred,
//! delivered, recognised when it comes again and confirmed like everything else. Its row says that
//! the archive does not show it ([`crate::log::LogRow::archived`]): not in pages, not in counts, not
//! as an end and under no id. One exception keeps it from being lost: the archive shows a device
//! what that device has not confirmed, for one that takes what waits for it in pages
//! (`crate::offline`) is sent it in no other way. So summary, pages and digest agree.
//!
//! A change counts for what is appended from then on. Where a JID is in both lists, it is archived.

use super::RelayEngine;
use crate::id::DeviceId;
use crate::jid::{BareJid, Jid};
use crate::limits::{FRAME_BYTES_MAX, PREFERENCES_BYTES_MAX, PREFERENCES_MAX};
use crate::log::Direction;
use crate::wire::error::StanzaError;
use crate::wire::{Element, ns, read_frame, stanza};
use serde::{Deserialize, Serialize};

/// Whose messages the archive shows.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Preferences {
    /// ... of those in no list.
    pub default: Archiving,
    /// These.
    pub always: Vec<Jid>,
    /// Not these.
    pub never: Vec<Jid>,
}

/// XEP-0441 §2.1.1
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Archiving {
    /// Everybody's.
    #[default]
    Always,
    /// Nobody's.
    Never,
    /// Contacts'.
    Roster,
}

impl Archiving {
    fn read(text: &str) -> Option<Self> {
        [Self::Always, Self::Never, Self::Roster].into_iter().find(|archiving| archiving.name() == text)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Never => "never",
            Self::Roster => "roster",
        }
    }
}

impl Preferences {
    fn read(prefs: &Element) -> Result<Self, StanzaError> {
        let default = prefs.attr("default").and_then(Archiving::read).ok_or(StanzaError::BAD_REQUEST)?;
        let (always, never) = (jids(prefs, "always")?, jids(prefs, "never")?);
        let bytes: usize = always.iter().chain(&never).map(|jid| jid.to_string().len()).sum();
        if always.len() + never.len() > PREFERENCES_MAX || bytes > PREFERENCES_BYTES_MAX {
            return Err(StanzaError::RESOURCE_CONSTRAINT);
        }
        Ok(Self { default, always, never })
    }

    fn element(&self) -> Element {
        let list = |name, jids: &[Jid]| {
            let jid = |jid: &Jid| Element::new(ns::MAM, "jid").with_text(jid.to_string());
            jids.iter().map(jid).fold(Element::new(ns::MAM, name), Element::with)
        };
        let prefs = Element::new(ns::MAM, "prefs").with_attr("default", self.default.name());
        prefs.with(list("always", &self.always)).with(list("never", &self.never))
    }

    /// What the lists say, if they name this address (XEP-0441 §2.3).
    fn listed(&self, other: &Jid) -> Option<bool> {
        let names = |list: &[Jid]| {
            list.iter().any(|jid| jid == other || jid.resource.is_none() && jid.bare == other.bare)
        };
        if names(&self.always) {
            return Some(true);
        }
        names(&self.never).then_some(false)
    }
}

fn jids(prefs: &Element, name: &str) -> Result<Vec<Jid>, StanzaError> {
    let named = prefs.child(ns::MAM, name).into_iter().flat_map(Element::children);
    let named = named.filter(|child| child.is(ns::MAM, "jid"));
    let jid = |jid: &Element| Jid::parse(jid.text().trim()).map_err(|_| StanzaError::JID_MALFORMED);
    let mut jids = named.map(jid).collect::<Result<Vec<_>, _>>()?;
    jids.sort();
    jids.dedup();
    Ok(jids)
}

impl RelayEngine {
    /// Answers a request for the preferences, or to change them, with what they are by then.
    pub(super) fn preferences(
        &mut self,
        id: &DeviceId,
        iq: &Element,
        prefs: &Element,
    ) -> Result<(), StanzaError> {
        let Some(mut account) = self.account.clone() else { return Err(StanzaError::NOT_ALLOWED) };
        if iq.attr("type") == Some("set") {
            account.archiving = Preferences::read(prefs)?;
            self.put_account(account.clone());
        }
        self.send_stanza(id, &stanza::iq_result(iq, Some(account.archiving.element())), true);
        Ok(())
    }

    /// Whether the archive is to show a message that is being appended.
    pub(super) fn is_archived(&self, direction: Direction, peer: &BareJid, text: &str) -> bool {
        let archiving = self.account.as_ref().map(|account| &account.archiving);
        let archiving = archiving.filter(|archiving| **archiving != Preferences::default());
        if archiving.is_none() && !text.contains(ns::HINTS) {
            return true;
        }
        let Ok(message) = read_frame(text, 2 * FRAME_BYTES_MAX) else { return true };
        if is_passing(&message) {
            return false;
        }
        let Some(archiving) = archiving else { return true };
        let attribute = if direction == Direction::Out { "to" } else { "from" };
        let other = stanza::address(&message, attribute).ok().flatten();
        archiving.listed(&other.unwrap_or_else(|| peer.clone().into())).unwrap_or(match archiving.default {
            Archiving::Always => true,
            Archiving::Never => false,
            Archiving::Roster => *peer == self.config.account || self.in_roster(peer),
        })
    }

    /// Whether somebody is one of the account's contacts (RFC 6121 §2).
    pub(super) fn in_roster(&self, peer: &BareJid) -> bool {
        self.contacts.get(peer).is_some_and(|contact| contact.listed)
    }
}

/// Whether a message wishes to be kept no longer than its delivery takes.
pub(super) fn is_passing(message: &Element) -> bool {
    message.child(ns::HINTS, "no-permanent-store").is_some()
}
