//! What the checkers see: the wire, the disks, what people do and what they are told. They do
//! not see into an engine.

use crate::net::Way;
use crate::said::Said;
use shared::client::Event;
use shared::client::rows::Op as ClientOp;
use shared::id::{DeviceId, OriginId};
use shared::jid::BareJid;
use shared::memory::{ClientStore, MailboxStore};
use shared::relay::rows::Op as MailboxOp;

/// Who there is.
#[derive(Clone, Debug, Default)]
pub struct Cast {
    /// The accounts.
    pub accounts: Vec<BareJid>,
    /// The devices: whose each is, its name, and whether it lies.
    pub devices: Vec<(usize, DeviceId, bool)>,
}

impl Cast {
    /// The devices of an account that tell the truth.
    pub fn devices_of(&self, account: usize) -> impl Iterator<Item = usize> {
        let devices = self.devices.iter().enumerate();
        devices.filter(move |(_, (whose, _, liar))| *whose == account && !liar).map(|(device, _)| device)
    }

    /// The place of an account.
    pub fn account(&self, jid: &BareJid) -> Option<usize> {
        self.accounts.iter().position(|other| other == jid)
    }
}

/// Something that happened.
pub enum Fact<'a> {
    /// A person wrote a message.
    Wrote { device: usize, to: usize, origin: &'a OriginId, body: &'a str },
    /// A person looked at these messages.
    Looked { account: usize, messages: &'a [u64] },
    /// A browser has committed a batch.
    Committed { device: usize, ops: &'a [ClientOp], store: &'a ClientStore },
    /// A browser has thrown its stores away.
    Wiped { device: usize },
    /// A mailbox has committed a batch.
    Stored { account: usize, ops: &'a [MailboxOp], store: &'a MailboxStore },
    /// A frame is put in, or comes out.
    Frame { link: u64, device: usize, tab: u32, leads: bool, way: Way, arrived: bool, said: &'a Said<'a> },
    /// A person's screen is told something by the tab that leads.
    Told { device: usize, event: &'a Event, store: &'a ClientStore },
    /// A tab is gone.
    TabDied { device: usize, tab: u32 },
}

/// A promise that was not kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which checker found it.
    pub checker: &'static str,
    /// What it found.
    pub what: String,
}
