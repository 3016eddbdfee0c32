//! What the fuzzer calls: functions from bytes to a panic, if something does not hold.
//!
//! They are ordinary functions so that three callers can share them: libFuzzer (`fuzz_targets`, one
//! file per function), the replay of the committed corpora, and proptest, which runs them without
//! nightly. [`TARGETS`] names them all.
//!
//! Deliberately absent: a network, a real store, a second engine. One engine is alone with a script
//! that does to it whatever a peer, a disk, a clock or a power cut can do; what several of them make
//! of each other is the simulator's to find.
//!
//! Invariant: an entry point depends on its bytes and on nothing else. The same bytes do the same.

mod client;
mod differential;
mod leaf;
mod lobby;
mod relay;
mod rows;
mod script;
mod xml;

pub use client::{client_rows, client_script};
pub use differential::differential;
pub use leaf::{jid, sasl, stamp};
pub use lobby::lobby_script;
pub use relay::{relay_rows, relay_script};
pub use xml::{chunking, frame_reader, roundtrip};

/// An entry point: it panics if something does not hold.
pub type Target = fn(&[u8]);

/// Every entry point by the name of its fuzz target and of its corpus.
pub const TARGETS: [(&str, Target); 12] = [
    ("chunking", chunking),
    ("client_rows", client_rows),
    ("client_script", client_script),
    ("differential", differential),
    ("frame_reader", frame_reader),
    ("jid", jid),
    ("lobby_script", lobby_script),
    ("relay_rows", relay_rows),
    ("relay_script", relay_script),
    ("roundtrip", roundtrip),
    ("sasl", sasl),
    ("stamp", stamp),
];

/// Prints what an engine is told and what it does, where `TRACE` is set: for reading a finding.
fn trace(line: impl Fn() -> String) {
    static WANTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    if *WANTED.get_or_init(|| std::env::var_os("TRACE").is_some()) {
        eprintln!("{}", line());
    }
}
