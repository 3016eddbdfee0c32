//! Rows that no engine wrote: an older version's, a damaged disk's, an attacker's. A mailbox that
//! cannot be loaded is lost for good, so every row must be survived.

use super::script::{answer, authenticate, go_online, handed_over, pass, perform};
use super::world::{World, account_row};
use crate::script::{Fields, steps};
use serde::Deserialize;
use shared::cold::{Moving, SegmentRow};
use shared::id::{LinkId, StanzaSeq};
use shared::jid::BareJid;
use shared::log::LogRow;
use shared::memory::MailboxStore;
use shared::relay::LinkState;
use shared::relay::rows::{AccountRow, ContactRow, DeviceRow, ItemRow, Marks, NodeRow};
use std::collections::BTreeMap;

/// What is in the store, and which connections outlived the engine that wrote it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Given {
    account: Option<AccountRow>,
    marks: Marks,
    devices: Vec<DeviceRow>,
    peers: Vec<(BareJid, StanzaSeq)>,
    #[serde(default)]
    contacts: Vec<ContactRow>,
    log: Vec<LogRow>,
    nodes: Vec<NodeRow>,
    items: Vec<ItemRow>,
    segments: Vec<SegmentRow>,
    moving: Option<Moving>,
    links: Vec<(LinkId, LinkState)>,
}

impl Given {
    /// A driver's connections have names of their own.
    fn links(&self) -> BTreeMap<LinkId, LinkState> {
        self.links.iter().cloned().collect()
    }

    fn store(&self, account: Option<AccountRow>) -> MailboxStore {
        MailboxStore {
            account,
            marks: self.marks,
            devices: self.devices.iter().map(|row| (row.device.clone(), row.clone())).collect(),
            peers: self.peers.iter().cloned().collect(),
            contacts: self.contacts.iter().map(|row| (row.jid.clone(), row.clone())).collect(),
            log: self.log.iter().map(|row| (row.seq, row.clone())).collect(),
            nodes: self.nodes.iter().map(|row| (row.node.clone(), row.clone())).collect(),
            items: self.items.iter().map(|row| ((row.node.clone(), row.id.clone()), row.clone())).collect(),
            segments: self.segments.iter().map(|row| (row.first, (row.clone(), Vec::new()))).collect(),
            moving: self.moving.clone(),
        }
    }
}

/// What happens afterwards: every device that has a row comes, and a bit of everything is said.
const SESSION: &str = "\
1tmalice@d|s|x\n1tabob@d|a|x\n1ti\n1tc\n1t?\n1t!1\ni0bob@d|1|x|alice@d|3\nw\nw\nw\nd1\nw9999999\nH\nK";

/// And what is published is read and published again.
const PUBLISHED: &str = "<iq xmlns='jabber:client' type='set' id='p'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
    <publish node='n'><item id='two'><p xmlns='t'/></item></publish></pubsub></iq>";

/// See [`Given`] and [`crate::rows`]. No panic, no endless loop, and the mailbox can still be used.
pub fn relay_rows(bytes: &[u8]) {
    let Some(given) = crate::rows::read::<Given>(bytes, include_str!("rows.json")) else { return };
    drop(World::on_any(given.store(given.account.clone()), given.links()));
    let mut world = World::on_any(given.store(Some(account_row())), given.links());
    for link in given.links().keys() {
        world.frame(*link, "<r xmlns='urn:xmpp:sm:3'/>");
        world.frame(*link, "<presence xmlns='jabber:client'/>");
        world.frame(*link, PUBLISHED);
    }
    pass(&mut world, None);
    for device in given.devices.iter().take(3) {
        go_online(&mut world, 1, device.device.as_str());
        if let Some(stream) = &device.stream {
            // Seeds have the SM-ID of `near_the_end_of_numbers` in their rows.
            let h = stream.acked.next();
            let link = authenticate(&mut world, 2);
            world.frame(link, &format!("<resume xmlns='urn:xmpp:sm:3' previd='wrap' h='{h}'/>"));
        }
    }
    authenticate(&mut world, 0);
    handed_over(&mut world, false, Fields::of("bob@d|1|x|alice@d|3"));
    go_online(&mut world, 1, "phone");
    steps(SESSION).for_each(|step| perform(&mut world, step));
    for letter in ["a", "n", ""] {
        answer(&mut world, 0, letter);
    }
}
