//! The relay's engine under scripts: frames of every kind, slow, failing and lying disks, crashes,
//! hibernation, calls from and to other mailboxes.
//!
//! `world` drives the engine as a mailbox would and keeps what it commits. `ledger` holds what must
//! be true of everything that leaves, judged by the committed rows. `device` is what the other end
//! of a connection knows: what a client that counts right may expect.

mod device;
mod ledger;
mod rows;
mod script;
mod world;

pub use rows::relay_rows;
pub use script::relay_script;

use shared::jid::BareJid;
use shared::limits::Limits;

/// Limits so small that a short script passes every one of them.
pub const SMALL: Limits = Limits {
    ack_every_stanzas: 2,
    window_stanzas_max: 4,
    devices_max: 3,
    dedup_entries_max: 8,
    checkpoint_rows: 4,
    transfer_items_max: 3,
    queue_stanzas_max: 24,
    sent_lease_stanzas: 3,
    unacked_stanzas_max: 8,
    kept_bytes_max: 600,
    client_window_stanzas_max: 4,
    client_recent_keys_max: 8,
    client_awaiting_max: 4,
    client_owed_withheld_max: 3,
    ..Limits::DEFAULT
};

/// Whose mailbox it is.
pub fn account() -> BareJid {
    BareJid::parse("alice@d").unwrap()
}
