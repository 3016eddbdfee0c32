//! The offline protocol, `urn:counterfoil:offline:0` (R20 to R25): what waits for a device, taken
//! in pages of its own size, checked, and confirmed in one piece.
//!
//! What waits for a device is the log above its cursor: every message to or from the account, in
//! order, under ids that follow one another. So a summary is short, and what is missing is seen.
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
//! comes in: a weak link is not flooded. Asked for before the initial presence, nothing was.
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
//! is nothing, the stream is held no longer: what comes next is sent by itself again.
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
use sha2::{Digest, Sha256};

/// What waits for a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// How much.
    pub size: Size,
    /// The ids of the first and the last.
    pub ends: Option<(StanzaSeq, StanzaSeq)>,
}

impl Summary {
    /// `<summary/>`
    pub fn element(&self) -> Element {
        let mut summary = Element::new(ns::OFFLINE, "summary")
            .with_attr("count", self.size.count.to_string())
            .with_attr("bytes", self.size.bytes.to_string());
        if let Some((first, last)) = self.ends {
            summary.set_attr("first", first.to_string());
            summary.set_attr("last", last.to_string());
        }
        let (first, last) = self.ends.unwrap_or((StanzaSeq(1), StanzaSeq(0)));
        summary.with_attr("digest", digest((first.0..=last.0).map(StanzaSeq)))
    }
}

/// The digest of these ids, in this order.
pub fn digest(ids: impl Iterator<Item = StanzaSeq>) -> String {
    let mut hash = Sha256::new();
    for id in ids {
        hash.update(id.to_string());
        hash.update("\n");
    }
    STANDARD.encode(hash.finalize())
}
