//! The offline protocol, `urn:counterfoil:offline:0` (R20 to R25): what waits for a device, taken
//! in pages of its own size, checked, and confirmed in one piece.
//!
//! What waits for a device is the log above its cursor, as the archive shows it to this device: every
//! message to or from the account, in order, each once, also what the archive shows no other.
//!
//! # 1. The summary
//!
//! ```xml
//! C: <iq type='get' id='1'><summary xmlns='urn:counterfoil:offline:0' hold='true'/></iq>
//! S: <iq type='result' id='1'>
//!      <summary xmlns='urn:counterfoil:offline:0' count='35' bytes='11200' first='101' last='135'
//!               digest='uH4…='/>
//!    </iq>
//! ```
//!
//! `count` messages of `bytes` bytes together, as they are stored. `first` and `last` are their
//! lowest and highest stanza-id, and absent if nothing waits. `digest` is the SHA-256, in base64,
//! of all ids as decimal numbers with a line feed behind each.
//!
//! With `hold='true'` nothing of the log is sent by itself on this stream from here on, whatever
//! comes in: a weak link is not flooded. Asked for before the initial presence, nothing was. If
//! nothing waits there is nothing to hold, and what comes is sent by itself.
//!
//! # 2. The pages
//!
//! Those of the archive (XEP-0313), from the message before the first:
//! `<set><max>10</max><after>100</after></set>`, until `complete='true'`. An `<after/>` that is no
//! message (before the first of all) is left out.
//!
//! # 3. The receipt
//!
//! ```xml
//! C: <iq type='set' id='9'><received xmlns='urn:counterfoil:offline:0' upto='135'/></iq>
//! S: <iq type='result' id='9'><summary xmlns='urn:counterfoil:offline:0' count='0' bytes='0' …/></iq>
//! ```
//!
//! The device has everything up to `upto` on its disk: one receipt for all of it, and the cursor
//! moves. The answer comes when that is on the relay's disk, and says what waits by now. When that
//! is nothing, the stream is held no longer: what comes next is sent by itself again. What was
//! sent by itself before and is covered by the receipt does not come again when the stream is
//! resumed.
//! `<release xmlns='urn:counterfoil:offline:0'/>` ends the hold without a receipt: all that waits is sent.
//!
//! # Errors
//!
//! `bad-request`: `upto` is no number. `item-not-found`: there is no message of that id yet.
//! A receipt for what was confirmed before changes nothing and is answered like any other.

use crate::archive::Size;
use crate::id::StanzaSeq;
use crate::wire::{Element, ns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// What waits for a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// How much.
    pub size: Size,
    /// The ids of the first and the last.
    pub ends: Option<(StanzaSeq, StanzaSeq)>,
    /// The digest of all.
    pub digest: String,
}

impl Summary {
    /// Of the messages of these ids, which together are so much.
    pub fn of(size: Size, ids: impl Iterator<Item = StanzaSeq>) -> Self {
        let (mut ends, mut digest) = (None, Digest::default());
        for id in ids {
            ends = Some((ends.map_or(id, |(first, _)| first), id));
            digest.add(id);
        }
        Self { size, ends, digest: digest.text() }
    }

    /// `<summary/>`
    pub fn element(&self) -> Element {
        let mut summary = Element::new(ns::OFFLINE, "summary")
            .with_attr("count", self.size.count.to_string())
            .with_attr("bytes", self.size.bytes.to_string());
        if let Some((first, last)) = self.ends {
            summary.set_attr("first", first.to_string());
            summary.set_attr("last", last.to_string());
        }
        summary.with_attr("digest", self.digest.as_str())
    }
}

/// The digest of ids, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// The next id.
    pub fn add(&mut self, id: StanzaSeq) {
        self.0.update(id.to_string());
        self.0.update("\n");
    }

    /// The digest of those so far.
    pub fn text(self) -> String {
        STANDARD.encode(self.0.finalize())
    }
}
